"""`implio init`, `serve` and `jobs`: make a home and run it."""

import signal
from calendar import day_abbr
from collections.abc import Iterator, Mapping
from pathlib import Path
from threading import Event
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Group
from rich.text import Text

from implio_pipeline.cli.arguments import ADMIN, WORK
from implio_pipeline.cli.session import session_of
from implio_pipeline.cli.tables import good, table

if TYPE_CHECKING:
    from implio_pipeline.settings import Settings

app = typer.Typer()
_jobs = typer.Typer(help="The recurring jobs of a home, and what starts each.", no_args_is_help=True)
app.add_typer(_jobs, name="jobs", rich_help_panel=ADMIN)


@app.command("init", rich_help_panel=WORK)
def _init(
    context: typer.Context,
    home: Annotated[Path, typer.Argument(metavar="HOME", help="A new or empty folder.")],
) -> None:
    """Create a home: keys, ledger, catalog and watched folders."""
    from implio_pipeline.settings import load_settings, named_by_environment  # noqa: PLC0415 -- as in `make_home`

    session = session_of(context)
    made = make_home(home)
    settings = load_settings(made)
    named = named_by_environment(settings)
    daemon, webserver = dagster_commands(made)
    # In a bucket, who asks is the folder of the request's file.
    inbox = f"{settings.inbox_place}/" if isinstance(settings.inbox_place, Path) else f"{settings.inbox_place}/NAME/"
    steps = (
        ("add a team", f"implio --home {made} team add TEAM --region eu"),
        ("put its items into", f"{settings.landing_place}/TEAM/"),
        ("put requests into", inbox),
        ("run all jobs", daemon),
        ("open Dagster's UI", webserver),
        ("or run one by hand", f"implio --home {made} ingest"),
    )
    session.answer(
        {
            "home": made,
            "daemon": daemon,
            "webserver": webserver,
            "settings": list(named),
            "passwordsFrom": [variable for variable in named.values() if variable],
        },
        lambda: Group(
            good(f"Created a home in {made}"),
            *(Text(f"  {line}") for line in (*_backup_words(settings), *_settings_words(named))),
            Text("\nNext", style="bold"),
            *(Text.assemble((f"  {what:<21} ", "dim"), how) for what, how in steps),
        ),
        is_copied=True,
    )


def _backup_words(settings: "Settings") -> Iterator[str]:
    ledger = "ledger/" if isinstance(settings.ledger_place, Path) else settings.ledger_place
    yield f"Back up keys/ and {ledger} apart from everything else."
    if any(isinstance(address, Path) for address in settings.key_addresses.values()):
        yield "Without keys/ no item can be read."
    else:
        yield "Without the root keys in the key service no item can be read."


def _settings_words(named: Mapping[str, str | None]) -> Iterator[str]:
    if named:
        yield f"From the environment, implio.toml has {', '.join(named)}."
    if variables := [variable for variable in named.values() if variable]:
        yield f"It has no passwords: each process needs them from {', '.join(variables)}."


def make_home(home: Path) -> Path:
    """Create a home with its `dagster.yaml` and `workspace.yaml`, and return its absolute path.

    Raises:
        HomeExists: There is one already, or the folder is not empty.
    """
    # Storage and Dagster take seconds to import; `--help` must not wait for them.
    from implio_pipeline.orchestration.instance_files import dagster_yaml, workspace_yaml  # noqa: PLC0415
    from implio_pipeline.orchestration.instance_storage import create_storage  # noqa: PLC0415
    from implio_pipeline.wiring import init_home  # noqa: PLC0415

    made = home.expanduser().absolute()
    init_home(made, files={"dagster.yaml": dagster_yaml(made), "workspace.yaml": workspace_yaml()})
    create_storage(made)
    return made


def dagster_commands(home: Path) -> tuple[str, str]:
    """Return the commands that run Dagster's daemon and its UI on a home.

    The UI has no login, so it answers on the loopback address only.
    """
    variables = f"DAGSTER_HOME={home} IMPLIO_HOME={home}"
    return (
        f"{variables} dagster-daemon run -w {home}/workspace.yaml",
        f"{variables} dagster-webserver -h 127.0.0.1 -p 3000 -w {home}/workspace.yaml",
    )


@app.command("serve", rich_help_panel=WORK)
def _serve(
    context: typer.Context,
    *,
    host: Annotated[
        str | None, typer.Option("--host", metavar="HOST", help="The address to answer on. Default: api.host.")
    ] = None,
    port: Annotated[
        int | None, typer.Option("--port", metavar="PORT", min=0, max=65535, help="0 takes any free port.")
    ] = None,
    is_plain: Annotated[bool, typer.Option("--http", help="Without TLS, only for programs on this machine.")] = False,
    runs_all_jobs: Annotated[
        bool, typer.Option("--jobs", help="Also run all jobs, when no Dagster daemon runs on this home.")
    ] = False,
) -> None:
    """Serve the API and the web page over HTTPS until stopped."""
    from implio_pipeline.api.serve import Serving, serve  # noqa: PLC0415 -- a web server, which `--help` need not load

    session = session_of(context)
    wanted = Serving(host=host, port=port, is_plain=is_plain, runs_all_jobs=runs_all_jobs)
    serve(session.home, wanted, on_start=lambda address: session.err.print(f"Serving {address}", markup=False))


@_jobs.command("list")
def _list_jobs(context: typer.Context) -> None:
    """Show each job, what starts it and what it does."""
    from implio_pipeline.jobs import JOBS, At, Every  # noqa: PLC0415 -- opens stores, which `--help` need not load

    def starts(wakes: Every | At, *, is_json: bool) -> str:
        if isinstance(wakes, Every):
            return f"every {wakes.seconds} s"
        day = "daily" if wakes.weekday is None else day_abbr[wakes.weekday - 1]
        return f"cron {wakes.cron}" if is_json else f"{day} {wakes.at:%H:%M}"

    session = session_of(context)
    session.answer(
        {"jobs": [{"name": job.name, "wakes": starts(job.wakes, is_json=True), "about": job.about} for job in JOBS]},
        lambda: table(
            ("job", "starts", "what it does"),
            ([job.name, starts(job.wakes, is_json=False), job.about] for job in JOBS),
        ),
    )


@_jobs.command("run")
def _run_jobs(context: typer.Context) -> None:
    """Run every job when it is due, until stopped, without Dagster.

    Use it on a machine where neither Dagster nor `implio serve --jobs` runs.
    """
    from implio_pipeline.api.upkeep import Upkeep  # noqa: PLC0415 -- opens stores, which `--help` need not load

    session, ended = session_of(context), Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: ended.set())
    with session.open_home() as opened:
        settings = opened.settings
    upkeep = Upkeep(
        settings.home,
        runs_all_jobs=True,
        rows_per_file=settings.rows_per_file,
        merge_from_files=settings.api.merge_from_files,
    )
    upkeep.start()
    session.err.print(good("Running the jobs of `implio jobs list` until stopped"))
    ended.wait()
    upkeep.close()
