"""The housekeeping job: fewer files, no strays, and old runs forgotten with everything they left."""

from datetime import datetime, timedelta

import dagster as dg

from implio_pipeline.flows.alone import Faults
from implio_pipeline.flows.compact import compact
from implio_pipeline.flows.export import purge_exports
from implio_pipeline.flows.housekeep import housekeep
from implio_pipeline.orchestration.assets.items import QUICK_RETRIES
from implio_pipeline.orchestration.guarded import end, guarded
from implio_pipeline.orchestration.jobs import HOUSEKEEPING
from implio_pipeline.orchestration.launches import WORKS_ON_FILES
from implio_pipeline.orchestration.purge import purge_runs
from implio_pipeline.orchestration.resources import HomeResource

KEEP_RUNS = timedelta(days=90)
"""How long Dagster remembers a run. Nothing depends on it: what exists and what was erased is told elsewhere."""


@dg.op(name="compact", ins={}, out=dg.Out(dg.Nothing), pool="compaction", retry_policy=QUICK_RETRIES)
def compact_op(context: dg.OpExecutionContext, home: HomeResource) -> None:
    """Merge the small files that late arrivals leave."""
    with guarded(), home.open() as house:
        faults = Faults()
        summary = compact(house.world, rows_per_file=house.settings.rows_per_file, faults=faults)
        context.add_output_metadata(
            {
                "partitions": summary.partitions,
                "files_before": summary.files_before,
                "files_after": summary.files_after,
                "skipped": summary.skipped,
            }
        )
        end(faults)


@dg.op(name="sweep", ins={"after": dg.In(dg.Nothing)}, out=dg.Out(dg.Nothing), retry_policy=QUICK_RETRIES)
def sweep_op(context: dg.OpExecutionContext, home: HomeResource) -> None:
    """Unlink replaced files and strays, and discard set-aside files that are too old."""
    with guarded(), home.open() as house:
        faults = Faults()
        summary = housekeep(house.world, feed_keeps=house.feed_keeps, faults=faults)
        before = house.world.clock.now() - timedelta(days=house.settings.set_aside_days)
        expired: tuple[str, ...] = ()
        with faults.alone("files set aside"):
            expired = house.set_aside.expire(before)
        reports = 0
        with faults.alone("reports"):
            reports = house.world.leftovers.expire_reports(before=before)
        context.add_output_metadata(
            {
                "replaced": summary.doomed,
                "strays": summary.strays,
                "leftovers": summary.leftovers,
                "verdicts_forgotten": summary.verdicts,
                "set_aside_discarded": len(expired),
                "reports_discarded": reports,
                "exports_discarded": purge_exports(house.world, house.exports, faults),
            }
        )
        end(faults)


@dg.op(name="purge_runs", ins={"after": dg.In(dg.Nothing)}, out=dg.Out(dg.Nothing), retry_policy=QUICK_RETRIES)
def purge_runs_op(context: dg.OpExecutionContext, home: HomeResource) -> None:
    """Make Dagster forget old runs, with their files."""
    with guarded():
        before = _now(home) - KEEP_RUNS
        summary = purge_runs(context.instance, before=before)
        context.add_output_metadata({"runs": summary.runs, "files": summary.files})


@dg.job(
    name=HOUSEKEEPING,
    executor_def=dg.in_process_executor,
    tags=WORKS_ON_FILES,
    description="Merges small files, unlinks strays, discards old set-aside files, and forgets old runs.",
)
def housekeeping_job() -> None:
    """Compact, sweep, purge."""
    purge_runs_op(sweep_op(compact_op()))


def _now(home: HomeResource) -> datetime:
    with home.open() as house:
        return house.world.clock.now()
