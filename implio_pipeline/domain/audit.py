"""What the self-audit compares, and what it reports. Findings have ids, codes and counts, nothing personal.

Rules:
* The functions here compare facts that the flow collected; they read nothing.
* A file or part that cannot be read is a finding. It never counts as correct.
* A file name that this pipeline did not make may contain a person's name. It is reported as a digest.
"""

import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import astuple, dataclass
from datetime import date, datetime
from enum import StrEnum
from hashlib import sha256

from implio_pipeline.domain.errors import CatalogTampered, FileMissing, FileTampered, ImplioError, KeyMissing
from implio_pipeline.domain.files import SealedFile, VaultFile
from implio_pipeline.domain.ids import ColumnClass, FileId, RequestId, TeamId, UserKey
from implio_pipeline.domain.instants import day_of
from implio_pipeline.domain.ledger_codec import body_of, differences
from implio_pipeline.domain.receipt import PartialReceipt, Receipt, WholeReceipt
from implio_pipeline.domain.request import Request, RequestState
from implio_pipeline.domain.scope import StandingErasure, UserRule
from implio_pipeline.domain.statements import TombstonePlaced

PARTS = 7
"""Without `full`, an audit reads one part of the files; audits on this many consecutive days read all files."""
_OUR_PATH = re.compile(r"team=[a-z0-9_-]{1,48}/day=\d{4}-\d\d-\d\d/[0-9a-f]{32}\.parquet", re.ASCII)
_RECEIPTED = (RequestState.SHREDDED, RequestState.COMPLETED)


class AuditPart(StrEnum):
    """A part of the audit. Each part can be requested alone."""

    CATALOG = "catalog"
    """Every protected row is unaltered, and none is missing."""
    LEDGER = "ledger"
    """The ledger's chain, and its entries compared with the requests of the catalog."""
    READS = "reads"
    """The log of reads, and grants that were revoked."""
    KEYS = "keys"
    """The team keys that no file uses: those of pseudonyms and seals. And whether epochs are closed in time."""
    QUEUES = "queues"
    """What moderation keeps of items that an accepted request covers."""
    FILES = "files"
    """Each file's catalog row, keys, size and encryption. No file is read."""
    SURVIVORS = "survivors"
    """The files that may contain an item of a completed request. They are read."""
    CONTENTS = "contents"
    """One part of the files, or all of them. They are read, whatever the catalog says about them."""
    STORAGE = "storage"
    """Files in storage that the catalog does not know."""


FILE_PARTS = frozenset({AuditPart.FILES, AuditPart.SURVIVORS, AuditPart.CONTENTS})


class FindingKind(StrEnum):
    """The kinds of findings."""

    FILE_MISSING = "file-missing"
    FILE_OTHER_SIZE = "file-other-size"
    FILE_IN_CLEAR = "file-in-clear"
    FILE_TAMPERED = "file-tampered"
    FILE_UNREADABLE = "file-unreadable"
    """It could not be read for another reason."""
    STRAY = "stray"
    """A file in storage that the catalog does not know, so that no erasure finds it."""
    KEY_MISSING = "key-missing"
    """A key is missing, or does not decrypt what it should."""
    EPOCH_LATE = "epoch-late"
    """Old copies of the catalog open deleted keys for longer than they should."""
    WRONG_COUNTS = "wrong-counts"
    WRONG_TIMES = "wrong-times"
    WRONG_RANGE = "wrong-range"
    FILTER_MISSES = "filter-misses"
    """A membership filter denies a key that is in the file, so that an erasure would miss it."""
    WRONG_PSEUDONYM = "wrong-pseudonym"
    """A row's user key does not belong to its user id, so that an erasure would miss it."""
    SURVIVOR = "survivor"
    QUEUED_SURVIVOR = "queued-survivor"
    """A moderation queue still has an item that an accepted request covers."""
    LEDGER_BROKEN = "ledger-broken"
    TOMBSTONE_NOT_IN_LEDGER = "tombstone-not-in-ledger"
    TOMBSTONE_NOT_IN_CATALOG = "tombstone-not-in-catalog"
    TOMBSTONE_DIFFERS = "tombstone-differs"
    LIFTING_NOT_IN_LEDGER = "lifting-not-in-ledger"
    LIFTING_NOT_IN_CATALOG = "lifting-not-in-catalog"
    RECEIPT_MISSING = "receipt-missing"
    RECEIPT_REPEATED = "receipt-repeated"
    RECEIPT_EARLY = "receipt-early"
    RECEIPT_IMPLAUSIBLE = "receipt-implausible"
    CATALOG_TAMPERED = "catalog-tampered"
    """A protected row was altered or is missing. Its MAC needs a key that the catalog does not hold (decision 0061)."""
    ACCESS_LOG_BROKEN = "access-log-broken"
    """The log of reads was altered, or contradicts what the ledger noted about it."""
    GRANT_REVIVED = "grant-revived"
    """A grant is in force that the ledger knows as revoked."""
    NOT_AUDITED = "not-audited"
    """A part of the audit failed, so what it would have found is not known."""


