"""What the flows need from the world; `stores` has the real thing behind each port."""

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from datetime import date, datetime
from pathlib import PurePath
from typing import Any, Protocol

from implio_pipeline.domain.access import Role
from implio_pipeline.domain.access_log import LogLine, Read
from implio_pipeline.domain.api_keys import ApiKey, ApiKeyId
from implio_pipeline.domain.audit import Measured
from implio_pipeline.domain.callback import Answer, Callback, Delivery
from implio_pipeline.domain.change import Change
from implio_pipeline.domain.erasure import Claim, FileOutcome, FileWork, Rewrite
from implio_pipeline.domain.export import ExportRecord, PackedFile
from implio_pipeline.domain.files import FileKey, SealedFile, VaultFile
from implio_pipeline.domain.grant import Grant, GrantId, PersonKey
from implio_pipeline.domain.hold import Hold, HoldId, Spared
from implio_pipeline.domain.intake import LandingRecord, QueueEntry
from implio_pipeline.domain.keys import Seal, TeamKey
from implio_pipeline.domain.member import Member, MemberId
from implio_pipeline.domain.moderation import Decided, Feed, Lock, Note, Trace
from implio_pipeline.domain.plan import ApprovalPolicy
from implio_pipeline.domain.request import Request, RequestDraft, RequestState
from implio_pipeline.domain.retention import RetentionPolicy
from implio_pipeline.domain.scope import Rule, Tombstone, UserRule
from implio_pipeline.domain.settlement import Settlement
from implio_pipeline.domain.sign_in import Credential, Session
from implio_pipeline.domain.team import Team
from implio_pipeline.domain.trail import TrailEntry
from implio_pipeline.domain.words import FileKind, KeyId, KeyPurpose, Region, RequestId, TaskKey, TeamId, UserKey

Progress = Callable[[int, int], None]
"""Called with steps done and steps in all."""


class Rows(Protocol):
    """Many rows in columns (an Arrow table); flows pass them on and never look inside."""

    @property
    def num_rows(self) -> int:
        """How many rows there are."""

    @property
    def nbytes(self) -> int:
        """Their size in memory."""

    def to_pylist(self) -> list[dict[str, Any]]:
        """Return the rows as plain values; for few rows, at the edge."""


class Clock(Protocol):
    """The only source of the present."""

    def now(self) -> datetime:
        """Return the present instant, in UTC."""


class Keychain(Protocol):
    """A team's keys at work; raw keys never leave it."""

    def user_key(self, team: TeamId, user_id: str) -> UserKey:
        """Return the keyed pseudonym of a user id, normalised (Unicode NFC, outer white space off)."""

    def user_key_maker(self, team: TeamId) -> Callable[[str], UserKey]:
        """Return a function from user id to pseudonym, for many ids of one team."""

    def pseudonym(self, team: TeamId, text: str) -> str:
        """Return a keyed pseudonym of any text, 32 hexadecimal digits."""

    def seal(self, team: TeamId, plaintext: bytes, *, context: str) -> bytes:
        """Encrypt a small value under the team's seal key, bound to its context."""

    def sealer(self, team: TeamId) -> Callable[[bytes, str], bytes]:
        """Return a function from value and context to sealed value, for many values under the newest key."""

    def unseal(self, team: TeamId, sealed: bytes, *, context: str) -> bytes:
        """Decrypt a sealed value.

        Raises:
            KeyMissing: the key that sealed it is destroyed.
        """

    def new_team_keys(
        self,
        team: TeamId,
        region: Region,
        *,
        version: int,
        at: datetime,
        purposes: Iterable[KeyPurpose] = tuple(KeyPurpose),
    ) -> tuple[TeamKey, ...]:
        """Make one new key of each purpose, wrapped under the region's root keys."""

    def sealed_under(self, sealed: bytes) -> KeyId:
        """Return the id of the key that a value is sealed under."""

    def forget(self, team: TeamId) -> None:
        """Drop the team's unwrapped keys from memory."""

    def fingerprints(self, keys: Iterable[TeamKey]) -> Mapping[str, str]:
        """Return each team key's id with its fingerprint, opened anew from what is wrapped.

        Raises:
            KeyMissing: one does not open.
        """

    def rewrap_team_keys(self, keys: Iterable[TeamKey]) -> tuple[TeamKey, ...]:
        """Return team keys wrapped under the newest root keys of their region.

        Raises:
            KeyMissing: a root key that wrapped one is gone.
        """

    def rewrap_file_keys(self, team: TeamId, keys: Sequence[FileKey]) -> tuple[FileKey, ...]:
        """Return a file's keys wrapped under the team's newest keys; the file itself stays as it is.

        Raises:
            KeyMissing: a team key that wrapped one is gone.
        """

    def root_keys(self) -> Mapping[str, str]:
        """Return the id of every root key in the ring with its fingerprint."""

    def renew_root_keys(self, region: Region) -> None:
        """Make one more epoch of each root key of a region, durable on return; it wraps from now on.

        Raises:
            KeyMissing: the region has no root key of some name.
        """

    def shred_root_keys(self, root_key_ids: Iterable[str]) -> None:
        """Destroy root keys; those that are gone already are no error."""


