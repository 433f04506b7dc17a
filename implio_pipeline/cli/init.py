"""`implio init`: make a home, and say how to run on it."""

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Group, RenderableType
from rich.text import Text

from implio_pipeline.cli.session import session_of
from implio_pipeline.cli.tables import good

_OWNER_ONLY = 0o600


def init_command(
    context: typer.Context,
    home: Annotated[Path, typer.Argument(metavar="HOME", help="A new or empty folder.")],
) -> None:
    """Make a home: keys, ledger, catalog, the watched folders, and Dagster's files."""
    session = session_of(context)
    made = make_home(home)
    session.answer(
        {"home": str(made), "daemon": daemon_command(made), "webserver": webserver_command(made)},
        lambda: _made(made),
        is_copied=True,
    )


def make_home(home: Path) -> Path:
    """Make a home with its `dagster.yaml` and `workspace.yaml`, and return where it is.

    Raises:
        HomeExists: there is one already, or the folder holds other things.
    """
    # Storage and Dagster take seconds to import, which `--help` need not wait for.
    from implio_pipeline.orchestration.instance_files import dagster_yaml, workspace_yaml  # noqa: PLC0415
    from implio_pipeline.orchestration.instance_storage import create_storage  # noqa: PLC0415
    from implio_pipeline.wiring import init_home  # noqa: PLC0415

    made = home.expanduser().absolute()
    init_home(made, files={"dagster.yaml": dagster_yaml(made), "workspace.yaml": workspace_yaml()})
    create_storage(made)
    return made


def daemon_command(home: Path) -> str:
    """Return how to run sensors and schedules on a home."""
    return f"{_environment(home)} dagster-daemon run -w {home}/workspace.yaml"


def webserver_command(home: Path) -> str:
    """Return how to open the UI on a home, for this machine only: it has no log-in of its own."""
    return f"{_environment(home)} dagster-webserver -h 127.0.0.1 -p 3000 -w {home}/workspace.yaml"


def _environment(home: Path) -> str:
    return f"DAGSTER_HOME={home} IMPLIO_HOME={home}"


def _made(home: Path) -> RenderableType:
    return Group(
        good(f"A home at {home}"),
        Text("  Back up keys/ and ledger/ apart from everything else: without keys/ nothing in it can be read.\n"),
        Text("Next", style="bold"),
        _step("make a team", f"implio --home {home} team add TEAM --region eu"),
        _step("land its items in", f"{home}/landing/TEAM/"),
        _step("drop requests into", f"{home}/requests/inbox/"),
        _step("let it run by itself", daemon_command(home)),
        _step("open Dagster's UI", webserver_command(home)),
        _step("or do it by hand", f"implio --home {home} ingest"),
    )


def _step(what: str, how: str) -> Text:
    return Text.assemble((f"  {what:<21} ", "dim"), how)
