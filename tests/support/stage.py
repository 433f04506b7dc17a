"""A home with Dagster's files, a persistent instance, and the definitions over it, with a set clock."""

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

import dagster as dg

from implio_pipeline.orchestration.build import build_definitions
from implio_pipeline.orchestration.resources import HomeResource
from implio_pipeline.wiring import OpenHome, open_home
from support.changed import changed
from support.clock import NOW, StillClock

FILE_NAME = "zqzq-filename-ann-larsson"
CANARIES = (
    "zqzq-user-7731",
    "zqzq.ann@example.com",
    "zqzq-title-blue-bicycle",
    "zqzq-body-call-me",
    "zqzq-reason-because",
    FILE_NAME,
)
USER, MAIL, TITLE, BODY, REASON = CANARIES[:5]


class HomeInTime(HomeResource):
    """A home with a chosen present."""

    now: str

    @contextmanager
    def open(self) -> Iterator[OpenHome]:
        with open_home(Path(self.home)) as opened:
            yield changed(opened, clock=StillClock(datetime.fromisoformat(self.now)))


@dataclass(kw_only=True)
class Stage:
    """A home, its instance and its definitions."""

    home: Path
    instance: dg.DagsterInstance

    def resource(self, at: datetime = NOW) -> HomeInTime:
        return HomeInTime(home=str(self.home), now=at.isoformat())

    def repository(self, at: datetime = NOW) -> dg.RepositoryDefinition:
        return build_definitions(self.resource(at)).get_repository_def()

    def run(self, job: str, *, at: datetime = NOW, **known) -> dg.ExecuteInProcessResult:
        job_definition = self.repository(at).get_job(job)
        return job_definition.execute_in_process(instance=self.instance, raise_on_error=False, **known)

    def tick(self, sensor: str, *, at: datetime = NOW):
        repository = self.repository(at)
        with dg.build_sensor_context(
            instance=self.instance,
            repository_def=repository,
            sensor_name=sensor,
            resources={"home": self.resource(at)},
        ) as context:
            return repository.get_sensor_def(sensor).evaluate_tick(context)

    def land(self, *items: dict, name: str = "ads", team: str = "ads", at: datetime = NOW - timedelta(days=2)) -> Path:
        """Land a file.

        Each item has its instant, because items of a file older than the team get the instant of ingestion.
        """
        dated = tuple({"submittedAt": at.isoformat(), **item} for item in items)
        return self._drop(self.home / "landing" / team / f"{name}.ndjson", dated, at)

    def ask(self, *requests: dict, name: str = "please", at: datetime = NOW - timedelta(hours=1)) -> Path:
        return self._drop(self.home / "requests" / "inbox" / f"{name}.ndjson", requests, at)

    def take_in(self) -> dg.ExecuteInProcessResult:
        """Tick the landing sensor and execute the one run that it requests."""
        (request,) = self.tick("landing_sensor").run_requests
        return self.run("ingest_landing", tags=dict(request.tags))

    def vault_files(self) -> list[Path]:
        return sorted((self.home / "vault").rglob("*.parquet"))

    def stored_bytes(self) -> dict[Path, bytes]:
        return {path: path.read_bytes() for path in (self.home / "dagster").rglob("*") if path.is_file()}

    @contextmanager
    def open_home(self, at: datetime = NOW) -> Iterator[OpenHome]:
        with self.resource(at).open() as opened:
            yield opened

    @staticmethod
    def _drop(path: Path, values: tuple[dict, ...], at: datetime) -> Path:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("\n".join(map(json.dumps, values)))
        os.utime(path, (at.timestamp(), at.timestamp()))
        return path


def item(number: int = 1, user: str = USER) -> dict:
    return {
        "id": f"item-{number}",
        "content": {"title": TITLE, "body": BODY},
        "user": {"id": user, "emailAddresses": [MAIL]},
    }


def results(result: dg.ExecuteInProcessResult) -> dict[str, bool]:
    """Return the result of each check."""
    return {each.check_name: each.passed for each in result.get_asset_check_evaluations()}


def failure_metadata(result: dg.ExecuteInProcessResult) -> dict[str, object]:
    """Return what Dagster stores about the one failed step."""
    (data,) = [event.step_failure_data for event in result.all_events if event.is_step_failure]
    return {name: value.value for name, value in data.user_failure_data.metadata.items()}


def failure_codes(result: dg.ExecuteInProcessResult) -> list[str]:
    failed = [event.step_failure_data for event in result.all_events if event.is_step_failure]
    return [data.user_failure_data.description for data in failed if data.user_failure_data]
