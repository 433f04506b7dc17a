"""One run of a shared job maps identical workers, as many as its work is worth, on whatever executor is configured."""

import os
import signal
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path

import dagster as dg
import pytest
from support.clock import NOW
from support.daemon import wait_until
from support.shared_job import GATE, erasure
from support.stage import REASON, USER, Stage, item

from implio_pipeline.domain.errors import StorageFailed
from implio_pipeline.domain.ids import KeyPurpose, TeamId
from implio_pipeline.domain.request import RequestState
from implio_pipeline.domain.retention import RetentionPolicy
from implio_pipeline.jobs import (
    CARRY_OUT_REQUESTS,
    HOUSEKEEPING,
    INGEST_LANDING,
    JOBS,
    KEY_ROTATION,
    PIECES_A_WORKER,
    RETENTION,
    SETTLE_VERDICTS,
    Order,
    job_of,
    workers_for,
)
from implio_pipeline.orchestration.build import build_definitions
from implio_pipeline.orchestration.launches import AS_OF_TAG, TEAM_TAG
from implio_pipeline.orchestration.workers import ALONE, workers_executor
from implio_pipeline.settings import Settings, load_settings
from implio_pipeline.stores.keys.ring import LocalKeyRing

FILES = 2 * PIECES_A_WORKER + 2
"""As many files are worth two workers."""
RUN, WORK, END = (f"{part}_{CARRY_OUT_REQUESTS}" for part in ("run", "work", "end"))


