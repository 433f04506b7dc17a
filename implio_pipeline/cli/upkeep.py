"""`implio compact` and `implio housekeep`: fewer files, and none that nothing refers to."""

import typer

from implio_pipeline.cli.failures import end_failed, faults_shape
from implio_pipeline.cli.session import session_of
from implio_pipeline.cli.tables import good, many
from implio_pipeline.flows.faults import Faults
from implio_pipeline.flows.files.compact import compact


def compact_command(context: typer.Context) -> None:
    """Merge the small files that late arrivals leave, under new keys."""
    session, faults = session_of(context), Faults()
    with session.open_home() as opened, session.steps("Merging: partitions") as progress:
        summary = compact(
            opened.services, rows_per_file=opened.settings.rows_per_file, faults=faults, progress=progress
        )
    shape = {
        "partitions": summary.partitions,
        "filesBefore": summary.files_before,
        "filesAfter": summary.files_after,
        "skipped": summary.skipped,
        "failed": faults_shape(faults),
    }
    partitions = many(summary.partitions, "partition")
    text = f"{many(summary.files_before, 'file')} of {partitions} became {summary.files_after:,}"
    later = f"; {summary.skipped} left for the next run" if summary.skipped else ""
    session.answer(shape, lambda: good(f"{text}{later}" if summary.partitions else f"Nothing to merge{later}"))
    end_failed(faults)


def housekeep_command(context: typer.Context) -> None:
    """Unlink files that nothing refers to, and discard set-aside files that are too old."""
    from implio_pipeline.jobs import tidy  # noqa: PLC0415 -- opens stores, which `--help` need not load

    session, faults = session_of(context), Faults()
    with session.open_home() as opened:
        done = tidy(opened, faults)
    summary, expired, reports, purged = done.sweep, done.set_aside, done.reports, done.exports
    session.answer(
        {
            "doomed": summary.doomed,
            "strays": summary.strays,
            "leftovers": summary.leftovers,
            "verdictsForgotten": summary.verdicts,
            "readsNoted": summary.reads,
            "setAsideDiscarded": expired,
            "reportsDiscarded": reports,
            "exportsDiscarded": purged,
            "failed": faults_shape(faults),
        },
        lambda: good(
            f"Unlinked {many(summary.doomed, 'replaced file')}, {many(summary.strays, 'stray')} "
            f"and {many(summary.leftovers, 'leftover')}, "
            f"discarded {many(expired, 'set-aside file')}, {many(reports, 'report')} and {many(purged, 'export')}, "
            f"forgot {many(summary.verdicts, 'settled verdict')}, scrubbed the catalog"
        ),
    )
    end_failed(faults)
