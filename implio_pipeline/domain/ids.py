"""The identifiers and closed sets that every room speaks."""

from enum import StrEnum
from typing import NewType

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
