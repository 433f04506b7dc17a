"""`implio status`: what is here, what waits, what is late, and whether the ledger holds."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import islice
from typing import TYPE_CHECKING, Any, Self

import typer
from rich.console import Group, RenderableType
from rich.text import Text

from implio_pipeline.cli.failures import ExitCode
from implio_pipeline.cli.session import session_of
from implio_pipeline.cli.shapes import failed_file_shape
from implio_pipeline.cli.tables import bad, good, left_text, look, many, table
from implio_pipeline.domain.faults import FailedFile
from implio_pipeline.domain.ids import FileKind, RequestId, TeamId
from implio_pipeline.domain.instants import instant_text
from implio_pipeline.domain.intake import ErasedPeople
from implio_pipeline.domain.outcome import RequestOutcome
from implio_pipeline.domain.request import (
    OPEN_STATES,
    PEOPLE_STATES,
    WITHHELD_STATES,
    Request,
    RequestState,
)
from implio_pipeline.domain.request_view import request_view
from implio_pipeline.domain.retention import PolicyChange
from implio_pipeline.domain.sentences import erased_people_text, size_text, what_is_so
from implio_pipeline.domain.team import Team
from implio_pipeline.domain.waiting import Wait, Waiting
from implio_pipeline.flows.deletion.outcomes import outcomes_of
from implio_pipeline.flows.deletion.retention import preview_retention
from implio_pipeline.flows.files.ingest import failed_landings, put_off
from implio_pipeline.remedies import remedy_of_code

if TYPE_CHECKING:
    from implio_pipeline.wiring import OpenHome


@dataclass(frozen=True, kw_only=True, slots=True)
class TeamSums:
    """What one team has."""

    team: Team
    items: int
    rejected: int
    files: int
    size_bytes: int
    queue: int
    overdue: int
    erased_people: ErasedPeople
    """Of the last 30 days."""


_WAITING = {
    Waiting.LANDING_FILE: "The oldest landing file",
    Waiting.REQUEST_FILE: "The oldest request file",
    Waiting.REQUEST: "The oldest open request",
}
_LATELY = timedelta(days=30)
FAULTS = (RequestState.FAILED, RequestState.QUARANTINED, RequestState.UNVERIFIED)
"""Where a request is that an attempt could not carry out: tried again by itself, or not."""
_MOST_NAMES = 10
_KINDS = ".json, .ndjson, .jsonl or .csv"


@dataclass(frozen=True, kw_only=True, slots=True)
class PassedOver:
    """What a watched folder holds and nobody will ever take."""

    count: int
    names: tuple[str, ...]
    """The first few. Names are their senders', so they are for the terminal alone."""

    @classmethod
    def of(cls, names: Iterator[str]) -> Self:
        """Count names, and keep the first few."""
        first = tuple(islice(names, _MOST_NAMES))
        return cls(count=len(first) + sum(1 for _ in names), names=first)

    def lines(self, folder: str, taken: str) -> list[RenderableType]:
        """Return what a reader is told, each name so that blanks and odd letters show."""
        more = self.count - len(self.names)
        shown = [shown_name(name) for name in self.names] + ([f"{more:,} more"] if more else [])
        return [look(f"Never taken from {folder}: {many(self.count, 'thing')}: {', '.join(shown)}; {taken}")]


