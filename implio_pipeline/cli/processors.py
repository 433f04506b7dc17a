"""`implio processors`: who hosts items, and whoever else processes them."""

from typing import Any

import typer

from implio_pipeline.cli.session import session_of
from implio_pipeline.cli.tables import table

app = typer.Typer(help="Who hosts items, where, and whoever else processes them.", no_args_is_help=True)


@app.command("list")
def list_command(context: typer.Context) -> None:
    """Show the register of processors, with the regions that each hosts; it is kept in implio.toml."""
    session = session_of(context)
    with session.open_home() as opened:
        places, register = opened.settings.places, opened.settings.processor_register
    shapes: list[dict[str, Any]] = [
        {
            "name": each.name,
            "role": each.role,
            "location": each.location,
            "safeguards": each.safeguards or None,
            "since": None if each.since is None else each.since.isoformat(),
            "regions": sorted(
                place.region for place in places if (place.processor, place.location) == (each.name, each.location)
            ),
        }
        for each in register
    ]
    columns = ("processor", "role", "location", "hosts", "safeguards", "since")
    session.answer(
        shapes,
        lambda: table(
            columns,
            (
                [
                    each["name"],
                    each["role"],
                    each["location"],
                    ", ".join(each["regions"]),
                    each["safeguards"],
                    each["since"],
                ]
                for each in shapes
            ),
        ),
    )
