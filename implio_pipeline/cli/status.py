"""`implio status`: what the home contains, what waits, what is late, and whether the ledger verifies.

Every line that somebody can act on names the command for it. JSON contains no file name and no path that a
sender chose, because it may be personal: those are for the terminal alone. It does contain the names of folders
directly below `landing/`, which are names of teams, or nearly.
"""

from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import islice
from typing import TYPE_CHECKING, Any

import typer
from rich.console import Group, RenderableType
from rich.text import Text

from implio_pipeline.cli.arguments import READ
from implio_pipeline.cli.failures import ExitCode
from implio_pipeline.cli.intake import failed_file_lines, failed_file_shape
from implio_pipeline.cli.session import opened_home
from implio_pipeline.cli.tables import bad, good, left_text, table, warning
from implio_pipeline.domain.claims import WorkInHand
from implio_pipeline.domain.errors import LedgerBroken
from implio_pipeline.domain.faults import FailedFile
from implio_pipeline.domain.ids import FileKind, TeamId
from implio_pipeline.domain.instants import instant_text
from implio_pipeline.domain.intake import ErasedPeople
from implio_pipeline.domain.outcome import RequestOutcome
from implio_pipeline.domain.request import NEEDS_PERSON_STATES, OPEN_STATES, WITHHELD_STATES, Request, RequestState
from implio_pipeline.domain.request_view import request_view
from implio_pipeline.domain.retention import PolicyChange
from implio_pipeline.domain.sentences import count, erased_people_text, size_text, what_is_so
from implio_pipeline.domain.team import Team
from implio_pipeline.domain.waiting import Wait, WaitingKind
from implio_pipeline.flows.deletion.outcomes import outcomes_of
from implio_pipeline.flows.deletion.retention import preview_retention
from implio_pipeline.flows.files.ingest import failed_landings, marks_put_off
from implio_pipeline.flows.operations.epochs import epoch_open_since
from implio_pipeline.remedies import remedy_of_code, remedy_of_wait, wait_view

if TYPE_CHECKING:
    from implio_pipeline.wiring import OpenHome

app = typer.Typer()

FAULTS = (RequestState.FAILED, RequestState.QUARANTINED, RequestState.UNVERIFIED)
"""States of a request whose last attempt failed."""
_WAITING = {
    WaitingKind.LANDING_FILE: "The oldest landing file",
    WaitingKind.REQUEST_FILE: "The oldest request file",
    WaitingKind.REQUEST: "The oldest open request",
}
_RECENT = timedelta(days=30)
_MOST_NAMES = 10
_KINDS = ".json, .ndjson, .jsonl or .csv"


@dataclass(frozen=True, kw_only=True, slots=True)
class TeamSums:
    """What one team has, in counts."""

    team: Team
    items: int
    rejected: int
    files: int
    size_bytes: int
    queue: int
    overdue: int
    erased_people: ErasedPeople
    """Items of the last 30 days from people who were erased."""


@dataclass(frozen=True, kw_only=True, slots=True)
class _Status:
    """Everything that the command shows."""

    home: str
    now: datetime
    teams: tuple[TeamSums, ...]
    landing_days: dict[str, int]
    """For each team, the number of days on which its waiting files arrived."""
    unknown_teams: tuple[str, ...]
    failed_landings: tuple[FailedFile, ...]
    misnamed: Mapping[str, str]
    """Landing folders whose name is almost that of a team, with the team that is probably meant."""
    inbox_files: int
    refusals: int
    """Files in the inbox that explain refused requests; somebody must read them."""
    ignored: Mapping[str, tuple[int, tuple[str, ...]]]
    """For each watched folder, the entries that are never read: how many, and the first names."""
    requests: tuple[tuple[Request, RequestOutcome], ...]
    """Open requests."""
    set_aside: int
    unsettled: int
    """Verdicts that readers see but that are not yet in the item's file."""
    given_up: int
    """Callbacks that no attempt could deliver."""
    epoch_open_since: datetime | None
    """Since when old copies of the database open what was erased; `None` if nothing does."""
    epoch_hours: float
    ledger_entries: int
    ledger_findings: int
    unapproved: Mapping[TeamId, tuple[int, int]]
    """For each team, the requests that wait for a second person, and their items."""
    changes: tuple[PolicyChange, ...]
    """Changes of policy or cap that wait for a second person."""
    work: tuple[WorkInHand, ...]
    """What workers are doing, in counts."""
    waits: tuple[Wait, ...]
    """The oldest file of each kind and the oldest open request that wait, with the reason."""

    @property
    def late(self) -> list[Request]:
        return [each for each, _ in self.requests if each.is_overdue(now=self.now)]

    @property
    def soon(self) -> list[Request]:
        return [each for each, _ in self.requests if each.is_soon_due(now=self.now)]

    @property
    def for_people(self) -> list[tuple[Request, RequestOutcome]]:
        return [each for each in self.requests if each[0].state in NEEDS_PERSON_STATES]

    @property
    def overdue_items(self) -> int:
        return sum(each.overdue for each in self.teams)