@dataclass(frozen=True, kw_only=True, slots=True)
class HomeStatus:
    """What a home has, and what it waits for."""

    home: str
    now: datetime
    teams: tuple[TeamSums, ...]
    landing_days: dict[str, int]
    """Days of arrival of the files that wait, by team."""
    unknown_teams: tuple[str, ...]
    failed_landings: tuple[FailedFile, ...]
    """Landing files that failed: tried again later, or quarantined."""
    misnamed: Mapping[str, str]
    """Folders whose name is almost a team's, with the team meant."""
    inbox_files: int
    refusals: int
    """Files that tell of refused requests, which somebody has to read."""
    landing_passed_over: PassedOver
    """Things in the landing folders that are never taken."""
    inbox_passed_over: PassedOver
    """Things in the inbox that are never taken."""
    open_requests: tuple[Request, ...]
    outcomes: Mapping[RequestId, RequestOutcome]
    """What is known of the open requests."""
    set_aside: int
    unsettled: int
    """Verdicts that queries show and no item's file holds yet."""
    given_up: int
    """Callbacks that no attempt could deliver."""
    ledger_entries: int
    ledger_findings: int
    unapproved: Mapping[TeamId, tuple[int, int]]
    """Requests that wait for a second person, and the items they cover, of each team that has some."""
    changes: tuple[PolicyChange, ...]
    """Changes of policy or cap that wait for a second person."""
    waits: tuple[Wait, ...] = ()
    """The oldest file of each kind and the oldest open request that wait, and why."""

    @property
    def late(self) -> tuple[Request, ...]:
        """Open requests past the day they were due."""
        return tuple(each for each in self.open_requests if each.is_overdue(now=self.now))

    @property
    def soon(self) -> tuple[Request, ...]:
        """Open requests due within a week."""
        return tuple(each for each in self.open_requests if each.is_soon_due(now=self.now))

    @property
    def for_people(self) -> tuple[Request, ...]:
        """Open requests that wait for somebody to decide or to look."""
        return tuple(each for each in self.open_requests if each.state in PEOPLE_STATES)

    def faulty(self, state: RequestState) -> tuple[Request, ...]:
        """Open requests whose last attempt left them in one of the states of `FAULTS`."""
        return tuple(each for each in self.open_requests if each.state is state)

    @property
    def overdue_items(self) -> int:
        """Items that the policies no longer allow."""
        return sum(each.overdue for each in self.teams)

    @property
    def is_waiting(self) -> bool:
        """Whether something waits for a run or for a person."""
        for_runs = self.landing_days or self.inbox_files or self.open_requests or self.overdue_items
        to_look_at = (
            self.failed_landings
            or self.changes
            or self.refusals
            or self.set_aside
            or self.landing_passed_over.count
            or self.inbox_passed_over.count
        )
        return bool(for_runs or to_look_at)


def status_command(context: typer.Context) -> None:
    """Show what is here, what waits, what is late, and whether the ledger holds."""
    session = session_of(context)
    with session.open_home() as opened:
        found = status_of(opened)
    session.answer(_shape(found), lambda: _view(found))
    if found.ledger_findings:
        raise typer.Exit(ExitCode.NOT_VERIFIED)
    if found.is_waiting:
        raise typer.Exit(ExitCode.WAITS)


def status_of(opened: "OpenHome") -> HomeStatus:
    """Return the status of an opened home."""
    services, now = opened.services, opened.services.clock.now()
    failures = failed_landings(services)
    waiting = services.landing.waiting(but=put_off(failures, now=now))
    waiting_requests = outcomes_of(services, services.catalog.requests.all(states=OPEN_STATES))
    teams = team_sums(opened)
    known = {each.team.team for each in teams}
    return HomeStatus(
        home=str(opened.settings.home),
        now=now,
        teams=teams,
        landing_days={team: len(days) for team, days in waiting.items()},
        unknown_teams=tuple(sorted(set(waiting) - known)),
        failed_landings=tuple(failures),
        misnamed=services.landing.misnamed(known),
        inbox_files=len(services.inbox.waiting()),
        refusals=services.inbox.refusals(),
        landing_passed_over=PassedOver.of(services.landing.passed_over()),
        inbox_passed_over=PassedOver.of(services.inbox.passed_over()),
        open_requests=tuple(each for each, _ in waiting_requests),
        outcomes={each.request_id: outcome for each, outcome in waiting_requests},
        set_aside=len(opened.set_aside.list()),
        unsettled=sum(len(services.catalog.moderation.unsettled(team)) for team in known),
        given_up=sum(each.given_up_at is not None for each in services.catalog.callbacks.all()),
        ledger_entries=sum(1 for _ in opened.ledger.entries()),
        ledger_findings=len(opened.ledger.check()),
        unapproved={team: found for team in sorted(known) if (found := services.catalog.requests.unapproved(team))[0]},
        changes=tuple(services.catalog.policy_changes.waiting()),
        waits=opened.oldest_waits(),
    )


