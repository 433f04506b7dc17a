"""What is remembered of landing files and posts, so that the same content is not taken in twice."""

from dataclasses import dataclass
from datetime import date, datetime, timedelta
from enum import StrEnum

from implio_pipeline.domain.ids import TeamId


class LandingState(StrEnum):
    """The result of taking in a landing file."""

    INGESTED = "ingested"
    SET_ASIDE = "set-aside"


@dataclass(frozen=True, kw_only=True, slots=True)
class LandingRecord:
    """The record of a landing file: a keyed digest of its content, and counts. Its name is not kept.

    The record lasts as long as items of the file are in the vault. Once all are erased, the same content is new again.
    """

    team: TeamId
    digest: str
    """Keyed with the team's pseudonym key, so that nobody without the key can check whether a known file was landed."""
    size_bytes: int
    state: LandingState
    items: int
    rejected: int
    erased_before: int
    """Items kept out because an accepted request covers them."""
    too_old: int
    """Items kept out because of their age, and set aside."""
    taken_at: datetime
    reason: str | None = None
    batch_id: str | None = None
    """The batch id of its items in the vault; `None` if no item was taken in."""
    first_day: date | None = None
    last_day: date | None = None
    """The first and last day of its items."""


POST_KEPT = timedelta(days=1)
"""How long the idempotency key of a post is remembered."""


@dataclass(frozen=True, kw_only=True, slots=True)
class PostRecord:
    """The record of a post with an idempotency key. If the same body comes again, the answer is made from it."""

    team: TeamId
    key_digest: str
    """Keyed pseudonym of the key."""
    body_digest: str
    """Keyed pseudonym of the body."""
    batch_id: str
    taken_at: datetime
    """The submission instant of its items; task ids are derived from batch and instant."""
    kept_out: tuple[int, ...] = ()
    """Positions of its valid items that a standing deletion kept out."""
    returned: int = 0
    """How many of its items belong to people who were erased before."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ErasedPeople:
    """Items of people whose deletion was asked for, counted when they arrive."""

    kept_out: int = 0
    """Items kept out because a standing deletion names their user."""
    returned: int = 0
    """Items taken in of people who were erased before."""

    def __add__(self, other: "ErasedPeople") -> "ErasedPeople":
        """Return the sum of both counts."""
        return ErasedPeople(kept_out=self.kept_out + other.kept_out, returned=self.returned + other.returned)

    def __bool__(self) -> bool:
        """Return whether any item was counted."""
        return bool(self.kept_out or self.returned)
