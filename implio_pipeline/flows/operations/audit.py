"""Audit: compare files, catalog, keys, storage and ledger with each other, and report what does not agree.

Rules:

* An audit changes nothing.
* It believes nothing that an attacker with write access to the catalog could alter: it reads rows, not filters, key
  ranges or flags.
* Other processes work at the same time. What looks wrong is therefore looked at once more, and is no finding if the
  file has been replaced or the request is on its way into the ledger.
* What cannot be looked at is a finding too: not known is not success.

The parts, in the order in which `audit` looks at them. Each can be asked for alone:

    part       unit       what is compared                                         here
    catalog    home       each row that decides, with its MAC                      audit
    ledger     home       the chain; each entry, with the catalog's requests       _ledger_findings
    reads      home       the log of reads and the grants, with the ledger         _access_findings
    keys       team       the keys that no file uses, by using them                _key_findings
    queues     team       what moderation keeps, with the team's tombstones        _queue_findings
    files      partition  each file's keys, size and encryption, with its row      _FileAudit
    survivors  partition  rows of suspected files, with completed requests         _FileAudit
    contents   partition  rows of one seventh of the files, with their row         _FileAudit
    storage    region     the files in storage, with those the catalog knows       _stray_findings
"""

from collections import Counter, deque
from collections.abc import Callable, Collection, Generator, Iterable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing, suppress
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta

from implio_pipeline.domain.audit import (
    FILE_PARTS,
    AuditFinding,
    AuditPart,
    FindingKind,
    content_faults,
    part_of,
    part_on,
    request_faults,
    row_faults,
    storage_faults,
)
from implio_pipeline.domain.epochs import is_epoch_over
from implio_pipeline.domain.errors import ImplioError, KeyMissing, LedgerBroken, PlanOutdated, Unverified
from implio_pipeline.domain.faults import fault_of
from implio_pipeline.domain.file_changes import NamedRule
from implio_pipeline.domain.files import SealedFile, VaultFile
from implio_pipeline.domain.ids import FileId, Region, RequestId, TeamId
from implio_pipeline.domain.instants import instant_text
from implio_pipeline.domain.ledger_codec import entry_kind
from implio_pipeline.domain.moderation import QueueEntry, RuleFields
from implio_pipeline.domain.receipt import RECEIPTS
from implio_pipeline.domain.replan import replan
from implio_pipeline.domain.request import OPEN_STATES, Request
from implio_pipeline.domain.scope import OverdueRule, TaskRule, Tombstone, UserRule
from implio_pipeline.domain.statements import AuditMade, TombstonePlaced
from implio_pipeline.domain.team import Team
from implio_pipeline.flows.access.authorize import read_log_faults
from implio_pipeline.flows.access.grants import revived_grants
from implio_pipeline.flows.faults import Faults
from implio_pipeline.flows.ledger_state import LedgerState
from implio_pipeline.flows.operations.epochs import oldest_deletion_at
from implio_pipeline.flows.operations.housekeep import STRAY_AGE
from implio_pipeline.ports.catalog import Catalog
from implio_pipeline.ports.keychain import Keychain
from implio_pipeline.ports.rows import Progress
from implio_pipeline.ports.services import Services

_SETTLES = timedelta(minutes=10)
"""A request is committed to the catalog before the ledger has it; a younger one may be between the two."""
_SEAL_CONTEXT = "audit"
_RECEIPT_KINDS = [entry_kind(type_) for type_ in RECEIPTS]


