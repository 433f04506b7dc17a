"""`implio keys`: rotate them, so that backups forget too; and look at them."""

from typing import Annotated, Any

import typer
from rich.console import Group, RenderableType

from implio_pipeline.cli.failures import end_failed, faults_shape
from implio_pipeline.cli.session import session_of
from implio_pipeline.cli.tables import good, look, many, table
from implio_pipeline.domain.instants import instant_text
from implio_pipeline.domain.keys import newest_ids
from implio_pipeline.domain.team import team_id
from implio_pipeline.flows.faults import Faults
from implio_pipeline.flows.operations.rotate_keys import RotationSummary, newest_statement, rotate_keys

app = typer.Typer(help="Rotate keys, so that backups forget too; and look at them.", no_args_is_help=True)


@app.command("rotate")
def rotate_command(
    context: typer.Context,
    teams: Annotated[
        list[str] | None,
        typer.Option("--team", metavar="TEAM", help="Only this team's keys; more than once for several."),
    ] = None,
) -> None:
    """Renew team keys and the root keys of their regions, and destroy the old ones; no file is rewritten.

    Copies of the catalog made before cannot be opened any more: back it up anew afterwards, with the keys folder.
    """
    session, faults = session_of(context), Faults()
    with session.open_home() as opened, session.steps("Rotating: teams") as progress:
        wanted = [team_id(name) for name in teams] if teams else None
        summary = rotate_keys(opened.services, teams=wanted, faults=faults, progress=progress)
    session.answer(_shape(summary) | {"failed": faults_shape(faults)}, lambda: _view(summary))
    end_failed(faults)


@app.command("list")
def list_command(context: typer.Context) -> None:
    """Show every key by id and fingerprint, and when keys were last rotated."""
    session = session_of(context)
    with session.open_home() as opened:
        services = opened.services
        statement = newest_statement(services)
        keys = services.catalog.teams.keys()
        prints = dict(services.keychain.root_keys()) | dict(services.keychain.fingerprints(keys))
    told_at = None if statement is None else statement.at
    newest = newest_ids(prints)
    listed = [{"key": each, "fingerprint": prints[each], "isNewest": each in newest} for each in sorted(prints)]
    shape = {"lastRotation": None if told_at is None else instant_text(told_at), "keys": listed}

    def view() -> RenderableType:
        rows = [
            [each["key"], each["fingerprint"], "live" if each["isNewest"] else "to be destroyed"] for each in listed
        ]
        last = (
            look("Never rotated: `implio keys rotate`") if told_at is None else good(f"Last rotated {told_at:%Y-%m-%d}")
        )
        return Group(table(("key", "fingerprint", "state"), rows), last)

    session.answer(shape, view)


def _shape(summary: RotationSummary) -> dict[str, Any]:
    return {
        "teams": summary.teams,
        "filesRewrapped": summary.files,
        "teamKeysDestroyed": sorted(summary.team_keys_destroyed),
        "rootKeysDestroyed": sorted(summary.root_keys_destroyed),
        "sealKeysWaiting": summary.seal_keys_waiting,
    }


def _view(summary: RotationSummary) -> RenderableType:
    lines: list[RenderableType] = [
        good(
            f"Renewed the keys of {many(summary.teams, 'team')}, "
            f"and wrapped those of {many(summary.files, 'file')} anew"
        ),
        good(
            f"Destroyed {many(len(summary.team_keys_destroyed), 'team key')} "
            f"and {many(len(summary.root_keys_destroyed), 'root key')}"
        ),
        look("Copies of the catalog made before open no item any more: back up the catalog and the keys folder now"),
    ]
    if summary.seal_keys_waiting:
        keys = many(summary.seal_keys_waiting, "seal key")
        what = "names, open requests and files set aside in such copies"
        lines.append(
            look(f"{keys} left, which still open {what}: `implio housekeep` destroys them, from 10 minutes on")
        )
    return Group(*lines)
