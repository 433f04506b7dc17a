"""Sensors: requests are accepted in the tick itself; what else waits is launched, one run a team or one run in all."""

from collections.abc import Callable, Iterator, Sequence
from datetime import date, timedelta
from time import monotonic

import dagster as dg

from implio_pipeline.domain.errors import ClockWrong, HomeMissing
from implio_pipeline.domain.request import OPEN_STATES, is_ready
from implio_pipeline.domain.words import TeamId
from implio_pipeline.flows.clock import agreed_now
from implio_pipeline.flows.ingest import failed_landings, put_off
from implio_pipeline.flows.take_requests import TakenRequests, take_requests
from implio_pipeline.orchestration.guarded import guarded
from implio_pipeline.orchestration.jobs import CARRY_OUT_REQUESTS, INGEST_LANDING
from implio_pipeline.orchestration.launches import (
    TEAM_TAG,
    batch_id,
    is_running,
    next_attempt,
    next_attempts,
    run_request,
    running_teams,
)
from implio_pipeline.orchestration.partitions import TEAM, TEAMS, partition_key
from implio_pipeline.orchestration.resources import HomeResource
from implio_pipeline.ports.world import World

MOST_DAYS = 400
"""Days of arrival that one run covers as partitions; each costs 30 ms of event log (measured). All is taken in."""

_RANGE_START, _RANGE_END = "dagster/asset_partition_range_start", "dagster/asset_partition_range_end"
_INTERVAL_SECONDS = 15
_INBOX_INTERVAL_SECONDS = 3
"""Less than the 5 s after which the daemon looks at all sensors again, so that each look is a tick."""

TICK_FILES, TICK_SECONDS = 200, 10.0
"""What one tick takes from the inbox; the rest is for the next. Dagster ends a tick after 60 s."""
TICK_RUNS = 100
"""Runs that one tick asks for: the daemon creates them one after the other, 0.1 s each, before its next tick."""


@dg.sensor(
    name="landing_sensor",
    job_name=INGEST_LANDING,
    minimum_interval_seconds=_INTERVAL_SECONDS,
    default_status=dg.DefaultSensorStatus.RUNNING,
    description="Takes in what teams have put into their landing folders.",
)
def landing_sensor(context: dg.SensorEvaluationContext, home: HomeResource) -> dg.SensorResult | dg.SkipReason:
    """Ask for one run for each team with files waiting, unless one is under way or its back-off lasts."""
    with guarded():
        try:
            with home.open() as house:
                agreed_now(house.world)
                teams = [team.team for team in house.world.catalog.teams.all()]
                first_day = date.fromisoformat(house.settings.first_day)
                requests = list(_ingestions(context, house.world, teams, first_day))
        except HomeMissing as missing:
            return dg.SkipReason(missing.code)
        except ClockWrong as wrong:  # what waits goes on waiting
            return dg.SkipReason(f"{wrong.code}: {wrong.facts}. {wrong.remedy}")
        known = set(context.instance.get_dynamic_partitions(TEAM))
        unknown = [team for team in teams if team not in known]
        return dg.SensorResult(
            run_requests=requests,
            dynamic_partitions_requests=[TEAMS.build_add_request(unknown)] if unknown else None,
            skip_reason=None if requests else "nothing to launch",
        )


@dg.sensor(
    name="requests_sensor",
    job_name=CARRY_OUT_REQUESTS,
    minimum_interval_seconds=_INBOX_INTERVAL_SECONDS,
    default_status=dg.DefaultSensorStatus.RUNNING,
    description=(
        "Accepts the requests in the inbox, which hides what they name at once, and launches the run that erases: "
        "what was accepted here or elsewhere, and what is to be tried again."
    ),
)
def requests_sensor(context: dg.SensorEvaluationContext, home: HomeResource) -> dg.RunRequest | dg.SkipReason:
    """Accept what is in the inbox, then ask for one run for all requests that are ready.

    Hiding does not wait for the run queue: a run in it may be hours away, a tick is seconds away.
    """
    with guarded():
        try:
            with home.open() as house:
                world = house.world
                now = agreed_now(world)
                taken = take_requests(world, is_enough=_budget(TICK_SECONDS))
                open_requests = world.catalog.requests.all(states=OPEN_STATES)
                ready = sorted(each.request_id for each in open_requests if is_ready(each, now=now))
        except HomeMissing as missing:
            return dg.SkipReason(missing.code)
        except ClockWrong as wrong:  # what waits goes on waiting
            return dg.SkipReason(f"{wrong.code}: {wrong.facts}. {wrong.remedy}")
        if not ready:
            return dg.SkipReason("no request waits" if not taken.failed else _failed_text(taken))
        if is_running(context.instance, job=CARRY_OUT_REQUESTS):
            return dg.SkipReason("a run is under way")
        batch = batch_id(*ready)
        attempt = next_attempt(context.instance, job=CARRY_OUT_REQUESTS, batch=batch, now=now)
        if attempt is None:
            return dg.SkipReason("the last attempt failed; its back-off lasts")
        return run_request(batch=batch, attempt=attempt, tags={})


def _budget(seconds: float) -> Callable[[TakenRequests], bool]:
    """Return what says that a tick has taken enough: after so many files or seconds, whichever comes first."""
    ends = monotonic() + seconds
    return lambda taken: taken.files >= TICK_FILES or monotonic() >= ends


def _failed_text(taken: TakenRequests) -> str:
    """Say why files could not be taken, in codes and counts: whatever Dagster hears it keeps."""
    codes = ", ".join(f"{code}: {count}" for code, count in sorted(taken.failed.items()))
    return f"request files that could not be taken are tried again: {codes}"


def _ingestions(
    context: dg.SensorEvaluationContext, world: World, teams: Sequence[TeamId], first_day: date
) -> Iterator[dg.RunRequest]:
    """Yield a run for each team with files waiting, at most `TICK_RUNS`; two queries, however many teams."""
    now = world.clock.now()
    failures = failed_landings(world)
    left = put_off(failures, now=now)
    waiting = world.landing.waiting(but=left)
    busy = running_teams(context.instance, job=INGEST_LANDING) if waiting else set()
    # A file that failed has a back-off of its own and is in no batch meanwhile, so a new file waits for no failed run.
    marks: dict[TeamId, list[str]] = {}
    for each in failures:
        if each.file in left:
            marks.setdefault(each.team, []).append(each.file)
    batches = {
        team: batch_id(team, *(day.isoformat() for day in days), *sorted(marks.get(team, ())))
        for team in teams
        if (days := waiting.get(team)) and team not in busy
    }
    attempts = next_attempts(context.instance, job=INGEST_LANDING, batches=list(batches.values()), now=now)
    due = [team for team, batch in batches.items() if batch in attempts]
    # Whose file came first goes first, so that no team waits behind the same others at every tick.
    for team in sorted(due, key=lambda team: waiting[team][0])[:TICK_RUNS]:
        start, end = _span(waiting[team], first_day=first_day, today=now.date())
        tags = {
            TEAM_TAG: team,
            _RANGE_START: partition_key(team, start),
            _RANGE_END: partition_key(team, end),
        }
        yield run_request(batch=batches[team], attempt=attempts[batches[team]], tags=tags)


def _span(days: Sequence[date], *, first_day: date, today: date) -> tuple[date, date]:
    """Return the first and last day to show as partitions of the run: never an empty range, never a day unknown."""
    end = max(first_day, min(max(days), today))
    start = max(first_day, min(days), end - timedelta(days=MOST_DAYS - 1))
    return min(start, end), end