@dataclass(frozen=True, kw_only=True, slots=True)
class FileLook:
    """A file in storage, seen from outside."""

    size_bytes: int
    is_encrypted: bool
    """Whether it ends like Parquet with an encrypted footer."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Disclosed:
    """What a file holds of one person."""

    rows: Rows
    hidden: int
    """Rows of theirs that an open tombstone hides."""


class Vault(Protocol):
    """Encrypted files; everything that reads or writes rows goes through it."""

    def write(self, rows: Rows, *, team: TeamId, region: Region, kind: FileKind) -> list[SealedFile]:
        """Split rows by day, cluster them by user key, and write bounded files, durable on return."""

    def rewrite(self, work: FileWork) -> Rewrite:
        """Write a file again without the rows its claims cover, re-open it, and measure the proof.

        Raises:
            FileTampered: the file is not what its catalog row says.
            FileMissing: the file is not in storage.
            KeyMissing: its keys are gone.
            StorageFull: there is no room; the old file stays.
        """

    def merge(self, files: Sequence[SealedFile]) -> list[SealedFile]:
        """Write the rows of files of one partition into as few bounded files as they need, under new keys.

        Raises:
            Unverified: the new files, re-read, do not hold the same rows.
        """

    def count(self, work: FileWork) -> int:
        """Return how many rows of a file its claims cover; a whole file is not read."""

    def matched(self, work: FileWork) -> Mapping[RequestId, int]:
        """Return how many rows of a file each claim covers; read only when some claim covers it in part."""

    def spared(self, work: FileWork) -> list[Spared]:
        """Return what a file holds of each claim, by what its holds cover of it; the file is read."""

    def look(self, file: VaultFile) -> FileLook | None:
        """Return what storage says of a file without its keys; `None` when it is not there."""

    def join(self, parts: Sequence[Rows]) -> Rows:
        """Return the rows of all parts, in order."""

    def without(self, rows: Rows, rules: Sequence[Rule]) -> Rows:
        """Return the rows that no rule covers."""

    def queue_entries(self, rows: Rows, *, team: TeamId) -> list[QueueEntry]:
        """Return an entry for each row that has no decision."""

    def reaches(self, claims: Sequence[Claim]) -> Callable[[VaultFile], tuple[Claim, ...]]:
        """Return a function from a file to the claims that may cover a row of it, by ranges and membership filters."""

    def delete(self, file: VaultFile) -> None:
        """Unlink a file; one that is gone already is no error."""

    def check(self, sealed: SealedFile) -> None:
        """Compare a file in storage with its catalog row and open its footer with its own keys.

        Raises:
            FileTampered: digest, row count or keys differ.
            FileMissing: it is not there.
            KeyMissing: its keys cannot be unwrapped.
        """

    def measure(self, sealed: SealedFile, claims: Sequence[Claim]) -> Measured:
        """Read a file and return what it holds, with the rows that each claim covers; keys of every class are used.

        Raises:
            FileTampered: the file is not what its catalog row says.
            FileMissing: it is not there.
            KeyMissing: a key of it does not unwrap, or does not open it.
        """

    def disclosed(self, sealed: SealedFile, rule: Rule, *, hidden: Sequence[Rule]) -> Disclosed:
        """Return the rows of a file that a rule covers, all columns, less those that a hidden rule covers.

        Raises:
            FileTampered: the file is not what its catalog row says.
            FileMissing: it is not there.
            KeyMissing: its keys are gone.
        """

    def settle(self, sealed: SealedFile, verdicts: Mapping[str, Mapping[str, Any]]) -> Settlement:
        """Write a file again with columns of decided rows replaced, re-open it, and measure the proof.

        Args:
            sealed: A file of items.
            verdicts: The values to be put into a task's row, by task id and column.

        Raises:
            FileTampered: the file is not what its catalog row says.
            FileMissing: the file is not in storage.
            KeyMissing: its keys are gone.
            StorageFull: there is no room; the old file stays.
        """

    def covered(self, sealed: SealedFile, rules: Sequence[Rule], *, hidden: Sequence[Rule]) -> Rows:
        """Return the rows of a file that any rule covers, all columns, less those that a hidden rule covers.

        Raises:
            FileTampered: the file is not what its catalog row says.
            FileMissing: it is not there.
            KeyMissing: its keys are gone.
        """

    def strays(self, region: Region, *, known: frozenset[str], older_than: datetime | None = None) -> Iterator[str]:
        """Yield paths below the region's root that the catalog does not know, of files written before an instant."""

    def delete_stray(self, region: Region, path: str, *, older_than: datetime) -> bool:
        """Unlink a stray file unless it is younger, and so perhaps still being committed."""


