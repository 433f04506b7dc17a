"""`implio ingest` and `implio set-aside`: read what customers send, and keep what could not be read."""

import os
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Group, RenderableType

from implio_pipeline.cli.arguments import ADMIN, WORK, MaybeTeam, Resume, only_team
from implio_pipeline.cli.failures import BadUse, ExitCode, end_failed, faults_shape
from implio_pipeline.cli.session import opened_home, session_of
from implio_pipeline.cli.tables import bad, facts, good, table, warning
from implio_pipeline.domain.errors import FileMissing
from implio_pipeline.domain.faults import FailedFile
from implio_pipeline.domain.sentences import count, size_text
from implio_pipeline.flows.faults import Faults
from implio_pipeline.flows.files.ingest import IngestSummary, failed_landings, ingest
from implio_pipeline.ports.exports import SetAsideFile
from implio_pipeline.remedies import remedy_of_code

if TYPE_CHECKING:
    from implio_pipeline.wiring import OpenHome

app = typer.Typer()
_set_aside = typer.Typer(help="Files that could not be read; they are kept encrypted.", no_args_is_help=True)
app.add_typer(_set_aside, name="set-aside", rich_help_panel=ADMIN)
_Id = Annotated[str, typer.Argument(metavar="ID", help="The id of the file, from `implio set-aside list`.")]


@app.command("ingest", rich_help_panel=WORK)
def _ingest(context: typer.Context, team: MaybeTeam = None, *, is_resume: Resume = False) -> None:
    """Validate, encrypt and store every landing file that is ready."""
    session, faults = session_of(context), Faults()
    with session.open_home() as opened:
        only = only_team(opened, team)
        teams = None if only is None else [only]
        with session.tally("Ingesting", of="items") as progress:
            summary = ingest(opened, teams=teams, again=is_resume, faults=faults, progress=progress)
        failures = failed_landings(opened, teams=teams)
    shape = {
        "files": summary.files,
        "duplicates": summary.duplicates,
        "setAside": summary.set_aside,
        "items": summary.items,
        "rejected": summary.rejected,
        "erasedBefore": summary.erased_before,
        "keptOut": summary.kept_out,
        "tooOld": summary.too_old,
        "withUnknownProperties": summary.with_unknown,
        "empty": summary.empty,
        "returned": {"items": summary.returned_items, "people": summary.returned_people},
        "partitions": [
            {"team": name, "day": day, "items": items} for (name, day), items in sorted(summary.partitions.items())
        ],
        "failed": faults_shape(faults),
        "leftForLater": [failed_file_shape(each) for each in failures],
    }
    session.answer(shape, lambda: None if faults and not summary.files else _ingested(summary, failures))
    end_failed(faults)
    if summary.set_aside:
        raise typer.Exit(ExitCode.WAITS)


def _ingested(summary: IngestSummary, failures: Sequence[FailedFile]) -> RenderableType:
    left = failed_file_lines(failures)
    if not (summary.files or summary.duplicates or summary.set_aside or summary.empty):
        return Group(good("No landing file was ready."), *left)
    items, days = Counter[str](), Counter[str]()
    for (team, _), added in summary.partitions.items():
        items[team] += added
        days[team] += 1
    lines: list[RenderableType] = [
        good(f"{count(summary.items, 'item')} of {count(summary.files, 'file')}"),
        table(("team", "items", "days"), ([team, items[team], days[team]] for team in sorted(items))),
    ]
    if summary.returned:
        people = "1 person" if summary.returned_people == 1 else f"{summary.returned_people:,} people"
        text = "who asked for deletion came in again: ask the sender whether this is intended, or erase them again"
        lines.append(warning(f"{count(summary.returned_items, 'item')} of {people} {text}"))
    remarks = (
        (summary.rejected, "item", "rejected: kept, with a report in the team's landing folder"),
        (summary.with_unknown, "item", "with unknown properties: kept as sent, named in the report"),
        (summary.erased_before, "item", "erased before: not stored"),
        (summary.kept_out, "item", "of people with a standing deletion: not stored"),
        (summary.too_old, "item", "older than the retention period: kept encrypted, `implio set-aside list`"),
        (summary.duplicates, "file", "ingested before: removed"),
        (summary.empty, "file", "empty: removed"),
        (summary.set_aside, "file", "that cannot be read: kept encrypted, `implio set-aside list`"),
    )
    return Group(*lines, *(warning(f"{count(number, noun)} {text}") for number, noun, text in remarks if number), *left)


