"""Ingest: landing files become vault files, each landing file whole or not at all.

Rules:

* A landing file is removed only after its rows are durable and live, so a crash at any step loses nothing.
* The same content is taken in once. After all its items were erased it may come again, as new.
* A file that fails is put off and tried again; after too many attempts it is quarantined. It stops no other file.
"""

from collections import Counter, deque
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from typing import Any

from implio_pipeline.domain.errors import (
    ClaimLost,
    ClockWrong,
    FileMissing,
    KeyMissing,
    LandingEmpty,
    LandingInvalid,
    PlanOutdated,
)
from implio_pipeline.domain.faults import FailedFile, WorkKind
from implio_pipeline.domain.file_changes import Change
from implio_pipeline.domain.ids import FileKind, TeamId, UserKey
from implio_pipeline.domain.intake import LandingRecord, LandingState
from implio_pipeline.domain.replan import discarding, is_outdated, replan, reread
from implio_pipeline.domain.team import Team
from implio_pipeline.flows.bounded_map import bounded_map
from implio_pipeline.flows.clock import agreed_now
from implio_pipeline.flows.faults import Faults, collecting
from implio_pipeline.flows.files.intake import Intake
from implio_pipeline.flows.work import Worker, working
from implio_pipeline.ports.landing import LandingClaim, LandingFile, LandingRemarks
from implio_pipeline.ports.services import Services

INGESTION = "ingestion"
"""The name of this work, for `implio status`."""


@dataclass(kw_only=True, slots=True)
class IngestSummary:
    """What one run took in, in counts."""

    files: int = 0
    duplicates: int = 0
    set_aside: int = 0
    empty: int = 0
    """Files without any content; they were removed."""
    items: int = 0
    rejected: int = 0
    erased_before: int = 0
    """Items left out because an accepted request covers them."""
    kept_out: int = 0
    """Items left out because their user has a standing deletion."""
    too_old: int = 0
    """Items set aside for their age alone."""
    with_unknown: int = 0
    """Items with properties that the format does not describe; they were taken in."""
    partitions: Counter[tuple[TeamId, date]] = field(default_factory=Counter)
    """Items added to each partition."""
    returned: Counter[tuple[TeamId, UserKey]] = field(default_factory=Counter, repr=False)
    """Items of each person who was erased before; they were taken in."""

    @property
    def returned_items(self) -> int:
        """How many items are of people who were erased before."""
        return self.returned.total()

    @property
    def returned_people(self) -> int:
        """How many people who were erased before have new items."""
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
        self.partitions.update(other.partitions)
        self.returned.update(other.returned)


def ingest(
    services: Services,
    *,
    teams: Iterable[TeamId] | None = None,
    again: bool = False,
    faults: Faults | None = None,
    progress: Callable[[int], None] | None = None,
) -> IngestSummary:
    """Take in every landing file that is ready.

    Args:
        services: What the flow may use.
        teams: These teams; all that have files waiting when `None`.
        again: Also take files that failed before: quarantined ones, and those whose back-off lasts.
        faults: Records each file and folder that failed; when `None`, the first fault is raised at the end.
        progress: Called with the number of items taken in so far.

    Raises:
        ClockWrong: the clock disagrees with what the home knows; files stay in the landing folder.
    """
    # 1. Choose the folders. A folder whose team does not exist is left alone; `implio status` counts its files.
    now = agreed_now(services)
    known = {team.team: team for team in services.catalog.teams.all()}
    failures = failed_landings(services)
    left = set() if again else marks_put_off(failures, now=now)
    wanted = services.landing.waiting(but=left).keys() if teams is None else teams
    chosen = [known[team] for team in sorted(wanted) if team in known]
    # 2. Claim and take file by file: one is parsed while another one is written.
    summary = IngestSummary()
    with collecting(faults) as failed, working(services, INGESTION) as worker:
        run = _Run(
            services=services,
            worker=worker,
            failures={each.file: each for each in failures},
            left=left,
            faults=failed,
        )
        for _, taken in bounded_map(run.take, run.claims(chosen), most=services.threads):
            summary.add(taken)
            if progress:
                progress(summary.items)
    return summary


def failed_landings(services: Services, *, teams: Collection[TeamId] | None = None) -> list[FailedFile]:
    """Return the landing files that failed and are still in their folder; forget those that are gone."""
    known = [each for each in services.catalog.failed_files.all(WorkKind.INGEST) if teams is None or each.team in teams]
    found: list[FailedFile] = []
    for team in sorted({each.team for each in known}):
        of_team = {each.file: each for each in known if each.team == team}
        there = set(services.landing.has(team, of_team.keys()))
        found += [each for each in of_team.values() if each.file in there]
        if gone := of_team.keys() - there:
            services.catalog.failed_files.forget(WorkKind.INGEST, team, gone)
    return found


def marks_put_off(failures: Iterable[FailedFile], *, now: datetime) -> set[str]:
    """Return the marks of the landing files that must not be tried now."""
    return {each.file for each in failures if each.is_put_off(now=now)}