class Teams(Protocol):
    """Teams, their policies and their wrapped keys."""

    def add(self, team: Team, keys: Sequence[TeamKey]) -> None:
        """Add a team with its first keys.

        Raises:
            TeamInvalid: there is such a team already.
        """

    def get(self, team: TeamId) -> Team:
        """Return the team.

        Raises:
            TeamUnknown: there is none.
        """

    def all(self) -> list[Team]:
        """Return every team, by name."""

    def set_policy(self, team: TeamId, policy: RetentionPolicy) -> None:
        """Replace the team's retention policy."""

    def set_limits(self, team: TeamId, *, cap_percent: int, grace_hours: int) -> None:
        """Replace the team's cap and grace period."""

    def keys(self, team: TeamId) -> list[TeamKey]:
        """Return the team's live keys, newest version first."""

    def rewrap(self, keys: Sequence[tuple[TeamKey, TeamKey]]) -> None:
        """Replace wrapped keys, each before and after, by the same keys wrapped under other root keys: all or none.

        From then on no key is added that is wrapped under an older root key.

        Raises:
            PlanOutdated: one is gone or was wrapped anew by somebody else.
        """


class Manifest(Protocol):
    """Which files are live; the only word on what exists."""

    def files(
        self, team: TeamId | None = None, *, day: date | None = None, is_filtered: bool = True
    ) -> Iterator[VaultFile]:
        """Yield live files; without `is_filtered` their membership filters are empty, and not even read."""

    def candidates(self, team: TeamId, claims: Sequence[Claim]) -> Iterator[VaultFile]:
        """Yield live files whose ranges and counts some claim reaches."""

    def sealed(self, files: Sequence[VaultFile]) -> list[SealedFile]:
        """Return the files with their wrapped keys.

        Raises:
            PlanOutdated: one of them is no longer live.
        """

    def commit(self, change: Change) -> None:
        """Carry the change out whole.

        Raises:
            PlanOutdated: a file to remove is gone or the team has a newer tombstone.
        """

    def doomed(self) -> list[VaultFile]:
        """Return files that are no longer live and still to be unlinked."""

    def unlinked(self, files: Sequence[VaultFile]) -> None:
        """Forget doomed files whose unlinking is done."""

    def most_items(self, team: TeamId, rule: UserRule) -> int:
        """Return how many rows lie in files that may hold an item of the user: never fewer than the user has."""

    def items(self, team: TeamId) -> int:
        """Return how many live items the team has, rejected ones too."""

    def anonymous_items(self, team: TeamId) -> int:
        """Return how many live items of the team have no user id."""


class Requests(Protocol):
    """Accepted requests, their tombstones, and what they did to each file."""

    def accept(self, requests: Sequence[tuple[Request, Rule, str]]) -> list[Request]:
        """Store requests and tombstones and take the covered entries off the queues, in one transaction.

        With each comes its idempotency key: the same key of a team, while it lasts, returns the request it
        made before. The entries of a request that may be cancelled are kept aside.
        """

    def reinstate(self, requests: Sequence[tuple[Request, Rule]]) -> list[Request]:
        """Store requests and tombstones that the ledger has and the catalog lost, and return those it lacked.

        In one transaction with it the covered entries go off the queues.

        Raises:
            TeamUnknown: there is no such team.
        """

    def get(self, request_id: RequestId) -> Request:
        """Return a request.

        Raises:
            RequestUnknown: there is none.
        """

    def all(self, *, team: TeamId | None = None, states: Iterable[RequestState] | None = None) -> list[Request]:
        """Return requests, oldest first."""

    def save(self, requests: Sequence[tuple[Request, RequestState]]) -> None:
        """Store the new states of requests, all or none, if each still is where it was.

        Raises:
            PlanOutdated: somebody else has moved one.
        """

    def tombstones(self, team: TeamId, *, only_open: bool = False, reaching: datetime | None = None) -> list[Tombstone]:
        """Return the team's tombstones; with `only_open` those whose erasure is still to be completed.

        With `reaching` those alone that may cover an item submitted at that instant or later.
        """

    def latest(self, team: TeamId, scope_pseudonym: str) -> Request | None:
        """Return the newest request of this scope, whatever became of it; `None` when there is none."""

    def page(
        self, team: TeamId, *, states: Iterable[RequestState] | None, limit: int, before: int | None
    ) -> list[Request]:
        """Return the team's newest requests, newest first, below a tombstone's sequence when one is given."""

    def newest_tombstone(self, team: TeamId) -> int:
        """Return the sequence of the team's newest tombstone, 0 when it has none."""

    def outcomes(self, request_ids: Sequence[RequestId]) -> Mapping[RequestId, list[FileOutcome]]:
        """Return what happened so far to each file the requests covered, in the order of the commits."""

    def cancel(self, request: Request, *, was: RequestState) -> None:
        """Lift a request's tombstone and put its entries back on the queues; destroy its sealed scope.

        Raises:
            PlanOutdated: somebody else has moved it.
        """

    def lifted_without_ledger(self) -> list[Request]:
        """Return cancelled requests that the ledger does not know of yet."""

    def complete(self, requests: Sequence[Request]) -> None:
        """Mark shredded requests completed and their tombstones erased; destroy their sealed scopes and file lines."""

    def without_ledger(self) -> list[tuple[Request, Tombstone]]:
        """Return tombstones that the ledger does not have yet."""

    def in_ledger(self, sequences: Sequence[int]) -> None:
        """Remember that the ledger has these tombstones."""


