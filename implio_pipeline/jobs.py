"""The jobs of a home, in one table: the name of each, what starts it, what it runs and what it changes.

1. Two schedulers run the table and add no job of their own. Dagster gets a job and a sensor or schedule for each row
   (`orchestration/jobs.py`). Without Dagster, a loop beside the server goes through the same rows
   (`api/upkeep_process.py`).
2. A job may run at any time, twice, or after a crash: it finds its work in the catalog and in the watched folders.
3. Several workers may share one run of a job that says how (`Shared`): each does the same loop, and claims decide which
   of them does what (`flows/work.py`). So no job waits for another one either.
4. A report contains ids, codes and counts. Dagster stores it, so it must never contain personal data.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time, timedelta
from time import monotonic

from implio_pipeline.domain.audit import FILE_PARTS
from implio_pipeline.domain.epochs import is_epoch_over
from implio_pipeline.domain.faults import FailedFile
from implio_pipeline.domain.ids import TeamId
from implio_pipeline.domain.instants import instant_text
from implio_pipeline.domain.keys import is_rotation_due
from implio_pipeline.domain.request import OPEN_STATES, Request
from implio_pipeline.flows.access.export import purge_exports
from implio_pipeline.flows.clock import agreed_now
from implio_pipeline.flows.deletion.erase import erase
from implio_pipeline.flows.deletion.retention import count_overdue_files, retain
from implio_pipeline.flows.deletion.take_requests import TakenRequests, take_requests
from implio_pipeline.flows.faults import Faults
from implio_pipeline.flows.files.compact import compact, crowded_partitions, merge_small
from implio_pipeline.flows.files.ingest import failed_landings, ingest, marks_put_off
from implio_pipeline.flows.moderation.apply_decisions import apply_decisions, is_settling_due
from implio_pipeline.flows.moderation.send_webhooks import Deliverer, DeliverySummary, deliver_due
from implio_pipeline.flows.operations.audit import AuditReport, audit, note_audit
from implio_pipeline.flows.operations.epochs import epoch_open_since
from implio_pipeline.flows.operations.housekeep import SweepSummary, housekeep
from implio_pipeline.flows.operations.rotate_keys import (
    RotationSummary,
    begin_rotation,
    close_epoch,
    finish_rotation,
    renew_team_keys,
    rotate_keys,
)
from implio_pipeline.ports.landing import WaitingFiles
from implio_pipeline.ports.rows import Progress
from implio_pipeline.remedies import remedy_for_operators
from implio_pipeline.wiring import OpenHome

INGEST_LANDING = "ingest_landing"
CARRY_OUT_REQUESTS = "carry_out_requests"
RETENTION = "retention"
HOUSEKEEPING = "housekeeping"
SETTLE_VERDICTS = "settle_verdicts"
DELIVER_CALLBACKS = "deliver_callbacks"
KEY_ROTATION = "key_rotation"
CLOSE_EPOCHS = "close_epochs"
SELF_AUDIT = "self_audit"
MERGE_SMALL_FILES = "merge_small_files"

AUDIT_FINDINGS = "audit-findings"
EPOCH_NOT_OVER = "epoch-is-not-over"
ROTATION_OFF, ROTATION_NOT_DUE = "rotation-is-off", "rotation-is-not-due"
LOOK_REQUESTS = 100
"""Of how many requests it is asked how many files they may reach, before a run begins."""
LOOK_FILES, LOOK_SECONDS = 200, 10.0
"""How much of the inbox a sensor reads in one tick. The next tick or the job reads the rest. Dagster ends a tick
after 60 s."""

Partition = tuple[TeamId, date]


@dataclass(frozen=True, kw_only=True, slots=True)
class Every:
    """A job whose work is looked for every few seconds."""

    seconds: int


@dataclass(frozen=True, kw_only=True, slots=True)
class At:
    """A job that is due at a time of day, in UTC."""

    at: time
    weekday: int | None = None
    """Only on this day of the week; 7 is Sunday."""

    @property
    def cron(self) -> str:
        """The same time as five fields of cron."""
        return f"{self.at.minute} {self.at.hour} * * {'*' if self.weekday is None else self.weekday % 7}"

    def newest(self, now: datetime) -> datetime:
        """Return the newest instant, up to now, at which the job was due."""
        due = datetime.combine(now.astimezone(UTC).date(), self.at, UTC)
        while due > now or self.weekday not in (None, due.isoweekday()):
            due -= timedelta(days=1)
        return due


@dataclass(frozen=True, kw_only=True, slots=True)
class Batch:
    """Waiting work that one run does."""

    parts: tuple[str, ...]
    """Opaque texts that identify the work: the same work has the same parts."""
    team: TeamId | None = None
    """The team, for a job that runs once for each team."""
    pieces: int | None = None
    """About how many pieces of work it has, where that is known at once; otherwise `Shared.pieces` tells."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Backlog:
    """The work that waits for a job."""

    batches: tuple[Batch, ...] = ()
    """The most urgent first."""
    skip_reason: str = "nothing waits"
    """Shown when there is no batch."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Order:
    """How to run a job."""

    team: TeamId | None = None
    """Only this team, for a job that runs once for each team."""
    as_of: date | None = None
    """The UTC day for which a schedule started the run; `None` for a person or a sensor."""
    is_retry: bool = False
    """Whether an earlier attempt of the same run broke off."""
    progress: Progress = lambda _done, _total: None
    still_wanted: Callable[[], None] = lambda: None
    """Called between steps of work that reports no progress; raises when the run must stop."""
    is_patient: bool = False
    """Whether to wait at the end for other workers that are at the last pieces of the same work."""
    deliverer: Deliverer | None = None
    """Keeps delivering between runs of the loop; with `None`, a run waits for its own deliveries."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Failure:
    """One unit of work that failed."""

    unit: str
    code: str
    remedy: str
    team: TeamId | None = None
    day: date | None = None
    about: str | None = None
    """Opaque id of the file or request."""


