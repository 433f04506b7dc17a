"""Audit ourselves: read again what we promise, believe no filter, no range and no flag, and name what does not hold.

Work that goes on meanwhile is no fault: what looks wrong is looked at once more, and passed over when it is no
longer live. Nothing is changed.
"""

from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta

from implio_pipeline.domain.audit import (
    FILE_PARTS,
    AuditFinding,
    AuditPart,
    FindingKind,
    known_faults,
    part_of,
    part_on,
    read_faults,
    request_faults,
    seen_faults,
)
from implio_pipeline.domain.errors import ImplioError, KeyMissing, LedgerBroken, PlanOutdated, Unverified
from implio_pipeline.domain.faults import fault_of
from implio_pipeline.domain.file_changes import NamedRule
from implio_pipeline.domain.files import SealedFile, VaultFile
from implio_pipeline.domain.ids import FileId, Region, RequestId, TeamId
from implio_pipeline.domain.ledger_codec import entry_kind
from implio_pipeline.domain.moderation import QueueEntry, Trace
from implio_pipeline.domain.receipt import RECEIPTS
from implio_pipeline.domain.replan import replan
from implio_pipeline.domain.request import OPEN_STATES, Request
from implio_pipeline.domain.scope import OverdueRule, Rule, StandingErasure, TaskRule, Tombstone, UserRule, covers
from implio_pipeline.domain.statements import AuditMade, TombstonePlaced
from implio_pipeline.domain.team import Team
from implio_pipeline.flows.access.authorize import log_faults
from implio_pipeline.flows.access.grants import revived
from implio_pipeline.flows.faults import Faults
from implio_pipeline.flows.ledger_state import LedgerState
from implio_pipeline.flows.operations.housekeep import STRAY_AGE
from implio_pipeline.ports.rows import Progress
from implio_pipeline.ports.services import Services

_SETTLES = timedelta(minutes=10)
"""A tombstone this young may be accepted and about to be noted in the ledger."""
_SEAL_CONTEXT = "audit"
_RECEIPT_KINDS = [entry_kind(type_) for type_ in RECEIPTS]


@dataclass(kw_only=True, slots=True)
class AuditReport:
    """What an audit looked at, in counts, and what it found."""

    audited_at: datetime
    part: int | None
    """The part of the files that was read; `None` for all."""
    parts: frozenset[AuditPart] = frozenset(AuditPart)
    """What was looked at."""
    only: tuple[TeamId, date] | None = None
    """The one partition whose files were looked at; `None` for all."""
    files: int = 0
    files_read: int = 0
    rows_read: int = 0
    files_changed: int = 0
    """Files replaced while they were audited; what replaced them is read by a later audit."""
    hidden_rows: int = 0
    """Rows read that an open request covers: still there, and hidden; one of two requests counts twice."""
    tombstones: int = 0
    receipts: int = 0
    queue_entries: int = 0
    young_strays: int = 0
    """Files that the catalog does not know yet: about to be committed, or left by a crash just now."""
    survivors: Counter[RequestId] = field(default_factory=Counter)
    """Rows that completed requests cover and that were read all the same."""
    findings: list[AuditFinding] = field(default_factory=list)

    @property
    def by_kind(self) -> dict[FindingKind, int]:
        """How often each kind was found."""
        return dict(Counter(finding.kind for finding in self.findings))


def audit(
    services: Services,
    *,
    parts: Collection[AuditPart] = frozenset(AuditPart),
    is_full: bool = False,
    only: tuple[TeamId, date] | None = None,
    progress: Progress | None = None,
) -> AuditReport:
    """Compare files, catalog, keys, storage and ledger with each other.

    What one file, team or region raises is a finding that names it, and the others are looked at. Files that open
    requests failed at are read whatever the part of the day.

    Args:
        services: What the flow may touch.
        parts: What to look at.
        is_full: Read every file; otherwise one part of seven, by day, so that seven audits on consecutive days read
            all. Everything that needs no file read is checked either way.
        only: Look at the files of this partition and at no others.
        progress: Told of files done and files in all.
    """
    now = services.clock.now()
    report = AuditReport(
        audited_at=now, part=None if is_full else part_on(now.date()), parts=frozenset(parts), only=only
    )
    # 1. The catalog's own rows; what is altered is looked at all the same, as far as it can be read.
    if AuditPart.CATALOG in report.parts:
        report.findings += [each.finding for each in services.catalog.alterations()]
    try:
        _look_at_all(services, report, progress)
    except ImplioError as error:  # an altered row may lead anywhere; whatever it was, the audit names the row
        if not any(each.kind is FindingKind.CATALOG_TAMPERED for each in report.findings):
            raise
        words = f"the rest was not looked at: {error.facts}"
        report.findings.append(AuditFinding(kind=FindingKind.CATALOG_TAMPERED, about="catalog", words=words))
    return report