class Holds(Protocol):
    """Legal holds."""

    def place(self, hold: Hold) -> Hold:
        """Store a hold; from then on no commit erases what it covers.

        Raises:
            TeamUnknown: there is no such team.
        """

    def get(self, hold_id: HoldId) -> Hold:
        """Return a hold.

        Raises:
            HoldRefused: there is none.
        """

    def all(self, team: TeamId | None = None) -> list[Hold]:
        """Return every hold, oldest first."""

    def newest(self, team: TeamId) -> int:
        """Return the sequence of the team's newest hold, 0 when it has none."""

    def release(self, hold: Hold) -> None:
        """Store that a hold was released, and destroy its sealed part.

        Raises:
            HoldRefused: it was released before.
        """


class Grants(Protocol):
    """What operators may read, until when and for what."""

    def add(self, grant: Grant) -> None:
        """Store a grant.

        Raises:
            TeamUnknown: there is no such team.
        """

    def get(self, grant_id: GrantId) -> Grant:
        """Return a grant.

        Raises:
            GrantRefused: there is none.
        """

    def all(self, *, team: TeamId | None = None, person: PersonKey | None = None) -> list[Grant]:
        """Return every grant, oldest first."""

    def revoke(self, grant_id: GrantId, *, by: PersonKey, at: datetime) -> None:
        """Store that a grant was revoked.

        Raises:
            GrantRefused: there is none, or it was revoked before.
        """

    def mark_reviewed(self, grant_ids: list[GrantId], *, at: datetime) -> None:
        """Store that somebody looked at grants."""


class AccessLog(Protocol):
    """The audit log of reads; only ever added to."""

    def append(self, reads: Sequence[Read]) -> list[LogLine]:
        """Add reads, durable on return, and remember of the grants that allowed them that they were used."""

    def lines(self, *, after: int = 0) -> Iterator[LogLine]:
        """Yield the lines after a place, in order."""

    def newest(self, count: int) -> list[LogLine]:
        """Return the newest lines, oldest of them first."""


class Landings(Protocol):
    """The memory of landing files."""

    def seen(self, team: TeamId, digest: str) -> LandingRecord | None:
        """Return what became of a landing file with this content."""

    def has_size(self, team: TeamId, size_bytes: int) -> bool:
        """Tell whether any landing file of this size was ever taken."""

    def all(self, team: TeamId | None = None) -> list[LandingRecord]:
        """Return every record, oldest first."""


class Queues(Protocol):
    """Moderation queues."""

    def entries(self, team: TeamId | None = None) -> list[QueueEntry]:
        """Return what waits, oldest first."""

    def counts(self) -> Mapping[tuple[str, str], int]:
        """Return how many items wait, by team and queue."""

    def add(self, team: TeamId, queue: str) -> None:
        """Add a queue; one that is there already is no error.

        Raises:
            TeamUnknown: there is no such team.
        """

    def remove(self, team: TeamId, queue: str) -> None:
        """Remove an empty queue.

        Raises:
            QueueUnknown: there is none.
            QueueInvalid: something waits in it.
        """


