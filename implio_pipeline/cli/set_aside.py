"""`implio set-aside`: files that could not be read, sealed; look at them, get them back, or let them go."""

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from implio_pipeline.cli.failures import BadUse
from implio_pipeline.cli.session import session_of
from implio_pipeline.cli.tables import facts, good, table
from implio_pipeline.domain.errors import FileMissing
from implio_pipeline.domain.instants import instant_text
from implio_pipeline.domain.sentences import size_text
from implio_pipeline.ports.exports import SetAsideFile

if TYPE_CHECKING:
    from implio_pipeline.wiring import OpenHome

app = typer.Typer(help="Files that could not be read, sealed away.", no_args_is_help=True)
_UNKNOWN = "Run `implio set-aside list` to see what there is."
Id = Annotated[str, typer.Argument(metavar="ID", help="The file's id, from `implio set-aside list`.")]


@app.command("list")
def list_command(context: typer.Context) -> None:
    """Show the sealed files and why each could not be read."""
    session = session_of(context)
    with session.open_home() as opened:
        files = opened.set_aside.list()
    session.answer(
        [_shape(file) for file in files],
        lambda: (
            table(
                ("id", "origin", "team", "reason", "size", "since"),
                (
                    [
                        file.id,
                        file.origin.value,
                        file.team,
                        _reason(file),
                        size_text(file.size_bytes),
                        file.created_at.date(),
                    ]
                    for file in files
                ),
                spare=("origin",),
            )
            if files
            else good("Nothing is set aside.")
        ),
    )


@app.command("show")
def show_command(
    context: typer.Context,
    identifier: Id,
    save: Annotated[
        Path | None,
        typer.Option("--save", metavar="FILE", help="Also write its content, in clear, to a new file for you alone."),
    ] = None,
) -> None:
    """Show a sealed file; with --save get its content back to correct it."""
    session = session_of(context)
    with session.open_home() as opened:
        file = _found(opened, identifier)
        if save is not None:
            _write_clear(opened, file.id, save)
    session.answer(
        _shape(file) | {"savedTo": None if save is None else str(save)},
        lambda: facts(
            f"Set aside {file.id}",
            (
                ("origin", file.origin.value),
                ("team", file.team),
                ("reason", _reason(file)),
                ("size", size_text(file.size_bytes)),
                ("since", file.created_at),
                ("saved to", save, "in clear: correct it, land it again, then remove it"),
            )[: None if save else -1],
        ),
    )


@app.command("discard")
def discard_command(context: typer.Context, identifier: Id) -> None:
    """Destroy a sealed file's key, then the file."""
    session = session_of(context)
    with session.open_home() as opened:
        file = _found(opened, identifier)
        opened.set_aside.discard(file.id)
    session.answer({"discarded": file.id}, lambda: good(f"Discarded {file.id}; nothing of it can be read any more"))


def _found(opened: "OpenHome", identifier: str) -> SetAsideFile:
    for file in opened.set_aside.list():
        if file.id == identifier:
            return file
    raise FileMissing("no set-aside file has this id", remedy=_UNKNOWN)


def _write_clear(opened: "OpenHome", identifier: str, path: Path) -> None:
    try:
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        raise BadUse("--save names a file that exists; it is not written over") from None
    with os.fdopen(handle, "wb") as clear:
        for block in opened.set_aside.open(identifier):
            clear.write(block)


def _reason(file: SetAsideFile) -> str:
    return f"{file.code}: {file.reason}" if file.reason else file.code


def _shape(file: SetAsideFile) -> dict[str, Any]:
    return {
        "id": file.id,
        "origin": file.origin.value,
        "team": file.team,
        "code": file.code,
        "reason": file.reason,
        "sizeBytes": file.size_bytes,
        "createdAt": instant_text(file.created_at),
    }
