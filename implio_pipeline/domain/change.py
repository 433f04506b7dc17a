"""A change of the catalog that happens whole or not at all."""

from dataclasses import dataclass
from datetime import datetime

from implio_pipeline.domain.erasure import FileOutcome
from implio_pipeline.domain.files import SealedFile
from implio_pipeline.domain.ids import FileId, KeyId, TeamId
from implio_pipeline.domain.intake import ErasedPeople, LandingRecord, PostRecord, QueueEntry
from implio_pipeline.domain.keys import TeamKey


@dataclass(frozen=True, kw_only=True, slots=True)
class Change:
    """Files in, files out, and what goes with them.

    The commit holds only if every file of `remove` is still live, the team's newest tombstone is still `planned_at`
    and its newest legal hold `held_at`; the keys of removed files are destroyed in the same transaction.
    """

    team: TeamId
    planned_at: int
    """Sequence of the team's newest tombstone when the work was planned; 0 when it has none."""
    held_at: int | None = None
    """Sequence of the team's newest legal hold when the work was planned; `None` when it spares nothing anyway."""
    committed_at: datetime
    add: tuple[SealedFile, ...] = ()
    remove: tuple[FileId, ...] = ()
    queue: tuple[QueueEntry, ...] = ()
    landing: LandingRecord | None = None
    posts: tuple[PostRecord, ...] = ()
    """Posts that brought the files, by their idempotency keys; none may be known already."""
    erased_people: ErasedPeople | None = None
    """What of the items at hand is of people whose deletion was asked for."""
    outcomes: tuple[FileOutcome, ...] = ()
    settled: tuple[int, ...] = ()
    """Sequences of verdicts that the files added have now; each must be there still, and unsettled."""
    new_team_keys: tuple[TeamKey, ...] = ()
    shred_team_keys: tuple[KeyId, ...] = ()