class Moderation(Protocol):
    """Locks on what waits, verdicts, notes, and the feed that tells of them."""

    def lock_oldest(self, team: TeamId, queue: str, *, lock: Lock, now: datetime, count: int) -> list[QueueEntry]:
        """Lock and return the oldest entries of a queue that nobody else has locked; one's own come again.

        Raises:
            TeamUnknown: there is no such team.
            QueueUnknown: it has no such queue.
        """

    def unlock(self, team: TeamId, *, by: str) -> int:
        """Give back everything that somebody has locked, and return how much it was."""

    def waiting(self, team: TeamId, task_id: str, task_key: TaskKey) -> QueueEntry:
        """Return the entry of a task.

        Raises:
            ItemGone: nothing waits by this id.
        """

    def decided(self, team: TeamId, task_id: str, task_key: TaskKey) -> Decided | None:
        """Return the verdict on a task, if there is one that the feed still tells."""

    def decide(self, verdict: Decided, *, note: Note | None, at: datetime) -> Decided:
        """Store a verdict, take its entry off the queue, and tell the team's callback, in one transaction.

        Raises:
            ItemGone: nothing waits by this id.
            ItemLocked: somebody else has locked it.
            ItemDecided: it was decided before.
        """

    def move(self, entry: QueueEntry, *, queue: str, by: str, note: Note | None, at: datetime) -> QueueEntry:
        """Put an entry into another queue, free for whoever looks there.

        Raises:
            QueueUnknown: the team has no such queue.
            ItemGone: nothing waits by this id.
            ItemLocked: somebody else has locked it.
        """

    def notes(self, team: TeamId, task_id: str, task_key: TaskKey) -> list[Note]:
        """Return the notes on a task, oldest first."""

    def notes_on(self, team: TeamId, user_key: bytes) -> list[Note]:
        """Return the notes on the items of a user, oldest first."""

    def unsettled(self, team: TeamId, *, most: int | None = None) -> list[Decided]:
        """Return verdicts that are not in the vault yet, oldest first."""

    def unsettled_since(self) -> datetime | None:
        """Return when the oldest verdict fell that is not in the vault yet."""

    def feed(self, team: TeamId, *, since: int, most: int) -> Feed:
        """Return the verdicts after an instant in milliseconds, in the order they fell."""

    def newest(self, team: TeamId) -> int:
        """Return the newest instant that the team's feed ever told, 0 when it told none."""

    def forget_settled(self, before: datetime) -> int:
        """Forget verdicts that were settled before an instant, and return how many; their items have them."""

    def traces(self, team: TeamId) -> list[Trace]:
        """Return that of items which is kept in the catalog beside the queues and was not withdrawn."""


class Callbacks(Protocol):
    """Result callbacks of teams, and the deliveries that are still to be made."""

    def hosts(self, team: TeamId) -> frozenset[str]:
        """Return the hosts that the team's callback may go to."""

    def allow(self, team: TeamId, hosts: Iterable[str]) -> None:
        """Let the team's callback go to these hosts and no others; one that goes elsewhere is removed.

        Raises:
            TeamUnknown: there is no such team.
        """

    def get(self, team: TeamId) -> Callback | None:
        """Return the team's callback, if it has one."""

    def put(self, callback: Callback) -> None:
        """Give a team its callback, in place of the one it has.

        Raises:
            TeamUnknown: there is no such team.
        """

    def remove(self, team: TeamId) -> None:
        """Remove the team's callback, and with it what was still to be delivered.

        Raises:
            CallbackUnknown: it has none.
        """

    def teams_due(self, *, now: datetime) -> list[TeamId]:
        """Return the teams that have deliveries due, by name."""

    def due(self, team: TeamId, *, now: datetime, most: int) -> list[Delivery]:
        """Return the team's deliveries whose next attempt is due, the longest due first."""

    def begin(self, delivery: Delivery, *, until: datetime) -> Delivery | None:
        """Count one more attempt and let nobody else begin one until an instant.

        Returns `None` when the delivery was cancelled meanwhile, or somebody else began it.
        """

    def done(self, delivery: Delivery) -> None:
        """Forget a delivery that was made, or that has nothing to say any more."""

    def put_off(self, delivery: Delivery) -> None:
        """Store when a delivery is tried again, or that it is given up; one that was cancelled stays gone."""

    def all(self, team: TeamId | None = None) -> list[Delivery]:
        """Return every delivery that was not made, oldest first."""

    def forget_given_up(self, before: datetime) -> int:
        """Forget deliveries that were given up before an instant, and return how many."""


class Seals(Protocol):
    """Sealed values that last longer than a request."""

    def all(self, team: TeamId) -> list[Seal]:
        """Return every lasting sealed value of the team."""

    def replace(self, before: Seal, sealed: bytes) -> bool:
        """Put a value sealed anew in place of one; tell whether it was still there as it was."""


class ApiKeys(Protocol):
    """The keys that customers' servers call with, by their digests."""

    def add(self, key: ApiKey) -> None:
        """Store a new key.

        Raises:
            TeamUnknown: there is no such team.
        """

    def get(self, key_id: ApiKeyId) -> ApiKey:
        """Return a key.

        Raises:
            ApiKeyUnknown: there is none.
        """

    def by_digest(self, digest: str) -> ApiKey | None:
        """Return the key with this digest, usable or not."""

    def all(self, team: TeamId | None = None) -> list[ApiKey]:
        """Return every key, oldest first."""

    def expire(self, key_id: ApiKeyId, *, at: datetime) -> None:
        """Let a key expire at an instant, unless it does so earlier.

        Raises:
            ApiKeyUnknown: there is none.
        """

    def revoke(self, key_id: ApiKeyId, *, at: datetime) -> None:
        """End a key; one that was revoked before keeps its instant.

        Raises:
            ApiKeyUnknown: there is none.
        """

    def note_use(self, key_id: ApiKeyId, *, at: datetime) -> None:
        """Remember when a key was last used."""


