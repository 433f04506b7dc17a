"""Read a request from named fields: one reader and one set of limits for every way of asking.

A line of a request file, a query string, a form and a command each name *fields*. The edge collects them under the
names below, and this module validates them. An unknown, missing or wrongly typed field refuses the request: a lenient
reader that ignores it could erase another person's items.

    {"team": "acme", "type": "user", "userId": "u-88", "requestId": "case-17", "standing": true}
"""

import re
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta, timezone

from implio_pipeline.domain.errors import RequestRefused, TeamInvalid
from implio_pipeline.domain.ids import Channel, task_id_fault, user_id_fault
from implio_pipeline.domain.request import RequestDraft
from implio_pipeline.domain.scope import ByDates, ByTask, ByTeam, ByUser, Scope
from implio_pipeline.domain.team import team_id

REASONS: dict[str, tuple[str, str]] = {
    "unknown-field": ("it has a field that requests do not have", "Remove the field; check its spelling."),
    "missing-field": ("a field that its type needs is missing", "Add the field."),
    "duplicate-field": ("it has the same field twice", "Keep one of them."),
    "wrong-type": ("a field is not text", "Write the field's value as text."),
    "bad-flag": ("`standing` is neither true nor false", "Write true or false, or leave it out."),
    "not-an-object": ("it is not a JSON object", "Write each request as one JSON object."),
    "unknown-type": ("its type is not user, task, dates or team", "Name one of the four types."),
    "empty-id": ("the id is empty", "Name the id; to erase everything of a team use the type team."),
    "rounded-id": (
        "the id is a number that a spreadsheet has rounded, so it may be the id of several people",
        "Format the column as text, export it again, and name the id in full.",
    ),
    "placeholder-id": (
        "the id is a word that programs write for a value that is missing, such as undefined or null",
        "Check the program that makes the request; to erase items without a user id name their task ids or dates.",
    ),
    "no-task-id": (
        "the task id is not a UUID; an ad's own id is not a task id",
        "Use the taskId that the answer to the post names; to erase all of a person's items name the user.",
    ),
    "by-actor": (
        "there are no requests by actor: what moderators did is part of the items they decided",
        "Erase the items, by user, task or dates; a moderator who asks turns to the team, which is the controller.",
    ),
    "id-too-long": ("the id has more than 1024 characters", "Check the id; no item has an id of that length."),
    "text-too-long": ("the request id or the reason is too long", "Use at most 200 and 2000 characters."),
    "bad-text": ("a text holds a NUL or half a character", "Write the text in UTF-8, without NUL."),
    "bad-date": ("a date cannot be read", "Write dates like 2026-01-31T00:00Z."),
    "zoneless-date": ("a date has no time zone", "Add Z or an offset like +02:00."),
    "dates-inverted": ("the range is empty: `from` is not before `to`", "Exchange or correct the dates."),
    "year-out-of-range": ("a date is outside the years 1970 to 9998", "Correct the year."),
    "confirm-mismatch": ("`confirm` does not repeat the team's name", "Write the team's name in `confirm`."),
    "bad-team-name": ("no team can have this name", "Use 1 to 48 characters of a-z, 0-9, '_' and '-'."),
    "wrong-cell-count": ("the row has another number of cells than the header", "Quote cells that hold commas."),
    "stray-quote": (
        "the row has a quote that neither begins nor ends a cell, or one that is not closed",
        "Close the quote, or double those within a cell; the other rows of the file are taken.",
    ),
    "not-json": ("it is not JSON", "Write JSON in UTF-8."),
    "not-commas": ("its cells are not separated by commas", "Save it as CSV with commas, in UTF-8."),
    "not-text": (
        "it is an archive or a workbook, or damaged",
        "Write JSON or CSV in UTF-8; a single file may be zipped with gzip.",
    ),
    "not-csv": ("it is not CSV", "Write CSV in UTF-8, with a header."),
    "too-large": ("the file has more than 16 MiB", "Split the file."),
    "too-many-entries": ("the file has more than 100000 requests", "Split the file."),
    "no-entries": ("the file holds no request", "Remove the file, or write requests into it."),
    "changed-while-read": ("it was changed while it was read", "Rename files into the inbox when they are whole."),
}  # fmt: skip
"""The reason and the remedy of each code."""