@pytest.fixture
def four(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> Stage:
    """Return a home that allows four workers of one thread each."""
    monkeypatch.setenv("IMPLIO_WORKERS__MOST", "4")
    monkeypatch.setenv("IMPLIO_THREADS", "1")
    monkeypatch.setenv("IMPLIO_REQUESTS__APPROVALS", "none")
    monkeypatch.setenv("IMPLIO_HOME", str(stage.home))
    return stage


def run(stage: Stage, job: str, **known) -> dg.ExecuteInProcessResult:
    definitions = build_definitions(stage.resource(), executor=workers_executor(load_settings(stage.home)))
    found = definitions.get_repository_def().get_job(job)
    return found.execute_in_process(instance=stage.instance, raise_on_error=False, **known)


def ask_for(stage: Stage, *, files: int) -> None:
    """Take in an item of one person on each of so many days, and accept a request of that person."""
    stage.land(*({**item(n), "submittedAt": (NOW - timedelta(days=3 + n)).isoformat()} for n in range(files)))
    assert stage.take_in().success
    stage.ask({"team": "ads", "type": "user", "userId": USER, "reason": REASON, "requestId": "r-1"})


def steps(result: dg.ExecuteInProcessResult | dg.JobExecutionResult) -> list[str]:
    return sorted(event.step_key for event in result.all_events if event.is_step_success)


def check_erased(stage: Stage) -> None:
    with stage.open_home() as opened:
        assert {each.state for each in opened.catalog.requests.all()} == {RequestState.COMPLETED}
        assert opened.catalog.manifest.items("ads") == 0
        assert opened.catalog.claims.in_hand() == []


def tick(stage: Stage, sensor: str) -> list[dg.RunRequest]:
    executor = workers_executor(load_settings(stage.home))
    repository = build_definitions(stage.resource(), executor=executor).get_repository_def()
    with dg.build_sensor_context(
        instance=stage.instance, repository_def=repository, sensor_name=sensor, resources={"home": stage.resource()}
    ) as context:
        return repository.get_sensor_def(sensor).evaluate_tick(context).run_requests


def test_a_run_maps_as_many_workers_as_its_work_is_worth_and_runs_the_checks_once(
    four: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("implio_pipeline.jobs.PIECES_A_WORKER", 2)
    ask_for(four, files=6)
    (request,) = tick(four, "requests_sensor")

    result = run(four, CARRY_OUT_REQUESTS, run_config=request.run_config)

    assert result.success
    assert request.run_config == {}
    assert steps(result) == [END, RUN, *(f"{WORK}[worker_{number}]" for number in (1, 2, 3))]
    checks = sorted(each.check_name for each in result.get_asset_check_evaluations())
    assert checks == sorted(job_of(CARRY_OUT_REQUESTS).checks)
    check_erased(four)


def test_small_work_is_one_step_in_the_process_of_its_run(four: Stage) -> None:
    ask_for(four, files=3)
    (request,) = tick(four, "requests_sensor")

    result = run(four, CARRY_OUT_REQUESTS, run_config=request.run_config)

    assert result.success
    assert request.run_config == ALONE
    assert steps(result) == [RUN]
    done = [event for event in result.all_events if event.is_successful_output and event.step_key == RUN]
    assert [event.step_output_data.metadata["receipts_written"].value for event in done] == [1]
    assert len(result.get_asset_check_evaluations()) == len(job_of(CARRY_OUT_REQUESTS).checks)
    check_erased(four)


@pytest.mark.parametrize("job", [INGEST_LANDING, RETENTION, HOUSEKEEPING, KEY_ROTATION, SETTLE_VERDICTS])
def test_every_shared_job_runs_to_its_end_with_several_workers(
    four: Stage, monkeypatch: pytest.MonkeyPatch, job: str
) -> None:
    four.land(item(1), name="a")
    assert run(four, INGEST_LANDING).success
    four.land(item(2), name="b")
    monkeypatch.setattr("implio_pipeline.orchestration.jobs.workers_for", lambda *_, **__: 2)

    result = run(four, job)

    assert result.success
    assert steps(result) == sorted(
        [f"run_{job}", f"work_{job}[worker_1]", f"work_{job}[worker_2]", f"end_{job}"]
        + (["purge_runs"] if job == HOUSEKEEPING else [])
    )
    with four.open_home() as opened:
        assert opened.catalog.manifest.items("ads") == (2 if job == INGEST_LANDING else 1)
        assert opened.catalog.claims.in_hand() == []
        versions = {key.version for key in opened.catalog.teams.keys("ads") if key.purpose is KeyPurpose.IDENTITY}
        assert versions == ({2} if job == KEY_ROTATION else {1})


def test_how_much_waits_is_counted_for_each_shared_job(four: Stage) -> None:
    ask_for(four, files=3)
    assert steps(run(four, HOUSEKEEPING)) == ["purge_runs", f"run_{HOUSEKEEPING}"]
    tick(four, "requests_sensor")
    four.land(item(4), name="more")
    with four.open_home() as opened:
        opened.catalog.teams.set_policy(TeamId("ads"), RetentionPolicy(keep_days=4))

        counted = {job.name: job.shared.pieces(opened, Order()) for job in JOBS if job.shared}

    # Three files, of which one is overdue. One small landing file, and nothing to merge.
    assert counted == {
        INGEST_LANDING: 1,
        CARRY_OUT_REQUESTS: 3,
        RETENTION: 1 + 3,
        HOUSEKEEPING: 0,
        KEY_ROTATION: counted[KEY_ROTATION],
        SETTLE_VERDICTS: 0,
    }
    assert counted[KEY_ROTATION] >= 1


@pytest.mark.parametrize("size", ["files", "bytes"])
def test_a_backlog_of_one_team_and_one_day_gets_workers_by_its_files_and_bytes(
    four: Stage, monkeypatch: pytest.MonkeyPatch, size: str
) -> None:
    # given: many small files of one day, or few large ones; and a team with one file, which is one worker's
    few, many = (2, 6) if size == "files" else (1, 3)
    monkeypatch.setattr("implio_pipeline.jobs.PIECES_A_WORKER", 2)
    if size == "bytes":
        monkeypatch.setattr("implio_pipeline.jobs._PIECE_BYTES", 100)
    for number in range(many):
        four.land(item(number), name=f"ads-{number}")
    four.land(*map(item, range(few)), name="cars", team="cars")

    # when
    requests = {each.tags[TEAM_TAG]: each for each in tick(four, "landing_sensor")}
    result = run(four, INGEST_LANDING, run_config=requests["ads"].run_config, tags=dict(requests["ads"].tags))

    # then
    assert {team: each.run_config for team, each in requests.items()} == {"ads": {}, "cars": ALONE}
    assert result.success
    begun = [step for step in steps(result) if step.startswith("work_")]
    assert begun == [f"work_{INGEST_LANDING}[worker_{number}]" for number in (1, 2, 3)]
    with four.open_home() as opened:
        assert opened.catalog.manifest.items("ads") == many
        assert opened.catalog.manifest.items("cars") == 0


def test_workers_are_processes_and_one_that_is_killed_is_tried_again(
    four: Stage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(GATE, str(tmp_path / "gate"))
    ask_for(four, files=FILES)
    assert [each.run_config for each in tick(four, "requests_sensor")] == [{}]

    with ThreadPoolExecutor(1) as pool:
        running = pool.submit(dg.execute_job, dg.reconstructable(erasure), instance=four.instance, raise_on_error=False)
        with four.open_home() as opened:
            wait_until(lambda: any(each.workers > 1 for each in opened.catalog.claims.in_hand()), "two workers work")
        (pid, *_) = processes_at_work(four)
        os.kill(pid, signal.SIGKILL)
        (tmp_path / "gate").touch()
        result = running.result()

    assert result.success
    assert steps(result) == [END, RUN, f"{WORK}[worker_1]", f"{WORK}[worker_2]"]
    assert [event.step_key for event in result.all_events if event.is_step_up_for_retry]
    check_erased(four)


def processes_at_work(stage: Stage) -> list[int]:
    """Return the processes of the workers of the newest run, as Dagster's log names them."""
    (run_id,) = (found.run_id for found in stage.instance.get_runs(limit=1))
    events = [entry.dagster_event for entry in stage.instance.all_logs(run_id) if entry.dagster_event]
    started = [each for each in events if each.event_type is dg.DagsterEventType.STEP_WORKER_STARTED]
    return [int(each.engine_event_data.metadata["pid"].value) for each in started if each.step_key.startswith(WORK)]


@pytest.mark.parametrize("workers", [1, 2])
@pytest.mark.parametrize("is_scheduled", [True, False])
@pytest.mark.parametrize("failing", [1, 10**6])
def test_a_region_that_keeps_its_root_keys_fails_the_rotation_and_stops_no_other(
    four: Stage, monkeypatch: pytest.MonkeyPatch, workers: int, is_scheduled: bool, failing: int
) -> None:
    # given: the key service of one region is down, once or for ever
    renew, tried = LocalKeyRing.renew, Counter[str]()

    def fail(ring: LocalKeyRing, region: str) -> None:
        tried[region] += 1
        if region == "us" and tried[region] <= failing:
            raise StorageFailed("planted")
        renew(ring, region)

    monkeypatch.setattr(LocalKeyRing, "renew", fail)
    monkeypatch.setattr("implio_pipeline.orchestration.jobs.workers_for", lambda *_, **__: workers)
    executor = workers_executor(load_settings(four.home))
    for night, is_well in ((31, False), (32, failing == 1)):
        at = NOW + timedelta(days=night)
        definitions = build_definitions(four.resource(at), executor=executor)

        # when
        result = (
            definitions.get_repository_def()
            .get_job(KEY_ROTATION)
            .execute_in_process(
                instance=four.instance,
                raise_on_error=False,
                tags={AS_OF_TAG: at.date().isoformat()} if is_scheduled else {},
            )
        )

        # then: the run says so, the other region has new keys and no old ones, and the next night goes on
        assert result.success == is_well
        with four.open_home() as opened:
            roots = [each for each in opened.keychain.ring.identities() if "/identity/" in each]
            made = opened.catalog.teams.keys()
            versions = {key.team: key.version for key in made if key.purpose == KeyPurpose.IDENTITY}
        assert len([each for each in roots if each.startswith("eu/")]) == 1
        assert ("us/identity/1" not in roots) == is_well
        assert versions[TeamId("ads")] > 1
        assert (versions[TeamId("cars")] > 1) == is_well


def test_a_home_with_one_worker_has_jobs_of_one_step(stage: Stage) -> None:
    assert workers_executor(load_settings(stage.home)) is None
    repository = build_definitions(stage.resource()).get_repository_def()

    for job in JOBS:
        names = [node.name for node in repository.get_job(job.name).nodes]
        assert f"run_{job.name}" in names
        assert not [name for name in names if name.startswith(("work_", "end_"))]


def test_the_number_of_workers_follows_the_work_and_is_bounded() -> None:
    wanted = {0: 1, PIECES_A_WORKER: 1, 2 * PIECES_A_WORKER: 2, 10**9: 4}

    assert {pieces: workers_for(pieces, most=4) for pieces in wanted} == wanted
    assert workers_for(10**9, most=1) == 1


def test_files_that_a_worker_erases_at_once_are_one_piece(four: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    ask_for(four, files=24)
    tick(four, "requests_sensor")  # it accepts the request
    pieces = {}
    for threads in (1, 8):
        monkeypatch.setenv("IMPLIO_THREADS", str(threads))
        with four.open_home() as opened:
            pieces[threads] = job_of(CARRY_OUT_REQUESTS).shared.pieces(opened, Order())

    assert pieces == {1: 24, 8: 3}


@pytest.mark.parametrize("executor", ["in_process", "multiprocess", "celery", "k8s"])
def test_the_definitions_load_with_every_executor(stage: Stage, executor: str) -> None:
    elsewhere = {"launcher": "k8s" if executor == "k8s" else "default", "storage": "postgresql://host/dagster"}
    dagster = {"executor": executor, "broker": "redis://host", "k8s": {"image": "image@sha256:0"}, **elsewhere}
    made = workers_executor(Settings(home=stage.home, workers={"most": 4}, dagster=dagster))

    dg.Definitions.validate_loadable(build_definitions(stage.resource(), executor=made))
