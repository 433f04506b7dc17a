"""The jobs of a home, in one table: what each is called, what wakes it, what it runs, what it changes.

Two run them, and neither adds anything of its own. Dagster makes a job and a sensor or a schedule of each row
(`orchestration/jobs.py`). Where no Dagster runs, a loop beside the server looks at the same rows
(`api/upkeep_process.py`).

A job may be run at any time, twice, or after a crash: what it has to do is derived from the catalog and the folders.
"""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time, timedelta
from time import monotonic

from implio_pipeline.domain.audit import FILE_PARTS
from implio_pipeline.domain.faults import FailedFile
from implio_pipeline.domain.ids import TeamId
from implio_pipeline.domain.instants import instant_text
from implio_pipeline.domain.keys import is_rotation_due
from implio_pipeline.domain.request import OPEN_STATES
from implio_pipeline.flows.access.export import purge_exports
from implio_pipeline.flows.clock import agreed_now
from implio_pipeline.flows.deletion.erase import erase
from implio_pipeline.flows.deletion.retention import retain
from implio_pipeline.flows.deletion.take_requests import TakenRequests, take_requests
from implio_pipeline.flows.faults import Faults
from implio_pipeline.flows.files.compact import compact, merge_small
from implio_pipeline.flows.files.ingest import failed_landings, ingest, put_off
from implio_pipeline.flows.moderation.apply_decisions import apply_decisions, is_settling_due
from implio_pipeline.flows.moderation.send_webhooks import Deliverer, DeliverySummary, deliver_due
from implio_pipeline.flows.operations.audit import AuditReport, audit, note_audit
from implio_pipeline.flows.operations.housekeep import SweepSummary, housekeep
from implio_pipeline.flows.operations.rotate_keys import finish_rotation, rotate_keys
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
SELF_AUDIT = "self_audit"
MERGE_SMALL_FILES = "merge_small_files"

AUDIT_FINDINGS = "audit-findings"
ROTATION_OFF, ROTATION_NOT_DUE = "rotation-is-off", "rotation-is-not-due"
LOOK_FILES, LOOK_SECONDS = 200, 10.0
"""What one look takes from the inbox; the rest is for the next, or for the job. Dagster ends a tick after 60 s."""

Partition = tuple[TeamId, date]


@dataclass(frozen=True, kw_only=True, slots=True)
class Every:
    """Looked at again and again."""

    seconds: int


@dataclass(frozen=True, kw_only=True, slots=True)
class At:
    """Due at a time of day, UTC."""

    at: time
    weekday: int | None = None
    """On this day of the week alone, 7 for Sunday."""

    @property
    def cron(self) -> str:
        """The same as five fields of cron."""
        return f"{self.at.minute} {self.at.hour} * * {'*' if self.weekday is None else self.weekday % 7}"

    def newest(self, now: datetime) -> datetime:
        """Return the newest instant, up to now, at which it was due."""
        due = datetime.combine(now.astimezone(UTC).date(), self.at, UTC)
        while due > now or self.weekday not in (None, due.isoweekday()):
            due -= timedelta(days=1)
        return due


@dataclass(frozen=True, kw_only=True, slots=True)
class Batch:
    """Work that waits and that one run does."""

    parts: tuple[str, ...]
    """Opaque; the same work has the same parts."""
    team: TeamId | None = None
    """Whose it is, where each team's is a run of its own."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Waiting:
    """What a job finds when it is looked at."""

    batches: tuple[Batch, ...] = ()
    """The most urgent first."""
    why_none: str = "nothing waits"


@dataclass(frozen=True, kw_only=True, slots=True)
class Order:
    """How a job is to be run."""

    team: TeamId | None = None
    """For this team alone, where the job works team by team."""
    as_of: date | None = None
    """The UTC day a schedule was due; `None` where a person or a sensor asked."""
    is_again: bool = False
    """Whether a first try of the same run broke off."""
    progress: Progress = lambda _done, _total: None
    still_wanted: Callable[[], None] = lambda: None
    """Asked between two steps of work that counts none; raises when nobody wants it any more."""
    deliverer: Deliverer | None = None
    """Who goes on delivering over many runs of the loop; where it is `None`, a run waits for its own deliveries."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Trouble:
    """One unit of work that failed, in ids, days and codes."""

    unit: str
    code: str
    remedy: str
    team: TeamId | None = None
    day: date | None = None
    about: str | None = None