@dataclass(frozen=True, kw_only=True, slots=True)
class AuditFinding:
    """One finding."""

    kind: FindingKind
    about: str
    """The id of the file or request, or the place."""
    words: str
    team: TeamId | None = None

    @classmethod
    def unread(cls, file: VaultFile, error: ImplioError) -> "AuditFinding":
        """Return the finding for a file that could not be read."""
        match error:
            case FileMissing():
                return _file_finding(file, FindingKind.FILE_MISSING, "it is not in storage")
            case FileTampered():
                return _file_finding(file, FindingKind.FILE_TAMPERED, "its bytes or rows differ from the catalog")
            case KeyMissing():
                return _file_finding(file, FindingKind.KEY_MISSING, "its keys cannot be unwrapped, or do not open it")
            case _:
                return _file_finding(file, FindingKind.FILE_UNREADABLE, f"it could not be read: {error.code}")

    @classmethod
    def unaudited(cls, part: str, error: ImplioError) -> "AuditFinding":
        """Return the finding for a part of the audit that failed while the others continued."""
        kind = FindingKind.CATALOG_TAMPERED if isinstance(error, CatalogTampered) else FindingKind.NOT_AUDITED
        return cls(kind=kind, about=part, words=f"the rest of it was not audited: {error.facts}")

    @classmethod
    def stray(cls, region: str, path: str) -> "AuditFinding":
        """Return the finding for an unknown file. A name that we did not make is not repeated: it may name a person."""
        digest = sha256(path.encode(errors="replace")).hexdigest()[:16]
        about = path if _OUR_PATH.fullmatch(path) else f"path sha256:{digest}"
        return cls(kind=FindingKind.STRAY, about=about, words=f"in region {region}, unknown to the catalog")

    @classmethod
    def altered(cls, table: str, *, about: str, problem: str, team: TeamId | None) -> "AuditFinding":
        """Return the finding for an altered row of the catalog, or for missing rows of a team.

        Args:
            table: The table of the row.
            about: The id of the file, request, hold or team.
            problem: What is wrong.
            team: The team that owns the row, if it is known.
        """
        return cls(kind=FindingKind.CATALOG_TAMPERED, about=about, words=f"{table}: {problem}", team=team)

    @classmethod
    def lost_tombstone(cls, told: TombstonePlaced) -> "AuditFinding":
        """Return the finding for a tombstone that only the ledger has: the catalog is older than the ledger."""
        words = "the catalog has no such request: it is older than the ledger"
        return cls(kind=FindingKind.TOMBSTONE_NOT_IN_CATALOG, about=told.request_id, words=words, team=told.team)


@dataclass(frozen=True, kw_only=True, slots=True)
class FileMeasurement:
    """What a vault file contains, measured by reading it whole."""

    rows: int
    low_key: UserKey | None
    high_key: UserKey | None
    anonymous_rows: int
    most_of_one_user: int
    first_submitted_at: datetime
    last_submitted_at: datetime
    outcomes: Mapping[str, int]
    users_missed: int
    """User keys in the file that its membership filter denies."""
    tasks_missed: int
    """Task keys in the file that its membership filter denies."""
    wrong_pseudonyms: int
    """Rows whose user key is not the pseudonym of their user id."""
    matched: Mapping[RequestId, int]
    """Rows that each rule in force covers; every row was compared."""


def part_on(day: date) -> int:
    """Return the part of the files that an audit on this UTC day reads."""
    return day.toordinal() % PARTS


