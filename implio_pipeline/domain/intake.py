"""Landing files: what was taken, what was set aside, and why."""

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from implio_pipeline.domain.words import TaskKey, TeamId, UserKey


class LandingState(StrEnum):
    """What became of a landing file."""

    INGESTED = "ingested"
    SET_ASIDE = "set-aside"


@dataclass(frozen=True, kw_only=True, slots=True)
class LandingRecord:
    """The memory of a landing file: its content's digest and counts, never its name."""

    team: TeamId
    digest: str
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