@dataclass(kw_only=True, slots=True)
class AuditReport:
    """What an audit looked at, in counts, and what it found."""

    audited_at: datetime
    part: int | None
    """Number of the seventh of the files that was read; `None` for all."""
    parts: frozenset[AuditPart] = frozenset(AuditPart)
    """What was looked at."""
    only: tuple[TeamId, date] | None = None
    """The one partition whose files were looked at; `None` for all."""
    files: int = 0
    files_read: int = 0
    rows_read: int = 0
    files_changed: int = 0
    """Files replaced during the audit. A later audit reads the files that replaced them."""
    hidden_rows: int = 0
    """Rows read that an open request covers and hides. A row of two requests counts twice."""
    tombstones: int = 0
    receipts: int = 0
    queue_entries: int = 0
    young_strays: int = 0
    """Files unknown to the catalog that may be about to be committed, or that a recent crash left."""
    survivors: Counter[RequestId] = field(default_factory=Counter)
    """Rows that were read although a completed request covers them."""
    findings: list[AuditFinding] = field(default_factory=list)

    @property
    def by_kind(self) -> dict[FindingKind, int]:
        """Return how often each kind was found."""
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

    An error about one file, team or region becomes a finding that names it, and the audit goes on. Files at which open
    requests failed are read on any day.

    Args:
        services: What the flow may use.
        parts: What to look at.
        is_full: Read every file. Otherwise one of seven parts is read, chosen by the day, so that audits on seven
            consecutive days read every file. Everything else is checked in either case.
        only: Look at the files of this partition only.
        progress: Receives files done and files in all.
    """
    now = services.clock.now()
    report = AuditReport(
        audited_at=now, part=None if is_full else part_on(now.date()), parts=frozenset(parts), only=only
    )
    # 1. The catalog's own rows come first: the other parts are planned from them (decision 0061).
    if AuditPart.CATALOG in report.parts:
        report.findings += services.catalog.alterations()
    # 2. The other parts, as far as altered rows allow. An altered row can make any later step fail; if one was found,
    #    the report that names it is worth more than the error that it caused.
    try:
        _audit_parts(services, report, progress)
    except ImplioError as error:
        if not any(each.kind is FindingKind.CATALOG_TAMPERED for each in report.findings):
            raise
        words = f"the rest was not looked at: {error.facts}"
        report.findings.append(AuditFinding(kind=FindingKind.CATALOG_TAMPERED, about="catalog", words=words))
    return report


def survivors(services: Services) -> dict[RequestId, int]:
    """Return the number of items that survive each completed request, read from the files; zeros are left out.

    Retention requests are left out: an item may have come in since, under a policy that keeps items longer.

    Raises:
        ImplioError: a file that may hold a survivor cannot be read, so the number is not known.
    """
    report = audit(services, parts=(AuditPart.CATALOG, AuditPart.SURVIVORS))
    for finding in report.findings:
        if finding.kind is not FindingKind.SURVIVOR:
            raise Unverified(f"{finding.kind.value}: {finding.about}: {finding.words}")
    return dict(report.survivors)


def note_audit(services: Services, report: AuditReport) -> None:
    """Record in the ledger that an audit was made and how much it found, for the record of processing activities."""
    told = AuditMade(
        audited_at=report.audited_at,
        is_full=report.part is None,
        files=report.files,
        files_read=report.files_read,
        findings=len(report.findings),
    )
    # The audit itself reports a ledger that is broken or cannot be signed. Nothing is appended to such a ledger.
    with suppress(LedgerBroken, KeyMissing):
        services.ledger.append([told])


@dataclass(frozen=True, kw_only=True, slots=True)
class _Rules:
    """A team's tombstones, as rules over rows."""

    completed: tuple[NamedRule, ...] = ()
    hiding: tuple[NamedRule, ...] = ()

    @classmethod
    def of(cls, tombstones: Iterable[Tombstone]) -> "_Rules":
        """Separate completed tombstones from those that hide items until they are erased."""
        completed, hiding = [], []
        for each in tombstones:
            named = NamedRule(request_id=RequestId(each.request_id), rule=each.rule)
            if not each.is_erased:
                hiding.append(named)
            elif not isinstance(each.rule, OverdueRule):  # a longer policy may have let such items in again
                completed.append(named)
        return cls(completed=tuple(completed), hiding=tuple(hiding))


