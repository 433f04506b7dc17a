"""The catalog: one relational database that knows which files are live, and everything that changes together with them.

Rules:

* Every method that writes is one transaction: all of it is stored, or nothing.
* Two processes may plan the same work. The one that commits later gets `PlanOutdated` and plans again.
* `CatalogTampered` means: somebody changed, added or deleted rows without the key that authenticates them. Methods that
  decide what is hidden, found or erased raise it; `docs/decisions/0061` lists what is covered.

The parts for requests, moderation and access are in the files of these names.
"""

from collections.abc import Collection, Iterator, Sequence
from contextlib import AbstractContextManager
from datetime import date, datetime
from typing import Protocol

from implio_pipeline.domain.audit import AuditFinding
from implio_pipeline.domain.faults import FailedFile, WorkKind
from implio_pipeline.domain.file_changes import Change, NamedRule
from implio_pipeline.domain.files import PartitionSum, SealedFile, VaultFile
from implio_pipeline.domain.ids import FileKind, KeyId, Region, TeamId, UserKey
from implio_pipeline.domain.intake import ErasedPeople, LandingRecord, PostRecord
from implio_pipeline.domain.keys import Seal, TeamKey
from implio_pipeline.domain.plan import Appointment, ApprovalPolicy
from implio_pipeline.domain.retention import ChangeState, PolicyChange, RetentionPolicy
from implio_pipeline.domain.scope import Rule, UserRule
from implio_pipeline.domain.team import Team
from implio_pipeline.ports.access import AccessLog, ApiKeys, Grants
from implio_pipeline.ports.claims import Claims
from implio_pipeline.ports.moderation import Callbacks, Moderation
from implio_pipeline.ports.requests import Holds, Requests


class Teams(Protocol):
    """Teams, their policies, their wrapped keys, and the values sealed under these keys."""

    def add(self, team: Team, keys: Sequence[TeamKey]) -> None:
        """Add a team with its first keys and its two built-in queues.

        Raises:
            TeamInvalid: a team of this name exists.
        """

    def get(self, team: TeamId) -> Team:
        """Return a team.

        Raises:
            TeamUnknown: there is no such team.
            CatalogTampered: its row was altered.
        """

    def all(self) -> list[Team]:
        """Return every team, by name. A team whose row was altered keeps everything, and nobody erases alone in it."""

    def regions(self) -> dict[TeamId, Region]:
        """Return the region of each team's items.

        Rows are not checked here, since checking needs a key: a home must notice an old key ring before it needs a key.
        """

    def set_policy(self, team: TeamId, policy: RetentionPolicy) -> None:
        """Replace a team's retention policy.

        Raises:
            TeamUnknown: there is no such team.
        """

    def set_limits(self, team: TeamId, *, cap_percent: int, grace_hours: int) -> None:
        """Replace a team's cap and grace period.

        Raises:
            TeamUnknown: there is no such team.
        """

    def add_appointment(self, appointment: Appointment) -> None:
        """Store who made whom an administrator."""

    def keys(self, team: TeamId | None = None) -> list[TeamKey]:
        """Return the live keys of a team, or of all teams in one query, newest version first."""

    def rotating_since(self) -> datetime | None:
        """Return when the oldest key was made of those that rotate and have no newer version; `None` without a team.

        One statement, which returns one value however many teams there are. So do the next two.
        """

    def first_key_at(self) -> datetime | None:
        """Return when the oldest live key was made."""

    def spent(self) -> frozenset[TeamId]:
        """Return the teams in which something was deleted that a key opens which is still there.

        That is a file's key, or a sealed value.
        """

    def rewrap(self, keys: Sequence[tuple[TeamKey, TeamKey]]) -> None:
        """Replace wrapped keys by the same keys wrapped under other root keys.

        From then on no key is added that is wrapped under an older root key.

        Args:
            keys: Each key before and after.

        Raises:
            PlanOutdated: a key is gone, or another process has wrapped it again.
        """

    def seals(self, team: TeamId, *, under: Collection[KeyId] | None = None, most: int | None = None) -> list[Seal]:
        """Return sealed values of a team, withdrawn ones included.

        Args:
            team: The team.
            under: Only values that are sealed under one of these keys.
            most: The most values to return.
        """

    def replace_seals(self, team: TeamId, seals: Sequence[tuple[Seal, bytes]]) -> int:
        """Replace sealed values of a team that are still there and unchanged. Returns their number.

        Raises:
            PlanOutdated: the key that sealed one of them anew was destroyed since.
        """