def part_of(file_id: FileId) -> int:
    """Return the part to which a file belongs; it never changes."""
    return int.from_bytes(sha256(file_id.encode()).digest()[:4]) % PARTS


def row_faults(sealed: SealedFile, *, region: str, live_keys: Collection[str]) -> list[AuditFinding]:
    """Return where a file's catalog row contradicts itself, its team or its keys, without reading the file."""
    file = sealed.file
    found = []
    if {key.column_class for key in sealed.keys} != set(ColumnClass) or len(sealed.keys) != len(ColumnClass):
        found.append(
            _file_finding(file, FindingKind.KEY_MISSING, f"{len(sealed.keys)} keys, not one for each column class")
        )
    # Nobody can read a file whose keys cannot be unwrapped, although nobody asked for its erasure.
    dead = sum(key.team_key_id not in live_keys for key in sealed.keys)
    if dead:
        found.append(
            _file_finding(file, FindingKind.KEY_MISSING, f"{dead} keys are wrapped under team keys that are not live")
        )
    # Retention drops a file by these counts, without reading it (`coverage_of`).
    if sum(file.outcomes.values()) != file.rows or not 0 <= file.anonymous_rows <= file.rows or not file.rows:
        found.append(_file_finding(file, FindingKind.WRONG_COUNTS, "the counts of its catalog row do not add up"))
    # Rules by date skip files by these instants (`coverage_of`).
    if {day_of(file.first_submitted_at), day_of(file.last_submitted_at)} != {file.day}:
        found.append(_file_finding(file, FindingKind.WRONG_TIMES, "its instants are not on its day"))
    # A team's items stay in its region: anywhere else may be a transfer that nobody checked (GDPR Art. 44).
    if file.region != region:
        found.append(
            _file_finding(file, FindingKind.WRONG_RANGE, f"it is in region {file.region}, its team in {region}")
        )
    return found


def content_faults(file: VaultFile, measured: FileMeasurement, *, erased: Collection[RequestId]) -> list[AuditFinding]:
    """Return where a file that was read contradicts the catalog or a completed request."""
    found = [
        _file_finding(file, FindingKind.SURVIVOR, f"{rows} rows survive request {request_id}")
        for request_id, rows in measured.matched.items()
        if rows and request_id in erased
    ]
    counts = (measured.rows, measured.anonymous_rows, dict(measured.outcomes))
    if (
        counts != (file.rows, file.anonymous_rows, dict(file.outcomes))
        or measured.most_of_one_user > file.most_of_one_user
    ):
        found.append(
            _file_finding(
                file, FindingKind.WRONG_COUNTS, "the counts of rows, users or outcomes differ from the catalog"
            )
        )
    if (measured.first_submitted_at, measured.last_submitted_at) != (file.first_submitted_at, file.last_submitted_at):
        found.append(_file_finding(file, FindingKind.WRONG_TIMES, "its first or last instant differs from the catalog"))
    if not _is_within(file, measured):
        found.append(_file_finding(file, FindingKind.WRONG_RANGE, "it has user keys outside the range in the catalog"))
    for missed, noun in ((measured.users_missed, "user"), (measured.tasks_missed, "task")):
        if missed:
            found.append(
                _file_finding(file, FindingKind.FILTER_MISSES, f"its filter denies {missed} {noun} keys that it holds")
            )
    if measured.wrong_pseudonyms:
        words = f"the user keys of {measured.wrong_pseudonyms} rows do not belong to their user ids"
        found.append(_file_finding(file, FindingKind.WRONG_PSEUDONYM, words))
    return found


def storage_faults(file: VaultFile, *, size_bytes: int | None, is_encrypted: bool) -> list[AuditFinding]:
    """Return what is wrong with a file without opening it. `size_bytes` is `None` if it is not in storage."""
    if size_bytes is None:
        return [_file_finding(file, FindingKind.FILE_MISSING, "it is not in storage")]
    if size_bytes != file.size_bytes:
        return [
            _file_finding(
                file, FindingKind.FILE_OTHER_SIZE, f"it has {size_bytes} bytes, the catalog says {file.size_bytes}"
            )
        ]
    # The end of the file shows it: Parquet files with an encrypted footer end with `PARE`.
    if not is_encrypted:
        return [_file_finding(file, FindingKind.FILE_IN_CLEAR, "it does not have the ending of an encrypted file")]
    return []


