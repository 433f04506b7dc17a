"""`implio ingest`: take in what waits in the landing folders."""

from collections import Counter
from collections.abc import Sequence

import typer
from rich.console import Group, RenderableType

from implio_pipeline.cli.arguments import MaybeTeam, Resume
from implio_pipeline.cli.failures import ExitCode, end_failed, faults_shape
from implio_pipeline.cli.session import session_of
from implio_pipeline.cli.shapes import failed_file_shape
from implio_pipeline.cli.status import failed_file_lines
from implio_pipeline.cli.tables import good, look, many, table
from implio_pipeline.domain.faults import FailedFile
from implio_pipeline.domain.team import team_id
from implio_pipeline.flows.faults import Faults
from implio_pipeline.flows.files.ingest import IngestSummary, failed_landings, ingest


def ingest_command(context: typer.Context, team: MaybeTeam = None, *, is_resume: Resume = False) -> None:
    """Take in every landing file that is ready: validate, encrypt, commit, queue."""
    session, faults = session_of(context), Faults()
    with session.open_home() as opened:
        teams = None if team is None else [opened.services.catalog.teams.get(team_id(team)).team]
        with session.tally("Ingesting", of="items") as progress:
            summary = ingest(opened.services, teams=teams, again=is_resume, faults=faults, progress=progress)
        failures = failed_landings(opened.services, teams=teams)
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
            {"team": name, "day": day.isoformat(), "items": items}
            for (name, day), items in sorted(summary.partitions.items())
        ],
        "failed": faults_shape(faults),
        "leftForLater": [failed_file_shape(each) for each in failures],
    }
    session.answer(shape, lambda: None if faults and not summary.files else _view(summary, failures))
    end_failed(faults)
    if summary.set_aside:
        raise typer.Exit(ExitCode.WAITS)


def _view(summary: IngestSummary, failures: Sequence[FailedFile]) -> RenderableType:
    left = failed_file_lines(failures)
    if not (summary.files or summary.duplicates or summary.set_aside or summary.empty):
        return Group(good("Nothing was ready to be taken."), *left)
    items, days = Counter[str](), Counter[str]()
    for (team, _), added in summary.partitions.items():
        items[team] += added
        days[team] += 1
    lines: list[RenderableType] = [
        good(f"{many(summary.items, 'item')} of {many(summary.files, 'file')}"),
        table(("team", "items", "days"), ([team, items[team], days[team]] for team in sorted(items))),
    ]
    if summary.returned:
        whose = (
            many(summary.returned_people, "person")
            if summary.returned_people == 1
            else (f"{summary.returned_people:,} people")
        )
        text = "who asked to be erased came in again; ask the sender whether that is meant, or erase them again"
        lines.append(look(f"{many(summary.returned_items, 'item')} of {whose} {text}"))
    remarks = (
        (summary.rejected, "item", "rejected: kept, with a report in the team's landing folder"),
        (summary.with_unknown, "item", "with properties that nobody reads: kept as sent, named in the report"),
        (summary.erased_before, "item", "erased before: kept out"),
        (summary.kept_out, "item", "of people whose deletion is standing: kept out"),
        (summary.too_old, "item", "older than the policy keeps: sealed away, `implio set-aside list`"),
        (summary.duplicates, "file", "taken before: removed"),
        (summary.empty, "file", "empty: removed"),
        (summary.set_aside, "file", "that cannot be read, sealed away: `implio set-aside list`"),
    )
    return Group(*lines, *(look(f"{many(count, noun)} {text}") for count, noun, text in remarks if count), *left)