@dataclass(kw_only=True, slots=True)
class Report:
    """What a run did. All of it may be stored anywhere: ids, codes and counts."""

    counts: dict[str, int | str | list[str]] = field(default_factory=dict)
    partitions: set[Partition] = field(default_factory=set)
    """Partitions of items that have other rows than before."""
    troubles: list[Trouble] = field(default_factory=list)
    may_try_again: bool = False
    """Whether to run it again at once can help."""
    left: list[FailedFile] = field(default_factory=list)
    """Landing files that are left for later, and those that are quarantined."""
    codes: frozenset[str] = frozenset()
    """What went wrong and is tried again by itself: no trouble, but worth a line in a log."""
    audit: AuditReport | None = None

    def note(self, faults: Faults, *, has_backoff: bool = False) -> None:
        """Take over what single units failed of; to run again would pass over those that have a back-off."""
        self.may_try_again |= bool(faults) and not has_backoff
        for each in faults.found:
            error = each.error
            self.troubles.append(
                Trouble(
                    unit=each.unit,
                    code=error.code,
                    remedy=remedy_for_operators(error),
                    day=error.day,
                    about=error.about,
                )
            )


@dataclass(frozen=True, kw_only=True, slots=True)
class Job:
    """One row of the table."""

    name: str
    about: str
    wakes: Every | At
    waker: str
    """What Dagster calls the sensor or schedule."""
    run: Callable[[OpenHome, Order], Report]
    waits: Callable[[OpenHome], Waiting] | None = None
    """What there is to do; `None` where a job that is due has something to do in any case."""
    changes: tuple[str, ...] = ()
    """Names of the data that it changes."""
    proves: tuple[str, ...] = ()
    """Names of the checks that are made after it."""
    alone: str | None = None
    """Of the jobs with the same word here one runs at a time."""
    is_on_files: bool = True
    """Whether it works on items' files; what does not waits for other machines, and must hold up none that does."""
    is_urgent: bool = False
    """Whether a person waits for it: it goes before what only waits."""


def ingest_landing(opened: OpenHome, order: Order) -> Report:
    """Take in what waits in landing folders."""
    faults = Faults()
    teams = None if order.team is None else [order.team]
    done = ingest(opened.services, teams=teams, faults=faults, progress=lambda _: order.still_wanted())
    report = Report(partitions=set(done.partitions), left=failed_landings(opened.services, teams=teams))
    report.note(faults, has_backoff=True)
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


def carry_out_requests(opened: OpenHome, order: Order) -> Report:
    """Accept what is in the inbox, then erase what every request that is ready asks for."""
    taken = take_requests(opened.services)
    report = Report()
    report.counts |= {
        "request_files": taken.files,
        "hidden_by_this_run": len(taken.accepted),
        "refused_by_this_run": taken.refused,
        "request_files_failed": taken.failed.total(),
    }
    _erase(opened, order, report)
    return report


def apply_retention(opened: OpenHome, order: Order) -> Report:
    """Ask for what policies no longer allow, and erase it."""
    today = opened.services.clock.now().date()
    as_of = today if order.as_of is None else min(order.as_of, today)  # never a day that has not come
    faults, report = Faults(), Report()
    accepted = retain(opened.services, today=as_of, faults=faults)
    report.counts |= {"as_of": as_of.isoformat(), "hidden_by_this_run": len(accepted)}
    _erase(opened, order, report)
    report.note(faults)
    return report