def request_faults(
    request: Request,
    *,
    in_force: TombstonePlaced | None,
    standing: StandingErasure | None,
    tombstones: Sequence[TombstonePlaced],
    receipts: Sequence[Receipt],
    unread_receipts: Sequence[type[Receipt]],
    is_lifted: bool,
    is_standing_lifted: bool,
) -> list[AuditFinding]:
    """Return where the ledger's entries about a request contradict the catalog.

    Args:
        request: The request, as the catalog has it.
        in_force: The tombstone that the ledger should have; `None` when the catalog has none.
        standing: The standing deletion as the catalog has it, whether or not it was lifted.
        tombstones: The ledger's tombstones of the request.
        receipts: The ledger's receipts of the request, oldest first.
        unread_receipts: The types of further receipts that cannot be read.
        is_lifted: Whether the ledger lifted the tombstone.
        is_standing_lifted: Whether the ledger lifted the standing deletion.
    """
    return [
        *_tombstone_faults(request, in_force, tombstones),
        *_lifting_faults(request, is_lifted=is_lifted),
        *_standing_faults(request, standing, told=tombstones, is_lifted=is_standing_lifted),
        *_receipt_faults(request, receipts, unread=unread_receipts),
    ]


def _tombstone_faults(
    request: Request, in_force: TombstonePlaced | None, told: Sequence[TombstonePlaced]
) -> list[AuditFinding]:
    """Return where the ledger's tombstones of a request differ from the catalog. An equal duplicate is allowed."""
    if not told:
        return [_request_finding(request, FindingKind.TOMBSTONE_NOT_IN_LEDGER, "a restore could undo its erasure")]
    # A cancelled request keeps its entry in the ledger, and `_lifting_faults` checks that it was lifted.
    if in_force is None:
        if request.state is RequestState.CANCELLED:
            return []
        return [
            _request_finding(
                request,
                FindingKind.TOMBSTONE_DIFFERS,
                "it is in force in the ledger, and lifted or missing in the catalog",
            )
        ]
    if any(differences(in_force, body_of(each)) for each in told):
        return [_request_finding(request, FindingKind.TOMBSTONE_DIFFERS, "ledger and catalog differ on what it covers")]
    return []


def _standing_faults(
    request: Request, standing: StandingErasure | None, *, told: Sequence[TombstonePlaced], is_lifted: bool
) -> list[AuditFinding]:
    """Return where catalog and ledger differ on whether the person's new items stay out."""
    is_told = any(each.standing for each in told)
    if told and is_told != request.is_standing:
        return [
            _request_finding(
                request, FindingKind.TOMBSTONE_DIFFERS, "ledger and catalog differ on whether it is standing"
            )
        ]
    if not request.is_standing or request.state is RequestState.CANCELLED:
        return []
    is_same = (
        standing is not None
        and all(isinstance(each.rule, UserRule) and each.rule.user_key == standing.user_key for each in told)
        and standing.since == request.accepted_at
        and standing.lifted_at == request.standing_lifted_at
    )
    if not is_same:
        words = "what keeps the person out is missing, or contradicts the request"
        return [_request_finding(request, FindingKind.TOMBSTONE_DIFFERS, words)]
    if is_lifted and request.standing_lifted_at is None:
        return [
            _request_finding(
                request, FindingKind.LIFTING_NOT_IN_CATALOG, "it is lifted in the ledger, and still keeps items out"
            )
        ]
    if request.standing_lifted_at is not None and not is_lifted:
        return [
            _request_finding(request, FindingKind.LIFTING_NOT_IN_LEDGER, "a restore would keep the person out again")
        ]
    return []


def _lifting_faults(request: Request, *, is_lifted: bool) -> list[AuditFinding]:
    """Return where catalog and ledger differ on whether a request was cancelled."""
    is_cancelled = request.state is RequestState.CANCELLED
    if is_lifted and not is_cancelled:
        return [
            _request_finding(
                request, FindingKind.LIFTING_NOT_IN_CATALOG, f"the ledger lifted it, but it is {request.state}"
            )
        ]
    if is_cancelled and not is_lifted:
        return [_request_finding(request, FindingKind.LIFTING_NOT_IN_LEDGER, "a restore could still carry it out")]
    return []