def _audit_parts(services: Services, report: AuditReport, progress: Progress | None) -> None:
    """Look at every part but the catalog's own rows. The fault of a unit becomes a finding."""
    catalog, faults = services.catalog, Faults()

    def look(part: AuditPart, unit: str, findings: Iterator[AuditFinding]) -> None:
        if part in report.parts:
            with faults.isolate(unit):
                report.findings.extend(findings)

    # 1. Requests before files: the rows of a request that is completed by now must be gone from files read later.
    look(AuditPart.LEDGER, "ledger and requests", _ledger_findings(services, report))
    look(AuditPart.READS, "log of reads", _access_findings(services))
    look(AuditPart.KEYS, "epochs", _epoch_findings(services))
    all_teams = catalog.teams.all()
    teams = [team for team in all_teams if report.only is None or team.team == report.only[0]]
    rules: dict[TeamId, _Rules] = {}
    for team in teams:
        with faults.isolate(f"tombstones of team {team.team}"):
            rules[team.team] = _Rules.of(catalog.requests.tombstones(team.team, is_checked=False))
    failed_at = frozenset(each.error_about for each in catalog.requests.all(states=OPEN_STATES))
    # 2. Count the files of each partition, for the progress shown.
    partitions: Counter[tuple[TeamId, date]] = Counter()
    if report.parts & FILE_PARTS:
        only_team, only_day = report.only or (None, None)
        live = catalog.manifest.files(only_team, day=only_day, is_checked=False, is_filtered=False)
        partitions = Counter((file.team, file.day) for file in live)
    done = 0
    # 3. Each team's keys and queues, then its files.
    with ThreadPoolExecutor(services.threads) as pool:
        for team in teams:
            theirs = rules.get(team.team) or _Rules()
            look(AuditPart.KEYS, f"keys of team {team.team}", _key_findings(services.keychain, team.team))
            look(AuditPart.QUEUES, f"queues of team {team.team}", _queue_findings(catalog, team.team, theirs, report))
            files = _FileAudit(
                services=services,
                team=team,
                rules=theirs,
                failed_at=failed_at,
                report=report,
                pool=pool,
                may_hold=services.vault.reaches(theirs.completed),
            )
            with closing(files.days(sorted(day for name, day in partitions if name == team.team), faults)) as days:
                for day in days:
                    done += partitions[team.team, day]
                    if progress:
                        progress(min(done, partitions.total()), partitions.total())
    # 4. Storage comes last: a file that was committed during the audit is known to the catalog by now.
    for region in sorted({team.region for team in all_teams}):
        look(AuditPart.STORAGE, f"storage of region {region}", _stray_findings(services, region, report))
    report.findings += [AuditFinding.unaudited(each.unit, each.error) for each in faults.found]


def _ledger_findings(services: Services, report: AuditReport) -> Iterator[AuditFinding]:
    """Check the ledger's chain, then compare its entries with the catalog's requests in both directions."""
    requests_of = services.catalog.requests
    # 1. Each batch is signed and names the batch before it.
    for fault in services.ledger.check():
        about = f"{fault.chain} batch {fault.batch}"
        yield AuditFinding(kind=FindingKind.LEDGER_BROKEN, about=about, words=fault.problem)
    # 2. The ledger is read before the catalog: a tombstone reaches the catalog first, so the catalog then has every
    #    request that the ledger named.
    try:
        told = LedgerState.of(services.ledger)
    except LedgerBroken:
        words = "an entry cannot be read, so it was not compared with the catalog"
        yield AuditFinding(kind=FindingKind.LEDGER_BROKEN, about="ledger", words=words)
        return
    report.tombstones, report.receipts = len(told.tombstones), len(told.receipts)
    for entry in told.unreadable:
        if entry.kind not in _RECEIPT_KINDS:  # step 4 reports a receipt that cannot be read, with its request
            words = "what it says cannot be read"
            yield AuditFinding(kind=FindingKind.LEDGER_BROKEN, about=entry.place, words=words)
    # 3. Each tombstone of the ledger has a request: otherwise an older catalog was restored.
    requests = {request.request_id: request for request in requests_of.all()}
    for request_id, tombstones in told.tombstones.items():
        if request_id not in requests:
            yield AuditFinding.lost_tombstone(tombstones[0])
    # 4. Each request agrees with its tombstones and receipts.
    in_force = {
        tombstone.request_id: TombstonePlaced.of(requests[RequestId(tombstone.request_id)], tombstone.rule)
        for team in {request.team for request in requests.values()}
        for tombstone in requests_of.tombstones(team, is_checked=False)
        if tombstone.request_id in requests
    }
    faults = _request_faults(services.catalog, requests, in_force, told)
    # 5. What differs is compared once more, since catalog and ledger were not read at one instant. A request that was
    #    accepted a moment ago may not have reached the ledger yet.
    if faults:
        accepted_before = services.clock.now() - _SETTLES
        young = {each.request_id for each, _ in requests_of.without_ledger() if each.accepted_at > accepted_before}
        told = LedgerState.of(services.ledger)
        again = {request_id: requests_of.get(request_id) for request_id in faults if request_id not in young}
        faults = _request_faults(services.catalog, again, in_force, told)
    for found in faults.values():
        yield from found