def _erase(opened: OpenHome, order: Order, report: Report) -> None:
    done = erase(opened.services, progress=order.progress)
    report.partitions |= done.partitions
    report.counts |= {
        "receipts_written": len(done.completed),
        "requests_failed": len(done.failures),
        "requests_held_back": len(done.withheld),
        "items_erased": done.items_erased,
        "files_rewritten": done.files_rewritten,
        "files_dropped": done.files_dropped,
    }
    # Each has its own back-off: to run the job again at once would not try it.
    remedy = "Run `implio requests list` to see what it needs. It stays hidden, and what can be tried again is."
    report.troubles += [
        Trouble(
            unit=f"request {request_id}", code=each.code, remedy=remedy, team=each.team, day=each.day, about=each.about
        )
        for request_id, each in done.failures.items()
    ]


def settle_verdicts(opened: OpenHome, order: Order) -> Report:
    """Write verdicts into the files of their items."""
    faults, report = Faults(), Report()
    done = apply_decisions(opened.services, faults=faults, progress=order.progress)
    report.counts |= {"verdicts": done.verdicts, "files": done.files, "lost": done.lost}
    report.note(faults, has_backoff=True)
    return report


def deliver_callbacks(opened: OpenHome, order: Order) -> Report:
    """Tell teams' servers what they are still to be told; each delivery keeps its own back-off."""
    done: DeliverySummary
    done = deliver_due(opened.services, opened.webhook_client) if order.deliverer is None else order.deliverer.begin()
    report = Report(codes=frozenset(done.failed.values()))
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
    """Unlink what nothing refers to, and discard what is kept for a time and is too old."""
    done = Tidied(sweep=housekeep(opened.services, feed_keeps=opened.feed_keeps, faults=faults))
    before = opened.services.clock.now() - timedelta(days=opened.settings.set_aside_days)
    with faults.isolate("files set aside"):
        done.set_aside = len(opened.set_aside.expire(before))
    with faults.isolate("reports"):
        done.reports = opened.services.leftovers.expire_reports(before=before)
    done.exports = purge_exports(opened.services, opened.exports, faults)
    return done


def keep_house(opened: OpenHome, order: Order) -> Report:
    """Merge the small files that late arrivals leave, then tidy."""
    faults, report = Faults(), Report()
    merged = compact(
        opened.services, rows_per_file=opened.settings.rows_per_file, faults=faults, progress=order.progress
    )
    done = tidy(opened, faults)
    report.counts |= {
        "partitions": merged.partitions,
        "files_before": merged.files_before,
        "files_after": merged.files_after,
        "skipped": merged.skipped,
        "replaced": done.sweep.doomed,
        "strays": done.sweep.strays,
        "leftovers": done.sweep.leftovers,
        "verdicts_forgotten": done.sweep.verdicts,
        "set_aside_discarded": done.set_aside,
        "reports_discarded": done.reports,
        "exports_discarded": done.exports,
    }
    report.note(faults)
    return report


def merge_small_files(opened: OpenHome, order: Order) -> Report:
    """Merge the small files of every partition that has many."""
    settings = opened.settings
    done = merge_small(
        opened.services,
        rows_per_file=settings.rows_per_file,
        from_files=settings.api.merge_from_files,
        progress=order.progress,
    )
    return Report(counts={"files_before": done.files_before, "files_after": done.files_after})


def rotate(opened: OpenHome, order: Order) -> Report:
    """Renew every key and destroy the old ones; what a schedule asks for only when due, what broke off is finished."""
    faults, report = Faults(), Report()
    if _is_rotation_due(opened) or (order.as_of is None and not order.is_again):
        done = rotate_keys(opened.services, faults=faults, progress=order.progress)
    else:
        done = finish_rotation(opened.services, faults=faults)
    report.counts |= {
        "teams": done.teams,
        "files_rewrapped": done.files,
        "team_keys_destroyed": len(done.team_keys_destroyed),
        "root_keys_destroyed": len(done.root_keys_destroyed),
        "seal_keys_waiting": done.seal_keys_waiting,
        "key_ids_destroyed": sorted({*done.team_keys_destroyed, *done.root_keys_destroyed}),
    }
    report.note(faults)
    return report