def survivors(services: Services) -> dict[RequestId, int]:
    """Return how many items survive each completed request, read from the files; only what is not zero.

    Retention is not asked: an item may come in late under a policy that has become longer since.

    Raises:
        ImplioError: a file that may hold one cannot be read, so the answer is not known.
    """
    report = audit(services, parts=(AuditPart.CATALOG, AuditPart.SURVIVORS))
    for finding in report.findings:
        if finding.kind is not FindingKind.SURVIVOR:
            raise Unverified(f"{finding.kind.value}: {finding.about}: {finding.words}")
    return dict(report.survivors)


def _look_at_all(services: Services, report: AuditReport, progress: Progress | None) -> None:
    faults, parts = Faults(), report.parts
    # 2. What was asked and what was told, before the files: what is completed by now must be gone from them.
    for part, unit, look in (
        (AuditPart.LEDGER, "ledger and requests", _audit_ledger),
        (AuditPart.READS, "log of reads", _audit_access),
    ):
        if part in parts:
            with faults.isolate(unit):
                look(services, report)
    in_force: dict[TeamId, _InForce] = {}
    teams = [team for team in services.catalog.teams.all() if report.only is None or team.team == report.only[0]]
    for team in teams:
        with faults.isolate(f"tombstones of team {team.team}"):
            in_force[team.team] = _InForce.of(services.catalog.requests.tombstones(team.team, is_checked=False))
    failed_at = frozenset(each.error_about for each in services.catalog.requests.all(states=OPEN_STATES))
    # 3. Team keys, queues and files, partition by partition.
    partitions = _partitions(services, report)
    total, done = sum(partitions.values()), 0
    with ThreadPoolExecutor(services.threads) as pool:
        for team in teams:
            rules = in_force.get(team.team) or _InForce.of([])
            with faults.isolate(f"keys of team {team.team}"):
                _audit_keys(services, team, report)
            with faults.isolate(f"queues of team {team.team}"):
                _audit_queues(services, team, rules, report)
            work = _TeamAudit(
                services=services,
                team=team,
                in_force=rules,
                failed_at=failed_at,
                report=report,
                pool=pool,
                reaches=services.vault.reaches(rules.erased),
            )
            for day in sorted(day for name, day in partitions if name == team.team):
                with faults.isolate(f"{day} of team {team.team}", day=day):
                    work.audit_day(day)
                done += partitions[team.team, day]
                if progress:
                    progress(min(done, total), total)
    # 4. Storage, last: what lies there and is known by nobody.
    if AuditPart.STORAGE in parts:
        for region in sorted({team.region for team in services.catalog.teams.all()}):
            with faults.isolate(f"storage of region {region}"):
                _audit_strays(services, region, report)
    report.findings += [AuditFinding.unaudited(each.unit, each.error) for each in faults.found]


def _partitions(services: Services, report: AuditReport) -> Counter[tuple[TeamId, date]]:
    """Count the files of each partition that is looked at."""
    if not report.parts & FILE_PARTS:
        return Counter()
    team, day = report.only or (None, None)
    live = services.catalog.manifest.files(team, day=day, is_checked=False, is_filtered=False)
    return Counter((file.team, file.day) for file in live)


@dataclass(frozen=True, kw_only=True, slots=True)
class _InForce:
    """A team's tombstones, as rules over every row."""

    erased: tuple[NamedRule, ...]
    hiding: tuple[NamedRule, ...]

    @classmethod
    def of(cls, tombstones: Iterable[Tombstone]) -> "_InForce":
        """Return them parted; completed retention is left out, since a longer policy lets such items in again."""
        erased, hiding = [], []
        for each in tombstones:
            named = NamedRule(request_id=RequestId(each.request_id), rule=each.rule)
            if not each.is_erased:
                hiding.append(named)
            elif not isinstance(each.rule, OverdueRule):
                erased.append(named)
        return cls(erased=tuple(erased), hiding=tuple(hiding))


