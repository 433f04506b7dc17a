"""The self-audit in Dagster: it passes over a home that is well, fails over a fault, and keeps nothing of anybody."""

from datetime import UTC, datetime

import dagster as dg
from support.home import Home
from support.items import Ad
from support.stage import results

from implio_pipeline.jobs import AUDIT_FINDINGS, SELF_AUDIT
from implio_pipeline.orchestration.build import build_definitions
from implio_pipeline.orchestration.checks import CHECKS
from implio_pipeline.orchestration.resources import HomeResource

CANARY = "canary.person@example.com"


def run(home: Home, instance: dg.DagsterInstance) -> dg.ExecuteInProcessResult:
    repository = build_definitions(HomeResource(home=str(home.path))).get_repository_def()
    return repository.get_job(SELF_AUDIT).execute_in_process(instance=instance, raise_on_error=False)


def schedule() -> dg.ScheduleDefinition:
    return build_definitions().get_repository_def().get_schedule_def("audit_weekly")


def told(instance: dg.DagsterInstance, result: dg.ExecuteInProcessResult) -> str:
    return "".join(str(record.event_log_entry) for record in instance.get_records_for_run(result.run_id).records)


def test_a_home_that_is_well_passes_and_its_progress_is_told(home):
    home.keep(*(Ad(task=f"{CANARY}-{each}", user=CANARY, title=CANARY) for each in range(9)))

    with dg.instance_for_test() as instance:
        result = run(home, instance)
        log = told(instance, result)

    assert result.success
    assert f"{len(home.files())} of {len(home.files())} done" in log
    assert results(result) == dict.fromkeys((check.name for check in CHECKS), True)
    assert CANARY not in log


def test_a_finding_fails_the_run_at_once_names_the_file_and_keeps_nothing_of_anybody(home):
    home.keep(*(Ad(task=f"{CANARY}-{each}", user=CANARY, title=CANARY) for each in range(9)))
    path = home.stored()[0]
    path.write_bytes(path.read_bytes()[:-1])

    with dg.instance_for_test() as instance:
        result = run(home, instance)
        log = told(instance, result)

    assert not result.success
    assert AUDIT_FINDINGS in log
    assert path.stem in log
    assert CANARY not in log


def test_the_schedule_asks_for_one_full_audit_a_week(home):
    sunday = datetime(2026, 3, 1, 5, 15, tzinfo=UTC)
    assert sunday.isoweekday() == 7

    with dg.build_schedule_context(
        scheduled_execution_time=sunday, resources={"home": HomeResource(home=str(home.path))}
    ) as context:
        request = schedule()(context)

    assert isinstance(request, dg.RunRequest)
    assert request.run_key == f"{SELF_AUDIT}:2026-03-01"
    assert schedule().cron_schedule == "15 5 * * 0"


def test_without_a_home_the_schedule_waits(tmp_path):
    with dg.build_schedule_context(
        scheduled_execution_time=datetime(2026, 3, 1, tzinfo=UTC),
        resources={"home": HomeResource(home=str(tmp_path / "none"))},
    ) as context:
        answer = schedule()(context)

    assert isinstance(answer, dg.SkipReason)
