"""Why an item is rejected: all its errors, in the shape of the platform.

No error contains a value of the item, because errors are sent to the customer's servers and listed in reports. Even the
name of a property may be a person's address or number, so only plain words are shown (`shown_name`).
"""

import re
from collections.abc import Iterator, Mapping
from datetime import datetime
from functools import cache
from itertools import islice
from typing import TYPE_CHECKING, Any

import msgspec

from implio_pipeline.domain.ids import ROUNDED, is_rounded
from implio_pipeline.formats.item import (
    CURRENCY_NEEDED,
    NAME_NEEDED,
    TOO_DEEP,
    Instant,
    Item,
    is_too_deep,
    submission_fault,
)

if TYPE_CHECKING:
    from jsonschema import Draft202012Validator
    from jsonschema.exceptions import ValidationError

_MAX_ERRORS = 100
"""Errors after these are not reported: an item may have millions."""

Fault = dict[str, Any]
"""`{message, params, code, dataPath, schemaPath}`, with the codes of tv4, a JSON Schema validator."""

NOT_JSON, CUSTOM = 600, 500
_CODES = {
    "type": 0,
    "enum": 1,
    "const": 1,
    "minLength": 200,
    "maxLength": 201,
    "pattern": 202,
    "required": 302,
    "additionalProperties": 303,
    "format": CUSTOM,
}
_PLAIN_NAME = re.compile(r"(?!.*[0-9]{3})[A-Za-z_][A-Za-z0-9_.-]{0,63}", re.ASCII)
_PLACE = re.compile(r"[0-9]{1,7}", re.ASCII)
"""The index of an element. More digits may be somebody's number."""
_LONGEST_ENUM = 10


def item_faults(value: object, *, claimed_at: datetime, may_be_dated: bool = True) -> list[Fault]:
    """Return the errors of a decoded JSON value that should be an item.

    Args:
        value: The value.
        claimed_at: The latest allowed submission instant.
        may_be_dated: Whether the item may name its own submission instant.
    """
    errors = (fault for error in _validator().iter_errors(value) for fault in _faults_of(error))
    faults = list(islice(errors, _MAX_ERRORS))
    faults += islice(_faults_across_fields(value, claimed_at), _MAX_ERRORS - len(faults))
    if not may_be_dated and isinstance(value, dict) and "submittedAt" in value:
        message = "`submittedAt` is not a known property"
        code, params = _CODES["additionalProperties"], {"key": "submittedAt"}
        faults.append(fault(message, code=code, schema="/additionalProperties", params=params))
    # The schema reports each missing property once for every other missing one.
    return list({(one["dataPath"], one["schemaPath"], one["message"]): one for one in faults}.values())


def fault(message: str, *, code: int, path: str = "", schema: str = "", params: Mapping[str, Any] = {}) -> Fault:
    """Return one error in the shape of the platform."""
    return {"message": message, "params": dict(params), "code": code, "dataPath": path, "schemaPath": schema}


def shown_name(name: object) -> str:
    """Return the name of a property, or its length if it is not a plain word: it may be an address or a number."""
    text = str(name)
    return text if _PLACE.fullmatch(text) or _PLAIN_NAME.fullmatch(text) else f"(a name of {len(text)} characters)"


@cache
def item_schema() -> dict[str, Any]:
    """Return the JSON Schema of an item, generated from its structs. References are resolved, for speed."""
    schema = msgspec.json.schema(Item)
    definitions = schema.pop("$defs")

    def in_place(node: Any) -> Any:
        if isinstance(node, list):
            return [in_place(one) for one in node]
        if not isinstance(node, dict):
            return node
        if "$ref" in node:
            return in_place(definitions[node["$ref"].rpartition("/")[2]])
        return {key: in_place(child) for key, child in node.items()}

    return in_place(schema)  # type: ignore[no-any-return]


@cache
def _validator() -> "Draft202012Validator":
    # Imported here: it costs every process that parses 0.1 s, and most files have no error to explain.
    from jsonschema import Draft202012Validator, FormatChecker  # noqa: PLC0415

    formats = FormatChecker(formats=())

    def is_instant(value: object) -> bool:
        if not isinstance(value, str):
            return True
        try:
            msgspec.convert(value, Instant)
        except msgspec.ValidationError:
            return False
        return True

    formats.checks("date-time")(is_instant)
    return Draft202012Validator(item_schema(), format_checker=formats)


