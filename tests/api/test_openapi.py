"""The OpenAPI document holds: what it says of calls and answers is what the app does, tried by machine."""

import re
from datetime import timedelta
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from hypothesis.strategies import just
from jsonschema import Draft202012Validator
from openapi_spec_validator import validate
from schemathesis import GenerationMode
from schemathesis.checks import load_all_checks
from schemathesis.specs.openapi.checks import negative_data_rejection, positive_data_acceptance

from implio_pipeline.api.openapi import schemas
from implio_pipeline.api.samples import EXAMPLES
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
    loaded.key = door.server(expires_at=door.home.clock.now() + timedelta(days=1)).key  # type: ignore[attr-defined]
    return loaded


@pytest.mark.parametrize("mode", list(GenerationMode))
def test_every_call_answers_as_the_document_says(document: Any, mode: GenerationMode) -> None:
    operations = [found.ok() for found in document.get_all_operations()]
    if mode is GenerationMode.NEGATIVE:  # nothing can be wrong with a call that needs nothing
        operations = [each for each in operations if not each.path.startswith(("/v1/health", "/v1/ready"))]
    assert len(operations) >= 6

    for operation in operations:
        # That a deletion names exactly one kind, and a decision a verdict or a queue, the document says in words alone.
        is_said_whole = operation.method != "delete" and not operation.path.startswith(("/v1/tasks", "/v1/queues"))
        unsaid = [] if is_said_whole else [positive_data_acceptance]
        # Items are judged one by one: one that does not fit is in the answer of a call that succeeds.
        is_per_item = (operation.method, operation.path) == ("post", "/v1/ads")
        unsaid += [negative_data_rejection] if is_per_item else []

        def holds(unsaid: list[Any], is_per_item: bool, case: schemathesis.Case) -> None:
            answer = case.call_and_validate(headers={"X-Api-Key": document.key}, excluded_checks=unsaid)
            if is_per_item and mode is GenerationMode.NEGATIVE:
                assert answer.status_code >= 400 or answer.json()["rejected"]

        _QUICK(
            given(unsaid=just(unsaid), is_per_item=just(is_per_item), case=operation.as_strategy(generation_mode=mode))(
                holds
            )
        )()


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
    assert door.stranger()("GET", "/redoc").status_code == 404


def test_a_public_validator_finds_nothing_wrong_with_the_document(door: Door) -> None:
    validate(door.app.openapi())


def test_every_call_has_a_plain_name_and_every_json_is_a_named_schema(door: Door) -> None:
    document = door.app.openapi()
    calls = [call for methods in document["paths"].values() for call in methods.values()]

    assert all(re.fullmatch("[a-z]+[A-Z][A-Za-z]+", call["operationId"]) for call in calls)
    assert len({call["operationId"] for call in calls}) == len(calls)
    assert [call["operationId"] for call in calls if not (call.get("summary") and call.get("description"))] == []
    bodies = [call["requestBody"] for call in calls if "requestBody" in call]
    for said in (*bodies, *(answer for call in calls for answer in call["responses"].values())):
        for content in said.get("content", {}).values():
            assert list(content["schema"]) == ["$ref"]
    for call in calls:
        failures = [answer for status, answer in call["responses"].items() if int(status) >= 400]
        assert all(list(answer["content"]) == ["application/problem+json"] for answer in failures)
    assert document["servers"]
    assert document["components"]["securitySchemes"]


@pytest.mark.parametrize("name", list(EXAMPLES))
def test_every_example_is_what_its_schema_says(name: str) -> None:
    named = {"components": {"schemas": schemas()}, "$ref": f"#/components/schemas/{name}"}

    Draft202012Validator(named, format_checker=Draft202012Validator.FORMAT_CHECKER).validate(EXAMPLES[name])