def _receipt_faults(
    request: Request, told: Sequence[Receipt], *, unread: Sequence[type[Receipt]] = ()
) -> list[AuditFinding]:
    """Return what is wrong with a request's receipts. A completed request has exactly one, and it is plausible.

    After a restore there may be several; only the receipt of the erasure that the catalog knows must match the request
    as it is now.
    """
    whole = [each for each in told if not isinstance(each, PartialReceipt)]
    types = [*(type(each) for each in told), *unread]
    originals = types.count(WholeReceipt)
    is_receipted = any(each is not PartialReceipt for each in types)
    if not is_receipted and request.state is RequestState.COMPLETED:
        return [_request_finding(request, FindingKind.RECEIPT_MISSING, "it is completed without one")]
    if is_receipted and request.state not in _RECEIPTED:
        return [_request_finding(request, FindingKind.RECEIPT_EARLY, f"there is one, but it is {request.state}")]
    # After a restore a request may have several receipts; only the newest erasure must match the catalog.
    current = next(
        (each for each in reversed(whole) if each.checked_at == request.checked_at), whole[-1] if whole else None
    )
    problems = [problem for each in told for problem in _contradictions(request, each, is_current=each is current)] + [
        "a part of it is missing or not a number"
    ] * len(unread)
    found = [_request_finding(request, FindingKind.RECEIPT_IMPLAUSIBLE, problem) for problem in problems]
    if originals > 1:
        found.append(_request_finding(request, FindingKind.RECEIPT_REPEATED, f"the ledger has {originals} of them"))
    return found


def _contradictions(request: Request, told: Receipt, *, is_current: bool) -> Iterator[str]:
    pairs: dict[str, tuple[object, object]] = {
        "team": (told.team, request.team),
        "kind": (told.kind, request.kind),
        "scope": (told.scope, request.scope_pseudonym),
        "receivedAt": (told.received_at, request.received_at),
    }
    if is_current and request.state is RequestState.COMPLETED:
        pairs |= {
            "hiddenAt": (told.hidden_at, request.accepted_at),
            "dueAt": (told.due_at, request.due_at),
            "checkedAt": (told.checked_at, request.checked_at),
            "erasedAt": (told.erased_at, request.erased_at),
        }
    others = [name for name, (one, other) in pairs.items() if one != other]
    if others:
        yield f"it differs from the request in {', '.join(others)}"
    if is_current and told.erased.queue_entries != request.queue_removed:
        yield "its count of queue entries differs from the request"
    yield from _miscounts(told)
    yield from _misstated(told)


def _miscounts(told: Receipt) -> Iterator[str]:
    erased, proof, files = told.erased, told.verification, told.files
    if min(astuple(erased)) < 0 or proof.survivors != 0 or not proof.kept_rows_unchanged:
        yield "a count is negative, or its proof is missing"
    if erased.items + erased.rejected_items != sum(file.matched for file in files):
        yield "its items are not the sum of its files"
    if erased.files != len(files):
        yield "its count of files differs from its list"
    if erased.keys_destroyed < len(files):
        yield "it destroyed fewer keys than files"
    if any(not 0 < file.matched <= file.rows_before - file.rows_after for file in files):
        yield "more rows matched than were erased"


def _misstated(told: Receipt) -> Iterator[str]:
    """Yield where a receipt's outcome contradicts its parts."""
    outcome = told.outcome
    withheld = told.withheld.items if told.withheld is not None else 0
    erased = told.erased.items + told.erased.rejected_items
    if (outcome.matched, outcome.erased, outcome.withheld) != (erased + withheld, erased, withheld):
        yield "its outcome is not the sum of its parts"
    if (told.erased_at is not None) != (erased > 0 or not withheld):
        yield "its instant of erasure contradicts what was erased"


def _is_within(file: VaultFile, measured: FileMeasurement) -> bool:
    if measured.low_key is None or measured.high_key is None:
        return True
    if file.low_key is None or file.high_key is None:
        return False
    return file.low_key <= measured.low_key and measured.high_key <= file.high_key


def _file_finding(file: VaultFile, kind: FindingKind, words: str) -> AuditFinding:
    return AuditFinding(kind=kind, about=file.file_id, words=words, team=file.team)


def _request_finding(request: Request, kind: FindingKind, words: str) -> AuditFinding:
    return AuditFinding(kind=kind, about=request.request_id, words=words, team=request.team)
