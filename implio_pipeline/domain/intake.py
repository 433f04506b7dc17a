"""Landing files and posts: what was taken, what was set aside, and why."""

from dataclasses import dataclass
from datetime import date, datetime, timedelta
from enum import StrEnum

from implio_pipeline.domain.ids import TeamId


class LandingState(StrEnum):
    """What became of a landing file."""

    INGESTED = "ingested"
    SET_ASIDE = "set-aside"


@dataclass(frozen=True, kw_only=True, slots=True)
class LandingRecord:
    """The memory of a landing file: its content's keyed digest and counts, never its name.

    It lasts as long as something of the file is in the vault: the same content is new once all of it was erased.
    """

    team: TeamId
    digest: str
    """Keyed with the team's pseudonym key: without it nobody can tell whether a known file was landed."""
    size_bytes: int
    state: LandingState
    items: int
    rejected: int
    erased_before: int
    """Items kept out since an accepted request covers them."""
    too_old: int
    """Items kept out for their age alone, and set aside."""
    taken_at: datetime
    reason: str | None = None
    batch_id: str | None = None
    """Of its items in the vault; `None` when none of it came in."""
    first_day: date | None = None
    last_day: date | None = None
    """The days that its items were put under."""


POST_KEPT = timedelta(days=1)
"""How long a post is known by its idempotency key."""


@dataclass(frozen=True, kw_only=True, slots=True)
class PostRecord:
    """The memory of a post with an idempotency key: with the same body again, its answer follows from it."""

    team: TeamId
    key_digest: str
    """Keyed pseudonym of the key."""
    body_digest: str
    """Keyed pseudonym of the body."""
    batch_id: str
    taken_at: datetime
    """The submission instant of its items; batch and instant make their task ids."""
    kept_out: tuple[int, ...] = ()
    """Places of its good items that a standing deletion kept out."""
    returned: int = 0
    """How many of its items came of people who were erased before."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ErasedPeople:
    """What came in, or was kept out, of people whose deletion was asked for; counted when it comes."""

    kept_out: int = 0
    """Items kept out since a standing deletion names their user."""
    returned: int = 0
    """Items taken in of people who were erased before."""

    def __add__(self, other: "ErasedPeople") -> "ErasedPeople":
        """Return both counts added up."""
        return ErasedPeople(kept_out=self.kept_out + other.kept_out, returned=self.returned + other.returned)

    def __bool__(self) -> bool:
        """Tell whether there is anything to tell."""
        return bool(self.kept_out or self.returned)