@dataclass(frozen=True, kw_only=True, slots=True)
class PolledDecision:
    """A decision as a polling server is told it."""

    task_id: str
    decided_ms: int
    """Its place in the team's feed: milliseconds since 1970, growing with every decision."""
    outcome: str
    reasons: tuple[str, ...] = field(default=(), repr=False)
    feedback: tuple[str, ...] = field(default=(), repr=False)
    actor_id: str | None = field(default=None, repr=False)


@dataclass(frozen=True, kw_only=True, slots=True)
class PolledPage:
    """Some decisions in the order they fell."""

    decisions: tuple[PolledDecision, ...]
    newest_ms: int
    """What to ask after for the next page."""
    has_more: bool


class Polling(Protocol):
    """The feed of decisions, as servers poll it; it tells nothing of items that a tombstone hides."""

    def after(self, team: TeamId, *, since_ms: int, limit: int) -> PolledPage:
        """Return the decisions that fell after a place in the feed, oldest first."""

    def of_tasks(self, team: TeamId, task_ids: Collection[str]) -> Mapping[str, PolledDecision]:
        """Return the newest decision on each of these tasks that has one outside the vault."""


class Catalog(Protocol):
    """The relational store as a whole."""

    @property
    def teams(self) -> Teams:
        """Teams, policies, team keys."""

    @property
    def manifest(self) -> Manifest:
        """Live files."""

    @property
    def requests(self) -> Requests:
        """Requests and tombstones."""

    @property
    def holds(self) -> Holds:
        """Legal holds."""

    @property
    def landings(self) -> Landings:
        """Landing files taken."""

    @property
    def queues(self) -> Queues:
        """Moderation queues."""

    @property
    def moderation(self) -> Moderation:
        """Locks, verdicts, notes and the feed."""

    @property
    def callbacks(self) -> Callbacks:
        """Result callbacks and their deliveries."""

    @property
    def seals(self) -> Seals:
        """Sealed values that last."""

    @property
    def api_keys(self) -> ApiKeys:
        """Keys of customers' servers."""

    @property
    def grants(self) -> Grants:
        """What operators may read."""

    @property
    def access_log(self) -> AccessLog:
        """What was read, by whom and for what."""

    def scrub(self, *, is_thorough: bool = True) -> None:
        """Make deleted values unreadable in the store's own files (write-ahead log, free pages).

        When it is not thorough, it may leave what would take long to the next thorough one.
        """


@dataclass(frozen=True, kw_only=True, slots=True)
class LedgerEntry:
    """One signed link of the ledger."""

    sequence: int
    kind: str
    body: Mapping[str, Any]
    previous: str
    digest: str
    signature: str


class LedgerFault(Protocol):
    """One thing that is wrong with the ledger."""

    @property
    def line(self) -> int:
        """The line it was found on."""

    @property
    def problem(self) -> str:
        """What is wrong, in words."""


class Ledger(Protocol):
    """Append-only, chained by hash, signed."""

    def check(self) -> Sequence[LedgerFault]:
        """Return what is wrong with chain and signatures; nothing when the ledger holds."""

    def append(
        self, entries: Sequence[tuple[str, Mapping[str, Any]]], *, unless_after: int | None = None
    ) -> list[LedgerEntry]:
        """Add entries of (kind, body), durable on return.

        With `unless_after` entries are left out that tell the same erasure as one beyond that size of the ledger.
        """

    def size(self) -> int:
        """Return how long the ledger is, to name a place in it."""

    def entries(self) -> Iterator[LedgerEntry]:
        """Yield every entry, oldest first.

        Raises:
            LedgerBroken: a line cannot be read.
        """

    def newest_first(self, kind: str) -> Iterator[LedgerEntry]:
        """Yield the entries of a kind, newest first, reading no more of the ledger than is asked for.

        Raises:
            LedgerBroken: the ledger is not there, or a line cannot be read.
        """

    def receipt(self, request_id: RequestId) -> LedgerEntry | None:
        """Return the receipt of a request, if the ledger has it."""

    def receipts(self, request_ids: Collection[RequestId]) -> Mapping[RequestId, list[LedgerEntry]]:
        """Return the receipts and re-erasures of requests, oldest first, in one reading of the ledger."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ParsedRows:
    """A piece of a landing file: good items and bad ones."""

    items: Rows
    rejected: Rows
    report: tuple[Mapping[str, Any], ...]
    """An entry for each bad item, up to a bound for the whole file: its position and errors, no value of it."""


class LandingFile(Protocol):
    """A landing file that this process has claimed for itself."""

    @property
    def size_bytes(self) -> int:
        """Its size as it lies there."""

    @property
    def arrived_at(self) -> datetime:
        """When it was last written: the submission instant of its items."""

    def digest(self) -> str:
        """Return the SHA-256 of its bytes, hexadecimal."""

    def pieces(self) -> Iterator[ParsedRows]:
        """Yield its items in pieces of bounded size; every call begins anew.

        Raises:
            LandingInvalid: the file cannot be parsed at all; pieces that came before do not count.
        """

    def finish(self, report: Sequence[Mapping[str, Any]]) -> None:
        """Remove (or archive) the plaintext and leave a report of what was rejected, if anything was."""

    def set_aside(self, reason: str) -> None:
        """Seal the file away from the landing folder, with its reason beside it."""

    def release(self) -> None:
        """Put the file back as it was, to be taken again."""


class LandingZone(Protocol):
    """`landing/<team>/`, watched."""

    def waiting(self) -> Mapping[TeamId, list[date]]:
        """Return the days of arrival of the files that are ready to be taken, by team."""

    def claim(self, team: TeamId) -> Iterator[AbstractContextManager[LandingFile]]:
        """Yield the team's waiting files, each claimed for this process alone."""


