"""The page at `/docs`: the API reference for people, made from the OpenAPI document.

The template explains what a schema cannot (what a deletion does, states, times). Calls, schemas, examples and errors
come from the document, so the two cannot differ.
"""

import json
from collections.abc import Iterator, Mapping
from typing import Any

from starlette.responses import Response

from implio_pipeline.api.answers import STATUSES, remedy_of
from implio_pipeline.api.failures import CallFailed
from implio_pipeline.api.samples import example_request
from implio_pipeline.domain.ids import RequestKind
from implio_pipeline.domain.outcome import NOT_KNOWN
from implio_pipeline.domain.request import RequestState
from implio_pipeline.domain.request_fields import REASONS
from implio_pipeline.domain.sentences import what_comes_next, what_is_so
from implio_pipeline.web.context import PageContext
from implio_pipeline.web.guard import Anybody, Pages

pages = Pages()
_QUERY_REASONS = (
    *("empty-id", "id-too-long", "rounded-id", "placeholder-id", "no-task-id", "bad-text", "bad-flag"),
    *("bad-date", "zoneless-date", "dates-inverted", "year-out-of-range"),
)
"""Why `DELETE /v1/ads` refuses a value. The other reasons belong to request files."""
_NEVER_SHOWN = (RequestState.RECEIVED, RequestState.REFUSED)


@pages.get("/docs", demands=Anybody.ANYONE)
def _docs(context: PageContext) -> Response:
    """Show the reference. No sign-in is needed."""
    document = context.http.app.openapi()
    schemas = document.get("components", {}).get("schemas", {})
    return context.page(
        "docs.html",
        calls=list(_calls(document)),
        schemas=[(name, list(_rows(schema))) for name, schema in schemas.items()],
        states=[(state.value, *_state_texts(state)) for state in RequestState if state not in _NEVER_SHOWN],
        errors=sorted(set(_errors())),
        api=context.opened.settings.api,
    )


def _state_texts(state: RequestState) -> tuple[str, str]:
    """Return the two sentences about a request in this state, for an example before its items are counted."""
    example = example_request(state, kind=RequestKind.DATES)
    return what_is_so(example, NOT_KNOWN), what_comes_next(example, NOT_KNOWN)


def _calls(document: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    for path, methods in document["paths"].items():
        for method, call in methods.items():
            content = call.get("requestBody", {}).get("content", {}).get("application/json")
            yield {
                "id": call["operationId"],
                "method": method.upper(),
                "path": path,
                "summary": call["summary"],
                "description": call.get("description", ""),
                "parameters": [(each, _kind(each["schema"])) for each in call.get("parameters", [])],
                "body": None if content is None else _shown(content),
                "answers": [
                    (status, each["description"], _shown_of(each)) for status, each in call["responses"].items()
                ],
                "samples": call.get("x-codeSamples", []),
            }


def _shown_of(answer: Mapping[str, Any]) -> dict[str, Any] | None:
    content = next(iter(answer.get("content", {}).values()), None)
    return None if content is None else _shown(content)


def _shown(content: Mapping[str, Any]) -> dict[str, Any]:
    example = content.get("example")
    return {
        "schema": _kind(content["schema"]),
        "example": None if example is None else json.dumps(example, indent=2, ensure_ascii=False),
    }


def _rows(schema: Mapping[str, Any]) -> Iterator[tuple[str, str, bool, str]]:
    if "properties" not in schema:
        yield ("", _kind(schema), True, schema.get("description", ""))
    for name, each in schema.get("properties", {}).items():
        yield (name, _kind(each), name in schema.get("required", ()), _description(each))


def _description(schema: Mapping[str, Any]) -> str:
    parts = [schema, *schema.get("anyOf", ())]
    return next((str(each["description"]) for each in parts if "description" in each), "")


def _kind(schema: Mapping[str, Any]) -> str:
    """Return a schema's type in words."""
    if "$ref" in schema:
        return str(schema["$ref"]).rpartition("/")[2]
    for key in ("anyOf", "oneOf"):
        if key in schema:
            return " or ".join(dict.fromkeys(_kind(each) for each in schema[key]))
    if schema.get("type") == "array":
        return f"list of {_kind(schema.get('items', {}))}"
    if "enum" in schema and len(schema["enum"]) <= 20:  # noqa: PLR2004 -- longer ones are standards' codes
        return ", ".join(map(str, schema["enum"]))
    kind = schema.get("type", "anything")
    text = " or ".join(kind) if isinstance(kind, list) else str(kind)
    return f"{text} ({schema['format']})" if "format" in schema else text


def _errors() -> Iterator[tuple[int, str, str, str]]:
    """Yield status, code, meaning and remedy of every failure that a call can end with."""
    for failure in (*_below(CallFailed), *STATUSES):
        status = failure.status if issubclass(failure, CallFailed) else STATUSES[failure]
        meaning = (failure.__doc__ or "").partition("\n")[0]
        for code, remedy in (failure.remedies or {failure.code: remedy_of(failure)}).items():
            yield status, code, meaning, remedy
    for code in _QUERY_REASONS:
        yield 400, code, *REASONS[code]


def _below(kind: type[CallFailed]) -> Iterator[type[CallFailed]]:
    for each in kind.__subclasses__():
        yield each
        yield from _below(each)
