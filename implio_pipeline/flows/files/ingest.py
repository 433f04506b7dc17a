"""Ingest: landing files become vault files, each landing file whole or not at all."""

from bisect import bisect_left
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import date, datetime
from functools import partial
from typing import Any

from implio_pipeline.domain.errors import (
    ClockWrong,
    FileMissing,
    KeyMissing,
    LandingEmpty,
    LandingInvalid,
    PlanOutdated,
    PostInWork,
)
from implio_pipeline.domain.faults import FailedFile, Work, failed_again
from implio_pipeline.domain.file_changes import Change, FileWork, NamedRule
from implio_pipeline.domain.files import SealedFile, VaultFile
from implio_pipeline.domain.ids import FileKind, RequestId, TeamId, UserKey
from implio_pipeline.domain.intake import ErasedPeople, LandingRecord, LandingState, PostRecord
from implio_pipeline.domain.moderation import QueueEntry
from implio_pipeline.domain.replan import discarding, is_outdated, replan, reread
from implio_pipeline.domain.scope import OverdueRule, Rule, UserRule, covers
from implio_pipeline.domain.team import Team
from implio_pipeline.flows.alone import Fault, Faults, gathered
from implio_pipeline.flows.bounded_map import bounded_map
from implio_pipeline.flows.clock import agreed_now
from implio_pipeline.ports.landing import LandingClaim, LandingFile, LandingRemarks
from implio_pipeline.ports.rows import Rows
from implio_pipeline.ports.services import Services

BUFFER_BYTES = 96 << 20
"""Rows held before files are written; one buffer fills while the one before it is written, so memory is bounded."""
_STANDING = "standing"
"""What the rule of a standing deletion is named by, beside that of the same request's tombstone."""
TOO_OLD = "too-old"
"""The code under which items are set aside that are older than their team's policy keeps."""


@dataclass(kw_only=True, slots=True)
class IngestSummary:
    """What one run took in, in counts."""

    files: int = 0
    duplicates: int = 0
    set_aside: int = 0
    empty: int = 0
    """Files without any content: removed."""
    items: int = 0
    rejected: int = 0
    erased_before: int = 0
    """Items kept out since an accepted request covers them."""
    kept_out: int = 0
    """Items kept out since a standing deletion names their user."""
    too_old: int = 0
    """Items kept out for their age alone, and set aside."""
    with_unknown: int = 0
    """Items taken in with properties that nothing says anything about."""
    partitions: dict[tuple[TeamId, date], int] = field(default_factory=dict)
    """Items added to each partition."""
    returned: dict[tuple[TeamId, UserKey], int] = field(default_factory=dict, repr=False)
    """Items taken in of people whose deletion was asked for before, by person."""

    @property
    def returned_items(self) -> int:
        """How many items came in of people who were erased before."""
        return sum(self.returned.values())

    @property
    def returned_people(self) -> int:
        """How many people who were erased before came in again."""
        return len(self.returned)

    def add(self, other: "IngestSummary") -> None:
        """Add another run's counts."""
        self.files += other.files
        self.duplicates += other.duplicates
        self.set_aside += other.set_aside
        self.empty += other.empty
        self.items += other.items
        self.rejected += other.rejected
        self.erased_before += other.erased_before
        self.kept_out += other.kept_out
        self.too_old += other.too_old
        self.with_unknown += other.with_unknown
        for person, items in other.returned.items():
            self.returned[person] = self.returned.get(person, 0) + items
        for partition, items in other.partitions.items():
            self.partitions[partition] = self.partitions.get(partition, 0) + items


def ingest(
    services: Services,
    *,
    teams: Iterable[TeamId] | None = None,
    again: bool = False,
    faults: Faults | None = None,
    progress: Callable[[int], None] | None = None,
) -> IngestSummary:
    """Take in every landing file that is ready; a file or a folder that fails keeps no other waiting.

    What failed is back in its landing folder, to be taken once its back-off is over; after too many attempts it stays
    there, quarantined.

    Args:
        services: What the flow may touch.
        teams: These teams; all with files waiting when `None`.
        again: Also files that failed before: quarantined, or in their back-off.
        faults: Told of each file and folder that failed; when `None`, the first is raised at the end.
        progress: Told of items taken so far.

    Raises:
        ClockWrong: the clock disagrees with what the home knows; files stay in the landing folder.
    """
    now = agreed_now(services)
    summary = IngestSummary()
    known = {team.team: team for team in services.catalog.teams.all()}
    failures = failed_landings(services)
    left = set() if again else put_off(failures, now=now)
    wanted = services.landing.waiting(but=left).keys() if teams is None else teams
    # A folder nobody made a team for is passed over; `status` counts it.
    chosen = [known[team] for team in sorted(wanted) if team in known]
    with gathered(faults) as failed:
        taking = _Taking(services=services, failures={each.file: each for each in failures}, left=left, faults=failed)
        # One is parsed while another is written.
        for _, taken in bounded_map(taking.take, taking.claims(chosen), most=services.threads):
            summary.add(taken)
            if progress:
                progress(summary.items)
    return summary


