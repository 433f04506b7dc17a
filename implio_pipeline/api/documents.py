"""What the OpenAPI document says of bodies and answers."""

from copy import deepcopy
from http import HTTPStatus
from typing import Any

from implio_pipeline.api.problems import MEDIA_TYPE, PROBLEM_SCHEMA
from implio_pipeline.stores.landing.faults import item_schema

_TEXT, _COUNT = {"type": "string"}, {"type": "integer", "minimum": 0}
_INSTANT = {"type": "string", "format": "date-time"}
_MAYBE_INSTANT = {"type": ["string", "null"], "format": "date-time"}
_MAYBE_TEXT = {"type": ["string", "null"]}
_MAYBE_COUNT = {"type": ["integer", "null"], "minimum": 0, "description": "Null is not known; it is never 0."}


def _object(properties: dict[str, Any], *, optional: tuple[str, ...] = ()) -> dict[str, Any]:
    required = [name for name in properties if name not in optional]
    return {"type": "object", "properties": properties, "required": required, "additionalProperties": False}


def _list(items: dict[str, Any]) -> dict[str, Any]:
    return {"type": "array", "items": items}


def _answer(description: str, schema: dict[str, Any]) -> dict[str, Any]:
    return {"description": description, "content": {"application/json": {"schema": schema}}}


def answers(good: dict[int | str, dict[str, Any]], *statuses: int) -> dict[int | str, dict[str, Any]]:
    """Return the answers of a call: the good ones, and a problem for each of the other statuses."""
    return {**good, **problems(*statuses)}


def problems(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """Return the answers of a call that fails with one of these statuses."""
    return {
        status: {"description": HTTPStatus(status).phrase, "content": {MEDIA_TYPE: {"schema": PROBLEM_SCHEMA}}}
        for status in (*statuses, 503)
    }


def without_validation_errors(document: dict[str, Any]) -> dict[str, Any]:
    """Return the OpenAPI document without the answers that the framework adds and the app never gives."""
    for methods in document["paths"].values():
        for call in methods.values():
            call["responses"].pop("422", None)
    schemas = document.get("components", {}).get("schemas", {})
    for name in ("HTTPValidationError", "ValidationError"):
        schemas.pop(name, None)
    return document


def ad_schema() -> dict[str, Any]:
    """Return the JSON Schema of an item as a call may submit it."""
    schema = deepcopy(item_schema())
    (shape,) = [schema] if "properties" in schema else [schema["anyOf"][0]]
    shape["properties"].pop("submittedAt", None)
    return schema


_DELETION = _object(
    {
        "requestId": _TEXT,
        "status": _TEXT,
        "kind": _TEXT,
        "channel": _TEXT,
        "statusUrl": _TEXT,
        "receiptUrl": _MAYBE_TEXT,
        "receivedAt": _INSTANT,
        "hiddenAt": _INSTANT,
        "dueAt": _INSTANT,
        "extendedAt": _MAYBE_INSTANT,
        "erasedAt": _MAYBE_INSTANT,
        "completedAt": _MAYBE_INSTANT,
        "queueEntriesRemoved": _COUNT,
        "outcome": _object(
            {
                "matched": _MAYBE_COUNT,
                "erased": _MAYBE_COUNT,
                "withheld": _MAYBE_COUNT,
                "newer": _MAYBE_COUNT,
                "notReachable": _MAYBE_COUNT,
            }
        ),
        "errorCode": _MAYBE_TEXT,
        "why": _TEXT,
        "next": _TEXT,
    }
)
DELETION = _answer("The deletion request.", _DELETION)
DELETIONS = _answer("A page of requests.", _object({"deletions": _list(_DELETION), "next": _MAYBE_TEXT}))
RECEIPT = _answer(
    "The signed entry of the ledger.",
    _object(
        {
            "sequence": _COUNT,
            "kind": _TEXT,
            "body": {"type": "object"},
            "previous": _TEXT,
            "digest": _TEXT,
            "signature": _TEXT,
        }
    ),
)
_FAULT = _object(
    {
        "message": _TEXT,
        "params": {"type": "object"},
        "code": {"type": "integer"},
        "dataPath": _TEXT,
        "schemaPath": _TEXT,
    }
)
SUBMITTED = _answer(
    "What was accepted is durable; what was rejected is not kept.",
    _object(
        {
            "batchId": _TEXT,
            "accepted": _list(_object({"id": _TEXT, "taskId": _TEXT})),
            "rejected": _list(_object({"originalAd": {}, "reason": _TEXT, "errors": _list(_FAULT)})),
        }
    ),
)
POLLED = _answer(
    "Items with their results.",
    _object(
        {
            "pollingInfo": _object({"newTimestamp": _COUNT, "newerAdsExist": {"type": "boolean"}}),
            "ads": _list(
                _object(
                    {
                        "items": _list(_object({"id": _TEXT, "batchId": _MAYBE_TEXT, "taskId": _TEXT})),
                        "ad": {"type": "object"},
                        "packedAt": _COUNT,
                        "result": {"type": ["object", "null"]},
                    },
                    optional=("ad",),
                )
            ),
        }
    ),
)


def submission_body() -> dict[str, Any]:
    """Return the body of `POST /v1/ads`: an array whose items are judged one by one, so that any array is a body."""
    item = {"anyOf": [ad_schema(), {"description": "Anything else is rejected in the answer, by itself."}]}
    return {
        "required": True,
        "content": {"application/json": {"schema": {"type": "array", "items": item}}},
    }