class PolicyChanges(Protocol):
    """Changes of teams' policies and caps. Those above the asker's cap wait for a second person."""

    def propose(self, change: PolicyChange, *, approvals: ApprovalPolicy) -> PolicyChange:
        """Put a change in force if its asker may decide alone, otherwise store it as waiting. Returns what was stored.

        A change that was waiting before is refused.

        Raises:
            PlanOutdated: the team's policy or cap is no longer what the change was made from.
            TeamUnknown: there is no such team.
        """

    def waiting(self, team: TeamId | None = None) -> list[PolicyChange]:
        """Return the changes that wait for a second person, oldest first.

        An altered change is left out, so that nobody can approve it. The audit reports it.
        """

    def decide(self, change: PolicyChange, state: ChangeState, *, by: str, at: datetime) -> PolicyChange:
        """Put a waiting change in force, or refuse it.

        Raises:
            ApprovalRefused: the change is no longer waiting.
            PlanOutdated: the team's policy or cap is no longer what the change was made from.
        """


class Manifest(Protocol):
    """Which files are live. A file that is not listed here does not exist for any reader, even if it is in storage."""

    def files(
        self,
        team: TeamId | None = None,
        *,
        day: date | None = None,
        is_filtered: bool = True,
        is_checked: bool = True,
    ) -> Iterator[VaultFile]:
        """Yield the live files, by team and day. The files of a team are those of one instant.

        Args:
            team: Whose files; of all teams when `None`.
            day: Of which day; of all days when `None`.
            is_filtered: Read the membership filters too. They are empty otherwise.
            is_checked: Raise at an altered row. Only the audit reads on.

        Raises:
            CatalogTampered: a row was altered.
        """

    def of_days(self, team: TeamId, days: Collection[date]) -> list[VaultFile]:
        """Return a team's live files of these days, without membership filters. They are those of one instant.

        Raises:
            CatalogTampered: a row was altered.
        """

    def that_may_hold(self, user_key: UserKey, files: Sequence[VaultFile]) -> list[VaultFile]:
        """Return those of these files whose membership filters do not rule a user out, with their filters.

        A file that was replaced since it was listed is compared, too.

        Raises:
            CatalogTampered: a row was altered.
            PlanOutdated: a file was replaced and forgotten since it was listed.
        """

    def newest_item(self, team: TeamId, kind: FileKind) -> datetime | None:
        """Return when the newest item was submitted that a live file of this kind holds."""

    def partitions(
        self,
        team: TeamId | None = None,
        *,
        since: date | None = None,
        rows_below: int | None = None,
        from_files: int = 1,
        rows_per_file: int | None = None,
    ) -> Iterator[PartitionSum]:
        """Yield the sums of each partition, by team and day, a page at a time: no file's row is returned.

        Rows are not checked here, so nothing is hidden, found or erased by these sums.

        Args:
            team: Whose; of all teams when `None`.
            since: Only of this day and later ones. No others are read.
            rows_below: Count only files with fewer rows.
            from_files: Only partitions with at least so many files of a kind.
            rows_per_file: Leave out most of the partitions of which `has_too_many` is false with this number.
        """

    def unknown(self, paths: Sequence[str]) -> frozenset[str]:
        """Return those of these paths, relative to a vault's root, that no file of the catalog has.

        Files that were replaced and are not unlinked yet are known.
        """

    def candidates(
        self, team: TeamId, named_rules: Sequence[NamedRule], *, since: datetime | None = None, is_proven: bool = False
    ) -> Iterator[VaultFile]:
        """Yield the live files that a rule may reach, judged by their ranges and counts; in no order.

        They are those of one instant, and read page by page: one that was replaced since is yielded as it was.

        Args:
            team: Whose files.
            named_rules: The rules.
            since: Only files with an item that was submitted at this instant or later.
            is_proven: First compare all rows of the team with their tally, so that no file can be missing.

        Raises:
            CatalogTampered: a row was altered; with `is_proven` also if one was added or deleted.
            PlanOutdated: there are more than a page of them, and one was replaced and forgotten since.
        """

    def sealed(self, files: Sequence[VaultFile]) -> list[SealedFile]:
        """Return files with their wrapped keys, in the same order. A file whose keys were deleted comes without keys.

        Raises:
            PlanOutdated: one of them is no longer live.
        """

    def commit(self, change: Change) -> None:
        """Carry a change out.

        Raises:
            PlanOutdated: a file to remove is gone, the team has a newer tombstone or legal hold, its keys were changed
                or shredded, or the landing file was taken already.
            PostInWork: a post with one of the idempotency keys was taken already.
            TeamUnknown: there is no such team.
        """

    def files_to_unlink(self) -> Iterator[list[VaultFile]]:
        """Yield the files that a commit replaced or dropped, and that are still in storage, without filters.

        They are read in pages, since the erasure of a large team leaves hundreds of thousands.
        """

    def forget_unlinked(self, files: Sequence[VaultFile]) -> None:
        """Forget files that were unlinked. Live files are ignored."""

    def most_items(self, team: TeamId, rule: UserRule) -> int:
        """Return an upper bound of a user's items, from the files that may hold one."""

    def most_files(self, team: TeamId, rule: Rule) -> int:
        """Return an upper bound of the files that a rule reaches. No row is checked, so nothing is decided by it."""

    def teams(self) -> frozenset[TeamId]:
        """Return the teams that have live items, rejected ones included."""

    def items(self, team: TeamId) -> int:
        """Return how many live items a team has, rejected ones included."""

    def anonymous_items(self, team: TeamId) -> int:
        """Return how many live items of a team have no user id, rejected ones included.

        Receipts state this number, so all rows of the team are checked first.

        Raises:
            CatalogTampered: a row was altered, added or deleted.
        """