@dataclass(frozen=True, kw_only=True, slots=True)
class _TeamAudit:
    """A team's files at work."""

    services: Services
    team: Team
    in_force: _InForce
    failed_at: frozenset[str | None]
    """Ids of files that open requests failed at."""
    report: AuditReport
    pool: ThreadPoolExecutor
    reaches: Callable[[VaultFile], tuple[NamedRule, ...]]
    """Which completed requests may cover an item of a file, by the catalog."""

    def audit_day(self, day: date) -> None:
        """Audit the live files of one partition."""
        files = list(self.services.catalog.manifest.files(self.team.team, day=day, is_checked=False))
        suspected = frozenset[FileId]()
        if AuditPart.SURVIVORS in self.report.parts:
            suspected = frozenset(file.file_id for file in files if self._may_hold_survivors(file))
        for first in list(self._looked_at(files, suspected)):  # all, since to look again makes the keychain forget
            look = self._settled(first)
            if look is None:
                self.report.files_changed += 1
                continue
            self.report.files += 1
            self.report.files_read += look.rows is not None
            self.report.rows_read += look.rows or 0
            self.report.hidden_rows += look.hidden_rows
            self.report.survivors.update(look.survivors)
            self.report.findings += look.findings

    def _looked_at(self, files: Sequence[VaultFile], suspected: Collection[FileId]) -> Iterator["_Look"]:
        live_keys = frozenset(key.key_id for key in self.services.catalog.teams.keys(self.team.team))
        chosen = [(file, file.file_id in suspected or self._is_chosen(file)) for file in files]
        yield from self.pool.map(lambda each: self._look(each[0], live_keys, is_chosen=each[1]), chosen)

    def _settled(self, first: "_Look") -> "_Look | None":
        """Look again while something is found and keys are others than at the look before."""
        look = first

        def settled() -> _Look | None:
            nonlocal look
            again = self._look_again(look) if look.findings else look
            if again is None:
                return None
            is_settled, look = again.sealed.keys == look.sealed.keys, again
            if not is_settled:
                raise PlanOutdated("its keys were renewed meanwhile")
            return look

        with suppress(PlanOutdated):
            return replan(settled, about="the keys of a file")
        return look

    def _look_again(self, look: "_Look") -> "_Look | None":
        """Look once more, `None` when the file is no longer live: keys and files may have been swapped meanwhile."""
        self.services.keychain.forget(self.team.team)
        live = self.services.catalog.manifest.files(self.team.team, day=look.file.day, is_checked=False)
        now = next((each for each in list(live) if each.file_id == look.file.file_id), None)
        if now is None:
            return None
        live_keys = frozenset(key.key_id for key in self.services.catalog.teams.keys(self.team.team))
        return self._look(now, live_keys, is_chosen=look.is_chosen)

    def _look(self, file: VaultFile, live_keys: frozenset[str], *, is_chosen: bool) -> "_Look":
        sealed, found = SealedFile(file=file, keys=()), []
        try:
            sealed = self._sealed(file)
            found = known_faults(sealed, region=self.team.region, live_keys=live_keys)
            seen = self.services.vault.look(file)
            unlike = seen_faults(
                file,
                size_bytes=None if seen is None else seen.size_bytes,
                is_encrypted=seen is not None and seen.is_encrypted,
            )
            if unlike or not sealed.keys or not is_chosen:
                return _Look(sealed=sealed, is_chosen=is_chosen, findings=found + unlike)
            measured = self.services.vault.measure(sealed, (*self.in_force.erased, *self.in_force.hiding))
        except Exception as error:  # noqa: BLE001 -- whatever it is, `fault_of` names it or raises it again
            return _Look(
                sealed=sealed, is_chosen=is_chosen, findings=[*found, AuditFinding.unread(file, fault_of(error))]
            )
        erased = {named.request_id for named in self.in_force.erased}
        return _Look(
            sealed=sealed,
            is_chosen=is_chosen,
            findings=found + read_faults(file, measured, erased=erased),
            rows=measured.rows,
            hidden_rows=sum(rows for request_id, rows in measured.matched.items() if request_id not in erased),
            survivors={each: rows for each, rows in measured.matched.items() if rows and each in erased},
        )

    def _sealed(self, file: VaultFile) -> SealedFile:
        try:
            (sealed,) = self.services.catalog.manifest.sealed([file])
        except PlanOutdated:  # without keys: no longer live, or robbed of them
            return SealedFile(file=file, keys=())
        return sealed

    def _may_hold_survivors(self, file: VaultFile) -> bool:
        """Tell whether the catalog does not rule out an erased item; a row that makes no sense rules out nothing."""
        try:
            return bool(self.reaches(file))
        except Exception as error:  # noqa: BLE001 -- whatever it is, `fault_of` names it or raises it again
            fault_of(error)
            return True

    def _is_chosen(self, file: VaultFile) -> bool:
        """Tell whether a file is read although nothing in the catalog suspects it."""
        if AuditPart.CONTENTS not in self.report.parts:
            return False
        is_todays = self.report.part is None or part_of(file.file_id) == self.report.part
        return is_todays or file.file_id in self.failed_at