def failed_landings(services: Services, *, teams: Collection[TeamId] | None = None) -> list[FailedFile]:
    """Return the landing files that an attempt failed at, and that are still there; others are forgotten."""
    known = [each for each in services.catalog.failed_files.all(Work.INGEST) if teams is None or each.team in teams]
    found: list[FailedFile] = []
    for team in sorted({each.team for each in known}):
        of_team = {each.file: each for each in known if each.team == team}
        there = set(services.landing.has(team, of_team.keys()))
        found += [each for each in of_team.values() if each.file in there]
        if gone := of_team.keys() - there:
            services.catalog.failed_files.forget(Work.INGEST, team, gone)
    return found


def put_off(failures: Iterable[FailedFile], *, now: datetime) -> set[str]:
    """Return the marks of the landing files that are left alone now."""
    return {each.file for each in failures if each.is_put_off(now=now)}


@dataclass(frozen=True, kw_only=True, slots=True)
class _Taking:
    """Takes landing files one by one, each alone: what fails is put off and stops no other."""

    services: Services
    failures: Mapping[str, FailedFile]
    """What failed before, by mark."""
    left: set[str]
    """Marks of files that are left alone; those that fail are added."""
    faults: Faults

    def claims(self, teams: Iterable[Team]) -> Iterator[tuple[Team, LandingClaim]]:
        """Yield the files of the teams, each claimed."""
        for team in teams:
            with self.faults.alone(f"landing folder of team {team.team}"):
                for claimed in self.services.landing.claim(team.team, since=team.created_at, but=self.left):
                    yield team, claimed

    def take(self, claim: tuple[Team, LandingClaim]) -> IngestSummary:
        """Take one file in.

        Raises:
            ClockWrong: no other file could be taken either.
        """
        team, claimed = claim
        taken, faults = IngestSummary(), Faults()
        unit = f"landing file of team {team.team}, {claimed.words}"
        with faults.alone(unit, races=(ClockWrong,)), claimed as file:
            taken = _take(self.services, team, file)
        if faults:
            self._note(team, claimed.mark, faults.found[0])
        elif claimed.mark in self.failures:
            self.services.catalog.failed_files.forget(Work.INGEST, team.team, [claimed.mark])
        return taken

    def _note(self, team: Team, mark: str, fault: Fault) -> None:
        self.left.add(mark)
        self.faults.found.append(fault)
        self.services.catalog.failed_files.note(
            failed_again(
                self.failures.get(mark),
                team=team.team,
                work=Work.INGEST,
                file=mark,
                unit=fault.unit,
                error_code=fault.error.code,
                now=self.services.clock.now(),
            )
        )


@dataclass(frozen=True, kw_only=True, slots=True)
class Part:
    """What became of one part of rows."""

    kept_out: tuple[int, ...] = ()
    """Places of items that a standing deletion keeps out."""
    returned: int = 0
    """Items taken in of people who were erased before."""

    @classmethod
    def of(cls, post: PostRecord) -> "Part":
        """Return what became of a post that was taken in before."""
        return cls(kept_out=post.kept_out, returned=post.returned)


@dataclass(frozen=True, kw_only=True, slots=True)
class AddedRows:
    """What was committed."""

    files: list[SealedFile]
    parts: list[Part]
    """In the order of the parts given."""