@dataclass(kw_only=True, slots=True)
class Report:
    """What a run did."""

    counts: dict[str, int | str | list[str]] = field(default_factory=dict)
    partitions: set[Partition] = field(default_factory=set)
    """Partitions whose items have changed."""
    failures: list[Failure] = field(default_factory=list)
    may_retry: bool = False
    """Whether running the job again at once can help."""
    left: list[FailedFile] = field(default_factory=list)
    """Landing files that failed: retried later, or quarantined."""
    transient_codes: frozenset[str] = frozenset()
    """Codes of faults that are retried on their own. They do not fail the run, but deserve a line in a log."""
    audit: AuditReport | None = None

    def add_faults(self, faults: Faults, *, has_backoff: bool = False) -> None:
        """Add units that failed while the others went on.

        With a back-off of their own, running the job again at once would skip them, so `may_retry` stays as it is.
        """
        self.may_retry |= bool(faults) and not has_backoff
        self.failures += [
            Failure(
                unit=each.unit,
                code=each.error.code,
                remedy=remedy_for_operators(each.error),
                day=each.error.day,
                about=each.error.about,
            )
            for each in faults.found
        ]


@dataclass(frozen=True, kw_only=True, slots=True)
class Shared:
    """How several workers share one run of a job. Each part may run twice, or be killed at any point."""

    pieces: Callable[[OpenHome, Order], int]
    """Returns about how many pieces of work there are, in a bounded number of statements. Each costs some 25 ms."""
    work: Callable[[OpenHome, Order], Report]
    """What each of the workers does."""
    begin: Callable[[OpenHome, Order], Report] = lambda _opened, _order: Report()
    """What one process does before the workers begin."""
    end: Callable[[OpenHome, Order], Report] = lambda _opened, _order: Report()
    """What one process does when all workers have ended."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Job:
    """One row of the table."""

    name: str
    about: str
    wakes: Every | At
    trigger: str
    """Dagster's name for the sensor or schedule."""
    run: Callable[[OpenHome, Order], Report]
    waits: Callable[[OpenHome], Backlog] | None = None
    """Finds the work that waits; `None` for a job that always has work when it is due."""
    changes: tuple[str, ...] = ()
    """Names of the data assets that it changes."""
    checks: tuple[str, ...] = ()
    """Names of the asset checks that run after it."""
    shared: Shared | None = None
    """How several workers share a run; with `None`, one worker runs the job."""
    is_on_files: bool = True
    """Whether it works on files of items. A job that does not may wait for other machines, and must not delay a job
    that does."""
    is_urgent: bool = False
    """Whether a person waits for it. Urgent jobs go first."""


