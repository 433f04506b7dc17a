"""`implio jobs`: the table of jobs, and the loop that does them where no Dagster runs."""

import signal
from threading import Event

import typer

from implio_pipeline.cli.session import session_of
from implio_pipeline.cli.tables import good, table

app = typer.Typer(help="What a home does by itself: the jobs, and what wakes each.", no_args_is_help=True)


@app.command("list")
def list_command(context: typer.Context) -> None:
    """Name every job, what wakes it and what it does; Dagster's jobs are the same."""
    from implio_pipeline.jobs import JOBS, At, Every  # noqa: PLC0415 -- opens stores, which `--help` need not load

    def woken(wakes: Every | At) -> str:
        return f"every {wakes.seconds} s" if isinstance(wakes, Every) else f"cron {wakes.cron}"

    session = session_of(context)
    rows = [(job.name, woken(job.wakes), job.about) for job in JOBS]
    shape = {"jobs": [{"name": name, "wakes": wakes, "about": about} for name, wakes, about in rows]}
    session.answer(shape, lambda: table(("job", "woken", "what it does"), rows))


@app.command("run")
def run_command(context: typer.Context) -> None:
    """Do every job when it is due, until told to stop; for a machine without Dagster and without `implio serve`."""
    from implio_pipeline.api.upkeep import Upkeep  # noqa: PLC0415 -- opens stores, which `--help` need not load

    session, ended = session_of(context), Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: ended.set())
    with session.open_home() as opened:
        settings = opened.settings
    upkeep = Upkeep(
        settings.home,
        is_alone=True,
        rows_per_file=settings.rows_per_file,
        merge_from_files=settings.api.merge_from_files,
    )
    upkeep.start()
    session.err.print(good("Doing the jobs of `implio jobs list` until told to stop"))
    ended.wait()
    upkeep.close()