def add_rows(
    services: Services,
    team: Team,
    parts: Iterable[Rows],
    *,
    submitted_from: datetime | None = None,
    posts: Sequence[PostRecord | None] = (),
) -> AddedRows:
    """Write items that are already in columns and commit them at once, under the team's rules.

    Args:
        services: What the flow may touch.
        team: Whose items.
        parts: The items; iterated anew when somebody else's commit came between.
        submitted_from: No item was submitted before it, so that rules which end earlier are not even read, and none is
            too old; not known when `None`.
        posts: What is remembered of each part in the same commit, with what became of it.

    Raises:
        PostInWork: one of the posts is known already; nothing was kept.
    """

    def add() -> AddedRows:
        intake = _Intake(services=services, team=team, submitted_from=submitted_from)
        with discarding(intake.discard):
            told = [intake.add(rows, FileKind.ITEMS) for rows in parts]
            intake.posts = tuple(
                replace(post, kept_out=part.kept_out, returned=part.returned)
                for post, part in zip(posts, told, strict=False)
                if post is not None
            )
            intake.commit(None)
        return AddedRows(files=intake.staged, parts=told)

    about = f"the keys or tombstones of team {team.team}"
    return replan(add, about=about, again=lambda: services.keychain.forget(team.team))


def rules_in_force(
    services: Services, team: Team, *, now: datetime, submitted_from: datetime | None = None
) -> list[NamedRule]:
    """Return what must not come in: every tombstone of the team, and what its retention policy calls overdue.

    With `submitted_from` tombstones are left out that end before it, and so is age: what was acknowledged is stored,
    and retention asks for it when its time has come.
    """
    if submitted_from is not None:
        in_force = services.catalog.requests.tombstones(team.team, reaching=submitted_from)
        return [
            NamedRule(request_id=RequestId(each.request_id), rule=each.rule)
            for each in in_force
            if not isinstance(each.rule, OverdueRule)
        ]
    named_rules = [
        NamedRule(request_id=RequestId(each.request_id), rule=each.rule)
        for each in services.catalog.requests.tombstones(team.team)
        if not (each.is_erased and isinstance(each.rule, OverdueRule))
    ]
    overdue = team.policy.item_cutoffs(today=now.date())
    if overdue is not None:
        named_rules.append(NamedRule(request_id=RequestId("policy"), rule=OverdueRule(cutoffs=overdue, before=now)))
    return named_rules


def _take(services: Services, team: Team, file: LandingFile) -> IngestSummary:
    agreed_now(services)

    def take() -> tuple[list[Mapping[str, Any]], _Intake] | None:
        # Another process, or thread, may take the same content in while we do.
        if services.catalog.landings.has_size(team.team, file.size_bytes) and _is_in(services, team, file):
            return None
        intake = _Intake(services=services, team=team)
        with discarding(intake.discard):
            return intake.take(file), intake

    about = f"the keys or tombstones of team {team.team}"
    try:
        taken = replan(take, about=about, again=lambda: services.keychain.forget(team.team))
    except LandingEmpty:
        file.finish([])
        return IngestSummary(empty=1)
    except LandingInvalid as error:
        _set_aside(services, team, file, error)
        return IngestSummary(set_aside=1)
    except BaseException:
        file.release()
        raise
    if taken is None:
        file.finish([])
        return IngestSummary(duplicates=1)
    report, intake = taken
    file.finish(report, intake.remarks())
    return intake.summary()


def _is_in(services: Services, team: Team, file: LandingFile) -> bool:
    """Tell whether the same content is in already; what was only set aside may be tried again.

    What was taken and is all erased by now is forgotten here, so that it comes in as what it is: new.
    """
    record = services.catalog.landings.seen(team.team, file.digest())
    if record is None or record.state is not LandingState.INGESTED:
        return False
    if _is_left(services, record):
        return True
    services.catalog.landings.forget(record)
    return False


def forget_landings(services: Services, team: TeamId) -> int:
    """Forget a team's landing files of whose days nothing is in the vault any more, and return how many."""
    forgotten = 0
    days = sorted({file.day for file in services.catalog.manifest.files(team)})
    for record in services.catalog.landings.all(team):
        if record.state is LandingState.INGESTED and not _has_day(days, record):
            services.catalog.landings.forget(record)
            forgotten += 1
    return forgotten


def _has_day(days: Sequence[date], record: LandingRecord) -> bool:
    """Tell whether one of the days, in order, is one of the record's."""
    if record.first_day is None or record.last_day is None:
        return False
    place = bisect_left(days, record.first_day)
    return place < len(days) and days[place] <= record.last_day


