"""The relational store as a whole, and its memory of landing files."""

from collections.abc import Collection
from contextlib import AbstractContextManager
from datetime import date, datetime
from typing import Protocol

from implio_pipeline.domain.audit import Alteration
from implio_pipeline.domain.failed_file import FailedFile, Work
from implio_pipeline.domain.intake import ErasedPeople, LandingRecord, PostRecord
from implio_pipeline.domain.words import TeamId
from implio_pipeline.ports.access import AccessLog, Grants
from implio_pipeline.ports.api_keys import ApiKeys
from implio_pipeline.ports.callbacks import Callbacks
from implio_pipeline.ports.holds import Holds
from implio_pipeline.ports.manifest import Manifest
from implio_pipeline.ports.policy_changes import PolicyChanges
from implio_pipeline.ports.queues import Moderation
from implio_pipeline.ports.requests import Requests
from implio_pipeline.ports.seals import Seals
from implio_pipeline.ports.teams import Teams


class Landings(Protocol):
    """The memory of landing files."""

    def seen(self, team: TeamId, digest: str) -> LandingRecord | None:
        """Return what became of a landing file with this content."""

    def forget(self, record: LandingRecord) -> None:
        """Forget a landing file, if it was not taken again meanwhile."""

    def has_size(self, team: TeamId, size_bytes: int) -> bool:
        """Tell whether any landing file of this size was ever taken."""

    def erased_people(self, team: TeamId, *, since: date) -> ErasedPeople:
        """Return what came in or was kept out, since a day, of people whose deletion was asked for."""

    def all(self, team: TeamId | None = None) -> list[LandingRecord]:
        """Return every record, oldest first."""


class FailedFiles(Protocol):
    """The memory of files that a flow failed at."""

    def all(self, work: Work, *, team: TeamId | None = None) -> list[FailedFile]:
        """Return the files that failed, of one team or of all."""

    def note(self, file: FailedFile) -> None:
        """Remember a failed attempt in the place of earlier ones at the same file."""

    def forget(self, work: Work, team: TeamId, files: Collection[str]) -> None:
        """Forget files that were worked on after all, or that are gone."""


class Posts(Protocol):
    """The memory of posts with an idempotency key; commits add to it."""

    def seen(self, team: TeamId, key_digest: str) -> PostRecord | None:
        """Return the post that used this key last, however long ago."""

    def forget(self, *, before: datetime, team: TeamId | None = None) -> int:
        """Forget posts taken in before an instant, of one team or of all, and return how many."""


class Catalog(Protocol):
    """The relational store as a whole."""

    teams: Teams
    """Teams, policies, team keys."""
    manifest: Manifest
    """Live files."""
    requests: Requests
    """Requests and tombstones."""
    holds: Holds
    """Legal holds."""
    landings: Landings
    """Landing files taken."""
    failed_files: FailedFiles
    """Files that a flow failed at."""
    posts: Posts
    """Posts with an idempotency key."""
    moderation: Moderation
    """Queues, locks, verdicts, notes and the feed."""
    policy_changes: PolicyChanges
    """Changes of policies and caps."""
    callbacks: Callbacks
    """Result callbacks and their deliveries."""
    seals: Seals
    """Sealed values that last."""
    api_keys: ApiKeys
    """Keys of customers' servers."""
    grants: Grants
    """What operators may read."""
    access_log: AccessLog
    """What was read, by whom and for what."""

    def newest_reading(self) -> datetime | None:
        """Return the newest reading of any clock that worked on this home, `None` when there is none yet."""

    def record_reading(self, at: datetime) -> None:
        """Record a reading of a clock; one that is older than the newest changes nothing."""

    def confirm_reading(self, at: datetime) -> None:
        """Record a reading that somebody confirmed, even if it is older than the newest."""

    def alterations(self) -> list[Alteration]:
        """Return what of it is not as it was written: every authenticated row and every tally is compared."""

    def urgently(self) -> AbstractContextManager[None]:
        """Let what this thread writes inside go before what other threads of this process write."""

    def hurried(self) -> AbstractContextManager[None]:
        """Hold back what other threads of this process would begin to write: somebody in a hurry is on the way."""

    def give_way(self) -> None:
        """Wait while other threads of this process are in a hurry, half a second at most."""

    def scrub(self, *, is_thorough: bool = True) -> None:
        """Make deleted values unreadable in the store's own files: the database and its write-ahead log.

        Unless `is_thorough`, tables of more than 5,000 rows are left to the next thorough run.
        """
