"""`implio clock`: compare the machine's clock with what the home knows, and confirm it."""

from typing import Annotated, Any

import typer

from implio_pipeline.cli.session import session_of
from implio_pipeline.cli.tables import bad, good
from implio_pipeline.domain.errors import ClockWrong
from implio_pipeline.domain.instants import check_clock, instant_text
from implio_pipeline.flows.clock import confirm_clock
from implio_pipeline.remedies import remedy_for_operators

app = typer.Typer(help="Compare the clock with what the home knows, and confirm it.", no_args_is_help=True)


@app.command("show")
def show_command(context: typer.Context) -> None:
    """Show what the clock says, what the home knows, and whether the two agree."""
    session = session_of(context)
    with session.open_home() as opened:
        services = opened.services
        now, newest = services.clock.now(), services.catalog.newest_reading()
        refusal: ClockWrong | None = None
        try:
            check_clock(now, newest=newest, bounds=services.clock_bounds)
        except ClockWrong as error:
            refusal = error
    shape: dict[str, Any] = {
        "now": instant_text(now),
        "newestKnown": None if newest is None else instant_text(newest),
        "refusal": None if refusal is None else refusal.code,
    }
    session.answer(
        shape,
        lambda: (
            good(f"The clock agrees with what this home knows: it says {instant_text(now)}.")
            if refusal is None
            else bad(f"{refusal.code}: {refusal.facts}. {remedy_for_operators(refusal)}")
        ),
    )


@app.command("confirm")
def confirm_command(
    context: typer.Context, is_sure: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False
) -> None:
    """Confirm that the machine's clock is right, after a long pause or a clock that was wrong; the ledger notes it."""
    # Storage and SQL take a second to import, which `--help` need not wait for.
    from implio_pipeline.wiring import open_home  # noqa: PLC0415

    session = session_of(context)
    with open_home(session.home, is_restoring=True) as opened:  # a restore needs a clock that is agreed upon
        if not is_sure:
            session.be_sure(f"The clock says {instant_text(opened.services.clock.now())}. Is that right?")
        now = confirm_clock(opened.services)
    session.answer({"confirmedAt": instant_text(now)}, lambda: good(f"Confirmed: the clock says {instant_text(now)}."))
