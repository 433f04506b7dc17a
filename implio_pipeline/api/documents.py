"""The OpenAPI document: what it says of bodies, answers and failures, by name.

Every schema has a name in `components/schemas` and is referred to by it, since generated clients name their classes
after them. The item's schema is generated from the structs that items are decoded with. The page at `/docs` is made
from this document, so that both say the same.
"""

from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

import msgspec

from implio_pipeline.api.problems import MEDIA_TYPE, PROBLEM_SCHEMA
from implio_pipeline.api.samples import EXAMPLES, SAMPLES
from implio_pipeline.domain.waiting import Cause
from implio_pipeline.formats.item import Item

_TEXT, _COUNT, _FLAG = {"type": "string"}, {"type": "integer", "minimum": 0}, {"type": "boolean"}
_INSTANT = {"type": "string", "format": "date-time"}
_MAYBE_INSTANT = {"type": ["string", "null"], "format": "date-time"}
_MAYBE_TEXT = {"type": ["string", "null"]}
_ANYTHING: dict[str, Any] = {"type": "object", "additionalProperties": True}
_MAYBE_COUNT = {"type": ["integer", "null"], "minimum": 0, "description": "Null is not known; it is never 0."}
_REFERENCE = "#/components/schemas/{name}"
_AD_NAMES = {"Item": "Ad"}
"""Structs that the platform's API knows under other names."""

DESCRIPTION = """\
Submit items, poll decisions, and have items deleted. Each call carries a team's key in `X-Api-Key`; the key selects the
team. The same text for people, with examples, is at `/docs`."""
TAGS = [
    {"name": "ads", "description": "Items: take them in, tell what was decided, delete them."},
    {"name": "deletions", "description": "What became of a deletion, and its signed receipt."},
    {"name": "moderation", "description": "Queues of items that wait for a decision."},
    {"name": "health", "description": "Whether the server answers, and what waits longest."},
]


def ref(name: str) -> dict[str, Any]:
    """Return a reference to a named schema."""
    return {"$ref": _REFERENCE.format(name=name)}


def answer(description: str, schema: str) -> dict[str, Any]:
    """Return an answer in JSON of a named schema, with its example."""
    return {"description": description, "content": {"application/json": _content(schema)}}


def body(schema: str) -> dict[str, Any]:
    """Return a body in JSON of a named schema, with its example."""
    return {"requestBody": {"required": True, "content": {"application/json": _content(schema)}}}


def answers(good: dict[int | str, dict[str, Any]], *statuses: int) -> dict[int | str, dict[str, Any]]:
    """Return the answers of a call: the good ones, and a problem for each of the other statuses."""
    return {**good, **problems(*statuses)}


