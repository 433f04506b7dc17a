"""The OpenAPI document: the framework's, completed with the bodies, answers and failures of `models`.

The rules:

* Every schema has a name in `components/schemas` and is referred to by it, since generated clients name their classes
  after these.
* The page at `/docs` is made from this document, so both say the same.
"""

from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

import msgspec

from implio_pipeline.api.answers import PROBLEM_TYPE
from implio_pipeline.api.models import MODELS
from implio_pipeline.api.samples import EXAMPLES, SAMPLES
from implio_pipeline.formats.item import Item

_REFERENCE = "#/components/schemas/{name}"
_RENAMED = {"Item": "Ad"}
"""Structs that the platform's API calls by another name."""
_TAGS = [
    {"name": "ads", "description": "Items: submit them, learn what was decided, delete them."},
    {"name": "deletions", "description": "What became of a deletion, and its signed receipt."},
    {"name": "moderation", "description": "Queues of items that wait for a decision."},
    {"name": "health", "description": "Whether the server answers, and what has waited longest."},
]

DESCRIPTION = """\
Submit items, poll decisions, and have items deleted. Each call carries a team's key in `X-Api-Key`; the key selects the
team. The same text for people, with examples, is at `/docs`."""


def json_body(schema: str) -> dict[str, Any]:
    """Describe a JSON body of a named schema, with its example."""
    return {"requestBody": {"required": True, "content": {"application/json": _content(schema)}}}


def json_response(description: str, schema: str) -> dict[str, Any]:
    """Describe an answer in JSON of a named schema, with its example."""
    return {"description": description, "content": {"application/json": _content(schema)}}


def responses(good: dict[int | str, dict[str, Any]], *statuses: int) -> dict[int | str, dict[str, Any]]:
    """Describe the answers of a call: the good ones, and a problem for each of the other statuses."""
    failed = {PROBLEM_TYPE: {"schema": _ref("Problem")}}
    return good | {
        status: {"description": HTTPStatus(status).phrase, "content": failed} for status in (*statuses, 500, 503)
    }


def completed(document: dict[str, Any]) -> dict[str, Any]:
    """Complete the framework's document with schemas, samples and servers. Remove answers that are never given."""
    for methods in document["paths"].values():
        for call in methods.values():
            if PROBLEM_TYPE not in call["responses"].get("422", {}).get("content", {}):
                call["responses"].pop("422", None)  # the framework's own: a call that does not fit is answered 400
            samples = SAMPLES.get(call["operationId"], {})
            if samples:
                call["x-codeSamples"] = [{"lang": lang, "source": source} for lang, source in samples.items()]
    components = document.setdefault("components", {})
    components["schemas"] = schemas()
    document["tags"] = _TAGS
    document["servers"] = [{"url": "/", "description": "The server that this document comes from."}]
    return document


def schemas() -> dict[str, Any]:
    """Return every schema by name: those of an item and its parts, then those of `models`."""
    _, of_item = msgspec.json.schema_components([Item], ref_template=_REFERENCE)
    _, of_models = msgspec.json.schema_components(MODELS, ref_template=_REFERENCE)
    references = {_REFERENCE.format(name=old): _REFERENCE.format(name=new) for old, new in _RENAMED.items()}

    def renamed(node: Any) -> Any:
        if isinstance(node, list):
            return [renamed(each) for each in node]
        if isinstance(node, Mapping):
            whole = {"items": {}, **node} if node.get("type") == "array" else node  # generators need `items`
            return {
                key: references.get(child, child) if key == "$ref" else renamed(child) for key, child in whole.items()
            }
        return node

    found = {_RENAMED.get(name, name): renamed(schema) for name, schema in of_item.items()}
    for name, schema in found.items():
        schema["title"] = name
        schema.pop("additionalProperties", None)  # unknown properties are kept and reported, not refused
    found["Ad"]["properties"].pop("submittedAt", None)  # a post cannot name its instant of submission
    ours: dict[str, Any] = renamed(of_models)
    return found | {"Ads": {"type": "array", "items": _ref("Ad")}} | ours


def _ref(name: str) -> dict[str, Any]:
    return {"$ref": _REFERENCE.format(name=name)}


def _content(schema: str) -> dict[str, Any]:
    example = {"example": EXAMPLES[schema]} if schema in EXAMPLES else {}
    return {"schema": _ref(schema)} | example