def _faults_of(error: "ValidationError") -> Iterator[Fault]:
    if error.validator == "anyOf":
        yield from _faults_of_alternatives(error)
        return
    path, schema = _joined(error.absolute_path), _joined(error.absolute_schema_path)
    code = _CODES.get(str(error.validator), CUSTOM)
    for message, params in _messages(error):
        yield fault(message, code=code, path=path, schema=schema, params=params)


def _faults_of_alternatives(error: "ValidationError") -> Iterator[Fault]:
    """Yield the errors of the alternatives with the right type, or one error that names all types."""
    depth = len(error.absolute_path)
    close = [one for one in error.context or () if one.validator != "type" or len(one.absolute_path) > depth]
    if close:
        for one in close:
            yield from _faults_of(one)
        return
    expected = [str(one.validator_value) for one in error.context or ()]
    yield fault(
        f"must be {' or '.join(expected)}",
        code=_CODES["type"],
        path=_joined(error.absolute_path),
        schema=_joined(error.absolute_schema_path),
        params={"expected": expected},
    )


def _messages(error: "ValidationError") -> list[tuple[str, dict[str, Any]]]:
    wanted: Any = error.validator_value
    match error.validator:
        case "type":
            return [(f"must be {wanted}", {"expected": [wanted]})]
        case "required":
            missing = [key for key in wanted if key not in error.instance]
            return [(f"`{key}` is missing", {"key": key}) for key in missing]
        case "additionalProperties":
            extra = [key for key in error.instance if key not in error.schema.get("properties", {})]
            return [
                (f"`{shown_name(key)}` is not a known property", {"key": shown_name(key)})
                for key in extra[:_MAX_ERRORS]
            ]
        case "minLength" | "maxLength":
            bound = "at least" if error.validator == "minLength" else "at most"
            return [(f"must have {bound} {wanted} characters", {"limit": wanted, "length": len(error.instance)})]
        case "enum":
            text = error.schema.get("description")
            few = wanted if len(wanted) <= _LONGEST_ENUM else []
            return [(f"must be {text or 'one of: ' + ', '.join(few)}", {"expected": few or [text]})]
        case "format":
            return [("must be an RFC 3339 instant with a zone", {"expected": [wanted]})]
        case _:
            return [(f"must be {error.schema.get('description', 'of the right form')}", {})]


def _faults_across_fields(value: object, claimed_at: datetime) -> Iterator[Fault]:
    price = _at(value, "content", "price")
    if isinstance(price, dict):
        amount = price.get("amount")
        if amount is not None and price.get("currency") is None:
            yield fault(CURRENCY_NEEDED, code=CUSTOM, path="/content/price", params={"key": "currency"})
        if not _is_finite(amount):
            yield fault("must be a finite number", code=CUSTOM, path="/content/price/amount")
    ids = {path: _at(value, *path) for path in (("id",), ("user", "id"))}
    rounded = [path for path, text in ids.items() if isinstance(text, str) and is_rounded(text)]
    yield from (fault(ROUNDED, code=CUSTOM, path=_joined(path)) for path in rounded)
    feedback = _at(value, "result", "feedback")
    for index, one in enumerate(feedback if isinstance(feedback, list) else ()):
        if isinstance(one, dict) and one.get("id") is None and one.get("name") is None:
            yield fault(NAME_NEEDED, code=CUSTOM, path=f"/result/feedback/{index}")
    filters = _at(value, "result", "matchingFilters")
    if isinstance(filters, list) and is_too_deep(filters):
        yield fault(TOO_DEEP, code=CUSTOM, path="/result/matchingFilters")
    try:
        submitted_at = msgspec.convert(_at(value, "submittedAt"), Instant)
    except msgspec.ValidationError:
        return
    wrong = submission_fault(submitted_at, claimed_at=claimed_at)
    if wrong:
        yield fault(wrong, code=CUSTOM, path="/submittedAt")


def _at(value: object, *path: str) -> object:
    for key in path:
        value = value.get(key) if isinstance(value, dict) else None
    return value


def _is_finite(amount: object) -> bool:
    try:
        return not isinstance(amount, int) or float(amount) is not None
    except OverflowError:
        return False


def _joined(path: Any) -> str:
    return "".join(f"/{shown_name(part)}" for part in path)
