"""The OpenAPI document holds: what it says of calls and answers is what the app does, tried by machine."""

from datetime import timedelta
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from hypothesis.strategies import just
from schemathesis import GenerationMode
from schemathesis.checks import load_all_checks
from schemathesis.specs.openapi.checks import positive_data_acceptance

from tests.api.conftest import Door

load_all_checks()
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore:.*httpx.*:UserWarning")
_QUICK = settings(
    max_examples=10,
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=list(HealthCheck),
)


@pytest.fixture
def document(made: Any) -> Any:
    """The document of an app whose callers are not limited."""
    door: Door = made(key_calls_per_second=1e6, address_calls_per_second=1e6)
    loaded = schemathesis.openapi.from_dict(door.app.openapi())
    loaded.app = door.app
    loaded.key = door.server(expires_at=door.home.clock.now() + timedelta(days=1)).key
    return loaded


@pytest.mark.parametrize("mode", list(GenerationMode))
def test_every_call_answers_as_the_document_says(document: Any, mode: GenerationMode) -> None:
    operations = [found.ok() for found in document.get_all_operations()]
    if mode is GenerationMode.NEGATIVE:  # nothing can be wrong with a call that takes nothing
        operations = [each for each in operations if each.path != "/v1/health"]
    assert len(operations) >= 6

    for operation in operations:
        # That a deletion names exactly one kind, and a decision a verdict or a queue, the document says in words alone.
        is_said_whole = operation.method != "delete" and not operation.path.startswith(("/v1/tasks", "/v1/queues"))
        unsaid = [] if is_said_whole else [positive_data_acceptance]

        def holds(unsaid: list[Any], case: schemathesis.Case) -> None:
            case.call_and_validate(headers={"X-Api-Key": document.key}, excluded_checks=unsaid)

        _QUICK(given(unsaid=just(unsaid), case=operation.as_strategy(generation_mode=mode))(holds))()


def test_the_document_names_every_call_and_no_asset_of_anybody_else(door: Door) -> None:
    document = door.app.openapi()

    answer = door.stranger()("GET", "/openapi.json")

    assert answer.json() == document
    calls = {(path, method) for path, methods in document["paths"].items() for method in methods}
    assert calls >= {
        ("/v1/ads", "post"),
        ("/v1/ads", "get"),
        ("/v1/ads", "delete"),
        ("/v1/deletions", "get"),
        ("/v1/deletions/{request_id}", "get"),
        ("/v1/deletions/{request_id}/receipt", "get"),
        ("/v1/health", "get"),
    }
    for path in ("/docs", "/redoc"):
        assert door.stranger()("GET", path).status_code == 404