def _request_faults(
    catalog: Catalog,
    requests: Mapping[RequestId, Request],
    in_force: Mapping[str, TombstonePlaced],
    told: LedgerState,
) -> dict[RequestId, list[AuditFinding]]:
    """Return the requests on which catalog and ledger differ, each with its findings."""
    standing = {
        RequestId(each.request_id): each
        for team in {request.team for request in requests.values()}
        for each in catalog.requests.keeping_out(team, is_checked=False)
    }
    unread_kinds: dict[str, list[str]] = {}
    for entry in told.unreadable:
        unread_kinds.setdefault(str(entry.body.get("requestId")), []).append(entry.kind)
    faults: dict[RequestId, list[AuditFinding]] = {}
    for request_id, request in requests.items():
        kinds = unread_kinds.get(request_id, [])
        found = request_faults(
            request,
            in_force=in_force.get(request_id),
            standing=standing.get(request_id),
            tombstones=told.tombstones.get(request_id, []),
            receipts=told.receipts.get(request_id, []),
            unread_receipts=[type_ for type_ in RECEIPTS for kind in kinds if kind == entry_kind(type_)],
            is_lifted=request_id in told.lifted,
            is_standing_lifted=request_id in told.standing_lifted,
        )
        if found:
            faults[request_id] = found
    return faults


def _access_findings(services: Services) -> Iterator[AuditFinding]:
    """Compare the log of reads with its chain and with the ledger, and the grants with the ledger's revocations."""
    with suppress(LedgerBroken):  # the part `ledger` reports it
        for fault in read_log_faults(services):
            yield AuditFinding(kind=FindingKind.ACCESS_LOG_BROKEN, about=f"line {fault.line}", words=fault.words)
        for grant_id in revived_grants(services):
            yield AuditFinding(kind=FindingKind.GRANT_REVIVED, about=grant_id, words="the ledger knows it as revoked")


def _key_findings(keychain: Keychain, team: TeamId) -> Iterator[AuditFinding]:
    """Use the two team keys that reading a file does not use: those of seals and of pseudonyms."""
    try:
        sealed = keychain.seal(team, b"", context=_SEAL_CONTEXT)
        keychain.unseal(team, sealed, context=_SEAL_CONTEXT)
        keychain.pseudonym(team, "")
    except KeyMissing:
        words = "its pseudonym key or its seal key does not unwrap"
        yield AuditFinding(kind=FindingKind.KEY_MISSING, about=team, words=words, team=team)


def _epoch_findings(services: Services) -> Iterator[AuditFinding]:
    """Look since when deleted keys wait to become useless. Twice the time of an epoch is late.

    An epoch may be open for long because nothing was deleted, so its age does not say that.
    """
    with suppress(LedgerBroken):  # another part reports it
        since = oldest_deletion_at(services)
        is_late = is_epoch_over(since, length=2 * services.epoch_length, now=services.clock.now())
        if since is not None and is_late:
            words = f"keys deleted since {instant_text(since)} are not destroyed: the epoch was not closed"
            yield AuditFinding(kind=FindingKind.EPOCH_LATE, about="epoch", words=words)


def _queue_findings(catalog: Catalog, team: TeamId, rules: _Rules, report: AuditReport) -> Iterator[AuditFinding]:
    """Find what moderation still keeps of items that a tombstone covers: accepting a request takes it away."""
    entries, traces = catalog.moderation.entries(team), catalog.moderation.traces(team)
    report.queue_entries += len(entries)
    covering = _covering((*rules.completed, *rules.hiding))
    for kept, noun in ((entries, "entries"), (traces, "verdicts, notes or deliveries")):
        for request_id, count in Counter(each_id for each in kept for each_id in covering(each)).items():
            words = f"{count} {noun} that it covers are still kept for moderation"
            yield AuditFinding(kind=FindingKind.QUEUED_SURVIVOR, about=request_id, words=words, team=team)


