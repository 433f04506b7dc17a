"""`implio audit`: read again what is promised, and name what does not hold."""

from typing import Annotated, Any

import typer
from rich.console import Group, RenderableType

from implio_pipeline.cli.failures import ExitCode
from implio_pipeline.cli.session import session_of
from implio_pipeline.cli.tables import bad, good, look, many, table
from implio_pipeline.domain.audit import PARTS
from implio_pipeline.domain.instants import instant_text
from implio_pipeline.flows.operations.audit import AuditReport, audit, note_audit


def audit_command(
    context: typer.Context,
    is_full: Annotated[bool, typer.Option("--full", help="Read every file, not only today's part of seven.")] = False,
) -> None:
    """Compare files, catalog, keys, storage and ledger with each other; nothing is changed.

    Every check that reads no file is always made. Of the files one part of seven is read, another each day, so that
    seven audits on consecutive days read all; with --full every file is read. The ledger notes that it was done.
    """
    session = session_of(context)
    with session.open_home() as opened, session.steps("Auditing: files") as progress:
        report = audit(opened.services, is_full=is_full, progress=progress)
        note_audit(opened.services, report)
    session.answer(audit_shape(report), lambda: _view(report))
    if report.findings:
        raise typer.Exit(ExitCode.NOT_VERIFIED)


def audit_shape(report: AuditReport) -> dict[str, Any]:
    """Return a report for programs; `part` is null when every file was read."""
    return {
        "auditedAt": instant_text(report.audited_at),
        "part": None if report.part is None else {"number": report.part, "of": PARTS},
        "isHolding": not report.findings,
        "files": report.files,
        "filesRead": report.files_read,
        "rowsRead": report.rows_read,
        "filesChangedMeanwhile": report.files_changed,
        "hiddenRows": report.hidden_rows,
        "tombstones": report.tombstones,
        "receipts": report.receipts,
        "queueEntries": report.queue_entries,
        "findings": [
            {"kind": each.kind.value, "about": each.about, "team": each.team, "words": each.words}
            for each in report.findings
        ],
    }


def _view(report: AuditReport) -> RenderableType:
    read = f"{many(report.files_read, 'file')} of {report.files:,} read, {many(report.rows_read, 'row')}"
    part = "" if report.part is None else f"; today's part of {PARTS}, --full reads all"
    lines: list[RenderableType] = [
        look(f"{read}{part}") if report.part is not None else good(read),
        good(
            f"{many(report.tombstones, 'tombstone')} and {many(report.receipts, 'receipt')} compared with the catalog"
        ),
    ]
    if report.hidden_rows:
        lines.append(look(f"{many(report.hidden_rows, 'row')} hidden by open requests: `implio erase --resume`"))
    if not report.findings:
        return Group(*lines, good("Nothing was found."))
    rows = ([each.kind.value, each.about, each.team, each.words] for each in report.findings)
    return Group(*lines, bad(f"Found: {len(report.findings):,}"), table(("kind", "about", "team", "what"), rows))