@dataclass(frozen=True, kw_only=True, slots=True)
class InboxEntry:
    """One request of a request file: a draft, or why there is none."""

    position: int
    draft: RequestDraft | None
    code: str | None = None
    reason: str | None = None


class InboxFile(Protocol):
    """A request file that this process has claimed for itself."""

    def entries(self) -> list[InboxEntry]:
        """Return its requests in order; a file that cannot be parsed is one refused entry."""

    def finish(self, refused: Sequence[InboxEntry]) -> None:
        """Destroy the request file; leave a file beside it that says what was refused and why."""


class Inbox(Protocol):
    """`requests/inbox/`, watched."""

    def waiting(self) -> list[PurePath]:
        """Return the files that are ready to be taken."""

    def claim(self) -> Iterator[AbstractContextManager[InboxFile]]:
        """Yield the waiting files, each claimed for this process alone."""


class Exports(Protocol):
    """Where exports are packed, put and remembered until they are purged."""

    def new_id(self) -> str:
        """Return a new opaque id of an export."""

    def fingerprint(self, certificate: bytes, *, at: datetime) -> str:
        """Return the SHA-256 of a recipient's certificate, hexadecimal.

        Raises:
            RecipientInvalid: nothing can be encrypted to it.
        """

    def pack(self, name: str, records: Rows | Sequence[Mapping[str, Any]], *, recipient: bytes | None) -> PackedFile:
        """Return records as one file of JSON Lines, encrypted when there is a recipient."""

    def put(self, record: ExportRecord, files: Sequence[PackedFile], *, folder: PurePath | None) -> PurePath:
        """Write an export into a new closed folder, remembered first, and return the folder.

        Raises:
            FolderTaken: the folder exists.
        """

    def all(self) -> list[ExportRecord]:
        """Return the records of exports that are not purged yet, oldest first."""

    def is_whole(self, record: ExportRecord) -> bool:
        """Tell whether every file of an export that lies here was written; of one elsewhere nobody knows."""

    def discard(self, export_id: str) -> None:
        """Unlink an export's files, then forget it."""


class Leftovers(Protocol):
    """Temporary files that a killed process has left."""

    def sweep(self, *, older_than: datetime) -> int:
        """Unlink those from before an instant that nobody has open for writing; return how many."""

    def expire_reports(self, *, before: datetime) -> int:
        """Unlink reports on refused request files from before an instant; return how many."""


class Courier(Protocol):
    """Who carries callbacks to where they go."""

    def send(self, url: str, body: bytes, headers: Mapping[str, str]) -> Answer:
        """Post a body and return what came of it; never raises for what the other side does."""

    def sign(self, secret: str, body: bytes, *, at: datetime) -> str:
        """Return the value of the signature header: instant and HMAC-SHA-256."""

    def new_secret(self, prefix: str) -> str:
        """Return a new random secret."""

    def check(self, url: str) -> None:
        """Let a URL through that a callback may be sent to, as its host's name resolves now.

        Raises:
            CallbackRefused: it may not.
        """


class People(Protocol):
    """Operators by pseudonym; their names lie sealed under a key of the home's own."""

    def person(self, name: str) -> PersonKey:
        """Return the keyed pseudonym of a name, normalised (Unicode NFC, outer white space off)."""

    def remember(self, name: str) -> PersonKey:
        """Return the pseudonym of a name, and keep the name sealed behind it."""

    def name_of(self, person: PersonKey) -> str | None:
        """Return the name behind a pseudonym, `None` when it is not known or was destroyed."""

    def forget(self, person: PersonKey) -> bool:
        """Destroy the name behind a pseudonym, and tell whether there was one."""

    def digest(self, text: str) -> str:
        """Return a keyed digest of any text, 32 hexadecimal digits."""

    def seal(self, text: str, *, context: str) -> bytes:
        """Encrypt a small text, bound to its context."""

    def unseal(self, sealed: bytes, *, context: str) -> str:
        """Decrypt a sealed text.

        Raises:
            KeyMissing: it is not what was sealed, or the key is another.
        """


