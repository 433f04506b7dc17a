"""The ledger's entries as JSON: the name of each kind, and how a statement is encoded and decoded.

Rules:
* No other module names a kind, writes a body or reads a field of one. `docs/FORMAT.md` lists the kinds.
* A field's JSON name is its dataclass name in camelCase (`from_` is `from`). Instants are RFC 3339 in UTC, days
  ISO 8601, keys hexadecimal.
* Bodies with more than a few fields state their version in `format`. A field with a default may be added without a new
  version. A change that would make an old reader act wrongly needs a new version.
* An entry of another version, or without a required field, is an error: a reader must stop rather than act on it.
"""

from collections.abc import Mapping
from dataclasses import MISSING, fields, is_dataclass
from datetime import date, datetime
from enum import StrEnum
from functools import cache
from types import NoneType, UnionType
from typing import Any, Final, NewType, Union, get_args, get_origin, get_type_hints

from implio_pipeline.domain.epochs import EpochDestroyed
from implio_pipeline.domain.errors import LedgerBroken
from implio_pipeline.domain.ids import RequestKind, TaskKey, UserKey
from implio_pipeline.domain.instants import instant_text
from implio_pipeline.domain.keys import KeyStatement
from implio_pipeline.domain.outcome import RequestOutcome
from implio_pipeline.domain.receipt import PartialReceipt, RepeatedReceipt, WholeReceipt
from implio_pipeline.domain.scope import Cutoffs, DatesRule, OverdueRule, Rule, TaskRule, TeamRule, UserRule, kind_of
from implio_pipeline.domain.statements import (
    AccessLogNoted,
    AccessLogShortened,
    AuditMade,
    ClockRead,
    DueDateExtended,
    GrantMade,
    GrantRevoked,
    HoldPlaced,
    HoldReleased,
    PersonExported,
    PolicyChanged,
    RequestApproved,
    RestoreMade,
    SigningKeyRenewed,
    StandingLifted,
    Statement,
    TombstoneLifted,
    TombstonePlaced,
    UnknownStatement,
)

KINDS: Final[Mapping[str, type[Statement]]] = {
    "tombstone": TombstonePlaced,
    "approved": RequestApproved,
    "extended": DueDateExtended,
    "lifted": TombstoneLifted,
    "standing-lifted": StandingLifted,
    "receipt": WholeReceipt,
    "partial-receipt": PartialReceipt,
    "re-erasure": RepeatedReceipt,
    "hold": HoldPlaced,
    "hold-released": HoldReleased,
    "policy": PolicyChanged,
    "clock": ClockRead,
    "keys": KeyStatement,
    "epoch-destroyed": EpochDestroyed,
    "grant": GrantMade,
    "grant-revoked": GrantRevoked,
    "access": PersonExported,
    "access-log": AccessLogNoted,
    "access-log-shortened": AccessLogShortened,
    "audited": AuditMade,
    "restored": RestoreMade,
    "signing-key": SigningKeyRenewed,
}
"""The type of each kind of entry."""
_NAMES = {type_: kind for kind, type_ in KINDS.items()}
_FORMATS: Mapping[type[Statement], str] = {
    WholeReceipt: "implio-receipt/1",
    PartialReceipt: "implio-receipt/1",
    RepeatedReceipt: "implio-receipt/1",
    KeyStatement: "implio-keys/1",
    EpochDestroyed: "implio-epoch/1",
    PersonExported: "implio-access/1",
}


_RULE = object()
"""Stands for the type of rules in what `_shape` returns."""
_AS_THEY_ARE = frozenset({str, int, bool, NoneType})
"""The types whose values are the same in JSON."""


def entry_kind(of: Statement | type[Statement]) -> str:
    """Return the kind that a type of statement has in the ledger."""
    match of:
        case UnknownStatement(kind=kind):
            return kind
        case Statement():
            return _NAMES[type(of)]
        case _:
            return _NAMES[of]


def body_of(statement: Statement) -> dict[str, Any]:
    """Return a statement in JSON's types: strings, whole numbers, booleans, lists, objects and null."""
    if isinstance(statement, UnknownStatement):
        return dict(statement.body)
    version = _FORMATS.get(type(statement))
    return _parts(statement) | ({} if version is None else {"format": version})


def statement_in(kind: str, body: Mapping[str, Any]) -> Statement:
    """Decode an entry; the inverse of `body_of`.

    Raises:
        LedgerBroken: a field is missing or has the wrong type, or the entry has another version.
    """
    type_ = KINDS.get(kind)
    if type_ is None:
        return UnknownStatement(kind=kind, body=body)
    try:
        # Another version may mean something else by the same fields; acting on it could erase the wrong items.
        if body.get("format") != _FORMATS.get(type_):
            raise ValueError("another version")  # noqa: TRY301 -- told like every other reason below
        read: Statement = _read(type_, body)
    # The body may be damaged in any way. The message names the kind only, since values may be pseudonyms.
    except (KeyError, TypeError, ValueError, AttributeError):
        raise LedgerBroken(f"an entry of kind {kind} cannot be read") from None
    return read


def differences(expected: Statement, body: Mapping[str, Any]) -> list[str]:
    """Return the fields of `expected` that are missing in the body or have another value there."""
    return sorted(name for name, value in body_of(expected).items() if body.get(name) != value)