def _is_left(services: Services, record: LandingRecord) -> bool:
    """Tell whether an item of a landing file is in the vault still, by reading the files of its days.

    Rejected text carries no batch id. Where nothing else of a file came in, it counts as left while its days have any.
    """

    def read() -> bool:
        files = _of_its_days(services, record)
        if record.batch_id is None:
            return any(file.kind is FileKind.REJECTED for file in files)
        return any(
            services.vault.has_batch(sealed, record.batch_id)
            for file in files
            if file.kind is FileKind.ITEMS
            for sealed in services.catalog.manifest.sealed([file])
        )

    try:
        return reread(read, about="the files", again=lambda: services.keychain.forget(record.team))
    except (PlanOutdated, FileMissing, KeyMissing):
        return True  # not known: nothing is taken twice


def _of_its_days(services: Services, record: LandingRecord) -> list[VaultFile]:
    first, last = record.first_day or date.max, record.last_day or date.min
    return [file for file in services.catalog.manifest.files(record.team) if first <= file.day <= last]


def _set_aside(services: Services, team: Team, file: LandingFile, error: LandingInvalid) -> None:
    record = LandingRecord(
        team=team.team,
        digest=file.digest(),
        size_bytes=file.size_bytes,
        state=LandingState.SET_ASIDE,
        items=0,
        rejected=0,
        erased_before=0,
        too_old=0,
        taken_at=services.clock.now(),
        reason=error.facts,
    )
    with suppress(PlanOutdated):  # the memory of it is a courtesy; the file itself is kept, sealed
        services.catalog.manifest.commit(
            Change(
                team=team.team,
                planned_at=services.catalog.requests.newest_tombstone(team.team),
                committed_at=record.taken_at,
                landing=record,
            )
        )
    file.set_aside(error.facts)