def problems(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """Return the answers of a call that fails with one of these statuses."""
    return {
        status: {"description": HTTPStatus(status).phrase, "content": {MEDIA_TYPE: {"schema": ref("Problem")}}}
        for status in (*statuses, 500, 503)
    }


def completed(document: dict[str, Any]) -> dict[str, Any]:
    """Return the framework's document with our names, samples and servers, and without answers that are never given."""
    for methods in document["paths"].values():
        for call in methods.values():
            if MEDIA_TYPE not in call["responses"].get("422", {}).get("content", {}):
                call["responses"].pop("422", None)  # the framework's own: a call that does not fit is answered 400
            samples = SAMPLES.get(call["operationId"], {})
            if samples:
                call["x-codeSamples"] = [{"lang": lang, "source": source} for lang, source in samples.items()]
    components = document.setdefault("components", {})
    components["schemas"] = schemas()
    document["tags"] = TAGS
    document["servers"] = [{"url": "/", "description": "The server that this document comes from."}]
    return document


def schemas() -> dict[str, Any]:
    """Return every schema by name."""
    return _ad_schemas() | _OURS


def _content(schema: str) -> dict[str, Any]:
    found: dict[str, Any] = {"schema": ref(schema)}
    if schema in EXAMPLES:
        found["example"] = EXAMPLES[schema]
    return found


def _ad_schemas() -> dict[str, Any]:
    """Return the item's schema and those of its parts, without the instant that a call may not name."""
    _, made = msgspec.json.schema_components([Item], ref_template=_REFERENCE)
    names = {_REFERENCE.format(name=old): ref(new)["$ref"] for old, new in _AD_NAMES.items()}

    def renamed(node: Any) -> Any:
        if isinstance(node, list):
            return [renamed(each) for each in node]
        if isinstance(node, Mapping):
            whole = {"items": {}, **node} if node.get("type") == "array" else node  # generators ask for it
            return {key: names.get(child, child) if key == "$ref" else renamed(child) for key, child in whole.items()}
        return node

    found = {_AD_NAMES.get(name, name): renamed(schema) for name, schema in made.items()}
    for name, schema in found.items():
        schema["title"] = name
        schema.pop("additionalProperties", None)  # a property that is not known is kept, and reported
    found["Ad"]["properties"].pop("submittedAt", None)
    return found


def _object(properties: dict[str, Any], *, optional: tuple[str, ...] = ()) -> dict[str, Any]:
    required = [name for name in properties if name not in optional]
    return {"type": "object", "properties": properties, "required": required, "additionalProperties": False}


def _list(items: dict[str, Any], **bounds: int) -> dict[str, Any]:
    return {"type": "array", "items": items, **bounds}


def _said(schema: dict[str, Any], description: str) -> dict[str, Any]:
    return {**schema, "description": description}


_NAME = {"type": "string", "minLength": 1}
_NAMES = _list(_NAME, maxItems=20)
_OURS: dict[str, Any] = {
    "Problem": PROBLEM_SCHEMA,
    "Ads": _list(ref("Ad")),
    "AcceptedAd": _object(
        {
            "id": _said(_TEXT, "The customer's id."),
            "taskId": _said(_TEXT, "Of this submission."),
            "unknownProperties": _said(
                _list(_TEXT), "JSON pointers of properties that nobody reads here; they are kept as they were sent."
            ),
        },
        optional=("unknownProperties",),
    ),
    "Fault": _object(
        {
            "message": _TEXT,
            "params": _ANYTHING,
            "code": {"type": "integer"},
            "dataPath": _said(_TEXT, "Where in the item, as a JSON pointer."),
            "schemaPath": _TEXT,
        }
    ),
    "RejectedAd": _object(
        {
            "originalAd": _said({}, "The item as it was sent; text when it was no JSON or too large."),
            "reason": _TEXT,
            "errors": _list(ref("Fault")),
        }
    ),
    "Submission": _object(
        {
            "batchId": _TEXT,
            "accepted": _list(ref("AcceptedAd")),
            "rejected": _list(ref("RejectedAd")),
            "keptOut": _said(_COUNT, "Rejected items of users whose deletion is standing; absent when 0."),
            "returned": _said(_COUNT, "Accepted items of users who were erased before; absent when 0."),
        },
        optional=("keptOut", "returned"),
    ),
    "PolledItem": _object({"id": _TEXT, "batchId": _MAYBE_TEXT, "taskId": _TEXT}),
    "PolledAd": _object(
        {
            "items": _list(ref("PolledItem")),
            "ad": _said(_ANYTHING, "The item as it was sent, without its result; absent with `noAdContent`."),
            "packedAt": _said(_COUNT, "When this answer was made, in milliseconds since 1970."),
            "result": _said(
                {"type": ["object", "null"], "additionalProperties": True},
                "As it was sent, or as it was decided since; `null` when there is none.",
            ),
        },
        optional=("ad",),
    ),
    "PollingInfo": _object({"newTimestamp": _COUNT, "newerAdsExist": _FLAG}),
    "Poll": _object({"pollingInfo": ref("PollingInfo"), "ads": _list(ref("PolledAd"))}),
    "Deletion": _object(
        {
            "requestId": _TEXT,
            "status": _said(_TEXT, "See the list of states at `/docs`."),
            "kind": _said(_TEXT, "`user`, `task`, `dates`, `team` or `overdue`."),
            "channel": _said(_TEXT, "Through which door it came."),
            "statusUrl": _said(_TEXT, "Where to ask again, on this server."),
            "receiptUrl": _said(_MAYBE_TEXT, "`null` until something was erased, or a legal hold kept all of it."),
            "receivedAt": _INSTANT,
            "hiddenAt": _said(_INSTANT, "From then on no read shows the items."),
            "dueAt": _said(_INSTANT, "One month after it was received (GDPR Art. 12(3))."),
            "extendedAt": _MAYBE_INSTANT,
            "erasedAt": _MAYBE_INSTANT,
            "completedAt": _MAYBE_INSTANT,
            "isStanding": _said(_FLAG, "Whether the user's later items stay out too."),
            "standingLiftedAt": _said(_MAYBE_INSTANT, "From then on new items of the user come in again."),
            "queueEntriesRemoved": _said(_COUNT, "Items that left a moderation queue."),
            "outcome": ref("Outcome"),
            "errorCode": _MAYBE_TEXT,
            "errorFile": _said(_MAYBE_TEXT, "Opaque id of the file that the last attempt failed at."),
            "errorDay": _said(_MAYBE_TEXT, "UTC day of that file's partition."),
            "why": _TEXT,
            "next": _TEXT,
        }
    ),
    "Outcome": _object(
        {
            "matched": _MAYBE_COUNT,
            "erased": _MAYBE_COUNT,
            "withheld": _MAYBE_COUNT,
            "newer": _MAYBE_COUNT,
            "notReachable": _MAYBE_COUNT,
        }
    ),
    "DeletionPage": _object(
        {"deletions": _list(ref("Deletion")), "next": _said(_MAYBE_TEXT, "Give it as `after` for the next page.")}
    ),
    "Receipt": _object(
        {
            "sequence": _COUNT,
            "kind": _TEXT,
            "body": _said(_ANYTHING, "What was erased and how it was verified; nothing personal."),
            "previous": _TEXT,
            "digest": _TEXT,
            "signature": _TEXT,
        }
    ),
    "Queue": _object({"queue": _TEXT, "waiting": _COUNT}),
    "Queues": _object({"queues": _list(ref("Queue"))}),
    "NextAsked": _object({"moderator": _NAME}),
    "Note": _object({"writtenAt": _INSTANT, "text": _TEXT}),
    "WaitingAd": _object(
        {"taskId": _TEXT, "queue": _TEXT, "submittedAt": _INSTANT, "ad": _ANYTHING, "notes": _list(ref("Note"))}
    ),
    "NextAds": _object({"lockedUntil": _INSTANT, "items": _list(ref("WaitingAd"))}),
    "Decision": _object(
        {
            "moderator": _NAME,
            "outcome": {"type": "string", "enum": ["approved", "refused"]},
            "reasons": _said(_NAMES, "Needed with `refused`."),
            "feedback": _NAMES,
            "note": _NAME,
            "queue": _said(_NAME, "Moves the item there instead of deciding."),
        },
        optional=("outcome", "reasons", "feedback", "note", "queue"),
    ),
    "Decided": _object(
        {
            "taskId": _TEXT,
            "queue": _said(_TEXT, "Where a moved item waits."),
            "outcome": _TEXT,
            "decidedAt": _INSTANT,
            "timestamp": _said(_COUNT, "Its place in the polling feed."),
        },
        optional=("queue", "outcome", "decidedAt", "timestamp"),
    ),
    "Wait": _object(
        {
            "what": _said(_TEXT, "`landing-file`, `request-file` or `request`."),
            "since": _INSTANT,
            "seconds": _COUNT,
            "cause": _said({"type": "string", "enum": [each.value for each in Cause]}, "Why, for programs."),
            "why": _TEXT,
            "remedy": _said(_TEXT, "What whoever runs the server can do."),
        }
    ),
    "WaitingLongest": _object(
        {"waiting": _said(_list(ref("Wait")), "The oldest of each kind; none when all is done.")}
    ),
    "Health": _object({"status": {"type": "string", "enum": ["alive"]}}),
}
DELETION = answer("The deletion request.", "Deletion")
DELETIONS = answer("A page of requests, newest first.", "DeletionPage")
RECEIPT = answer("The signed entry of the ledger.", "Receipt")
SUBMITTED = answer("What was accepted is durable; what was rejected is not kept.", "Submission")
POLLED = answer("Items with their results.", "Poll")