@dataclass(frozen=True, kw_only=True, slots=True)
class _Look:
    """What one file showed; `rows` is `None` when it was not read."""

    sealed: SealedFile
    is_chosen: bool
    """Whether it is to be read."""
    findings: list[AuditFinding]
    rows: int | None = None
    hidden_rows: int = 0
    survivors: Mapping[RequestId, int] = field(default_factory=dict)

    @property
    def file(self) -> VaultFile:
        """The file that was looked at."""
        return self.sealed.file


def _audit_keys(services: Services, team: Team, report: AuditReport) -> None:
    """Use the two team keys that no file tries: pseudonyms and seals."""
    if AuditPart.KEYS not in report.parts:
        return
    try:
        sealed = services.keychain.seal(team.team, b"", context=_SEAL_CONTEXT)
        services.keychain.unseal(team.team, sealed, context=_SEAL_CONTEXT)
        services.keychain.pseudonym(team.team, "")
    except KeyMissing:
        words = "its pseudonym key or its seal key does not unwrap"
        report.findings.append(AuditFinding(kind=FindingKind.KEY_MISSING, about=team.team, words=words, team=team.team))


def _audit_queues(services: Services, team: Team, in_force: _InForce, report: AuditReport) -> None:
    if AuditPart.QUEUES not in report.parts:
        return
    entries = services.catalog.moderation.entries(team.team)
    report.queue_entries += len(entries)
    traces = services.catalog.moderation.traces(team.team)
    covering = _covering((*in_force.erased, *in_force.hiding))
    for kept, noun in ((entries, "entries"), (traces, "verdicts, notes or deliveries")):
        waiting = Counter(named.request_id for each in kept for named in covering(each))
        for request_id, count in waiting.items():
            words = f"{count} {noun} that it covers are still kept for moderation"
            report.findings.append(
                AuditFinding(kind=FindingKind.QUEUED_SURVIVOR, about=request_id, words=words, team=team.team)
            )


def _covering(named_rules: Iterable[NamedRule]) -> Callable[[QueueEntry | Trace], list[NamedRule]]:
    """Return a function from what is kept of an item to the rules that cover it; those by key are looked up."""
    keyed: dict[bytes, list[NamedRule]] = {}
    others: list[NamedRule] = []
    for named in named_rules:
        key = _key_of(named.rule)
        if key is None:
            others.append(named)
        else:
            keyed.setdefault(key, []).append(named)

    def covering(entry: QueueEntry | Trace) -> list[NamedRule]:
        near = [*keyed.get(entry.task_key, ()), *keyed.get(entry.user_key or b"", ()), *others]
        return [named for named in near if _covers(named.rule, entry)]

    return covering


def _key_of(rule: Rule) -> bytes | None:
    match rule:
        case UserRule(user_key=user_key):
            return user_key
        case TaskRule(task_key=task_key):
            return task_key
        case _:
            return None


def _covers(rule: Rule, entry: QueueEntry | Trace) -> bool:
    return covers(
        rule,
        user_key=entry.user_key,
        task_key=entry.task_key,
        submitted_at=entry.submitted_at,
        outcome=entry.outcome,
    )


def _audit_strays(services: Services, region: Region, report: AuditReport) -> None:
    """Name what lies in storage and in no catalog; seen before the catalog is asked, and still there afterwards."""
    seen = frozenset(services.vault.strays(region, known=frozenset()))
    live = services.catalog.manifest.files(is_checked=False)
    known = {file.path for file in (*live, *services.catalog.manifest.doomed())}
    if seen - known:
        still = seen & frozenset(services.vault.strays(region, known=frozenset(known)))
        before = services.clock.now() - STRAY_AGE
        old = still & frozenset(services.vault.strays(region, known=frozenset(known), older_than=before))
        report.findings += [AuditFinding.stray(region, path) for path in sorted(old)]
        report.young_strays += len(still - old)


