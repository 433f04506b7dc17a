"""The app: its global options, and which command lives in which module."""

from pathlib import Path
from typing import Annotated

import typer

from implio_pipeline import __version__
from implio_pipeline.cli import (
    access,
    api_keys,
    apply_decisions,
    audit,
    callbacks,
    clock,
    demo,
    erase,
    export,
    holds,
    ingest,
    init,
    jobs,
    keys,
    members,
    processors,
    query,
    queue,
    receipts,
    register,
    requests,
    restore,
    retention,
    serve,
    set_aside,
    status,
    teams,
    upkeep,
)
from implio_pipeline.cli.root import Root
from implio_pipeline.cli.session import Session
from implio_pipeline.core_dumps import forbid_core_dumps

_WORK, _LOOK, _CARE = "Work", "Look", "Care"
_EPILOG = """
**Exit codes**: 0 done · 1 a failure, with its code · 2 wrong usage · 3 the request or query was refused ·
4 something did not verify · 5 something waits or is late.

**For programs**: with `--json`, stdout holds one JSON value and nothing else; an error is one line of JSON on stderr.

**Personal values** given as arguments stay in the shell's history. `--user -` and `--task -` read them from stdin.
"""

app = typer.Typer(
    name="implio",
    cls=Root,
    help="Keep user-generated content lawfully: hide at once, erase, verify, shred, receipt.",
    epilog=_EPILOG,
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode="markdown",
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _show_version(is_asked: bool) -> None:
    if is_asked:
        typer.echo(f"implio-pipeline {__version__}")
        raise typer.Exit


@app.callback()
def _globals(
    context: typer.Context,
    home: Annotated[
        Path | None, typer.Option("--home", envvar="IMPLIO_HOME", help="The home to work in; ./data when not given.")
    ] = None,
    is_json: Annotated[bool, typer.Option("--json", help="Answer in JSON; may also stand after the command.")] = False,
    is_version: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Show the version.")
    ] = False,
) -> None:
    _ = is_version
    context.obj = Session(home=home, is_json=is_json)


def _add_commands() -> None:
    app.command("init", rich_help_panel=_WORK)(init.init_command)
    app.command("demo", rich_help_panel=_WORK)(demo.demo_command)
    app.command("ingest", rich_help_panel=_WORK)(ingest.ingest_command)
    app.command("erase", rich_help_panel=_WORK)(erase.erase_command)
    app.command("query", rich_help_panel=_LOOK)(query.query_command)
    app.command("status", rich_help_panel=_LOOK)(status.status_command)
    app.command("audit", rich_help_panel=_LOOK)(audit.audit_command)
    app.command("export", rich_help_panel=_WORK)(export.export_command)
    app.command("serve", rich_help_panel=_WORK)(serve.serve_command)
    app.add_typer(receipts.app, name="receipts", rich_help_panel=_LOOK)
    app.add_typer(requests.app, name="requests", rich_help_panel=_WORK)
    app.add_typer(holds.app, name="holds", rich_help_panel=_WORK)
    app.add_typer(queue.app, name="queue", rich_help_panel=_WORK)
    app.add_typer(retention.app, name="retention", rich_help_panel=_WORK)
    app.add_typer(teams.app, name="team", rich_help_panel=_CARE)
    app.add_typer(api_keys.app, name="api-keys", rich_help_panel=_CARE)
    app.add_typer(access.app, name="access", rich_help_panel=_CARE)
    app.add_typer(processors.app, name="processors", rich_help_panel=_CARE)
    app.add_typer(register.app, name="register", rich_help_panel=_CARE)
    app.add_typer(members.app, name="members", rich_help_panel=_CARE)
    app.add_typer(set_aside.app, name="set-aside", rich_help_panel=_CARE)
    app.add_typer(keys.app, name="keys", rich_help_panel=_CARE)
    app.add_typer(clock.app, name="clock", rich_help_panel=_CARE)
    app.add_typer(callbacks.app, name="callbacks", rich_help_panel=_CARE)
    app.add_typer(jobs.app, name="jobs", rich_help_panel=_CARE)
    app.command("restore", rich_help_panel=_CARE)(restore.restore_command)
    app.command("settle", rich_help_panel=_CARE)(apply_decisions.settle_command)
    app.command("compact", rich_help_panel=_CARE)(upkeep.compact_command)
    app.command("housekeep", rich_help_panel=_CARE)(upkeep.housekeep_command)


def main() -> None:
    """Run the command line; what is typed may be personal, so nothing of this process reaches a core dump."""
    forbid_core_dumps()
    app(prog_name="implio")


_add_commands()
