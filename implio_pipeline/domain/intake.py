"""Landing files and posts: what was taken, what was set aside, and why."""

from dataclasses import dataclass
from datetime import date, datetime, timedelta
from enum import StrEnum

from implio_pipeline.domain.words import TaskKey, TeamId, UserKey


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


@dataclass(frozen=True, kw_only=True, slots=True)
class QueueEntry:
    """An item that waits for a decision; opaque values only."""

    task_id: str
    task_key: TaskKey
    team: TeamId
    queue: str
    user_key: UserKey | None
    submitted_at: datetime
    outcome: str | None


DEFAULT_QUEUE = "Default"
ESCALATED_QUEUE = "Escalated"