def _audit_ledger(services: Services, report: AuditReport) -> None:
    faults = services.ledger.check()
    report.findings += [
        AuditFinding(kind=FindingKind.LEDGER_BROKEN, about=f"line {fault.line}", words=fault.problem)
        for fault in faults
    ]
    try:
        told = LedgerState.of(services.ledger)
        report.findings += [
            AuditFinding(
                kind=FindingKind.LEDGER_BROKEN, about=f"line {entry.sequence}", words="what it says cannot be read"
            )
            for entry in told.unreadable
            if entry.kind not in _RECEIPT_KINDS  # named with their requests
        ]
        _audit_requests(services, told, report)
    except LedgerBroken:
        words = "a line cannot be read, so it was not compared with the catalog"
        report.findings.append(AuditFinding(kind=FindingKind.LEDGER_BROKEN, about="ledger", words=words))


def _audit_access(services: Services, report: AuditReport) -> None:
    """Compare the log of reads with its own chain and with the ledger, and grants with the revocations in it."""
    with suppress(LedgerBroken):  # named already
        report.findings += [
            AuditFinding(kind=FindingKind.ACCESS_LOG_BROKEN, about=f"line {fault.line}", words=fault.words)
            for fault in log_faults(services)
        ]
        report.findings += [
            AuditFinding(kind=FindingKind.GRANT_REVIVED, about=grant_id, words="the ledger knows it as revoked")
            for grant_id in revived(services)
        ]


def _audit_requests(services: Services, told: LedgerState, report: AuditReport) -> None:
    """Compare catalog and ledger both ways; the ledger is read before and, for what lacks in it, after the catalog."""
    report.tombstones, report.receipts = len(told.tombstones), len(told.receipts)
    requests = {request.request_id: request for request in services.catalog.requests.all()}
    in_force = _tombstones_in_force(services, requests)
    report.findings += [
        AuditFinding.lost_tombstone(tombstones[0])
        for request_id, tombstones in told.tombstones.items()
        if request_id not in requests
    ]
    keeping_out = _keeping_out(services, requests)
    faults = dict(_request_faults(requests, in_force, keeping_out, told))
    if faults:
        settled = services.clock.now() - _SETTLES
        young = {
            each.request_id for each, _ in services.catalog.requests.without_ledger() if each.accepted_at > settled
        }
        told = LedgerState.of(services.ledger)
        again = {
            request_id: services.catalog.requests.get(request_id) for request_id in faults if request_id not in young
        }
        faults = dict(_request_faults(again, in_force, _keeping_out(services, again), told))
    report.findings += [finding for found in faults.values() for finding in found]


def _tombstones_in_force(services: Services, requests: Mapping[RequestId, Request]) -> dict[str, TombstonePlaced]:
    return {
        tombstone.request_id: TombstonePlaced.of(requests[RequestId(tombstone.request_id)], tombstone.rule)
        for team in {request.team for request in requests.values()}
        for tombstone in services.catalog.requests.tombstones(team, is_checked=False)
        if tombstone.request_id in requests
    }


def _keeping_out(services: Services, requests: Mapping[RequestId, Request]) -> dict[RequestId, StandingErasure]:
    return {
        RequestId(each.request_id): each
        for team in {request.team for request in requests.values()}
        for each in services.catalog.requests.keeping_out(team, is_checked=False)
    }


def _request_faults(
    requests: Mapping[RequestId, Request],
    in_force: Mapping[str, TombstonePlaced],
    keeping_out: Mapping[RequestId, StandingErasure],
    told: LedgerState,
) -> Iterator[tuple[RequestId, list[AuditFinding]]]:
    unread: dict[str, list[str]] = {}
    for entry in told.unreadable:
        unread.setdefault(str(entry.body.get("requestId")), []).append(entry.kind)
    for request_id, request in requests.items():
        kinds = unread.get(request_id, [])
        found = request_faults(
            request,
            in_force=in_force.get(request_id),
            standing=keeping_out.get(request_id),
            tombstones=told.tombstones.get(request_id, []),
            receipts=told.receipts.get(request_id, []),
            unread_receipts=[type_ for type_ in RECEIPTS for kind in kinds if kind == entry_kind(type_)],
            is_lifted=request_id in told.lifted,
            is_standing_lifted=request_id in told.standing_lifted,
        )
        if found:
            yield request_id, found


def note_audit(services: Services, report: AuditReport) -> None:
    """Tell the ledger that an audit was made, and whether it found anything; the record of processing names the last.

    A ledger that cannot be read is found by the audit itself, and is not written to.
    """
    told = AuditMade(
        audited_at=report.audited_at,
        is_full=report.part is None,
        files=report.files,
        files_read=report.files_read,
        findings=len(report.findings),
    )
    with suppress(LedgerBroken, KeyMissing):
        services.ledger.append([told])