@dataclass(kw_only=True, slots=True)
class _Intake:
    """One landing file on its way in: rows buffered, files staged, nothing visible before the commit."""

    services: Services
    team: Team
    staged: list[SealedFile] = field(default_factory=list)
    queue: list[QueueEntry] = field(default_factory=list)
    buffers: dict[FileKind, list[Rows]] = field(default_factory=dict)
    buffered_bytes: int = 0
    writer: ThreadPoolExecutor = field(default_factory=lambda: ThreadPoolExecutor(1))
    writing: list[Future[list[SealedFile]]] = field(default_factory=list)
    named_rules: list[NamedRule] = field(default_factory=list)
    standing: list[NamedRule] = field(default_factory=list)
    """What keeps people out whose deletion is standing."""
    planned_at: int = -1
    submitted_from: datetime | None = None
    posts: tuple[PostRecord, ...] = ()
    items: int = 0
    rejected: int = 0
    erased_before: int = 0
    kept_out: int = 0
    too_old: int = 0
    with_unknown: int = 0
    old: list[Rows] = field(default_factory=list)
    """Rows that are too old, not yet sealed."""
    sealed_aside: list[str] = field(default_factory=list)
    returned: Counter[UserKey] = field(default_factory=Counter, repr=False)

    def take(self, file: LandingFile) -> list[Mapping[str, Any]]:
        """Take the whole file in and commit it; return the report of what was rejected.

        Raises:
            LandingInvalid: the file cannot be parsed at all.
            PlanOutdated: its content is in already, or its keys were renewed underneath.
        """
        report: list[Mapping[str, Any]] = []
        for piece in file.pieces():
            report += piece.report
            self.with_unknown += piece.with_unknown
            self.add(piece.items, FileKind.ITEMS)
            self.add(piece.rejected, FileKind.REJECTED)
        self.commit(file)
        return report

    def add(self, rows: Rows, kind: FileKind) -> Part:
        """Buffer the rows that may come in; a full buffer is written while the next one fills."""
        if self.planned_at < 0:
            self._plan()
        # 1. What a deletion that was asked for covers, then what comes newly of people who are to stay out.
        rules = [rule for rule in self._rules if not isinstance(rule, OverdueRule)]
        kept = self.services.vault.without(rows, rules)
        self.erased_before += rows.num_rows - kept.num_rows
        places = self.services.vault.places(rows, self._standing_rules, but=rules)
        kept = self.services.vault.without(kept, self._standing_rules)
        self.kept_out += len(places)
        # 2. What is too old.
        kept = self._without_old(kept)
        # 3. Who comes again: told, and taken in.
        returned = Counter[UserKey]()
        if kind is FileKind.ITEMS and kept.num_rows:
            returned.update(self.services.vault.rows_of(kept, self._erased_users(kept)))
            self.returned.update(returned)
        if kept.num_rows:
            self.buffers.setdefault(kind, []).append(kept)
            self.buffered_bytes += kept.nbytes
        if self.buffered_bytes >= BUFFER_BYTES:
            self._flush()
        return Part(kept_out=places, returned=returned.total())

    @property
    def _standing_rules(self) -> list[Rule]:
        return [named.rule for named in self.standing]

    @property
    def _rules(self) -> list[Rule]:
        return [named.rule for named in self.named_rules]

    def _without_old(self, rows: Rows) -> Rows:
        """Return the rows that age alone does not keep out; the others are set aside, not destroyed."""
        ages = [rule for rule in self._rules if isinstance(rule, OverdueRule)]
        kept = self.services.vault.without(rows, ages)
        if kept.num_rows < rows.num_rows:
            old = self.services.vault.within(rows, ages)
            self.old.append(old)
            self.too_old += old.num_rows
            if sum(part.nbytes for part in self.old) >= BUFFER_BYTES:
                self._seal_old()
        return kept

    def _seal_old(self) -> None:
        """Set aside what is too old, before the commit: after it, the landing file may go at any moment."""
        if self.old:
            reason = f"items older than the policy keeps: {sum(part.num_rows for part in self.old)}"
            sealed = self.services.set_aside.seal_items(self.old, team=self.team.team, code=TOO_OLD, reason=reason)
            self.sealed_aside.append(sealed)
        self.old = []

    def _flush(self) -> None:
        """Begin to write what is buffered, once what was begun before is written; not yet visible to anyone."""
        self._wait()
        for kind, parts in self.buffers.items():
            rows = self.services.vault.join(parts)
            if kind is FileKind.ITEMS:
                self.items += rows.num_rows
                self.queue += self.services.vault.queue_entries(rows, team=self.team.team)
            else:
                self.rejected += rows.num_rows
            write = partial(self.services.vault.write, team=self.team.team, region=self.team.region, kind=kind)
            self.writing.append(self.writer.submit(write, rows))
        self.buffers, self.buffered_bytes = {}, 0

    def _wait(self) -> None:
        """Wait for the writes that were begun; the first that failed is raised when all have ended."""
        writing, self.writing = self.writing, []
        wait(writing)
        for each in writing:
            if not each.exception():
                self.staged += each.result()
        for each in writing:
            each.result()

    def commit(self, file: LandingFile | None) -> None:
        """Make the staged files live; first take out what tombstones accepted meanwhile cover."""
        self._flush()
        self._wait()
        self.writer.shutdown()
        self._seal_old()
        if self._newest_tombstone() > self.planned_at:
            self._apply_newer_rules()
        replan(
            lambda: self._commit_once(file),
            about=f"the tombstones of team {self.team.team}",
            is_race=lambda error: is_outdated(error) and self._newest_tombstone() != self.planned_at,
            again=self._apply_newer_rules,  # what it raises ends the act: only part of the rules may have been applied
        )

    def _commit_once(self, file: LandingFile | None) -> None:
        change = Change(
            team=self.team.team,
            planned_at=self.planned_at,
            committed_at=self.services.clock.now(),
            add=tuple(self.staged),
            queue=tuple(self.queue),
            landing=self._record(file) if file else None,
            posts=self.posts,
            erased_people=ErasedPeople(kept_out=self.kept_out, returned=self.returned.total()),
        )
        # Whether a commit that breaks off holds is not known, so its files are not ours to unlink any more.
        staged, self.staged = self.staged, []
        aside, self.sealed_aside = self.sealed_aside, []
        try:
            self.services.catalog.manifest.commit(change)
        except (PlanOutdated, PostInWork):
            self.staged, self.sealed_aside = staged, aside
            raise
        self.staged = staged

    def _newest_tombstone(self) -> int:
        return self.services.catalog.requests.newest_tombstone(self.team.team)

    def discard(self) -> None:
        """Unlink what was staged."""
        with suppress(Exception):  # why it failed is known already
            self._wait()
        self.writer.shutdown()
        for sealed in self.staged:
            self.services.vault.delete(sealed.file)
        for identifier in self.sealed_aside:
            self.services.set_aside.discard(identifier)

    def summary(self) -> IngestSummary:
        """Return this file's counts."""
        summary = IngestSummary(files=1, items=self.items, rejected=self.rejected)
        summary.erased_before, summary.kept_out, summary.too_old = self.erased_before, self.kept_out, self.too_old
        summary.with_unknown = self.with_unknown
        summary.returned = {(self.team.team, key): items for key, items in self.returned.items()}
        for sealed in self.staged:
            if sealed.file.kind is FileKind.ITEMS:
                partition = (self.team.team, sealed.file.day)
                summary.partitions[partition] = summary.partitions.get(partition, 0) + sealed.file.rows
        return summary

    def remarks(self) -> LandingRemarks:
        """Return what the report of a landing file says beside what was rejected."""
        return LandingRemarks(
            erased_before=self.erased_before,
            kept_out=self.kept_out,
            too_old=self.too_old,
            returned_items=self.returned.total(),
            returned_people=len(self.returned),
        )

    def _erased_users(self, rows: Rows) -> Mapping[UserKey, datetime]:
        """Return whose deletion was asked for, and until when their items are kept out.

        Of a post only the rules that may cover it were read; whether its few users were erased before is asked for.
        """
        if self.submitted_from is not None:
            return self.services.catalog.requests.erased_users(self.team.team, self.services.vault.users_in(rows))
        users: dict[UserKey, datetime] = {}
        for named in self.named_rules:
            if isinstance(named.rule, UserRule):
                users[named.rule.user_key] = max(named.rule.before, users.get(named.rule.user_key, named.rule.before))
        return users

    def _plan(self) -> None:
        self.planned_at = self.services.catalog.requests.newest_tombstone(self.team.team)
        now = self.services.clock.now()
        self.named_rules = rules_in_force(self.services, self.team, now=now, submitted_from=self.submitted_from)
        self.standing = [
            NamedRule(request_id=RequestId(f"{_STANDING} {each.request_id}"), rule=each.rule)
            for each in self.services.catalog.requests.keeping_out(self.team.team)
            if each.lifted_at is None
        ]

    def _apply_newer_rules(self) -> None:
        known = {named.request_id for named in (*self.named_rules, *self.standing)}
        self._plan()
        fresh = [named for named in self.named_rules if named.request_id not in known]
        staying_out = [named for named in self.standing if named.request_id not in known]
        rules = [named.rule for named in (*fresh, *staying_out)]
        if any(isinstance(rule, OverdueRule) for rule in rules):
            raise PlanOutdated("retention began meanwhile: what it covers is set aside, not destroyed")
        gone = self._take_out(fresh)
        self.erased_before += gone
        gone = self._take_out(staying_out)
        self.kept_out += gone
        self.queue = [entry for entry in self.queue if not any(_covers(rule, entry) for rule in rules)]

    def _take_out(self, named_rules: list[NamedRule]) -> int:
        """Take what rules cover out of the staged files, and return how many rows went."""
        before = self.items + self.rejected
        if named_rules:
            self.staged = [kept for sealed in self.staged if (kept := self._without(sealed, named_rules)) is not None]
        return before - self.items - self.rejected

    def _without(self, sealed: SealedFile, named_rules: list[NamedRule]) -> SealedFile | None:
        reached = self.services.vault.reaches(named_rules)(sealed.file)
        if not reached:
            return sealed
        try:
            rewrite = self.services.vault.rewrite(FileWork(sealed=sealed, named_rules=reached, is_whole=False))
        except KeyMissing:
            raise PlanOutdated("the team's keys were renewed while its items came in") from None
        rewrite.prove()
        if rewrite.is_untouched:
            return sealed
        self.services.vault.delete(sealed.file)
        if sealed.file.kind is FileKind.ITEMS:
            self.items -= rewrite.erased
        else:
            self.rejected -= rewrite.erased
        return rewrite.after

    def _record(self, file: LandingFile) -> LandingRecord:
        return LandingRecord(
            team=self.team.team,
            digest=file.digest(),
            size_bytes=file.size_bytes,
            state=LandingState.INGESTED,
            items=self.items,
            rejected=self.rejected,
            erased_before=self.erased_before,
            too_old=self.too_old,
            taken_at=self.services.clock.now(),
            batch_id=file.batch_id if self.items else None,
            first_day=min((sealed.file.day for sealed in self.staged), default=None),
            last_day=max((sealed.file.day for sealed in self.staged), default=None),
        )


def _covers(rule: Rule, entry: QueueEntry) -> bool:
    return covers(
        rule,
        user_key=entry.user_key,
        task_key=entry.task_key,
        submitted_at=entry.submitted_at,
        outcome=entry.outcome,
    )