class RequestFieldRefused(RequestRefused):
    """A request, or the file that contains it, breaks a rule of the format; the code names the rule."""

    def __init__(self, code: str) -> None:
        reason, remedy = REASONS[code]
        super().__init__(reason, code=code, remedy=remedy)


_FIRST_YEAR, _LAST_YEAR = 1970, 9998
_INSTANT = re.compile(
    r"(\d{4})-(\d\d)-(\d\d)[Tt ](\d\d):(\d\d)(?::(\d\d)(?:\.(\d{1,18}))?)?(?:([Zz])|([+-])(\d\d):?(\d\d))?", re.ASCII
)
_DAY = re.compile(r"\d{4}-\d\d-\d\d", re.ASCII)


def instant_of(text: str) -> datetime:
    """Return the instant in UTC. Digits below a microsecond are cut off, never rounded up to the next second or day.

    Raises:
        RequestFieldRefused: `bad-date`, `zoneless-date` or `year-out-of-range`.
    """
    found = _INSTANT.fullmatch(text.strip())
    if found is None:
        raise RequestFieldRefused("zoneless-date" if _DAY.fullmatch(text.strip()) else "bad-date")
    year, month, day, hour, minute = (int(part) for part in found.groups()[:5])
    second, fraction, zulu, sign, zone_hours, zone_minutes = found.groups()[5:]
    if not (zulu or sign):
        raise RequestFieldRefused("zoneless-date")
    if not _FIRST_YEAR <= year <= _LAST_YEAR:
        raise RequestFieldRefused("year-out-of-range")
    offset = timedelta(hours=int(zone_hours or 0), minutes=int(zone_minutes or 0))
    try:
        zone = timezone(-offset if sign == "-" else offset)
        instant = datetime(year, month, day, hour, minute, int(second or 0), tzinfo=zone).astimezone(UTC)
    except ValueError:
        raise RequestFieldRefused("bad-date") from None
    instant += timedelta(microseconds=int((fraction or "")[:6].ljust(6, "0")))
    if not _FIRST_YEAR <= instant.year <= _LAST_YEAR:
        raise RequestFieldRefused("year-out-of-range")
    return instant


def end_of(text: str) -> datetime:
    """Return the end of a range, rounded up to the next microsecond.

    Items have instants cut to the microsecond. Some programs write the end of a day as `…T23:59:59.9999999Z`. If that
    were cut, too, the range would miss the items of the day's last microsecond.

    Raises:
        RequestFieldRefused: as `instant_of`; also if the end is after the year 9998.
    """
    instant, found = instant_of(text), _INSTANT.fullmatch(text.strip())
    # Only digits that are not zero make the end later: `.000000000` is a whole microsecond.
    is_finer = found is not None and (found[7] or "")[6:].strip("0")
    end = instant + timedelta(microseconds=1) if is_finer else instant
    if end.year > _LAST_YEAR:
        raise RequestFieldRefused("year-out-of-range")
    return end


_MAX_ID_CHARACTERS, _MAX_REQUEST_ID_CHARACTERS, MAX_REASON_CHARACTERS = 1024, 200, 2000

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
    """Validate the fields of a request.

    Args:
        fields: A decoded JSON value, or what an edge collected under the same names.
        channel: How the request came.
        received_at: When it came; the legal period of one month starts here.
        asked_by: The name of the person or API key that asks.
        acts_for: Keyed pseudonym of the person for whom the API key acts.

    Raises:
        RequestFieldRefused: a field breaks a rule; the code names the rule, and no value is repeated.
    """
    # 1. The shape: an object of a known type, with that type's fields and no others, all of them text.
    if not isinstance(fields, dict):
        raise RequestFieldRefused("not-an-object")
    kind = _kind(fields)
    optional = _OPTIONAL.get(kind, _OPTIONAL_OF_OTHERS)
    # Ignoring an unknown field would turn a misspelt limit into a wider erasure.
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
        idempotency_key=_within(texts.get("requestId", ""), _MAX_REQUEST_ID_CHARACTERS),
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
    """Return a flag. CSV, query strings and commands write it as a word."""
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
    if len(text) > _MAX_ID_CHARACTERS:
        raise RequestFieldRefused("id-too-long")
    fault = fault_of(text)
    if fault is not None:
        raise RequestFieldRefused(fault)
    return text


def _within(text: str, longest: int) -> str | None:
    if len(text) > longest:
        raise RequestFieldRefused("text-too-long")
    return text or None
