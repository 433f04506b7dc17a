"""What people ask for, read into a request draft: one reader and one set of limits for every way of asking.

A line of a request file, a query string, a form and a command each name *fields*. The edge collects them under the
names below, and this module judges them. A field that is unknown, missing or of another type refuses the request: what
a lenient reader passes over could erase another person's items.

    {"team": "acme", "type": "user", "userId": "u-88", "requestId": "case-17", "standing": true}
"""

from collections.abc import Callable, Mapping
from datetime import datetime

from implio_pipeline.domain.altered_ids import task_id_fault, user_id_fault
from implio_pipeline.domain.errors import TeamInvalid
from implio_pipeline.domain.ids import Channel
from implio_pipeline.domain.instants import end_of, instant_of
from implio_pipeline.domain.request import RequestDraft
from implio_pipeline.domain.request_refusals import RequestFieldRefused
from implio_pipeline.domain.scope import ByDates, ByTask, ByTeam, ByUser, Scope
from implio_pipeline.domain.team import team_id

MAX_ID_CHARACTERS, MAX_REQUEST_ID_CHARACTERS, MAX_REASON_CHARACTERS = 1024, 200, 2000

REQUIRED: Mapping[str, tuple[str, ...]] = {
    "user": ("userId",),
    "task": ("taskId",),
    "dates": ("from", "to"),
    "team": ("confirm",),
}
"""The fields that each type of request needs besides `team` and `type`; `confirm` repeats the team's name."""
_OPTIONAL: Mapping[str, tuple[str, ...]] = {"user": ("requestId", "reason", "standing")}
_OPTIONAL_OF_OTHERS = ("requestId", "reason")
FIELDS = ("team", "type", "requestId", "reason", "userId", "standing", "taskId", "from", "to", "confirm")
"""Every field that a request can have."""
_FLAGS = {True: True, False: False, "true": True, "false": False}
_MODERATORS = ("actor", "moderator")


def request_draft(
    fields: object,
    *,
    channel: Channel,
    received_at: datetime,
    asked_by: str | None = None,
    acts_for: str | None = None,
) -> RequestDraft:
    """Return the draft that the fields make.

    Args:
        fields: A decoded JSON value, or what an edge collected under the same names.
        channel: How the request came.
        received_at: When it came; the month that the law gives counts from here.
        asked_by: Who asks, in words.
        acts_for: The keyed pseudonym of the person whom the asker acts for.

    Raises:
        RequestFieldRefused: a field breaks a rule; the code names the rule, and no value is repeated.
    """
    # 1. The shape: an object of a known type, with that type's fields and no others, all of them text.
    if not isinstance(fields, dict):
        raise RequestFieldRefused("not-an-object")
    kind = _kind(fields)
    optional = _OPTIONAL.get(kind, _OPTIONAL_OF_OTHERS)
    if not fields.keys() <= {"team", "type", *REQUIRED[kind], *optional}:
        raise RequestFieldRefused("unknown-field")
    if not fields.keys() >= {"team", *REQUIRED[kind]}:
        raise RequestFieldRefused("missing-field")
    is_standing = _flag(fields.get("standing", False))
    texts = {name: _text(name, value) for name, value in fields.items() if name != "standing"}
    # 2. The values, by the limits of each.
    try:
        team = team_id(texts["team"])
    except TeamInvalid:
        raise RequestFieldRefused("bad-team-name") from None
    return RequestDraft(
        team=team,
        scope=_scope(kind, texts),
        channel=channel,
        received_at=received_at,
        idempotency_key=_within(texts.get("requestId", ""), MAX_REQUEST_ID_CHARACTERS),
        asked_by=asked_by,
        acts_for=acts_for,
        reason=_within(texts.get("reason", ""), MAX_REASON_CHARACTERS),
        is_standing=is_standing,
    )


def _kind(fields: Mapping[str, object]) -> str:
    if "type" not in fields:
        raise RequestFieldRefused("missing-field")
    kind = fields["type"]
    if kind in _MODERATORS:
        raise RequestFieldRefused("by-actor")
    if not isinstance(kind, str) or kind not in REQUIRED:
        raise RequestFieldRefused("unknown-type")
    return kind


def _flag(value: object) -> bool:
    """Return a flag: CSV, query strings and commands write it as a word."""
    named = value.strip().lower() if isinstance(value, str) else value
    if not isinstance(named, bool | str) or named not in _FLAGS:
        raise RequestFieldRefused("bad-flag")
    return _FLAGS[named]


def _text(name: str, value: object) -> str:
    if value is None and name in _OPTIONAL_OF_OTHERS:
        return ""
    if not isinstance(value, str):
        raise RequestFieldRefused("wrong-type")
    try:
        value.encode()
    except UnicodeEncodeError:  # half a surrogate pair, which JSON can spell
        raise RequestFieldRefused("bad-text") from None
    if "\0" in value:
        raise RequestFieldRefused("bad-text")
    return value


def _scope(kind: str, texts: Mapping[str, str]) -> Scope:
    match kind:
        case "user":
            return ByUser(user_id=_identifier(texts["userId"], user_id_fault))
        case "task":
            return ByTask(task_id=_identifier(texts["taskId"], task_id_fault))
        case "dates":
            start, end = instant_of(texts["from"]), end_of(texts["to"])
            if start >= end:
                raise RequestFieldRefused("dates-inverted")
            return ByDates(start=start, end=end)
        case _:
            if texts["confirm"] != texts["team"]:
                raise RequestFieldRefused("confirm-mismatch")
            return ByTeam()


def _identifier(text: str, fault_of: Callable[[str], str | None]) -> str:
    if not text.strip():
        raise RequestFieldRefused("empty-id")
    if len(text) > MAX_ID_CHARACTERS:
        raise RequestFieldRefused("id-too-long")
    fault = fault_of(text)
    if fault is not None:
        raise RequestFieldRefused(fault)
    return text


def _within(text: str, longest: int) -> str | None:
    if len(text) > longest:
        raise RequestFieldRefused("text-too-long")
    return text or None
