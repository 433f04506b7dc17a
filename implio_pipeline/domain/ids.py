"""Identifiers, closed sets and the mark of sensitive fields: the vocabulary that all modules share.

It also recognises ids that a program altered on their way to us. Two people may share such an id, and a search for the
real one finds nothing. The same check serves landing files, request files, the API, the page and the command line.
"""

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
"""16 bytes: HMAC-SHA-256 of the normalised user id under the team's pseudonym key, truncated to 128 bits."""

TaskKey = NewType("TaskKey", bytes)
"""16 bytes: SHA-256 of the task id, truncated to 128 bits. A task id has 74 random bits, so it cannot be guessed."""


class ColumnClass(StrEnum):
    """The class of a column: who may read it. Each class has its own keys."""

    OPERATIONAL = "operational"
    CONTENT = "content"
    IDENTITY = "identity"


class KeyPurpose(StrEnum):
    """The purpose of a team key: what it wraps or derives."""

    OPERATIONAL = "operational"
    CONTENT = "content"
    IDENTITY = "identity"
    PSEUDONYM = "pseudonym"
    SEAL = "seal"


class FileKind(StrEnum):
    """The kind of rows in a vault file."""

    ITEMS = "items"
    REJECTED = "rejected"


class Outcome(StrEnum):
    """The decision of moderation on an item."""

    APPROVED = "approved"
    REFUSED = "refused"
    NO_DECISION = "no decision"


class Channel(StrEnum):
    """The way by which a request came."""

    FILE = "file"
    API = "api"
    PAGE = "page"
    CLI = "cli"
    RETENTION = "retention"


class RequestKind(StrEnum):
    """The kind of scope that a request names."""

    USER = "user"
    TASK = "task"
    DATES = "dates"
    TEAM = "team"
    RETENTION = "retention"


UNDECIDED = "undecided"
"""The name for items without an outcome, in counts by outcome."""


def sensitive(*, default: Any = ...) -> Any:
    """Return a dataclass field that is left out of `repr`, and so out of logs and errors."""
    metadata = {"sensitive": True}
    if default is ...:
        return field(repr=False, metadata=metadata)
    return field(default=default, repr=False, metadata=metadata)


_ROUNDED = re.compile(r"\s*[+-]?\d(?:[.,]\d+)?[eE]\+\d{2,3}\s*", re.ASCII)
"""A number as spreadsheets write it when it is too long for a cell: `1.23457E+15`."""
_PLACEHOLDERS = frozenset({"undefined", "null", "none", "nil", "nan", "[object object]", "n/a"})
"""Words that programs write for a missing value."""
_UNFILLED = re.compile(r"#(n/a|ref!|name\?|value!|div/0!|null!|num!)|\{\{.*\}\}|\$\{.*\}|<%.*%>", re.ASCII | re.DOTALL)
"""The error values of spreadsheets, and template placeholders that were not filled in."""
_UUID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}", re.ASCII)
ROUNDED = "is a number that a spreadsheet has rounded; format the column as text and export it again"


def is_rounded(text: str) -> bool:
    """Return whether an id is a number that a spreadsheet rounded."""
    return _ROUNDED.fullmatch(text) is not None


def user_id_fault(text: str) -> str | None:
    """Return the code of what is wrong with a user id in a request; `None` if nothing is wrong."""
    if is_rounded(text):
        return "rounded-id"
    word = text.strip().lower()
    return "placeholder-id" if word in _PLACEHOLDERS or _UNFILLED.fullmatch(word) else None


def task_id_fault(text: str) -> str | None:
    """Return the code of what is wrong with a task id in a request; `None` if nothing is wrong."""
    fault = user_id_fault(text)
    if fault is not None:
        return fault
    return None if _UUID.fullmatch(text.strip().lower()) else "no-task-id"