@cache
def _shape(type_: Any) -> tuple[tuple[str, str, Any, Any], ...]:
    """Return the name, the JSON name, the type and the default of each field. The type of a rule is `_RULE`."""
    types = get_type_hints(type_)
    found = [(each.name, _camel(each.name), types[each.name], each.default) for each in fields(type_)]
    # To compare a type with that of rules takes as long as to encode a value, so it is done once.
    return tuple((name, json_name, _RULE if of == Rule else of, default) for name, json_name, of, default in found)


def _camel(name: str) -> str:
    first, *others = name.strip("_").split("_")
    return first + "".join(part.capitalize() for part in others)


def _parts(value: Any) -> dict[str, Any]:
    found: dict[str, Any] = {}
    of: Any = type(value)
    for name, json_name, type_, default in _shape(of):
        each = getattr(value, name)
        if type_ is _RULE:
            found |= _rule_parts(each)
        elif default is MISSING or each != default:
            found[json_name] = each if type(each) in _AS_THEY_ARE else _encoded(each)
    return found


def _encoded(value: Any) -> Any:  # noqa: PLR0911 -- one line a type
    match value:
        case StrEnum():
            return value.value
        case datetime():
            return instant_text(value)
        case date():
            return value.isoformat()
        case bytes():
            return value.hex()
        case frozenset():
            return sorted(_encoded(each) for each in value)
        case tuple():
            return [_encoded(each) for each in value]
        case Mapping():
            return {name: _encoded(each) for name, each in value.items()}
        case RequestOutcome():
            return value.parts()
        case _ if is_dataclass(value):
            return _parts(value)
        case _:
            return value


def _read(type_: Any, body: Mapping[str, Any]) -> Any:
    found: dict[str, Any] = {}
    for name, json_name, each, default in _shape(type_):
        if each is _RULE:
            found[name] = _rule_in(body)
        elif json_name in body or default is MISSING:
            found[name] = _decoded(each, body[json_name])
    return type_(**found)


def _decoded(type_: Any, value: Any) -> Any:  # noqa: PLR0911 -- one line a type
    origin, parts = get_origin(type_), get_args(type_)
    if isinstance(type_, NewType):
        return _decoded(type_.__supertype__, value)
    if origin in (Union, UnionType):
        (some,) = (each for each in parts if each is not NoneType)
        return None if value is None else _decoded(some, value)
    if origin in (tuple, frozenset):
        return origin(_decoded(parts[0], each) for each in _typed(list, value))
    if origin is Mapping:
        return {_typed(str, name): _decoded(parts[1], each) for name, each in _typed(dict, value).items()}
    if type_ in (datetime, date):
        return type_.fromisoformat(value)
    if type_ is bytes:
        return bytes.fromhex(value)
    if type_ is RequestOutcome:
        return RequestOutcome.read(value)
    if is_dataclass(type_):
        return _read(type_, _typed(dict, value))
    if issubclass(type_, StrEnum):
        return type_(value)
    return _typed(type_, value)


def _typed(type_: type[Any], value: Any) -> Any:
    # Exact types: `True` is an `int` in Python, and a count must not be one.
    if type(value) is not type_:
        raise TypeError(f"{type_.__name__} expected")
    return value


def _rule_parts(rule: Rule) -> dict[str, Any]:
    """Return the fields of a rule, which are stored directly in the body of the entry."""
    parts: dict[str, Any] = {"kind": kind_of(rule).value, "before": instant_text(rule.before)}
    match rule:
        case UserRule(user_key=key):
            return parts | {"userKey": key.hex()}
        case TaskRule(task_key=key, submitted_on=day):
            return parts | {"taskKey": key.hex(), "submittedOn": _encoded(day)}
        case DatesRule(start=start, end=end):
            return parts | {"from": instant_text(start), "to": instant_text(end)}
        case TeamRule():
            return parts
        case OverdueRule(cutoffs=cutoffs):
            limits = {"every": _encoded(cutoffs.every), "byOutcome": _encoded(cutoffs.by_outcome)}
            return parts | {"cutoffs": limits}


def _rule_in(body: Mapping[str, Any]) -> Rule:
    """Decode the rule in a body; the inverse of `_rule_parts`."""
    before = datetime.fromisoformat(body["before"])
    match RequestKind(body["kind"]):
        case RequestKind.USER:
            return UserRule(user_key=UserKey(bytes.fromhex(body["userKey"])), before=before)
        case RequestKind.TASK:
            day = body["submittedOn"]
            submitted_on = None if day is None else date.fromisoformat(day)
            return TaskRule(task_key=TaskKey(bytes.fromhex(body["taskKey"])), before=before, submitted_on=submitted_on)
        case RequestKind.DATES:
            start, end = datetime.fromisoformat(body["from"]), datetime.fromisoformat(body["to"])
            return DatesRule(start=start, end=end, before=before)
        case RequestKind.TEAM:
            return TeamRule(before=before)
        case RequestKind.RETENTION:
            limits = body["cutoffs"]
            every = None if limits["every"] is None else date.fromisoformat(limits["every"])
            by_outcome = tuple((_typed(str, outcome), date.fromisoformat(day)) for outcome, day in limits["byOutcome"])
            return OverdueRule(cutoffs=Cutoffs(every=every, by_outcome=by_outcome), before=before)