def _covering(named_rules: Iterable[NamedRule]) -> Callable[[QueueEntry | RuleFields], list[RequestId]]:
    """Return a function that returns the requests covering an entry.

    Rules about one user or one task are looked up by key, since a team may have many of both rules and entries.
    """
    keyed: dict[bytes, list[NamedRule]] = {}
    others: list[NamedRule] = []
    for named in named_rules:
        match named.rule:
            case UserRule(user_key=key) | TaskRule(task_key=key):
                keyed.setdefault(key, []).append(named)
            case _:
                others.append(named)

    def covering(entry: QueueEntry | RuleFields) -> list[RequestId]:
        return [
            named.request_id
            for named in (*keyed.get(entry.task_key, ()), *keyed.get(entry.user_key or b"", ()), *others)
            if entry.is_covered_by(named.rule)
        ]

    return covering


def _stray_findings(services: Services, region: Region, report: AuditReport) -> Iterator[AuditFinding]:
    """Find files in storage that the catalog does not know: no erasure reaches them."""
    vault, manifest = services.vault, services.catalog.manifest
    # Storage is listed before the catalog is asked, and again afterwards: a file that was committed or unlinked in
    # between is no stray.
    seen = frozenset(vault.strays(region, unknown=manifest.unknown))
    if not seen:
        return
    still = seen & frozenset(vault.strays(region, unknown=manifest.unknown))
    limit = services.clock.now() - STRAY_AGE
    old = still & frozenset(vault.strays(region, unknown=manifest.unknown, older_than=limit))
    report.young_strays += len(still - old)
    for path in sorted(old):
        yield AuditFinding.stray(region, path)


@dataclass(frozen=True, kw_only=True, slots=True)
class _Look:
    """What one look at a file found."""

    sealed: SealedFile
    is_chosen: bool
    """Whether its rows are to be read."""
    findings: list[AuditFinding]
    rows: int | None = None
    """Rows read; `None` when the file was not read."""
    hidden_rows: int = 0
    survivors: Mapping[RequestId, int] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True, slots=True)