def audit_all(opened: OpenHome, order: Order) -> Report:
    """Read every file, compare it with catalog, keys, storage and ledger, and note in the ledger that it was done."""
    found = audit(opened.services, is_full=True, progress=order.progress)
    note_audit(opened.services, found)
    return audited(found)


def audit_partition(opened: OpenHome, partition: Partition) -> Report:
    """Read the files of one partition and no others.

    Raises:
        TeamUnknown: there is no such team.
    """
    opened.services.catalog.teams.get(partition[0])
    return audited(audit(opened.services, parts=FILE_PARTS, is_full=True, only=partition))


def audited(found: AuditReport) -> Report:
    """Return what an audit found; any finding is trouble, so that somebody looks."""
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
    report.troubles += [
        Trouble(
            unit=f"{each.kind.value}: {each.words}",
            code=AUDIT_FINDINGS,
            remedy=_NAMES_ALL,
            team=each.team,
            about=each.about,
        )
        for each in found.findings
    ]
    return report


_NAMES_ALL = "Run `implio audit --full`; it names every finding."


def _landing_waits(opened: OpenHome) -> Waiting:
    """Return a batch for each team with files waiting; whose file came first goes first."""
    now = agreed_now(opened.services)
    failures = failed_landings(opened.services)
    left = put_off(failures, now=now)
    # A file that failed has a back-off of its own and is in no batch meanwhile, so a new file waits for no failed run.
    marks: dict[TeamId, list[str]] = {}
    for each in failures:
        if each.file in left:
            marks.setdefault(each.team, []).append(each.file)
    teams = {team.team for team in opened.services.catalog.teams.all()}
    waiting = {team: days for team, days in opened.services.landing.waiting(but=left).items() if team in teams}
    return Waiting(
        batches=tuple(
            Batch(parts=(team, *(day.isoformat() for day in days), *sorted(marks.get(team, ()))), team=team)
            for team, days in sorted(waiting.items(), key=lambda each: each[1][0])
        )
    )


def _requests_wait(opened: OpenHome) -> Waiting:
    """Accept what is in the inbox, then return one batch of all requests that are ready.

    Hiding does not wait for a run, which may be hours away; a look is seconds away.
    """
    now = agreed_now(opened.services)
    taken = take_requests(opened.services, is_enough=_budget(LOOK_SECONDS))
    open_requests = opened.services.catalog.requests.all(states=OPEN_STATES)
    ready = sorted(each.request_id for each in open_requests if each.is_ready(now=now))
    if ready:
        return Waiting(batches=(Batch(parts=tuple(ready)),))
    return Waiting(why_none=_failed_text(taken.failed) if taken.failed else "no request waits")


def _budget(seconds: float) -> Callable[[TakenRequests], bool]:
    """Return what says that a look has taken enough: after so many files or seconds, whichever comes first."""
    ends = monotonic() + seconds
    return lambda taken: taken.files >= LOOK_FILES or monotonic() >= ends


def _failed_text(failed: Counter[str]) -> str:
    """Say why files could not be taken, in codes and counts."""
    codes = ", ".join(f"{code}: {count}" for code, count in sorted(failed.items()))
    return f"request files that could not be taken are tried again: {codes}"


def _verdicts_wait(opened: OpenHome) -> Waiting:
    since = opened.services.catalog.moderation.unsettled_since(now=agreed_now(opened.services))
    if since is None or not is_settling_due(opened.services, waits=opened.settle_waits):
        return Waiting(why_none="no verdict has waited long enough")
    return Waiting(batches=(Batch(parts=(SETTLE_VERDICTS, instant_text(since))),))