@dataclass(frozen=True, kw_only=True, slots=True)
class _Run:
    """One run of `ingest`: it claims landing files, takes each, and puts off those that fail."""

    services: Services
    worker: Worker
    failures: Mapping[str, FailedFile]
    """The files that failed before, by mark."""
    left: set[str]
    """Marks of the files to leave alone; a file that fails is added."""
    faults: Faults

    def claims(self, teams: Iterable[Team]) -> Iterator[tuple[Team, LandingClaim]]:
        """Yield the waiting files of the teams, each claimed for this process, one of each team in turn.

        So a team with a million files does not stop another team with one.
        """
        waiting: deque[tuple[Team, Iterator[LandingClaim] | None]] = deque((team, None) for team in teams)
        while waiting:
            team, files = waiting.popleft()
            claimed = None
            with self.faults.isolate(f"landing folder of team {team.team}"):
                files = files or self.services.landing.claim(
                    team.team, self.worker, since=team.created_at, but=self.left
                )
                claimed = next(files, None)
            if claimed is not None:
                waiting.append((team, files))
                yield team, claimed

    def take(self, claim: tuple[Team, LandingClaim]) -> IngestSummary:
        """Take one file in, or put it off.

        Raises:
            ClockWrong: no other file could be taken either.
        """
        team, claimed = claim
        failed_files = self.services.catalog.failed_files
        taken, faults = IngestSummary(), Faults()
        unit = f"landing file of team {team.team}, {claimed.words}"
        with faults.isolate(unit, races=(ClockWrong,)), claimed as file:
            taken = _take(self.services, team, file)
        for fault in faults.found:
            self.left.add(claimed.mark)
            self.faults.found.append(fault)
            failed = FailedFile.failed_again(
                self.failures.get(claimed.mark),
                team=team.team,
                work=WorkKind.INGEST,
                file=claimed.mark,
                unit=unit,
                error_code=fault.error.code,
                now=self.services.clock.now(),
            )
            failed_files.note(failed)
        if not faults and claimed.mark in self.failures:
            failed_files.forget(WorkKind.INGEST, team.team, [claimed.mark])
        return taken


def _take(services: Services, team: Team, file: LandingFile) -> IngestSummary:
    """Take one landing file in, whole; a duplicate, an empty file and an invalid one are removed or set aside."""
    agreed_now(services)
    report: list[Mapping[str, Any]] = []
    with_unknown = 0

    def take() -> Intake | None:
        nonlocal report, with_unknown
        report, with_unknown = [], 0  # an earlier try may have begun them
        # 1. Has another process, or an earlier run, taken the same content in?
        if services.catalog.landings.has_size(team.team, file.size_bytes) and _is_in(services, team, file):
            return None
        # 2. Parse, filter by the team's rules, write, and commit.
        intake = Intake(services=services, team=team)
        with discarding(intake.discard):
            for piece in file.pieces():
                report += piece.report
                with_unknown += piece.with_unknown
                intake.add(piece.items, FileKind.ITEMS)
                intake.add(piece.rejected, FileKind.REJECTED)
            intake.commit(file)
        return intake

    about = f"the keys or tombstones of team {team.team}"
    try:
        intake = replan(
            take,
            about=about,
            is_race=lambda error: is_outdated(error) and not isinstance(error, ClaimLost),
            again=lambda: services.keychain.forget(team.team),
        )
    except LandingEmpty:
        file.finish([])
        return IngestSummary(empty=1)
    except LandingInvalid as error:
        _set_aside(services, team, file, error)
        return IngestSummary(set_aside=1)
    except ClaimLost:
        file.release()
        return IngestSummary()  # this worker was paused for so long that another one took the file
    except BaseException:
        file.release()
        raise
    if intake is None:
        file.finish([])
        return IngestSummary(duplicates=1)
    # 3. Leave the report, and remove the plaintext.
    summary = _summary_of(intake, with_unknown=with_unknown)
    remarks = LandingRemarks(
        erased_before=summary.erased_before,
        kept_out=summary.kept_out,
        too_old=summary.too_old,
        returned_items=summary.returned_items,
        returned_people=summary.returned_people,
    )
    file.finish(report, remarks)
    return summary


def _summary_of(intake: Intake, *, with_unknown: int) -> IngestSummary:
    team = intake.team.team
    summary = IngestSummary(files=1, items=intake.items, rejected=intake.rejected, with_unknown=with_unknown)
    summary.erased_before, summary.kept_out, summary.too_old = intake.erased_before, intake.kept_out, intake.too_old
    for key, items in intake.returned.items():
        summary.returned[team, key] = items
    for sealed in intake.staged:
        if sealed.file.kind is FileKind.ITEMS:
            summary.partitions[team, sealed.file.day] += sealed.file.rows
    return summary


def _is_in(services: Services, team: Team, file: LandingFile) -> bool:
    """Tell whether items of the same content are in the vault already; content that was set aside may come again."""
    record = services.catalog.landings.seen(team.team, file.digest())
    if record is None or record.state is not LandingState.INGESTED:
        return False
    first, last = record.first_day or date.max, record.last_day or date.min

    def is_left() -> bool:
        days = [first + timedelta(days=number) for number in range((last - first).days + 1)]
        files = services.catalog.manifest.of_days(team.team, days)
        if record.batch_id is None:  # rejected text has no batch id: any rejected text of those days counts
            return any(each.kind is FileKind.REJECTED for each in files)
        return any(
            services.vault.has_batch(sealed, record.batch_id)
            for each in files
            if each.kind is FileKind.ITEMS
            for sealed in services.catalog.manifest.sealed([each])
        )

    try:
        if reread(is_left, about="the files", again=lambda: services.keychain.forget(team.team)):
            return True
    except (PlanOutdated, FileMissing, KeyMissing):
        return True  # It is not known, and content must not be taken in twice.
    # All its items are erased, and its sender has sent it again: it comes in as new.
    services.catalog.landings.forget(record)
    return False


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
    change = Change(
        team=team.team,
        planned_at=services.catalog.requests.newest_tombstone(team.team),
        committed_at=record.taken_at,
        landing=record,
    )
    # A race may lose the record. That is no harm, since it only informs: the file itself is sealed and kept.
    with suppress(PlanOutdated):
        services.catalog.manifest.commit(change)
    file.set_aside(error.facts)