@app.command("status", rich_help_panel=READ)
def _status_command(context: typer.Context) -> None:
    """Show what the home contains, what waits and what is late."""
    with opened_home(context) as (session, opened):
        found = _status_of(opened)
    session.answer(_shape(found), lambda: _view(found))
    if found.ledger_findings:
        raise typer.Exit(ExitCode.NOT_VERIFIED)
    for_jobs = (found.landing_days, found.inbox_files, found.requests, found.overdue_items)
    for_people = (found.failed_landings, found.changes, found.refusals, found.set_aside)
    if any((*for_jobs, *for_people, *(number for number, _ in found.ignored.values()))):
        raise typer.Exit(ExitCode.WAITS)


def _status_of(opened: "OpenHome") -> _Status:
    now = opened.clock.now()
    catalog = opened.catalog
    failures = failed_landings(opened)
    waiting = opened.landing.waiting(but=marks_put_off(failures, now=now))
    teams = team_sums(opened)
    known = {each.team.team for each in teams}

    def ignored(names: Iterator[str]) -> tuple[int, tuple[str, ...]]:
        first = tuple(islice(names, _MOST_NAMES))
        return len(first) + sum(1 for _ in names), first

    return _Status(
        home=str(opened.settings.home),
        now=now,
        teams=teams,
        landing_days={team: len(each.days) for team, each in waiting.items()},
        unknown_teams=tuple(sorted(set(waiting) - known)),
        failed_landings=tuple(failures),
        misnamed=opened.landing.misnamed(known),
        inbox_files=len(opened.inbox.waiting()),
        refusals=opened.inbox.refusals(),
        ignored={"landing": ignored(opened.landing.passed_over()), "inbox": ignored(opened.inbox.passed_over())},
        requests=tuple(outcomes_of(opened, catalog.requests.all(states=OPEN_STATES))),
        set_aside=len(opened.set_aside.list()),
        unsettled=catalog.moderation.count_unsettled(),
        given_up=sum(each.given_up_at is not None for each in catalog.callbacks.all()),
        epoch_open_since=_epoch_open_since(opened),
        epoch_hours=opened.settings.epoch_hours,
        ledger_entries=opened.ledger.size(),
        ledger_findings=len(opened.ledger.check()),
        unapproved={team: found for team in sorted(known) if (found := catalog.requests.unapproved(team))[0]},
        changes=tuple(catalog.policy_changes.waiting()),
        work=tuple(catalog.claims.in_hand()),
        waits=opened.oldest_waits(),
    )


def _epoch_words(since: datetime, *, hours: float) -> str:
    begun = since.replace(microsecond=0)
    return (
        f"Old copies of the database open what was deleted since {instant_text(begun)}, until the epoch is closed: "
        f"after {instant_text(begun + timedelta(hours=hours))}, or now with `implio keys rotate`"
    )


def _epoch_open_since(opened: "OpenHome") -> datetime | None:
    with suppress(LedgerBroken):  # it has a line of its own
        return epoch_open_since(opened)
    return None


def team_sums(opened: "OpenHome") -> tuple[TeamSums, ...]:
    """Return what each team has, from the catalog alone: no file is opened."""
    catalog, today = opened.catalog, opened.clock.now().date()
    overdue = {each.team: each.items for each in preview_retention(opened, today=today)}
    queued: dict[str, int] = {}
    for (team, _), waiting in catalog.moderation.counts().items():
        queued[team] = queued.get(team, 0) + waiting
    sums = []
    for each in catalog.teams.all():
        parts = list(catalog.manifest.partitions(each.team))
        items = sum(part.rows for part in parts if part.kind is FileKind.ITEMS)
        sums.append(
            TeamSums(
                team=each,
                items=items,
                rejected=sum(part.rows for part in parts) - items,
                files=sum(part.files for part in parts),
                size_bytes=sum(part.size_bytes for part in parts),
                queue=queued.get(each.team, 0),
                overdue=overdue.get(each.team, 0),
                erased_people=catalog.landings.erased_people(each.team, since=today - _RECENT),
            )
        )
    return tuple(sums)


