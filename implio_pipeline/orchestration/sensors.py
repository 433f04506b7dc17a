"""Sensors: what waits in the watched folders is launched, all of it in one run a team or one run in all."""

from collections.abc import Iterator, Sequence
from datetime import date, timedelta

import dagster as dg

from implio_pipeline.domain.errors import HomeMissing
from implio_pipeline.domain.request import OPEN_STATES, is_ready
from implio_pipeline.domain.words import TeamId
from implio_pipeline.orchestration.guarded import guarded
from implio_pipeline.orchestration.jobs import CARRY_OUT_REQUESTS, INGEST_LANDING
from implio_pipeline.orchestration.launches import TEAM_TAG, batch_id, is_running, next_attempt, run_request
from implio_pipeline.orchestration.partitions import TEAM, TEAMS, partition_key
from implio_pipeline.orchestration.resources import HomeResource
from implio_pipeline.ports.world import World

MOST_DAYS = 400
"""Days of arrival that one run covers as partitions; each costs 30 ms of event log (measured). All is taken in."""

_RANGE_START, _RANGE_END = "dagster/asset_partition_range_start", "dagster/asset_partition_range_end"
_INTERVAL_SECONDS = 30


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
                teams = [team.team for team in house.world.catalog.teams.all()]
                first_day = date.fromisoformat(house.settings.first_day)
                requests = list(_ingestions(context, house.world, teams, first_day))
        except HomeMissing as missing:
            return dg.SkipReason(missing.code)
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
    minimum_interval_seconds=_INTERVAL_SECONDS,
    default_status=dg.DefaultSensorStatus.RUNNING,
    description="Carries out deletion requests: those in the inbox, those accepted elsewhere, those to be tried again.",
)
def requests_sensor(context: dg.SensorEvaluationContext, home: HomeResource) -> dg.RunRequest | dg.SkipReason:
    """Ask for one run for all requests that wait, unless one is under way or the back-off of each lasts."""
    with guarded():
        try:
            with home.open() as house:
                world = house.world
                now = world.clock.now()
                is_inbox_waiting = bool(world.inbox.waiting())
                open_requests = world.catalog.requests.all(states=OPEN_STATES)
                ready = sorted(each.request_id for each in open_requests if is_ready(each, now=now))
        except HomeMissing as missing:
            return dg.SkipReason(missing.code)
        if not ready and not is_inbox_waiting:
            return dg.SkipReason("no request waits")
        if is_running(context.instance, job=CARRY_OUT_REQUESTS):
            return dg.SkipReason("a run is under way")
        batch = batch_id("inbox" if is_inbox_waiting else "", *ready)
        attempt = next_attempt(context.instance, job=CARRY_OUT_REQUESTS, batch=batch, now=now)
        if attempt is None:
            return dg.SkipReason("the last attempt failed; its back-off lasts")
        return run_request(batch=batch, attempt=attempt, tags={})


def _ingestions(
    context: dg.SensorEvaluationContext, world: World, teams: Sequence[TeamId], first_day: date
) -> Iterator[dg.RunRequest]:
    waiting = world.landing.waiting()
    now = world.clock.now()
    for team in teams:
        days = waiting.get(team)
        if not days or is_running(context.instance, job=INGEST_LANDING, tags={TEAM_TAG: team}):
            continue
        batch = batch_id(team, *(day.isoformat() for day in days))
        attempt = next_attempt(context.instance, job=INGEST_LANDING, batch=batch, now=now)
        if attempt is None:
            continue
        start, end = _span(days, first_day=first_day, today=now.date())
        tags = {
            TEAM_TAG: team,
            _RANGE_START: partition_key(team, start),
            _RANGE_END: partition_key(team, end),
        }
        yield run_request(batch=batch, attempt=attempt, tags=tags)


def _span(days: Sequence[date], *, first_day: date, today: date) -> tuple[date, date]:
    """Return the first and last day to show as partitions of the run: never an empty range, never a day unknown."""
    end = max(first_day, min(max(days), today))
    start = max(first_day, min(days), end - timedelta(days=MOST_DAYS - 1))
    return min(start, end), end
