"""`implio restore` and `implio clock`: repair a home after a backup was restored or the clock was wrong.

Both work on a home that every other command refuses.
"""

from typing import Annotated

import typer
from rich.console import Group, RenderableType

from implio_pipeline.cli.arguments import ADMIN
from implio_pipeline.cli.failures import ExitCode
from implio_pipeline.cli.session import opened_home, session_of
from implio_pipeline.cli.tables import bad, good, table, warning
from implio_pipeline.domain.errors import ClockWrong
from implio_pipeline.domain.instants import check_clock, instant_text
from implio_pipeline.domain.sentences import count
from implio_pipeline.flows.clock import confirm_clock
from implio_pipeline.flows.operations.restore import RestoreSummary, note_restore, restore
from implio_pipeline.remedies import remedy_for_operators

app = typer.Typer()
_clock = typer.Typer(help="Check the machine's clock, and confirm that it is right.", no_args_is_help=True)
app.add_typer(_clock, name="clock", rich_help_panel=ADMIN)
_Yes = Annotated[bool, typer.Option("--yes", help="Do not ask.")]
_MOST_SHOWN = 20


@app.command("restore", rich_help_panel=ADMIN)
def _restore(
    context: typer.Context,
    is_without_missing: Annotated[
        bool,
        typer.Option("--without-missing", help="Give up files that are not in storage, and destroy their keys."),
    ] = False,
    is_sure: _Yes = False,
) -> None:
    """After restoring a backup: erase again what was erased since.

    Hides and erases again everything that the ledger records as erased, and destroys keys that the backup brought back.
    """
    session = session_of(context)
    if is_without_missing and not is_sure:
        session.be_sure("Give up every file that is not in storage? Its items are lost for good.")
    with session.open_home(is_restoring=True) as opened, session.steps("Erasing: files") as progress:
        summary = restore(opened, is_without_missing=is_without_missing, progress=progress)
        note_restore(opened, summary)
    shape = {
        "tombstones": summary.tombstones,
        "reinstated": summary.reinstated,
        "reopened": summary.reopened,
        "holdsReinstated": summary.holds_reinstated,
        "completed": summary.completed,
        "withheld": summary.withheld,
        "failed": summary.failed,
        "withoutTeam": summary.without_team,
        "itemsErased": summary.items_erased,
        "missingFiles": summary.missing,
        "givenUpFiles": summary.given_up,
        "strays": summary.strays,
        "straysDeleted": summary.strays_deleted,
        "keysDestroyed": summary.keys_destroyed,
        "grantsRevokedAgain": summary.grants_revoked,
        "logLinesLost": summary.reads_lost,
        "survivors": summary.survivors,
        "isProven": summary.is_proven,
    }
    session.answer(shape, lambda: Group(*_restored(summary)))
    if summary.survivors:
        raise typer.Exit(ExitCode.NOT_VERIFIED)
    if not summary.is_proven or summary.missing:
        raise typer.Exit(ExitCode.WAITS)


def _restored(summary: RestoreSummary) -> list[RenderableType]:
    # 1. Requests and holds, as the ledger knows them.
    lines: list[RenderableType] = [
        good(
            f"The ledger knows {count(summary.tombstones, 'request')}. The catalog had lost "
            f"{len(summary.reinstated):,} of them and had {len(summary.reopened):,} as open."
        ),
        good(f"Carried out {count(len(summary.completed), 'request')}: {count(summary.items_erased, 'item')} erased"),
    ]
    if summary.holds_reinstated:
        lines.append(good(f"Placed again: {count(summary.holds_reinstated, 'legal hold')}"))
    lines += [warning(f"Request {each} is hidden; a legal hold keeps its items") for each in summary.withheld]
    lines += [bad(f"Request {each} is hidden, not erased: {code}") for each, code in summary.failed.items()]
    lines += [
        warning(
            f"The ledger has {count(requests, 'request')} of team {team}, which the catalog does not know: "
            "none of its items can be read"
        )
        for team, requests in summary.without_team.items()
    ]
    # 2. Keys, files, grants and the log of reads.
    if summary.keys_destroyed:
        lines.append(good(f"Destroyed again: {count(summary.keys_destroyed, 'key')}"))
    if summary.missing:
        lines += [
            bad(f"Not in storage: {count(len(summary.missing), 'file')}; restore them and run it again"),
            table(("file",), [[each] for each in summary.missing[:_MOST_SHOWN]]),
        ]
    if summary.given_up:
        lines.append(warning(f"Given up: {count(len(summary.given_up), 'file')}"))
    if summary.strays:
        left = summary.strays - summary.strays_deleted
        # A stray may be the file that another process is about to commit, so a young one is kept.
        why = "while files are missing" if summary.missing else "until they are six hours old"
        kept = f", {left:,} kept {why}" if left else ""
        lines.append(warning(f"Files that the catalog does not know: {summary.strays_deleted:,} deleted{kept}"))
    if summary.grants_revoked:
        lines.append(good(f"Revoked again: {count(summary.grants_revoked, 'grant')}"))
    if summary.reads_lost:
        lines.append(warning(f"The log of reads has lost {count(summary.reads_lost, 'line')} that the ledger counted"))
    # 3. The proof.
    if summary.survivors is None:
        lines.append(warning("Survivors were not counted, because files are missing"))
    elif summary.survivors:
        survivors = sum(summary.survivors.values())
        lines.append(bad(f"{count(survivors, 'survivor')} of {count(len(summary.survivors), 'request')}"))
    else:
        lines.append(good("No survivors: every file was read"))
    return lines


@_clock.command("show")
def _show(context: typer.Context) -> None:
    """Compare the clock with the newest time in this home."""
    with opened_home(context) as (session, opened):
        now, newest = opened.clock.now(), opened.catalog.newest_reading()
        refusal: ClockWrong | None = None
        try:
            check_clock(now, newest=newest, bounds=opened.clock_bounds)
        except ClockWrong as error:
            refusal = error
    session.answer(
        {"now": now, "newestKnown": newest, "refusal": None if refusal is None else refusal.code},
        lambda: (
            good(f"The clock agrees with this home: it says {instant_text(now)}.")
            if refusal is None
            else bad(f"{refusal.code}: {refusal.facts}. {remedy_for_operators(refusal)}")
        ),
    )


@_clock.command("confirm")
def _confirm(context: typer.Context, is_sure: _Yes = False) -> None:
    """Confirm that the clock is right after a pause or an error.

    The ledger records the confirmation.
    """
    session = session_of(context)
    with session.open_home(is_restoring=True) as opened:  # a restore needs a confirmed clock first
        if not is_sure:
            session.be_sure(f"The clock says {instant_text(opened.clock.now())}. Is that right?")
        now = confirm_clock(opened)
    session.answer({"confirmedAt": now}, lambda: good(f"Confirmed: the clock says {instant_text(now)}."))