def team_sums(opened: "OpenHome") -> tuple[TeamSums, ...]:
    """Return what each team has, by what the catalog says."""
    catalog, today = opened.services.catalog, opened.services.clock.now().date()
    overdue = {each.team: each.items for each in preview_retention(opened.services, today=today)}
    queued: dict[str, int] = {}
    for (team, _), count in catalog.moderation.counts().items():
        queued[team] = queued.get(team, 0) + count
    sums = []
    for each in catalog.teams.all():
        files = list(catalog.manifest.files(each.team))
        items = sum(file.rows for file in files if file.kind is FileKind.ITEMS)
        sums.append(
            TeamSums(
                team=each,
                items=items,
                rejected=sum(file.rows for file in files) - items,
                files=len(files),
                size_bytes=sum(file.size_bytes for file in files),
                queue=queued.get(each.team, 0),
                overdue=overdue.get(each.team, 0),
                erased_people=catalog.landings.erased_people(each.team, since=today - _LATELY),
            )
        )
    return tuple(sums)


def _shape(found: HomeStatus) -> dict[str, Any]:
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
            "landingWithoutTeam": list(found.unknown_teams),
            "landingMisnamed": dict(found.misnamed),
            "requestFiles": found.inbox_files,
            "refusedRequestFiles": found.refusals,
            "passedOver": {"landing": found.landing_passed_over.count, "inbox": found.inbox_passed_over.count},
            "openRequests": [request_view(each, found.outcomes[each.request_id]) for each in found.open_requests],
            "setAsideFiles": found.set_aside,
            "overdueItems": found.overdue_items,
            "unsettledVerdicts": found.unsettled,
            "givenUpCallbacks": found.given_up,
            "oldest": [each.shape(now=found.now) for each in found.waits],
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
                for team, (requests, items) in sorted(_second_person(found).items())
            },
        },
        "faults": {
            state.value: [_fault_shape(each, found.outcomes[each.request_id]) for each in found.faulty(state)]
            for state in FAULTS
        },
        "lateRequests": [each.request_id for each in found.late],
        "soonDueRequests": [each.request_id for each in found.soon],
        "requestsForPeople": [each.request_id for each in found.for_people],
        "ledger": {"entries": found.ledger_entries, "isHolding": found.ledger_findings == 0},
    }


def _fault_shape(request: Request, outcome: RequestOutcome) -> dict[str, Any]:
    names = ("requestId", "team", "errorCode", "errorDay", "errorFile", "attempts", "nextAttemptAt")
    return request_view(request, outcome, only=names) | {"remedy": remedy_of_code(str(request.error_code))}


def _fault_lines(found: HomeStatus) -> list[RenderableType]:
    lines: list[RenderableType] = []
    for each in (each for state in FAULTS for each in found.faulty(state)):
        following = (
            "not tried again by itself"
            if each.next_attempt_at is None
            else f"tried again at {instant_text(each.next_attempt_at)}"
        )
        words = f"{each.fault_text}, {many(each.attempts, 'attempt')}, {following}"
        show = look if each.state is RequestState.FAILED else bad
        text = f"{each.state.value.capitalize()}: request {each.request_id}: {words}"
        lines.append(show(f"{text}. {remedy_of_code(str(each.error_code))}"))
    return lines


def _second_person(found: HomeStatus) -> dict[TeamId, tuple[int, int]]:
    """Return the teams in which something waits for a second person, with their requests and items."""
    return {change.team: (0, 0) for change in found.changes} | dict(found.unapproved)


def _view(found: HomeStatus) -> RenderableType:
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
    return Group(
        Text(f"Home {found.home}", style="bold"),
        table(("team", "region", "kept", "items", "files", "size", "queue", "overdue"), rows)
        if rows
        else look("There are no teams yet: `implio team add TEAM --region eu`"),
        *_lines(found),
    )


