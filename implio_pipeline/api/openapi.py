"""The OpenAPI document: the framework's, with bodies, answers and failures by the names of `models`.

Every schema has a name in `components/schemas` and is referred to by it, since generated clients name their classes
after them. The page at `/docs` is made from this document, so that both say the same.
"""

from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

import msgspec

from implio_pipeline.api.models import MODELS
from implio_pipeline.api.problems import MEDIA_TYPE
from implio_pipeline.api.samples import EXAMPLES, SAMPLES
from implio_pipeline.formats.item import Item

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
    """Return the answers of a call: its successes, and a problem for each other status."""
    return {**good, **problems(*statuses)}


def problems(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """Return the answers of a call that fails with one of these statuses."""
    return {
        status: {"description": HTTPStatus(status).phrase, "content": {MEDIA_TYPE: {"schema": ref("Problem")}}}
        for status in (*statuses, 500, 503)
    }


def completed(document: dict[str, Any]) -> dict[str, Any]:
    """Complete the framework's document with our schemas, samples and servers; remove answers that are never given."""
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
    """Return every schema by name: the item's and its parts', then those of `models`."""
    _, of_item = msgspec.json.schema_components([Item], ref_template=_REFERENCE)
    _, of_models = msgspec.json.schema_components(MODELS, ref_template=_REFERENCE)
    names = {_REFERENCE.format(name=old): _REFERENCE.format(name=new) for old, new in _AD_NAMES.items()}

    def renamed(node: Any) -> Any:
        if isinstance(node, list):
            return [renamed(each) for each in node]
        if isinstance(node, Mapping):
            whole = {"items": {}, **node} if node.get("type") == "array" else node  # generators ask for it
            return {key: names.get(child, child) if key == "$ref" else renamed(child) for key, child in whole.items()}
        return node

    found = {_AD_NAMES.get(name, name): renamed(schema) for name, schema in of_item.items()}
    for name, schema in found.items():
        schema["title"] = name
        schema.pop("additionalProperties", None)  # a property that is not known is kept, and reported
    found["Ad"]["properties"].pop("submittedAt", None)  # a post may not name its instant of submission
    ours: dict[str, Any] = renamed(of_models)
    return found | {"Ads": {"type": "array", "items": ref("Ad")}} | ours


def _content(schema: str) -> dict[str, Any]:
    found: dict[str, Any] = {"schema": ref(schema)}
    if schema in EXAMPLES:
        found["example"] = EXAMPLES[schema]
    return found


DELETION = answer("The deletion request.", "Deletion")
DELETIONS = answer("A page of requests, newest first.", "DeletionPage")
RECEIPT = answer("The signed entry of the ledger.", "Receipt")
SUBMITTED = answer("What was accepted is durable; what was rejected is not kept.", "Submission")
POLLED = answer("Items with their results.", "Poll")