def _shape(found: _Status) -> dict[str, Any]:
    # Teams with only a waiting change have no requests to count.
    second_person = {change.team: (0, 0) for change in found.changes} | dict(found.unapproved)
    fault_names = ("requestId", "team", "errorCode", "errorDay", "errorFile", "attempts", "nextAttemptAt")
    return {
        "home": found.home,
        "teams": [
            {
                "team": each.team.team,
                "region": each.team.region,
                "policy": each.team.policy.text,
                "items": each.items,
                "rejectedItems": each.rejected,
                "files": each.files,
                "sizeBytes": each.size_bytes,
                "queue": each.queue,
                "overdueItems": each.overdue,
                "itemsKeptOut": each.erased_people.kept_out,
                "itemsReturned": each.erased_people.returned,
            }
            for each in found.teams
        ],
        "waiting": {
            "landingDays": found.landing_days,
            "landingFilesFailed": [failed_file_shape(each) for each in found.failed_landings],
            "landingWithoutTeam": found.unknown_teams,
            "landingMisnamed": found.misnamed,
            "requestFiles": found.inbox_files,
            "refusedRequestFiles": found.refusals,
            "passedOver": {folder: number for folder, (number, _) in found.ignored.items()},
            "openRequests": [request_view(*each) for each in found.requests],
            "setAsideFiles": found.set_aside,
            "overdueItems": found.overdue_items,
            "unsettledVerdicts": found.unsettled,
            "givenUpCallbacks": found.given_up,
            "oldest": [wait_view(each, now=found.now) for each in found.waits],
        },
        "waitingForSecondPerson": {
            "requests": sum(requests for requests, _ in found.unapproved.values()),
            "items": sum(items for _, items in found.unapproved.values()),
            "policyChanges": len(found.changes),
            "teams": {
                team: {
                    "requests": requests,
                    "items": items,
                    "policyChanges": sum(change.team == team for change in found.changes),
                }
                for team, (requests, items) in sorted(second_person.items())
            },
        },
        "faults": {
            state: [
                request_view(*each, only=fault_names) | {"remedy": remedy_of_code(str(each[0].error_code))}
                for each in found.requests
                if each[0].state is state
            ]
            for state in FAULTS
        },
        "lateRequests": [each.request_id for each in found.late],
        "soonDueRequests": [each.request_id for each in found.soon],
        "requestsForPeople": [each.request_id for each, _ in found.for_people],
        "epochOpenSince": found.epoch_open_since,
        "work": [
            {
                "work": each.work,
                "workers": each.workers,
                "claims": each.claims,
                "oldestSeconds": round(each.oldest_seconds),
                "takenOver": each.taken_over,
            }
            for each in found.work
        ],
        "ledger": {"entries": found.ledger_entries, "isHolding": found.ledger_findings == 0},
    }


def _view(found: _Status) -> RenderableType:
    rows = [
        [
            each.team.team,
            each.team.region,
            each.team.policy.text,
            each.items,
            each.files,
            size_text(each.size_bytes),
            each.queue,
            each.overdue,
        ]
        for each in found.teams
    ]
    columns = ("team", "region", "retention", "items", "files", "size", "queue", "overdue")
    lines = [*_file_lines(found), *_request_lines(found), *_other_lines(found)]
    return Group(
        Text(f"Home {found.home}", style="bold"),
        table(columns, rows) if rows else warning("There are no teams yet: `implio team add TEAM --region eu`"),
        *(lines or [good("Nothing waits and nothing is late.")]),
        *([warning(_epoch_words(found.epoch_open_since, hours=found.epoch_hours))] if found.epoch_open_since else []),
        bad("The ledger does not verify: `implio receipts verify`")
        if found.ledger_findings
        else good(f"The ledger verifies: {count(found.ledger_entries, 'entry')}"),
    )


def _file_lines(found: _Status) -> list[RenderableType]:
    """Return what waits in the watched folders."""
    lines: list[RenderableType] = []
    read = {
        "landing": f"items are {_KINDS} files, also .gz, in a folder of their team",
        "inbox": f"requests are {_KINDS} files",
    }
    for folder, (number, names) in found.ignored.items():
        if number:
            more = [f"{number - len(names):,} more"] if number > len(names) else []
            shown = ", ".join([*map(_quoted, names), *more])
            lines.append(warning(f"Never read from {folder}: {count(number, 'entry')}: {shown}; {read[folder]}"))
    lines += [
        warning(f"landing: nothing is read from the folder {_quoted(name)}; did you mean {_quoted(team)}?")
        for name, team in found.misnamed.items()
    ]
    lines += failed_file_lines(found.failed_landings)
    lines += [
        warning(f"landing/{team}: files wait for a team that does not exist: `implio team add {team} --region REGION`")
        if team in found.unknown_teams
        else warning(f"landing/{team}: files of {count(days, 'day')} wait: `implio ingest`")
        for team, days in found.landing_days.items()
    ]
    if found.inbox_files:
        lines.append(warning(f"In the inbox: {count(found.inbox_files, 'request file')}: `implio requests take`"))
    if found.refusals:
        files = count(found.refusals, "file")
        lines.append(
            warning(f"Refused requests: {files} in the inbox give the reasons; delete a file when you have read it")
        )
    if found.set_aside:
        lines.append(warning(f"Unreadable, set aside: {count(found.set_aside, 'file')}: `implio set-aside list`"))
    return lines