class Landings(Protocol):
    """What was taken in before: landing files by their content, posts by their idempotency key. Commits add to it."""

    def seen(self, team: TeamId, digest: str) -> LandingRecord | None:
        """Return what was done with a landing file of this content, `None` if none was ever taken."""

    def forget(self, record: LandingRecord) -> None:
        """Forget a landing file, unless it was taken again since it was read."""

    def forget_empty(self) -> int:
        """Forget the landing files of whose days the vault has no file any more. Returns the number of landing files.

        The same content may then come in again, as new.
        """

    def has_size(self, team: TeamId, size_bytes: int) -> bool:
        """Tell whether a landing file of this size was ever taken."""

    def erased_people(self, team: TeamId, *, since: date) -> ErasedPeople:
        """Return how many items of erased people were kept out or taken in, since a day."""

    def all(self, team: TeamId | None = None) -> list[LandingRecord]:
        """Return every record of a landing file, oldest first."""

    def seen_post(self, team: TeamId, key_digest: str) -> PostRecord | None:
        """Return the post that last used an idempotency key, however long ago."""

    def forget_posts(self, *, before: datetime, team: TeamId | None = None) -> int:
        """Forget posts that were taken before an instant, of one team or of all. Returns the number of posts."""


class FailedFiles(Protocol):
    """Files that a flow could not process, and when it tries each again."""

    def all(self, work: WorkKind, *, team: TeamId | None = None) -> list[FailedFile]:
        """Return the files that failed, of one team or of all."""

    def note(self, file: FailedFile) -> None:
        """Store a failed attempt. It replaces earlier attempts at the same file."""

    def forget(self, work: WorkKind, team: TeamId, files: Collection[str]) -> None:
        """Forget files that succeeded later, or that are gone."""


class Catalog(Protocol):
    """The database as a whole."""

    teams: Teams
    """Teams, policies, team keys and what is sealed under them."""
    manifest: Manifest
    """Live files."""
    requests: Requests
    """Requests and tombstones."""
    holds: Holds
    """Legal holds."""
    landings: Landings
    """Landing files and posts that were taken."""
    failed_files: FailedFiles
    """Files that a flow failed at."""
    claims: Claims
    """Which worker does what."""
    moderation: Moderation
    """Queues, locks, verdicts, notes and the feed."""
    policy_changes: PolicyChanges
    """Changes of policies and caps."""
    callbacks: Callbacks
    """Callbacks and their deliveries."""
    api_keys: ApiKeys
    """Keys of customers' servers."""
    grants: Grants
    """What operators may read."""
    access_log: AccessLog
    """What was read, by whom and for what purpose."""

    @property
    def destroys_at_once(self) -> bool:
        """Whether no copy of a deleted row is left after `scrub`. Otherwise an epoch makes the copies useless."""

    @property
    def is_home_spent(self) -> bool:
        """Whether something was deleted that a root key of the home opens which is still there. See `teams.spent`."""

    def rewrap_home_keys(self, old: Collection[str]) -> int:
        """Wrap every key again that is wrapped under one of these root keys of the home. Returns the number of keys.

        From then on nothing is stored that one of them has wrapped.

        Raises:
            KeyMissing: one of them was destroyed, and something needs it.
            PlanOutdated: other rotations kept renewing the home's root key.
        """

    def drop_home_keys(self) -> None:
        """Delete what the catalog keeps for root keys of the home that were destroyed."""

    def newest_reading(self) -> datetime | None:
        """Return the newest time that any clock showed when it worked on this home, `None` before the first."""

    def record_reading(self, at: datetime) -> None:
        """Record the time that a clock shows, unless it is older than the newest."""

    def confirm_reading(self, at: datetime) -> None:
        """Record a time that a person confirmed, even if it is older than the newest."""

    def alterations(self) -> list[AuditFinding]:
        """Compare every authenticated row and every tally, and return what was altered."""

    def urgently(self) -> AbstractContextManager[None]:
        """Give the writes of this thread priority over those of the other threads of this process."""

    def hurried(self) -> AbstractContextManager[None]:
        """Block the low-priority writers of this process for the length of the block."""

    def give_way(self) -> None:
        """Wait while urgent threads of this process are at work, half a second at most."""

    def scrub(self, *, is_thorough: bool = True) -> None:
        """Remove every copy of deleted secrets from the database's own files.

        Args:
            is_thorough: Also treat tables of more than 5,000 rows. They are left to the next thorough run otherwise.
        """