class _FileAudit:
    """The parts `files`, `survivors` and `contents`, for one team."""

    services: Services
    team: Team
    rules: _Rules
    failed_at: frozenset[str | None]
    """Ids of files at which open requests failed."""
    report: AuditReport
    pool: ThreadPoolExecutor
    may_hold: Callable[[VaultFile], tuple[NamedRule, ...]]
    """Returns the completed requests that may cover an item of a file, by the file's row in the catalog."""

    def days(self, days: Iterable[date], faults: Faults) -> Generator[date]:
        """Audit the live files of partitions, and yield each one that is done.

        A partition is begun while files of earlier ones are looked at, since many have one file only and storage may be
        far away. So the rows of few partitions are in memory at a time.
        """
        begun: deque[tuple[date, list[Future[_Look]]]] = deque()

        def end_first() -> date:
            day, looks = begun[0]
            with faults.isolate(f"{day} of team {self.team.team}", day=day):
                self._end(looks)
            begun.popleft()
            return day

        try:
            for day in days:
                looks: list[Future[_Look]] = []
                with faults.isolate(f"{day} of team {self.team.team}", day=day):
                    looks += self._begin(day)
                begun.append((day, looks))
                while sum(len(each) for _, each in begun) > 2 * self.services.threads:
                    yield end_first()
            while begun:
                yield end_first()
        finally:
            # When the audit must end, the pool would still look at every file of the days that are begun.
            for _, looks in begun:
                for each in looks:
                    each.cancel()

    def _begin(self, day: date) -> list[Future[_Look]]:
        """Begin a first look at each live file of a partition."""
        files = list(self.services.catalog.manifest.files(self.team.team, day=day, is_checked=False))
        live_keys = self._live_keys()
        chosen = [(file, self._is_chosen(file)) for file in files]
        return [self.pool.submit(self._look, file, live_keys, is_chosen=is_chosen) for file, is_chosen in chosen]

    def _end(self, begun: Iterable[Future[_Look]]) -> None:
        """Wait for the first looks at the files of a partition, and count what they found."""
        # 1. All first looks of the day come first. A second one makes the keychain forget the team's keys.
        looks = [each.result() for each in begun]
        # 2. Look again at those with findings, and count what remains.
        for look in (self._settled(first) for first in looks):
            if look is None:
                self.report.files_changed += 1
                continue
            self.report.files += 1
            self.report.files_read += look.rows is not None
            self.report.rows_read += look.rows or 0
            self.report.hidden_rows += look.hidden_rows
            self.report.survivors.update(look.survivors)
            self.report.findings += look.findings

    def _is_chosen(self, file: VaultFile) -> bool:
        """Return whether to read a file's rows."""
        if AuditPart.SURVIVORS in self.report.parts:
            # A row that cannot be interpreted rules nothing out, so its file is read.
            try:
                if self.may_hold(file):
                    return True
            except Exception as error:  # noqa: BLE001 -- `fault_of` names it, or raises what must end the run
                fault_of(error)
                return True
        if AuditPart.CONTENTS not in self.report.parts:
            return False
        is_todays = self.report.part is None or part_of(file.file_id) == self.report.part
        return is_todays or file.file_id in self.failed_at

    def _look(self, file: VaultFile, live_keys: frozenset[str], *, is_chosen: bool) -> _Look:
        """Compare one file with its row: its keys, then size and encryption, then its rows."""
        sealed, found = SealedFile(file=file, keys=()), []
        try:
            # 1. Its keys. A live file without keys was replaced a moment ago, or its keys were taken away.
            with suppress(PlanOutdated):
                (sealed,) = self.services.catalog.manifest.sealed([file])
            found = row_faults(sealed, region=self.team.region, live_keys=live_keys)
            # 2. Size and encryption, as storage shows them.
            seen = self.services.vault.look(file)
            found_outside = storage_faults(
                file,
                size_bytes=None if seen is None else seen.size_bytes,
                is_encrypted=seen is not None and seen.is_encrypted,
            )
            if found_outside or not sealed.keys or not is_chosen:
                return _Look(sealed=sealed, is_chosen=is_chosen, findings=found + found_outside)
            # 3. Its rows, against the row of the catalog and every tombstone of the team.
            measured = self.services.vault.measure(sealed, (*self.rules.completed, *self.rules.hiding))
        except Exception as error:  # noqa: BLE001 -- `fault_of` names it, or raises what must end the run
            return _Look(
                sealed=sealed, is_chosen=is_chosen, findings=[*found, AuditFinding.unread(file, fault_of(error))]
            )
        completed = {named.request_id for named in self.rules.completed}
        return _Look(
            sealed=sealed,
            is_chosen=is_chosen,
            findings=found + content_faults(file, measured, erased=completed),
            rows=measured.rows,
            hidden_rows=sum(rows for request_id, rows in measured.matched.items() if request_id not in completed),
            survivors={each: rows for each, rows in measured.matched.items() if rows and each in completed},
        )

    def _settled(self, look: _Look) -> _Look | None:
        """Repeat a look with findings until two in a row saw the same keys; return `None` if the file was replaced.

        A rotation renews keys, and an erasure replaces files, between the moments at which a look reads them.
        """

        def look_again() -> _Look | None:
            nonlocal look
            if not look.findings:
                return look
            self.services.keychain.forget(self.team.team)
            before, file_id = look, look.sealed.file.file_id
            live = self.services.catalog.manifest.files(self.team.team, day=look.sealed.file.day, is_checked=False)
            now: dict[FileId, VaultFile] = {each.file_id: each for each in live}
            if file_id not in now:
                return None
            look = self._look(now[file_id], self._live_keys(), is_chosen=before.is_chosen)
            if look.sealed.keys != before.sealed.keys:
                raise PlanOutdated("the keys of the file were renewed")
            return look

        with suppress(PlanOutdated):  # renewed at every try: the last look's findings stand
            return replan(look_again, about="the keys of a file")
        return look

    def _live_keys(self) -> frozenset[str]:
        """Return the ids of the team's keys that are not destroyed."""
        return frozenset(key.key_id for key in self.services.catalog.teams.keys(self.team.team))