class Members(Protocol):
    """Who may sign in, with what, and their roles."""

    def add(self, member: Member, *, password_hash: str) -> None:
        """Add a member with their roles.

        Raises:
            MemberRefused: there is one with this address.
        """

    def get(self, member_id: MemberId) -> Member:
        """Return a member.

        Raises:
            MemberRefused: there is none.
        """

    def find(self, email: str) -> Member | None:
        """Return the member of an address."""

    def all(self, team: TeamId | None = None) -> list[Member]:
        """Return the members, of a team or all, by name; the roles of each are whole."""

    def set_role(self, member_id: MemberId, team: TeamId, role: Role | None) -> None:
        """Give a member a role in a team; `None` takes them out of it. Nobody changes the last administrator.

        Raises:
            MemberRefused: the team would have no administrator left.
            TeamUnknown: there is no such team.
        """

    def remove(self, member_id: MemberId) -> None:
        """Delete a member, their roles and their sessions.

        Raises:
            MemberRefused: a team would have no administrator left.
        """

    def credential(self, member_id: MemberId) -> Credential:
        """Return what a member signs in with."""

    def set_password(self, member_id: MemberId, *, password_hash: str, is_temporary: bool) -> None:
        """Replace a member's password, and end all their sessions."""

    def set_code_secret(self, member_id: MemberId, secret: str | None) -> None:
        """Ask for one-time codes of this secret from now on; none with `None`."""

    def use_code(self, member_id: MemberId, step: int) -> bool:
        """Mark a code's step used; false when it, or a later one, was used before."""

    def begin_attempt(self, email: str, *, now: datetime) -> datetime | None:
        """Count an attempt as failed until it succeeds; when none may be made, return until when."""

    def forget_attempts(self, email: str) -> None:
        """Begin the count anew: an attempt succeeded."""


class Sessions(Protocol):
    """Who is signed in."""

    def add(self, session: Session) -> None:
        """Store a session; those that are long over go."""

    def get(self, session_id: str) -> Session | None:
        """Return a session, live or not."""

    def save(self, session: Session) -> None:
        """Store when a session was seen."""

    def end(self, session_id: str) -> None:
        """Delete a session; one that is gone is no error."""


class Trail(Protocol):
    """The audit trails of the teams."""

    def note(self, entries: Sequence[TrailEntry]) -> None:
        """Add lines, durable on return."""

    def newest(self, team: TeamId, *, most: int) -> list[TrailEntry]:
        """Return a team's newest lines, newest first."""


class Passwords(Protocol):
    """Hashing that is slow on purpose."""

    def hash(self, password: str) -> str:
        """Return a salted hash."""

    def is_right(self, password: str, password_hash: str | None) -> bool:
        """Tell whether a password is the one hashed; with `None` take as long and say no."""

    def generate(self) -> str:
        """Return a new password that nobody can guess."""

    def token(self) -> str:
        """Return a new token of a session."""


class Codes(Protocol):
    """One-time codes.

    Source: RFC 6238.
    """

    def secret(self) -> str:
        """Return a new secret."""

    def step(self, secret: str, code: str, *, at: datetime) -> int | None:
        """Return the step whose code this is, one before and one after the present counting; `None` for a wrong one."""

    def address(self, secret: str, *, email: str) -> str:
        """Return the address that an authenticator takes the secret from."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Desk:
    """Everything that has to do with people who sign in."""

    clock: Clock
    members: Members
    sessions: Sessions
    trail: Trail
    passwords: Passwords
    codes: Codes


class Identifiers(Protocol):
    """The only source of randomness in the flows."""

    def request_id(self) -> RequestId:
        """Return a new opaque request id."""

    def secret(self) -> str:
        """Return a new secret of 256 random bits, as text that a header can carry."""

    def task_key(self, task_id: str) -> TaskKey:
        """Return the key of a task id."""

    def task_day(self, task_id: str) -> date | None:
        """Return the UTC day a task id of ours was made for; `None` for a foreign one."""


@dataclass(frozen=True, kw_only=True, slots=True)
class World:
    """Everything a flow may touch."""

    clock: Clock
    identifiers: Identifiers
    keychain: Keychain
    vault: Vault
    catalog: Catalog
    ledger: Ledger
    landing: LandingZone
    inbox: Inbox
    leftovers: Leftovers
    people: People
    threads: int = 2
    versions: Mapping[str, str] = field(default_factory=dict)
    approvals: ApprovalPolicy = field(default_factory=ApprovalPolicy)
    """When a second person is asked."""