def _duration(waited: timedelta) -> str:
    seconds = max(0, int(waited.total_seconds()))
    for unit, length in (("day", 86_400), ("hour", 3_600), ("minute", 60)):
        if seconds >= 2 * length:
            return many(seconds // length, unit)
    return many(seconds, "second")


def shown_name(name: str) -> str:
    """Return a folder's name so that blanks and odd letters show."""
    return '"' + ascii(name)[1:-1] + '"'


def failed_file_lines(files: Iterable[FailedFile]) -> list[RenderableType]:
    """Return a line for each landing file that is left for later, or quarantined."""
    lines: list[RenderableType] = []
    for each in files:
        words = f"{each.text}. {remedy_of_code(each.error_code)}"
        again = "Then, or to try it now: `implio ingest --resume`."
        lines.append(bad(f"Quarantined: {words} {again}") if each.is_quarantined else look(f"Failed: {words} {again}"))
    return lines


def _landing_lines(found: HomeStatus) -> list[RenderableType]:
    lines: list[RenderableType] = []
    if found.landing_passed_over.count:
        lines += found.landing_passed_over.lines(
            "landing", f"items are {_KINDS} files, also .gz, in a folder of their team"
        )
    lines += [
        look(f"landing: nothing is taken from the folder {shown_name(name)}; did you mean {shown_name(team)}?")
        for name, team in found.misnamed.items()
    ]
    lines += failed_file_lines(found.failed_landings)
    return lines + [
        look(f"landing/{team}: files wait for a team that does not exist: `implio team add {team} --region REGION`")
        if team in found.unknown_teams
        else look(f"landing/{team}: files of {many(days, 'day')} wait: `implio ingest`")
        for team, days in found.landing_days.items()
    ]


def _moderation_lines(found: HomeStatus) -> list[RenderableType]:
    lines: list[RenderableType] = []
    if found.unsettled:
        verdicts = many(found.unsettled, "verdict")
        lines.append(look(f"Shown, and not yet in the items' files: {verdicts}: `implio settle`"))
    if found.given_up:
        lines.append(look(f"Given up: {many(found.given_up, 'callback')}: `implio callbacks show --team TEAM`"))
    return lines


def _second_person_lines(found: HomeStatus) -> list[RenderableType]:
    lines: list[RenderableType] = []
    for team, (requests, items) in sorted(found.unapproved.items()):
        asked = f"{many(requests, 'request')} of team {team}, {'up to ' if requests > 1 else ''}{many(items, 'item')}"
        lines.append(look(f"Waiting for a second person: {asked}: `implio requests approve --all-of {team}`"))
    for change in found.changes:
        wanted = f"{change.policy.text}, cap {change.cap_percent} %, {many(change.affected_items, 'item')}"
        words = f"Waiting for a second person: a change of policy of team {change.team} ({wanted})"
        lines.append(look(f"{words}: `implio retention approve --team {change.team}`"))
    return lines


def _lines(found: HomeStatus) -> list[RenderableType]:
    lines = _landing_lines(found)
    if found.inbox_files:
        lines.append(look(f"In the inbox: {many(found.inbox_files, 'request file')}: `implio requests take`"))
    if found.refusals:
        files = many(found.refusals, "file")
        lines.append(look(f"Refused requests, explained in {files} in the inbox; remove what you have read"))
    if found.inbox_passed_over.count:
        lines += found.inbox_passed_over.lines("the inbox", f"requests are {_KINDS} files")
    held = [each for each in found.open_requests if each.state in WITHHELD_STATES]
    going = len(found.open_requests) - len(held) - len(found.for_people)
    if going:
        lines.append(look(f"Hidden, to be erased: {many(going, 'request')}: `implio erase --resume`"))
    if held:
        lines.append(look(f"Held back by a legal hold: {many(len(held), 'request')}: `implio holds list`"))
    lines += [
        bad(f"Late: request {each.request_id} was {left_text(each.due_at, now=found.now)}") for each in found.late
    ]
    lines += [look(f"Due {left_text(each.due_at, now=found.now)}: request {each.request_id}") for each in found.soon]
    lines += [
        look(f"Request {each.request_id}: {what_is_so(each, found.outcomes[each.request_id])}")
        for each in found.for_people
        if each.state not in FAULTS and each.state is not RequestState.UNAPPROVED  # told for each team together
    ]
    lines += _fault_lines(found)
    lines += _second_person_lines(found)
    if found.overdue_items:
        lines.append(look(f"Overdue by policy: {many(found.overdue_items, 'item')}: `implio retention run`"))
    if found.set_aside:
        lines.append(
            look(f"Set aside, unreadable and sealed: {many(found.set_aside, 'file')}: `implio set-aside list`")
        )
    lines += _moderation_lines(found)
    lines += [
        look(f"Team {each.team.team}: {text}")
        for each in found.teams
        for text in erased_people_text(each.erased_people, days=_LATELY.days)
    ]
    lines += [
        look(f"{_WAITING[each.what]} has waited {_duration(found.now - each.since)}: {each.sentence}. {each.remedy}")
        for each in found.waits
    ]
    if not lines:
        lines.append(good("Nothing waits and nothing is late."))
    if found.ledger_findings:
        lines.append(bad("The ledger does not hold: `implio receipts verify`"))
    else:
        lines.append(good(f"The ledger holds: {many(found.ledger_entries, 'line')}, chained and signed"))
    return lines