# What waits


def _landing_waits(opened: OpenHome) -> Backlog:
    """Return a batch for each team with waiting files. The team with the oldest file comes first."""
    now = agreed_now(opened)
    failures = failed_landings(opened)
    left = marks_put_off(failures, now=now)
    # A failed file has a back-off of its own, and a batch leaves it out until that ends, so a new file never waits for
    # a failed one. The failed files are part of the batch's identity: so it differs from the batch whose run failed,
    # and the back-off of that run does not apply.
    marks: dict[TeamId, list[str]] = {}
    for each in failures:
        if each.file in left:
            marks.setdefault(each.team, []).append(each.file)
    teams = opened.catalog.teams.regions()
    waiting = {team: found for team, found in opened.landing.waiting(but=left).items() if team in teams}
    return Backlog(
        batches=tuple(
            Batch(
                parts=(team, *(day.isoformat() for day in found.days), *sorted(marks.get(team, ()))),
                team=team,
                pieces=_pieces_of_files(found),
            )
            for team, found in sorted(waiting.items(), key=lambda each: each[1].days[0])
        )
    )


def _requests_wait(opened: OpenHome) -> Backlog:
    """Accept the request files of the inbox, then return one batch of all requests that are ready.

    Accepting hides items. It happens here because this is called every few seconds, but a run may wait for
    hours in the queue.
    """
    now, ends = agreed_now(opened), monotonic() + LOOK_SECONDS

    def is_enough(taken: TakenRequests) -> bool:
        return taken.files >= LOOK_FILES or monotonic() >= ends

    taken = take_requests(opened, is_enough=is_enough)
    ready = sorted(each.request_id for each in _ready_requests(opened, now=now))
    if ready:
        return Backlog(batches=(Batch(parts=tuple(ready)),))
    if taken.failed:
        codes = ", ".join(f"{code}: {count}" for code, count in sorted(taken.failed.items()))
        return Backlog(skip_reason=f"request files that could not be read are retried: {codes}")
    return Backlog(skip_reason="no request waits")


def _ready_requests(opened: OpenHome, *, now: datetime) -> list[Request]:
    return [each for each in opened.catalog.requests.all(states=OPEN_STATES) if each.is_ready(now=now)]


def _verdicts_wait(opened: OpenHome) -> Backlog:
    since = opened.catalog.moderation.unsettled_since(now=agreed_now(opened))
    if since is None or not is_settling_due(opened, waits=opened.settle_waits):
        return Backlog(skip_reason="no verdict has waited long enough")
    return Backlog(batches=(Batch(parts=(SETTLE_VERDICTS, instant_text(since))),))


def _callbacks_wait(opened: OpenHome) -> Backlog:
    teams: Sequence[str] = opened.catalog.callbacks.teams_due(now=opened.clock.now())
    if not teams:
        return Backlog(skip_reason="nothing is due")
    return Backlog(batches=(Batch(parts=(DELIVER_CALLBACKS, *teams)),))


def _rotation_waits(opened: OpenHome) -> Backlog:
    if not opened.settings.rotate_keys_days:
        return Backlog(skip_reason=ROTATION_OFF)
    if not _is_rotation_due(opened):
        return Backlog(skip_reason=ROTATION_NOT_DUE)
    return Backlog(batches=(Batch(parts=(KEY_ROTATION,)),))


def _epoch_waits(opened: OpenHome) -> Backlog:
    since = epoch_open_since(opened)
    if since is None or not is_epoch_over(since, length=opened.epoch_length, now=agreed_now(opened)):
        return Backlog(skip_reason=EPOCH_NOT_OVER)
    return Backlog(batches=(Batch(parts=(CLOSE_EPOCHS, instant_text(since))),))


def _is_rotation_due(opened: OpenHome) -> bool:
    since = opened.catalog.teams.rotating_since()
    return is_rotation_due(since, days=opened.settings.rotate_keys_days, now=opened.clock.now())


# How much waits, which decides how many workers share a run