def failed_file_shape(file: FailedFile) -> dict[str, Any]:
    """Return the JSON form of a landing file that failed; `nextAttemptAt` is null when it is quarantined."""
    return {
        "team": file.team,
        "what": file.unit,
        "isQuarantined": file.is_quarantined,
        "attempts": file.attempts,
        "code": file.error_code,
        "nextAttemptAt": file.next_attempt_at,
        "remedy": remedy_of_code(file.error_code),
    }


def failed_file_lines(files: Iterable[FailedFile]) -> list[RenderableType]:
    """Return a line for each landing file that failed: retried later, or quarantined."""
    lines: list[RenderableType] = []
    for each in files:
        again = "Then, or to retry now: `implio ingest --resume`."
        text = f"{each.text}. {remedy_of_code(each.error_code)} {again}"
        lines.append(bad(f"Quarantined: {text}") if each.is_quarantined else warning(f"Failed: {text}"))
    return lines


@_set_aside.command("list")
def _list(context: typer.Context) -> None:
    """Show the files and why each could not be read."""
    with opened_home(context) as (session, opened):
        files = opened.set_aside.list()
    session.answer_rows(
        [_shape(each) for each in files],
        ("id", "origin", "team", "reason", "size", "since"),
        (
            [each.id, each.origin, each.team, _reason(each), size_text(each.size_bytes), each.created_at.date()]
            for each in files
        ),
        empty="Nothing is set aside.",
        spare=("origin",),
    )


@_set_aside.command("show")
def _show(
    context: typer.Context,
    identifier: _Id,
    save: Annotated[
        Path | None,
        typer.Option("--save", metavar="FILE", help="Also write its decrypted content to a new file."),
    ] = None,
) -> None:
    """Show one file. With --save, write its content to a file, to correct it."""
    with opened_home(context) as (session, opened):
        file = _found(opened, identifier)
        if save is not None:
            # The content is personal, and in clear from here on: only the owner may read it, from the first byte.
            try:
                handle = os.open(save, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            except FileExistsError:
                raise BadUse("the file that --save names already exists") from None
            with os.fdopen(handle, "wb") as clear:
                for block in opened.set_aside.open(file.id):
                    clear.write(block)
    session.answer(
        _shape(file) | {"savedTo": save},
        lambda: facts(
            f"Set aside {file.id}",
            (
                ("origin", file.origin),
                ("team", file.team),
                ("reason", _reason(file)),
                ("size", size_text(file.size_bytes)),
                ("since", file.created_at),
                ("saved to", save, "decrypted: correct it, put it into the landing folder, then delete it"),
            )[: None if save else -1],
        ),
    )


@_set_aside.command("discard")
def _discard(context: typer.Context, identifier: _Id) -> None:
    """Destroy the key of one file, then delete the file."""
    with opened_home(context) as (session, opened):
        file = _found(opened, identifier)
        opened.set_aside.discard(file.id)
    session.answer({"discarded": file.id}, lambda: good(f"Discarded {file.id}. Nobody can read it any more."))


def _found(opened: "OpenHome", identifier: str) -> SetAsideFile:
    for file in opened.set_aside.list():
        if file.id == identifier:
            return file
    raise FileMissing(
        "no set-aside file has this id", remedy="Run `implio set-aside list` to see the files that exist."
    )


def _reason(file: SetAsideFile) -> str:
    return f"{file.code}: {file.reason}" if file.reason else file.code


def _shape(file: SetAsideFile) -> dict[str, Any]:
    return {
        "id": file.id,
        "origin": file.origin,
        "team": file.team,
        "code": file.code,
        "reason": file.reason,
        "sizeBytes": file.size_bytes,
        "createdAt": file.created_at,
    }
