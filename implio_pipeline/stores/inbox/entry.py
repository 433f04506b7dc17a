"""One request of a file: its fields, its checks, and the draft it becomes."""

from collections.abc import Callable
from datetime import datetime
from typing import Any, NoReturn

import msgspec
from msgspec import Struct

from implio_pipeline.domain.altered_ids import task_id_fault, user_id_fault
from implio_pipeline.domain.errors import TeamInvalid
from implio_pipeline.domain.request import RequestDraft
from implio_pipeline.domain.scope import ByDates, ByTask, ByTeam, ByUser, Scope
from implio_pipeline.domain.team import team_id
from implio_pipeline.domain.words import Channel
from implio_pipeline.ports.inbox import InboxEntry
from implio_pipeline.stores.inbox.dates import InstantRefused, instant_of
from implio_pipeline.stores.inbox.words import reason_of

MAX_ID_CHARACTERS, MAX_REQUEST_ID_CHARACTERS, MAX_REASON_CHARACTERS = 1024, 200, 2000


class _Entry(Struct, forbid_unknown_fields=True, rename="camel", kw_only=True, tag_field="type"):
    team: str
    request_id: str | None = None
    reason: str | None = None


class UserEntry(_Entry, tag="user"):
    """Every item of one end user."""

    user_id: str
    standing: bool | str = False
    """Whether the person's later items stay out too; in CSV it is the word `true` or `false`."""


class TaskEntry(_Entry, tag="task"):
    """One submission."""

    task_id: str


class DatesEntry(_Entry, tag="dates"):
    """Every item submitted in `[from, to)`."""

    start: str = msgspec.field(name="from")
    end: str = msgspec.field(name="to")


class TeamEntry(_Entry, tag="team"):
    """Every item of the team to date; `confirm` repeats its name."""

    confirm: str


Entry = UserEntry | TaskEntry | DatesEntry | TeamEntry
KINDS: dict[str, type[Entry]] = {"user": UserEntry, "task": TaskEntry, "dates": DatesEntry, "team": TeamEntry}
_OWN_FIELDS = (name for kind in KINDS.values() for name in kind.__struct_encode_fields__)
FIELDS = tuple(dict.fromkeys(("team", "type", *_OWN_FIELDS)))


_MAY_LACK = ("requestId", "reason", "standing")
_FLAGS = {True: True, False: False, "true": True, "false": False}


class EntryRefused(ValueError):
    """A request cannot become a draft; `code` says why."""

    def __init__(self, code: str) -> None:
        super().__init__(code)
        self.code = code


def entry_of(value: object, *, position: int, received_at: datetime, asked_by: str | None = None) -> InboxEntry:
    """Return a decoded value as a draft, or as the reason why it is none."""
    try:
        return InboxEntry(position=position, draft=_draft(_typed(value), received_at, asked_by))
    except (EntryRefused, InstantRefused) as refusal:
        return refused(refusal.code, position=position)


def refused(code: str, *, position: int) -> InboxEntry:
    """Return a refused entry."""
    return InboxEntry(position=position, draft=None, code=code, reason=reason_of(code))


def _typed(value: object) -> Entry:
    try:
        return msgspec.convert(value, Entry)  # type: ignore[no-any-return]
    except (msgspec.ValidationError, UnicodeEncodeError):
        _explain(value)


def _explain(value: object) -> NoReturn:
    """Say which of its shape's rules a value breaks: by name of the rule, not of the value."""
    if not isinstance(value, dict):
        raise EntryRefused("not-an-object")
    if "type" not in value:
        raise EntryRefused("missing-field")
    if value["type"] in ("actor", "moderator"):
        raise EntryRefused("by-actor")
    kind = KINDS.get(value["type"]) if isinstance(value["type"], str) else None
    if kind is None:
        raise EntryRefused("unknown-type")
    names = kind.__struct_encode_fields__
    if not value.keys() <= {"type", *names}:
        raise EntryRefused("unknown-field")
    if any(name not in value for name in names if name not in _MAY_LACK):
        raise EntryRefused("missing-field")
    if not isinstance(value.get("standing", False), bool | str):
        raise EntryRefused("bad-flag")
    raise EntryRefused("wrong-type")


def _draft(entry: Entry, received_at: datetime, asked_by: str | None) -> RequestDraft:
    try:
        team = team_id(entry.team)
    except TeamInvalid:
        raise EntryRefused("bad-team-name") from None
    return RequestDraft(
        team=team,
        scope=_scope(entry),
        channel=Channel.FILE,
        received_at=received_at,
        idempotency_key=_text(entry.request_id, MAX_REQUEST_ID_CHARACTERS),
        asked_by=asked_by,
        reason=_text(entry.reason, MAX_REASON_CHARACTERS),
        is_standing=isinstance(entry, UserEntry) and _flag(entry.standing),
    )


def _flag(value: bool | str) -> bool:
    named = value.strip().lower() if isinstance(value, str) else value
    if named not in _FLAGS:
        raise EntryRefused("bad-flag")
    return _FLAGS[named]


def _scope(entry: Entry) -> Scope:
    match entry:
        case UserEntry(user_id=user_id):
            return ByUser(user_id=_identifier(user_id, user_id_fault))
        case TaskEntry(task_id=task_id):
            return ByTask(task_id=_identifier(task_id, task_id_fault))
        case DatesEntry():
            start, end = instant_of(entry.start), instant_of(entry.end)
            if start >= end:
                raise EntryRefused("dates-inverted")
            return ByDates(start=start, end=end)
        case TeamEntry():
            if entry.confirm != entry.team:
                raise EntryRefused("confirm-mismatch")
            return ByTeam()


def _identifier(text: str, fault_of: Callable[[str], str | None]) -> str:
    if not text.strip():
        raise EntryRefused("empty-id")
    if len(text) > MAX_ID_CHARACTERS:
        raise EntryRefused("id-too-long")
    _check_characters(text)
    fault = fault_of(text)
    if fault is not None:
        raise EntryRefused(fault)
    return text


def _text(text: str | None, longest: int) -> str | None:
    if not text:
        return None
    if len(text) > longest:
        raise EntryRefused("text-too-long")
    _check_characters(text)
    return text


def _check_characters(text: str) -> None:
    try:
        text.encode()
    except UnicodeEncodeError:
        raise EntryRefused("bad-text") from None
    if "\0" in text:
        raise EntryRefused("bad-text")


def without_repeats(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Return an object's fields; a repeated field could erase the wrong person, so it is refused.

    Raises:
        EntryRefused: a field is there twice.
    """
    fields = dict(pairs)
    if len(fields) != len(pairs):
        raise EntryRefused("duplicate-field")
    return fields
