"""The table of jobs, and the loop that looks at it where no Dagster runs."""

from datetime import UTC, date, datetime, time

import pytest
from support.clock import NOW
from support.home import ADS, Home
from support.items import Ad

from implio_pipeline.api import upkeep_process
from implio_pipeline.api.upkeep import lanes
from implio_pipeline.domain.request import RequestState
from implio_pipeline.domain.scope import ByUser
from implio_pipeline.jobs import CARRY_OUT_REQUESTS, JOBS, MERGE_SMALL_FILES, RETENTION, SELF_AUDIT, At, Order, job_of

SUNDAY_AT_FIVE = At(at=time(5, 15), weekday=7)


@pytest.mark.parametrize(
    ("at", "now", "newest"),
    [
        (At(at=time(2, 15)), datetime(2026, 3, 4, 2, 14, tzinfo=UTC), datetime(2026, 3, 3, 2, 15, tzinfo=UTC)),
        (At(at=time(2, 15)), datetime(2026, 3, 4, 2, 15, tzinfo=UTC), datetime(2026, 3, 4, 2, 15, tzinfo=UTC)),
        (SUNDAY_AT_FIVE, datetime(2026, 3, 4, 12, tzinfo=UTC), datetime(2026, 3, 1, 5, 15, tzinfo=UTC)),
        (SUNDAY_AT_FIVE, datetime(2026, 3, 8, 5, tzinfo=UTC), datetime(2026, 3, 1, 5, 15, tzinfo=UTC)),
    ],
)
def test_the_newest_time_that_a_job_was_due(at: At, now: datetime, newest: datetime) -> None:
    assert at.newest(now) == newest
    assert newest.minute == int(at.cron.split()[0])


def test_without_dagster_every_job_of_the_table_has_one_process() -> None:
    shared = [name for lane in lanes() for name in lane]

    assert sorted(shared) == sorted([MERGE_SMALL_FILES, *(job.name for job in JOBS)])


def test_what_must_come_soon_waits_neither_for_the_night_nor_for_receivers() -> None:
    (soon, nightly, receivers) = lanes()

    assert CARRY_OUT_REQUESTS in soon
    assert {RETENTION, SELF_AUDIT} <= set(nightly)
    assert [job_of(name).is_on_files for name in receivers] == [False]


def test_the_loop_makes_up_for_what_is_due_daily_and_looks_at_each_job_once_in_its_time(home: Home) -> None:
    jobs = [job_of(name) for name in (CARRY_OUT_REQUESTS, RETENTION, SELF_AUDIT)]
    loop = upkeep_process._Loop(home.opened, jobs, Order())

    first, second = list(loop._due()), list(loop._due())

    assert [job.name for job in first] == [CARRY_OUT_REQUESTS, RETENTION]
    assert second == []


def test_the_loop_runs_the_same_job_as_dagster_and_tells_codes_of_what_failed(home: Home) -> None:
    home.keep(Ad(task="a", user="ann"), Ad(task="b", user="bob", title="chair"))
    (request,) = home.ask(ByUser(user_id="ann"))

    assert not upkeep_process._attempt(home.opened, job_of(CARRY_OUT_REQUESTS), Order())

    assert home.services.catalog.requests.get(request.request_id).state is RequestState.COMPLETED
    assert [row["user_id"] for row in home.rows(ADS)] == ["bob"]
    home.stored()[0].unlink()
    home.ask(ByUser(user_id="bob"))
    assert set(upkeep_process._attempt(home.opened, job_of(CARRY_OUT_REQUESTS), Order())) == {"file-missing"}


def test_retention_never_goes_by_a_day_that_has_not_come(home: Home) -> None:
    in_time = home.services

    report = job_of(RETENTION).run(in_time, Order(as_of=date(2099, 1, 1)))

    assert report.counts["as_of"] == NOW.date().isoformat()
