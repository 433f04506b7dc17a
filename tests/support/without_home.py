"""Which test files the run on PostgreSQL leaves out.

* Those whose outcome the database of homes cannot change. Whoever opens a home in a test file of `WITHOUT_HOME` fails
  with an instruction, on every database.
* With `TEST_GROUPS=N`, as in `.ci/run`, all but one of N groups of the other files. The seed chooses the group, so
  some commits together run all. `make test-postgresql` runs all at once.
"""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from implio_pipeline import wiring
from support.depth import is_chosen

_TESTS = Path(__file__).parents[1]
_GROUPS = int(os.environ.get("TEST_GROUPS", "1"))
WITHOUT_HOME = (
    "api/test_validator.py",
    "demo",
    "deploy",
    "domain",
    "flows/test_few_at_once.py",
    "orchestration/test_dagster_internals.py",
    # Both databases are in every run.
    "stores/test_catalog.py",
    "stores/test_catalog_grants.py",
    "stores/test_catalog_laws.py",
    "stores/test_catalog_log.py",
    "stores/test_catalog_races.py",
    "stores/test_catalog_storage.py",
    "stores/test_catalog_transactions.py",
    "stores/test_catalog_turns.py",
    "stores/test_claims.py",
    "stores/test_postgresql_checks.py",
    # Files, keys, objects and ledgers, without a catalog.
    "stores/test_checkpoints.py",
    "stores/test_hostile_readers.py",
    "stores/test_inbox_folder.py",
    "stores/test_items_identifiers.py",
    "stores/test_items_model.py",
    "stores/test_key_service_faults.py",
    "stores/test_landing_readers.py",
    "stores/test_landing_zone.py",
    "stores/test_ledger.py",
    "stores/test_ledger_search.py",
    "stores/test_ledger_worlds.py",
    "stores/test_objects.py",
    "stores/test_predicate.py",
    "stores/test_rejected_people.py",
    "stores/test_repeated_keys.py",
    "stores/test_request_files.py",
    "stores/test_root_keys.py",
    "stores/test_unknown_properties.py",
    "stores/test_vault_cluster.py",
    "stores/test_vault_filters.py",
    "stores/test_webhook_client.py",
    "test_columns.py",
    "test_depth.py",
    "test_documents.py",
    "test_format_columns.py",
    "test_s3_server.py",
    "test_servers.py",
    "test_settings_of_dagster.py",
)
"""Files and folders whose tests open no home."""
_OF_THEIR_OWN = (
    "end_to_end/test_cluster_demo.py",  # has servers of its own
    "end_to_end/test_egress.py",  # cut off from every server
    "end_to_end/test_epochs.py",  # has a server of its own
    "test_new_home.py",  # chooses its databases
    "end_to_end/test_postgresql_faults.py",  # has servers of its own, and a proxy before the session's
)
"""Files whose homes have a database of their own, whatever TEST_CATALOG says."""


def is_left_out(path: Path) -> bool:
    """Return whether a folder or file of tests is left out of the run on PostgreSQL."""
    if _is_in(path, WITHOUT_HOME + _OF_THEIR_OWN):
        return True
    return path.name.startswith("test_") and not is_chosen(path.relative_to(_TESTS).as_posix(), of=_GROUPS)


def watch_openings() -> None:
    """From now on no test of `WITHOUT_HOME` may open a home in this process."""
    real: Callable[..., Any] = wiring.open_catalog

    def open_catalog(*known: Any, **named: Any) -> Any:
        test = os.environ.get("PYTEST_CURRENT_TEST", "").partition("::")[0]
        path = _TESTS.parent / test
        assert not (test and _is_in(path, WITHOUT_HOME)), f"{test} opens a home: take it out of WITHOUT_HOME"
        return real(*known, **named)

    wiring.open_catalog = open_catalog


def _is_in(path: Path, listed: tuple[str, ...]) -> bool:
    return any(path.is_relative_to(_TESTS / each) for each in listed)