def _callbacks_wait(opened: OpenHome) -> Waiting:
    teams: Sequence[str] = opened.services.catalog.callbacks.teams_due(now=opened.services.clock.now())
    return Waiting(batches=(Batch(parts=(DELIVER_CALLBACKS, *teams)),)) if teams else Waiting(why_none="nothing is due")


def _rotation_waits(opened: OpenHome) -> Waiting:
    if not opened.settings.rotate_keys_days:
        return Waiting(why_none=ROTATION_OFF)
    return (
        Waiting(batches=(Batch(parts=(KEY_ROTATION,)),))
        if _is_rotation_due(opened)
        else Waiting(why_none=ROTATION_NOT_DUE)
    )


def _is_rotation_due(opened: OpenHome) -> bool:
    keys = opened.services.catalog.teams.keys()
    return is_rotation_due(keys, days=opened.settings.rotate_keys_days, now=opened.services.clock.now())


_REQUESTS = ("deletion_requests", "retention_requests", "erasure_receipts")

JOBS: tuple[Job, ...] = (
    Job(
        name=INGEST_LANDING,
        about="Takes in what waits in the landing folders, of one team or of all.",
        wakes=Every(seconds=15),
        waker="landing_sensor",
        waits=_landing_waits,
        run=ingest_landing,
        changes=("content_items", "moderation_queue"),
        proves=("encrypted_under_live_keys",),
    ),
    Job(
        name=CARRY_OUT_REQUESTS,
        about="Accepts the requests in the inbox, erases, verifies, shreds, and writes receipts.",
        wakes=Every(seconds=3),
        waker="requests_sensor",
        waits=_requests_wait,
        run=carry_out_requests,
        changes=("content_items", "moderation_queue", *_REQUESTS),
        proves=("no_survivors", "no_request_past_due"),
        alone="erasure",
        is_urgent=True,
    ),
    Job(
        name=SETTLE_VERDICTS,
        about="Writes moderators' verdicts into the files of their items once the oldest has waited long enough.",
        wakes=Every(seconds=60),
        waker="settle_sensor",
        waits=_verdicts_wait,
        run=settle_verdicts,
    ),
    Job(
        name=DELIVER_CALLBACKS,
        about="Tells teams' servers of decisions and completed deletions when it is due.",
        wakes=Every(seconds=5),
        waker="deliver_sensor",
        waits=_callbacks_wait,
        run=deliver_callbacks,
        is_on_files=False,
    ),
    Job(
        name=KEY_ROTATION,
        about="Renews all keys and destroys the old ones, so that older backups open nothing any more.",
        wakes=At(at=time(1, 15)),
        waker="rotation_when_due",
        waits=_rotation_waits,
        run=rotate,
    ),
    Job(
        name=RETENTION,
        about="Erases what retention policies no longer allow, by the same path as any request.",
        wakes=At(at=time(2, 15)),
        waker="retention_daily",
        run=apply_retention,
        changes=("content_items", "moderation_queue", *_REQUESTS),
        proves=("no_survivors", "nothing_overdue"),
        alone="erasure",
    ),
    Job(
        name=HOUSEKEEPING,
        about="Merges small files, unlinks strays, and discards what was set aside or exported long ago.",
        wakes=At(at=time(4, 15)),
        waker="housekeeping_daily",
        run=keep_house,
        alone="compaction",
    ),
    Job(
        name=SELF_AUDIT,
        about="Reads files, catalog, keys, storage and ledger against each other; a finding fails the run.",
        wakes=At(at=time(5, 15), weekday=7),
        waker="audit_weekly",
        run=audit_all,
    ),
)
"""Every job. The loop goes through them in this order."""


_SERVERS_OWN = Job(
    name=MERGE_SMALL_FILES,
    about="Merges the small files that posts make, as fast as they come.",
    wakes=Every(seconds=30),
    waker="the server's commits",
    run=merge_small_files,
)
"""What only a server does: it knows when posts have made enough small files."""


def job_of(name: str) -> Job:
    """Return a job by its name."""
    return next(job for job in (*JOBS, _SERVERS_OWN) if job.name == name)
