"""The catalog: one relational database that knows which files are live, and everything that goes with them."""

from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import AbstractContextManager
from datetime import date, datetime
from typing import Protocol

from implio_pipeline.domain.audit import Alteration
from implio_pipeline.domain.faults import FailedFile, Work
from implio_pipeline.domain.file_changes import Change, NamedRule
from implio_pipeline.domain.files import SealedFile, VaultFile
from implio_pipeline.domain.ids import Region, TeamId
from implio_pipeline.domain.intake import ErasedPeople, LandingRecord, PostRecord
from implio_pipeline.domain.keys import Seal, TeamKey
from implio_pipeline.domain.plan import Appointment, ApprovalPolicy
from implio_pipeline.domain.retention import ChangeState, PolicyChange, RetentionPolicy
from implio_pipeline.domain.scope import UserRule
from implio_pipeline.domain.team import Team
from implio_pipeline.ports.access import AccessLog, ApiKeys, Grants
from implio_pipeline.ports.moderation import Callbacks, Moderation
from implio_pipeline.ports.requests import Holds, Requests


class Teams(Protocol):
    """Teams, their policies and their wrapped keys."""

    def add(self, team: Team, keys: Sequence[TeamKey]) -> None:
        """Add a team with its first keys and its two built-in queues.

        Raises:
            TeamInvalid: there is such a team already.
        """

    def get(self, team: TeamId) -> Team:
        """Return the team.

        Raises:
            TeamUnknown: no such team.
            CatalogTampered: its row is not as it was written.
        """

    def all(self) -> list[Team]:
        """Return every team, by name; one whose row is not as it was written keeps everything and lets nobody erase."""

    def regions(self) -> dict[TeamId, Region]:
        """Return the region of each team's items.

        Rows are not compared here, which needs a key: a home must tell that its key ring is old before it needs one.
        """

    def set_policy(self, team: TeamId, policy: RetentionPolicy) -> None:
        """Replace the team's retention policy.

        Raises:
            TeamUnknown: no such team.
        """

    def set_limits(self, team: TeamId, *, cap_percent: int, grace_hours: int) -> None:
        """Replace the team's cap and grace period.

        Raises:
            TeamUnknown: no such team.
        """

    def introduce(self, introduction: Appointment) -> None:
        """Remember who made whom an administrator."""

    def keys(self, team: TeamId | None = None) -> list[TeamKey]:
        """Return the live keys of a team, or of all in one query, newest version first."""

    def rewrap(self, keys: Sequence[tuple[TeamKey, TeamKey]]) -> None:
        """Replace wrapped keys, each before and after, by the same keys wrapped under other root keys: all or none.

        From then on no key is added that is wrapped under an older root key.

        Raises:
            PlanOutdated: a key is gone, or somebody else has wrapped it again.
        """

    def seals(self, team: TeamId) -> list[Seal]:
        """Return every sealed value of the team that outlives a request, withdrawn ones included."""

    def replace_seal(self, before: Seal, sealed: bytes) -> bool:
        """Replace a sealed value. Returns whether it was still there and unchanged."""


class PolicyChanges(Protocol):
    """Changes of teams' policies and caps, and those that wait for a second person."""

    def propose(self, change: PolicyChange, *, approvals: ApprovalPolicy) -> PolicyChange:
        """Put a change in force where its asker may decide alone, else let it wait; one that waited gives way to it.

        Raises:
            PlanOutdated: the team's policy or cap is no longer what the change was made from.
            TeamUnknown: no such team.
        """

    def waiting(self, team: TeamId | None = None) -> list[PolicyChange]:
        """Return the changes that wait for a second person, oldest first.

        One that was altered is nobody's to approve: it is left out, and the audit names it.
        """

    def decide(self, change: PolicyChange, state: ChangeState, *, by: str, at: datetime) -> PolicyChange:
        """Put a waiting change in force, or refuse it.

        Raises:
            ApprovalRefused: it waits no more.
            PlanOutdated: the team's policy or cap is no longer what the change was made from.
        """