def _request_lines(found: _Status) -> list[RenderableType]:
    """Return what open requests wait for, the most urgent first."""
    lines: list[RenderableType] = []
    # 1. Requests that jobs carry out, or that a hold keeps.
    held = sum(each.state in WITHHELD_STATES for each, _ in found.requests)
    going = len(found.requests) - held - len(found.for_people)
    if going:
        lines.append(warning(f"Hidden, to be erased: {count(going, 'request')}: `implio erase --resume`"))
    if held:
        lines.append(warning(f"Held back by a legal hold: {count(held, 'request')}: `implio holds list`"))
    # 2. Due dates (GDPR Art. 12(3)).
    lines += [bad(f"Late: request {each.request_id} is {left_text(each.due_at, now=found.now)}") for each in found.late]
    lines += [warning(f"Due {left_text(each.due_at, now=found.now)}: request {each.request_id}") for each in found.soon]
    # 3. Requests that need a person. Faults and approvals have lines of their own below.
    lines += [
        warning(f"Request {each.request_id}: {what_is_so(each, outcome)}")
        for each, outcome in found.for_people
        if each.state not in FAULTS and each.state is not RequestState.UNAPPROVED
    ]
    for each in (each for state in FAULTS for each, _ in found.requests if each.state is state):
        retry = (
            "not retried automatically"
            if each.next_attempt_at is None
            else f"retried at {instant_text(each.next_attempt_at)}"
        )
        fault = f"{each.fault_text}, {count(each.attempts, 'attempt')}, {retry}"
        text = f"{each.state.capitalize()}: request {each.request_id}: {fault}. {remedy_of_code(str(each.error_code))}"
        lines.append(warning(text) if each.state is RequestState.FAILED else bad(text))
    # 4. What a second person approves, one line for each team.
    for team, (requests, items) in sorted(found.unapproved.items()):
        asked = f"{count(requests, 'request')} of team {team}, {'up to ' if requests > 1 else ''}{count(items, 'item')}"
        lines.append(warning(f"Waiting for a second person: {asked}: `implio requests approve --all-of {team}`"))
    for change in found.changes:
        wanted = f"{change.policy.text}, cap {change.cap_percent} %, {count(change.affected_items, 'item')}"
        text = f"Waiting for a second person: a change of policy of team {change.team} ({wanted})"
        lines.append(warning(f"{text}: `implio retention approve --team {change.team}`"))
    return lines


def _other_lines(found: _Status) -> list[RenderableType]:
    """Return what waits besides files and requests, and what workers are doing."""
    lines: list[RenderableType] = []
    for work in found.work:
        age = _duration(timedelta(seconds=work.oldest_seconds))
        lost = f"; {count(work.taken_over, 'lease')} lost and taken over" if work.taken_over else ""
        at_work = f"{count(work.workers, 'worker')} with {count(work.claims, 'claim')}, the oldest for {age}"
        lines.append(Text(f"At work: {work.work}: {at_work}{lost}"))
    if found.overdue_items:
        lines.append(warning(f"Overdue by policy: {count(found.overdue_items, 'item')}: `implio retention run`"))
    if found.unsettled:
        lines.append(warning(f"Not yet in the items' files: {count(found.unsettled, 'verdict')}: `implio settle`"))
    if found.given_up:
        lines.append(warning(f"Given up: {count(found.given_up, 'callback')}: `implio callbacks show --team TEAM`"))
    lines += [
        warning(f"Team {each.team.team}: {text}")
        for each in found.teams
        for text in erased_people_text(each.erased_people, days=_RECENT.days)
    ]
    lines += [
        warning(
            f"{_WAITING[each.what]} has waited {_duration(found.now - each.since)}: {each.sentence}. "
            f"{remedy_of_wait(each.cause)}"
        )
        for each in found.waits
    ]
    return lines


def _duration(waited: timedelta) -> str:
    seconds = max(0, int(waited.total_seconds()))
    for unit, length in (("day", 86_400), ("hour", 3_600), ("minute", 60)):
        if seconds >= 2 * length:
            return count(seconds // length, unit)
    return count(seconds, "second")


def _quoted(name: str) -> str:
    """Return a name so that blanks and unusual letters can be seen."""
    return '"' + ascii(name)[1:-1] + '"'