PIECES_A_WORKER = 64
"""With fewer pieces another worker would cost more than it helps. A step of Dagster costs seconds, a piece 25 ms
(measured)."""


def workers_for(pieces: int, *, most: int) -> int:
    """Return how many workers should share a run: as many as its work is worth, and at most so many.

    Args:
        pieces: About how many pieces of work there are, one after the other. What a worker does with several threads at
            once is one piece.
        most: The home's setting `workers.most`.
    """
    return max(1, min(most, pieces // PIECES_A_WORKER))


_PIECE_BYTES = 200_000
"""So many bytes of a landing file take as long as a piece of other work (measured: 8 MB take a second)."""


def _pieces_of_files(waiting: WaitingFiles) -> int:
    """A file is a piece, and so is each 200 kB. One thread takes a file, so a single one is worth no second worker."""
    return min(PIECES_A_WORKER * waiting.files, waiting.files + waiting.size_bytes // _PIECE_BYTES)


def _pieces_of_landing(opened: OpenHome, order: Order) -> int:
    left = marks_put_off(failed_landings(opened), now=opened.clock.now())
    waiting = opened.landing.waiting(but=left)
    return (
        sum(_pieces_of_files(found) for team, found in waiting.items() if order.team in (None, team)) // opened.threads
    )


def _pieces_of_requests(opened: OpenHome, _order: Order) -> int:
    """Return an upper bound, where each item may be in a file of its own; counted no further than it matters."""
    ready = _ready_requests(opened, now=opened.clock.now())
    files, enough = sum(each.covered_items for each in ready), PIECES_A_WORKER * opened.threads * opened.workers
    # What a request of a whole team, of retention or without a cap covers was not counted when it was accepted.
    unknown = [each for each in ready if not each.covered_items][:LOOK_REQUESTS]
    in_force = opened.catalog.requests.tombstones_of([each.request_id for each in unknown])
    for each in unknown:
        if files >= enough:
            break
        if each.request_id in in_force:
            files += opened.catalog.manifest.most_files(each.team, in_force[each.request_id].rule)
    return files // opened.threads


def _pieces_of_verdicts(opened: OpenHome, _order: Order) -> int:
    """Return an upper bound, where each verdict is on an item in a file of its own."""
    return opened.catalog.moderation.count_unsettled(now=opened.clock.now())


def _pieces_of_retention(opened: OpenHome, order: Order) -> int:
    files = count_overdue_files(opened, today=_due_on(opened, order))
    return files // opened.threads + _pieces_of_requests(opened, order)


def _pieces_of_merging(opened: OpenHome, _order: Order) -> int:
    return sum(each.files for each in crowded_partitions(opened.catalog.manifest, opened.settings.rows_per_file))


def _pieces_of_rotation(opened: OpenHome, _order: Order) -> int:
    """A hundred files are a piece, since no file is written; a worker takes whole teams."""
    teams = len(opened.catalog.teams.regions())
    files = sum(each.files for each in opened.catalog.manifest.partitions())
    return min(teams * PIECES_A_WORKER, teams + files // 100)


# What a run does


def _ingest_landing(opened: OpenHome, order: Order) -> Report:
    faults = Faults()
    teams = None if order.team is None else [order.team]
    done = ingest(opened, teams=teams, faults=faults, progress=lambda _: order.still_wanted())
    report = Report(partitions=set(done.partitions), left=failed_landings(opened, teams=teams))
    report.add_faults(faults, has_backoff=True)
    report.counts |= {
        "landing_files_quarantined": sum(each.is_quarantined for each in report.left),
        "landing_files": done.files,
        "duplicates": done.duplicates,
        "set_aside": done.set_aside,
        "items_added": done.items,
        "items_rejected": done.rejected,
        "items_erased_before": done.erased_before,
        "items_kept_out": done.kept_out,
        "items_too_old": done.too_old,
        "items_with_unknown_properties": done.with_unknown,
        "empty_files": done.empty,
        "items_of_people_erased_before": done.returned_items,
        "people_erased_before": done.returned_people,
    }
    return report


def _carry_out_requests(opened: OpenHome, order: Order) -> Report:
    taken = take_requests(opened)
    report = Report()
    report.counts |= {
        "request_files": taken.files,
        "hidden_by_this_run": len(taken.accepted),
        "refused_by_this_run": taken.refused,
        "request_files_failed": taken.failed.total(),
    }
    _erase(opened, order, report)
    return report


def _apply_retention(opened: OpenHome, order: Order) -> Report:
    as_of = _due_on(opened, order)
    faults, report = Faults(), Report()
    accepted = retain(opened, today=as_of, faults=faults)
    report.counts |= {"as_of": as_of.isoformat(), "hidden_by_this_run": len(accepted)}
    _erase(opened, order, report)
    report.add_faults(faults)
    return report


def _due_on(opened: OpenHome, order: Order) -> date:
    """Return the UTC day for which retention runs. A future day would erase items too early."""
    today = opened.clock.now().date()
    return today if order.as_of is None else min(order.as_of, today)


def _erase(opened: OpenHome, order: Order, report: Report) -> None:
    """Erase what every ready request asks for, and add the result to a report."""
    done = erase(opened, progress=order.progress, is_patient=order.is_patient)
    report.partitions |= done.partitions
    report.counts |= {
        "receipts_written": len(done.completed),
        "requests_failed": len(done.failures),
        "requests_held_back": len(done.withheld),
        "items_erased": done.items_erased,
        "files_rewritten": done.files_rewritten,
        "files_dropped": done.files_dropped,
        "files_discarded": done.files_discarded,
        "requests_in_other_workers": len(done.in_work),
    }
    # A request has its own back-off, so `may_retry` stays as it is: a run at once would skip it.
    remedy = "Run `implio requests list` to see what it needs. It stays hidden, and is retried when that can help."
    report.failures += [
        Failure(
            unit=f"request {request_id}", code=each.code, remedy=remedy, team=each.team, day=each.day, about=each.about
        )
        for request_id, each in done.failures.items()
    ]


def _settle_verdicts(opened: OpenHome, order: Order) -> Report:
    faults, report = Faults(), Report()
    done = apply_decisions(opened, faults=faults, progress=order.progress)
    report.counts |= {"verdicts": done.verdicts, "files": done.files, "lost": done.lost}
    report.add_faults(faults, has_backoff=True)
    return report


def _deliver_callbacks(opened: OpenHome, order: Order) -> Report:
    done: DeliverySummary
    done = deliver_due(opened, opened.webhook_client) if order.deliverer is None else order.deliverer.begin()
    # Each delivery has its own back-off, so a receiver that does not answer fails no run.
    report = Report(transient_codes=frozenset(done.failed.values()))
    report.counts |= {
        "delivered": done.delivered,
        "put_off": done.put_off,
        "given_up": done.given_up,
        "cancelled": done.cancelled,
        "teams_failed": len(done.failed),
    }
    return report


@dataclass(kw_only=True, slots=True)
class Tidied:
    """What housekeeping discarded, in counts."""

    sweep: SweepSummary
    set_aside: int = 0
    reports: int = 0
    exports: int = 0


def tidy(opened: OpenHome, faults: Faults) -> Tidied:
    """Delete files that nothing refers to, and discard what has been kept for its time."""
    done = Tidied(sweep=housekeep(opened, feed_keeps=opened.feed_keeps, faults=faults))
    before = opened.clock.now() - timedelta(days=opened.settings.set_aside_days)
    with faults.isolate("files set aside"):
        done.set_aside = len(opened.set_aside.expire(before))
    with faults.isolate("reports"):
        done.reports = opened.leftovers.expire_reports(before=before)
    done.exports = purge_exports(opened, opened.exports, faults)
    return done


def _keep_house(opened: OpenHome, order: Order) -> Report:
    # Merge first: the files that merging replaces are then deleted by the same run.
    merged, tidied = _merge_files(opened, order), _tidy(opened, order)
    merged.counts |= tidied.counts
    merged.failures += tidied.failures
    merged.may_retry |= tidied.may_retry
    return merged


def _merge_files(opened: OpenHome, order: Order) -> Report:
    faults, report = Faults(), Report()
    merged = compact(opened, rows_per_file=opened.settings.rows_per_file, faults=faults, progress=order.progress)
    report.counts |= {
        "partitions": merged.partitions,
        "files_before": merged.files_before,
        "files_after": merged.files_after,
        "skipped": merged.skipped,
    }
    report.add_faults(faults)
    return report


def _tidy(opened: OpenHome, _order: Order) -> Report:
    faults, report = Faults(), Report()
    done = tidy(opened, faults)
    report.counts |= {
        "replaced": done.sweep.unlinked,
        "strays": done.sweep.strays,
        "leftovers": done.sweep.leftovers,
        "verdicts_forgotten": done.sweep.verdicts,
        "set_aside_discarded": done.set_aside,
        "reports_discarded": done.reports,
        "exports_discarded": done.exports,
    }
    report.add_faults(faults)
    return report


def _merge_small_files(opened: OpenHome, order: Order) -> Report:
    settings = opened.settings
    done = merge_small(
        opened,
        rows_per_file=settings.rows_per_file,
        from_files=settings.api.merge_from_files,
        progress=order.progress,
    )
    return Report(counts={"files_before": done.files_before, "files_after": done.files_after})


def _rotate_keys(opened: OpenHome, order: Order) -> Report:
    faults = Faults()
    if _wants_new_keys(opened, order):
        done = rotate_keys(opened, faults=faults, progress=order.progress)
    else:
        done = finish_rotation(opened, faults=faults)
    return _rotated(done, faults)


def _wants_new_keys(opened: OpenHome, order: Order) -> bool:
    # A person who starts the job wants new keys now. A schedule wants them only when they are due. In both cases, a
    # rotation that broke off is finished without renewing every key a second time.
    return _is_rotation_due(opened) or (order.as_of is None and not order.is_retry)


def _begin_rotation(opened: OpenHome, order: Order) -> Report:
    faults, report = Faults(), Report()
    if _wants_new_keys(opened, order):
        begin_rotation(opened, faults=faults)
    report.add_faults(faults, has_backoff=True)
    return report


def _renew_team_keys(opened: OpenHome, order: Order) -> Report:
    faults = Faults()
    return _rotated(renew_team_keys(opened, faults=faults, progress=order.progress), faults)


def _end_rotation(opened: OpenHome, _order: Order) -> Report:
    faults = Faults()
    return _rotated(finish_rotation(opened, faults=faults), faults)


def _rotated(done: RotationSummary, faults: Faults) -> Report:
    report = Report()
    report.counts |= {
        "teams": done.teams,
        "files_rewrapped": done.files,
        "team_keys_destroyed": len(done.team_keys_destroyed),
        "root_keys_destroyed": len(done.root_keys_destroyed),
        "key_ids_destroyed": sorted({*done.team_keys_destroyed, *done.root_keys_destroyed}),
    }
    # No retry at once: it would only finish what was begun, and so hide a region whose keys are still the old ones.
    report.add_faults(faults, has_backoff=True)
    return report


def _close_epochs(opened: OpenHome, order: Order) -> Report:
    faults, report = Faults(), Report()
    done = close_epoch(opened, faults=faults, progress=order.progress)
    report.counts |= {
        "teams": done.teams,
        "files_rewrapped": done.files,
        "root_keys_destroyed": len(done.root_keys_destroyed),
        "epochs_destroyed": done.epochs_destroyed,
    }
    report.add_faults(faults)
    return report


def _audit_all(opened: OpenHome, order: Order) -> Report:
    found = audit(opened, is_full=True, progress=order.progress)
    note_audit(opened, found)
    return _audited(found)


def audit_partition(opened: OpenHome, partition: Partition) -> Report:
    """Read the files of one partition and no others.

    Raises:
        TeamUnknown: There is no such team.
    """
    opened.catalog.teams.get(partition[0])
    return _audited(audit(opened, parts=FILE_PARTS, is_full=True, only=partition))


def _audited(found: AuditReport) -> Report:
    """Return the report of an audit; every finding is a failure, so that somebody looks at it."""
    report = Report(audit=found)
    report.counts |= {
        "files": found.files,
        "files_read": found.files_read,
        "rows_read": found.rows_read,
        "hidden_rows": found.hidden_rows,
        "tombstones": found.tombstones,
        "receipts": found.receipts,
        "findings": len(found.findings),
        **{f"findings_{kind.value}": count for kind, count in found.by_kind.items()},
    }
    report.failures += [
        Failure(
            unit=f"{each.kind.value}: {each.words}",
            code=AUDIT_FINDINGS,
            remedy="Run `implio audit --full`; it names every finding.",
            team=each.team,
            about=each.about,
        )
        for each in found.findings
    ]
    return report


# The table


_REQUESTS = ("deletion_requests", "retention_requests", "erasure_receipts")

JOBS: tuple[Job, ...] = (
    Job(
        name=INGEST_LANDING,
        about="Ingests the landing files that wait, of one team or of all.",
        wakes=Every(seconds=15),
        trigger="landing_sensor",
        waits=_landing_waits,
        run=_ingest_landing,
        changes=("content_items", "moderation_queue"),
        checks=("encrypted_under_live_keys",),
        shared=Shared(pieces=_pieces_of_landing, work=_ingest_landing),
    ),
    Job(
        name=CARRY_OUT_REQUESTS,
        about="Accepts requests from the inbox; erases, verifies, destroys keys, writes receipts.",
        wakes=Every(seconds=3),
        trigger="requests_sensor",
        waits=_requests_wait,
        run=_carry_out_requests,
        changes=("content_items", "moderation_queue", *_REQUESTS),
        checks=("no_survivors", "no_request_past_due"),
        shared=Shared(pieces=_pieces_of_requests, work=_carry_out_requests),
        is_urgent=True,
    ),
    Job(
        name=SETTLE_VERDICTS,
        about="Writes verdicts into the files of their items when the oldest has waited long enough.",
        wakes=Every(seconds=60),
        trigger="settle_sensor",
        waits=_verdicts_wait,
        run=_settle_verdicts,
        shared=Shared(pieces=_pieces_of_verdicts, work=_settle_verdicts),
    ),
    Job(
        name=DELIVER_CALLBACKS,
        about="Calls teams' servers about decisions and completed deletions.",
        wakes=Every(seconds=5),
        trigger="deliver_sensor",
        waits=_callbacks_wait,
        run=_deliver_callbacks,
        is_on_files=False,
    ),
    Job(
        name=KEY_ROTATION,
        about="Renews all keys and destroys the old ones, so that older backups cannot be read.",
        wakes=At(at=time(1, 15)),
        trigger="rotation_when_due",
        waits=_rotation_waits,
        run=_rotate_keys,
        shared=Shared(pieces=_pieces_of_rotation, begin=_begin_rotation, work=_renew_team_keys, end=_end_rotation),
    ),
    Job(
        name=CLOSE_EPOCHS,
        about="Makes deleted keys useless where the database keeps copies of deleted rows.",
        wakes=Every(seconds=300),
        trigger="epoch_sensor",
        waits=_epoch_waits,
        run=_close_epochs,
    ),
    Job(
        name=RETENTION,
        about="Erases items that the retention policies no longer allow.",
        wakes=At(at=time(2, 15)),
        trigger="retention_daily",
        run=_apply_retention,
        changes=("content_items", "moderation_queue", *_REQUESTS),
        checks=("no_survivors", "nothing_overdue"),
        shared=Shared(pieces=_pieces_of_retention, work=_apply_retention),
    ),
    Job(
        name=HOUSEKEEPING,
        about="Merges small files, deletes strays, discards expired exports and set-aside files.",
        wakes=At(at=time(4, 15)),
        trigger="housekeeping_daily",
        run=_keep_house,
        shared=Shared(pieces=_pieces_of_merging, work=_merge_files, end=_tidy),
    ),
    Job(
        name=SELF_AUDIT,
        about="Compares files, catalog, keys, storage and ledger; a finding fails the run.",
        wakes=At(at=time(5, 15), weekday=7),
        trigger="audit_weekly",
        run=_audit_all,
    ),
)
"""All jobs, in the order in which the loop runs them."""


_SERVERS_OWN = Job(
    name=MERGE_SMALL_FILES,
    about="Merges the small files that posts make.",
    wakes=Every(seconds=30),
    trigger="the server's commits",
    run=_merge_small_files,
)
"""Only the server runs it, because only the server knows when posts have made enough small files."""


def job_of(name: str) -> Job:
    """Return a job by its name."""
    return next(job for job in (*JOBS, _SERVERS_OWN) if job.name == name)