class Manifest(Protocol):
    """Which files are live; the only word on what exists."""

    def files(
        self,
        team: TeamId | None = None,
        *,
        day: date | None = None,
        is_filtered: bool = True,
        is_checked: bool = True,
    ) -> Iterator[VaultFile]:
        """Yield live files of one instant, by team and day.

        The iterator holds a snapshot of that instant: exhaust it or close it. Without `is_filtered` the membership
        filters are empty and not read.

        Raises:
            CatalogTampered: a row is not as it was written; only the audit reads on without `is_checked`.
        """

    def candidates(
        self, team: TeamId, named_rules: Sequence[NamedRule], *, since: datetime | None = None, is_proven: bool = False
    ) -> Iterator[VaultFile]:
        """Yield live files whose ranges and counts some rule reaches, in no order; exhaust or close it, as `files`.

        With `since` only those with an item that was submitted at that instant or later. With `is_proven` no file of
        the team was passed over: all rows are compared with the team's tally first.

        Raises:
            CatalogTampered: a row is not as it was written, missing or too many.
        """

    def sealed(self, files: Sequence[VaultFile]) -> list[SealedFile]:
        """Return the files, in their order, with their wrapped keys; a file without keys is returned without any.

        Raises:
            PlanOutdated: one of them is no longer live.
        """

    def commit(self, change: Change) -> None:
        """Carry the change out whole.

        Raises:
            PlanOutdated: a file to remove is gone, the team has a newer tombstone, its keys were changed or shredded,
                or the landing file is taken already.
            TeamUnknown: no such team.
        """

    def doomed(self) -> list[VaultFile]:
        """Return files that are no longer live and still to be unlinked."""

    def unlinked(self, files: Sequence[VaultFile]) -> None:
        """Forget doomed files whose unlinking is done; live ones stay."""

    def most_items(self, team: TeamId, rule: UserRule) -> int:
        """Return how many items the user may have, judged by the files that may hold one: never too few."""

    def items(self, team: TeamId) -> int:
        """Return how many live items the team has, rejected ones too."""

    def anonymous_items(self, team: TeamId) -> int:
        """Return how many live items of the team, rejected ones too, have no user id: receipts say so, so it is proven.

        Raises:
            CatalogTampered: a file's row is not as it was written, missing or too many.
        """


class Landings(Protocol):
    """What came in before: landing files by their content, posts by their idempotency key. Commits add to it."""

    def seen(self, team: TeamId, digest: str) -> LandingRecord | None:
        """Return what became of a landing file with this content."""

    def forget(self, record: LandingRecord) -> None:
        """Forget a landing file, unless it was taken again since it was read."""

    def has_size(self, team: TeamId, size_bytes: int) -> bool:
        """Tell whether any landing file of this size was ever taken."""

    def erased_people(self, team: TeamId, *, since: date) -> ErasedPeople:
        """Return what came in or was kept out, since a day, of people whose deletion was asked for."""

    def all(self, team: TeamId | None = None) -> list[LandingRecord]:
        """Return every record of a landing file, oldest first."""

    def seen_post(self, team: TeamId, key_digest: str) -> PostRecord | None:
        """Return the post that used this key last, however long ago."""

    def forget_posts(self, *, before: datetime, team: TeamId | None = None) -> int:
        """Forget posts taken in before an instant, of one team or of all, and return how many."""


class FailedFiles(Protocol):
    """The memory of files that a flow failed at."""

    def all(self, work: Work, *, team: TeamId | None = None) -> list[FailedFile]:
        """Return the files that failed, of one team or of all."""

    def note(self, file: FailedFile) -> None:
        """Remember a failed attempt in the place of earlier ones at the same file."""

    def forget(self, work: Work, team: TeamId, files: Collection[str]) -> None:
        """Forget files that were worked on after all, or that are gone."""


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
    """Landing files and posts that came in."""
    failed_files: FailedFiles
    """Files that a flow failed at."""
    moderation: Moderation
    """Queues, locks, verdicts, notes and the feed."""
    policy_changes: PolicyChanges
    """Changes of policies and caps."""
    callbacks: Callbacks
    """Result callbacks and their deliveries."""
    api_keys: ApiKeys
    """Keys of customers' servers."""
    grants: Grants
    """What operators may read."""
    access_log: AccessLog
    """What was read, by whom and for what."""

    def rewrap_home_keys(self, old: Collection[str], rewrap: Callable[[str, bytes], tuple[str, bytes]]) -> int:
        """Wrap every key again that is wrapped under one of these root keys of the home. Returns the number of keys.

        Args:
            old: Ids of root keys.
            rewrap: Takes a root key's id and a wrapped key. Returns the same for the newest root key.
        """

    def newest_reading(self) -> datetime | None:
        """Return the newest reading of any clock that worked on this home, `None` when there is none yet."""

    def record_reading(self, at: datetime) -> None:
        """Record a reading of a clock; one that is older than the newest changes nothing."""

    def confirm_reading(self, at: datetime) -> None:
        """Record a reading that somebody confirmed, even if it is older than the newest."""

    def alterations(self) -> list[Alteration]:
        """Return what of it is not as it was written: every authenticated row and every tally is compared."""

    def urgently(self) -> AbstractContextManager[None]:
        """Give the writes of this thread priority over those of the other threads of this process."""

    def hurried(self) -> AbstractContextManager[None]:
        """Hold back what other threads of this process would begin to write: somebody in a hurry is on the way."""

    def give_way(self) -> None:
        """Wait while other threads of this process are in a hurry, half a second at most."""

    def scrub(self, *, is_thorough: bool = True) -> None:
        """Make deleted values unreadable in the store's own files: the database and its write-ahead log.

        Unless `is_thorough`, tables of more than 5,000 rows are left to the next thorough run.
        """
