"""`implio restore`: after a backup was put back, erase again what was erased since."""

from typing import Annotated, Any

import typer
from rich.console import Group, RenderableType

from implio_pipeline.cli.failures import ExitCode
from implio_pipeline.cli.session import session_of
from implio_pipeline.cli.tables import bad, good, look, many, table
from implio_pipeline.flows.operations.restore import RestoreSummary, note_restore, restore

_MOST_SHOWN = 20


def restore_command(
    context: typer.Context,
    is_without_missing: Annotated[
        bool,
        typer.Option("--without-missing", help="Give up files that are not in storage: destroy their keys."),
    ] = False,
    is_sure: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
) -> None:
    """After a backup was put back: hide and erase again what the ledger knows, and destroy again the old keys."""
    # Storage and SQL take a second to import, which `--help` need not wait for.
    from implio_pipeline.wiring import open_home  # noqa: PLC0415

    session = session_of(context)
    if is_without_missing and not is_sure:
        session.be_sure("Give up every file that is not in storage? Its items are lost for good.")
    with open_home(session.home, is_restoring=True) as opened, session.steps("Erasing: files") as progress:
        summary = restore(opened.services, is_without_missing=is_without_missing, progress=progress)
        note_restore(opened.services, summary)
    session.answer(_shape(summary), lambda: _view(summary))
    if summary.survivors:
        raise typer.Exit(ExitCode.NOT_VERIFIED)
    if not summary.is_proven or summary.missing:
        raise typer.Exit(ExitCode.WAITS)


def _shape(summary: RestoreSummary) -> dict[str, Any]:
    return {
        "tombstones": summary.tombstones,
        "reinstated": list(summary.reinstated),
        "reopened": list(summary.reopened),
        "holdsReinstated": summary.holds_reinstated,
        "completed": list(summary.completed),
        "withheld": list(summary.withheld),
        "failed": dict(summary.failed),
        "withoutTeam": dict(summary.without_team),
        "itemsErased": summary.items_erased,
        "missingFiles": list(summary.missing),
        "givenUpFiles": list(summary.given_up),
        "strays": summary.strays,
        "straysDeleted": summary.strays_deleted,
        "keysDestroyed": summary.keys_destroyed,
        "grantsRevokedAgain": summary.grants_revoked,
        "logLinesLost": summary.reads_lost,
        "survivors": None if summary.survivors is None else dict(summary.survivors),
        "isProven": summary.is_proven,
    }


def _view(summary: RestoreSummary) -> RenderableType:
    lines: list[RenderableType] = [
        good(
            f"The ledger knows {many(summary.tombstones, 'request')}; the catalog had lost {len(summary.reinstated):,} "
            f"and took {len(summary.reopened):,} for open"
        ),
        good(f"Carried out {many(len(summary.completed), 'request')}: {many(summary.items_erased, 'item')} erased"),
    ]
    if summary.holds_reinstated:
        lines.append(good(f"Placed again: {many(summary.holds_reinstated, 'legal hold')}"))
    lines += [look(f"Request {request_id} is hidden; a legal hold keeps its items") for request_id in summary.withheld]
    if summary.keys_destroyed:
        lines.append(good(f"Destroyed again: {many(summary.keys_destroyed, 'key')}"))
    lines += [bad(f"Request {request_id} is hidden, not erased: {code}") for request_id, code in summary.failed.items()]
    for team, count in summary.without_team.items():
        lines.append(look(f"The catalog knows no team {team}: {many(count, 'request')} of it, and no item"))
    if summary.missing:
        shown = summary.missing[:_MOST_SHOWN]
        lines += [
            bad(f"Not in storage: {many(len(summary.missing), 'file')}; put them back and run it again"),
            table(("file",), [[each] for each in shown]),
        ]
    if summary.given_up:
        lines.append(look(f"Given up: {many(len(summary.given_up), 'file')}"))
    if summary.strays:
        lines.append(look(_strays_text(summary)))
    if summary.grants_revoked:
        lines.append(good(f"Revoked again: {many(summary.grants_revoked, 'grant')}"))
    if summary.reads_lost:
        lines.append(look(f"Lost from the log of reads, as the ledger says: {many(summary.reads_lost, 'line')}"))
    lines.append(_proof(summary))
    return Group(*lines)


def _strays_text(summary: RestoreSummary) -> str:
    left = summary.strays - summary.strays_deleted
    unknown = f"Files that the catalog does not know: {summary.strays_deleted:,} unlinked"
    if not left:
        return unknown
    return (
        f"{unknown}, {left:,} left {'while files are missing' if summary.missing else 'until they are six hours old'}"
    )


def _proof(summary: RestoreSummary) -> RenderableType:
    if summary.survivors is None:
        return look("Survivors were not counted, since files are missing")
    if summary.survivors:
        return bad(f"{sum(summary.survivors.values()):,} survivors of {many(len(summary.survivors), 'request')}")
    return good("No survivor, by reading the files")
