"""Names that Dagster does not publish: imported in one place, and noticed when a version changes them."""

import ast
import inspect
from pathlib import Path

import pytest
from dagster import DagsterInstance, DefaultRunLauncher
from dagster_celery.launcher import CeleryRunLauncher
from dagster_postgres.run_storage import PostgresRunStorage
from dagster_postgres.schedule_storage import PostgresScheduleStorage
from dagster_postgres.storage import DagsterPostgresStorage

from implio_pipeline.orchestration import dagster_internals as internals

PACKAGE = Path(internals.__file__).parents[1]
SIGNATURES = {
    "DagsterSqliteStorage.__init__": "self, base_dir, inst_data",
    "DagsterSqliteStorage.from_config_value": "inst_data, config_value",
    "SqliteRunStorage.from_local": "base_dir, inst_data",
    "SqliteRunStorage.handle_run_event": "self, run_id, event, update_timestamp",
    "SqliteRunStorage.upgrade": "self",
    "SqliteRunStorage.migrate": "self, print_fn, force_rebuild_all",
    "SqliteRunStorage.optimize": "self, print_fn, force_rebuild_all",
    "SqliteEventLogStorage.__init__": "self, base_dir, inst_data",
    "SqliteEventLogStorage.index_connection": "self",
    "SqliteEventLogStorage.reindex_events": "self, print_fn, force",
    "SqliteEventLogStorage.reindex_assets": "self, print_fn, force",
    "SqliteScheduleStorage.from_local": "base_dir, inst_data",
    "SqliteScheduleStorage.get_ticks": "self, origin_id, selector_id, before, after, limit, statuses",
    "SqliteScheduleStorage.get_instigator_state": "self, origin_id, selector_id",
    "SqliteScheduleStorage.all_instigator_state": (
        "self, repository_origin_id, repository_selector_id, instigator_type, instigator_statuses"
    ),
    "SqliteScheduleStorage.upgrade": "self",
    "SqliteScheduleStorage.migrate": "self, print_fn, force_rebuild_all",
    "SqliteScheduleStorage.optimize": "self, print_fn, force_rebuild_all",
    "InstigatorState.with_data": "self, instigator_data",
}
"""What is overridden or called, as it is in the version that is pinned."""


def test_what_is_overridden_of_the_storage_in_postgres_is_as_it_was() -> None:
    found = {
        name: ", ".join(inspect.signature(method).parameters)
        for name, method in (
            ("storage", DagsterPostgresStorage.__init__),
            ("runs", PostgresRunStorage.__init__),
            ("event", PostgresRunStorage.handle_run_event),
            ("ticks", PostgresScheduleStorage.get_ticks),
            ("celery", CeleryRunLauncher.__init__),
        )
    }

    assert found == {
        "storage": "self, postgres_url, should_autocreate_tables, inst_data, token_provider",
        "runs": "self, postgres_url, should_autocreate_tables, inst_data, token_provider",
        "event": "self, run_id, event, update_timestamp",
        "ticks": "self, origin_id, selector_id, before, after, limit, statuses",
        "celery": "self, default_queue, broker, backend, include, config_source, inst_data",
    }, "dagster-postgres or dagster-celery has changed: look at postgres_storage.py and cluster_launchers.py"


@pytest.mark.parametrize("name", SIGNATURES)
def test_what_is_overridden_or_called_is_as_it_was(name: str) -> None:
    owner, method = name.split(".")

    found = inspect.signature(getattr(getattr(internals, owner), method)).parameters

    assert ", ".join(found) == SIGNATURES[name], "Dagster has changed it: look at instance_storage.py"


def test_what_is_read_of_states_is_there() -> None:
    sensor = internals.SensorInstigatorData(1.0, last_tick_start_timestamp=1.0, last_sensor_start_timestamp=1.0)
    schedule = internals.ScheduleInstigatorData("0 0 * * *", start_timestamp=1.0, last_iteration_timestamp=1.0)

    assert sensor._replace(last_tick_timestamp=None).last_tick_timestamp is None
    assert schedule._replace(start_timestamp=2.0).start_timestamp == 2.0


def test_the_launcher_may_be_asked_whether_a_run_is_alive() -> None:
    assert callable(DefaultRunLauncher.check_run_worker_health)
    assert isinstance(inspect.getattr_static(DefaultRunLauncher, "supports_check_run_worker_health"), property)
    assert callable(DagsterInstance.from_config)


def test_private_names_of_dagster_are_imported_in_one_module() -> None:
    found = {
        path.name
        for path in PACKAGE.rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text()))
        if _is_private(node)
    }

    assert found == {"dagster_internals.py"}
    assert not [path for path in PACKAGE.rglob("*.yaml") if "dagster._" in path.read_text()]


def _is_private(node: ast.AST) -> bool:
    names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
    names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
    return any(name.startswith("dagster") and "._" in name for name in names)
