"""The identifiers and closed sets that every room speaks."""

import re
from dataclasses import field
from enum import StrEnum
from typing import Any, NewType

TeamId = NewType("TeamId", str)
RequestId = NewType("RequestId", str)
FileId = NewType("FileId", str)
KeyId = NewType("KeyId", str)
Region = NewType("Region", str)

UserKey = NewType("UserKey", bytes)
"""16 bytes: HMAC-SHA-256 of the normalised user id under the team's pseudonym key, cut to 128 bits."""

TaskKey = NewType("TaskKey", bytes)
"""16 bytes: SHA-256 of the task id, cut to 128 bits; a task id holds 74 random bits, so it cannot be guessed back."""


class ColumnClass(StrEnum):
    """Who may read a column; each class has its own keys."""

    OPERATIONAL = "operational"
    CONTENT = "content"
    IDENTITY = "identity"


class KeyPurpose(StrEnum):
    """What a team key wraps or derives."""

    OPERATIONAL = "operational"
    CONTENT = "content"
    IDENTITY = "identity"
    PSEUDONYM = "pseudonym"
    SEAL = "seal"


class FileKind(StrEnum):
    """What the rows of a vault file are."""

    ITEMS = "items"
    REJECTED = "rejected"


class Outcome(StrEnum):
    """What moderation decided of an item."""

    APPROVED = "approved"
    REFUSED = "refused"
    NO_DECISION = "no decision"


class Channel(StrEnum):
    """The door through which a request came."""

    FILE = "file"
    API = "api"
    PAGE = "page"
    CLI = "cli"
    RETENTION = "retention"


class RequestKind(StrEnum):
    """What a request names: its scope's kind."""

    USER = "user"
    TASK = "task"
    DATES = "dates"
    TEAM = "team"
    RETENTION = "retention"


UNDECIDED = "undecided"
"""The bucket of items without any outcome, in counts by outcome."""


def sensitive(*, default: Any = ...) -> Any:
    """Return a dataclass field that never appears in `repr`, and so in no log or error."""
    metadata = {"sensitive": True}
    if default is ...:
        return field(repr=False, metadata=metadata)
    return field(default=default, repr=False, metadata=metadata)


_ROUNDED = re.compile(r"\s*[+-]?\d(?:[.,]\d+)?[eE]\+\d{2,3}\s*", re.ASCII)
"""How spreadsheets write a number that is too long for a cell: `1.23457E+15`."""
_PLACEHOLDERS = frozenset({"undefined", "null", "none", "nil", "nan", "[object object]", "n/a"})
"""What programs write for a value that is not there."""
_UNFILLED = re.compile(r"#(n/a|ref!|name\?|value!|div/0!|null!|num!)|\{\{.*\}\}|\$\{.*\}|<%.*%>", re.ASCII | re.DOTALL)
"""A spreadsheet's error, and a place in a template that nothing was put into."""
_UUID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}", re.ASCII)
ROUNDED = "is a number that a spreadsheet has rounded; format the column as text and export it again"


def is_rounded(text: str) -> bool:
    """Tell whether an id is a number that a spreadsheet has rounded."""
    return _ROUNDED.fullmatch(text) is not None


def user_id_fault(text: str) -> str | None:
    """Return the code of what is wrong with a user id that something is asked for by; `None` when nothing is."""
    if is_rounded(text):
        return "rounded-id"
    word = text.strip().lower()
    return "placeholder-id" if word in _PLACEHOLDERS or _UNFILLED.fullmatch(word) else None


def task_id_fault(text: str) -> str | None:
    """Return the code of what is wrong with a task id that something is asked for by; `None` when nothing is."""
    fault = user_id_fault(text)
    if fault is not None:
        return fault
    return None if _UUID.fullmatch(text.strip().lower()) else "no-task-id"
