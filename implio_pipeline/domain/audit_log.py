"""The two access logs beside the ledger: what members did in a team, and which classes of data operators read.

Rules:
* Neither log contains the value of an item.
* A read is logged before its rows are handed out, so that no read goes unrecorded.
* Every line of the log of reads includes the digest of the line before it, and housekeeping notes the newest digest in
  the signed ledger. So every change up to the newest note is detected. Younger lines can be rewritten (decision 0051).
"""

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from enum import StrEnum
from hashlib import sha256
from typing import Any

from implio_pipeline.domain.access import GrantId, PersonKey, Purpose
from implio_pipeline.domain.ids import ColumnClass, TeamId, sensitive
from implio_pipeline.domain.instants import instant_text


class AuditAction(StrEnum):
    """What a person did in a team."""

    SIGNED_IN = "signed in"
    ASKED = "asked to remove items"
    APPROVED = "approved a request"
    CANCELLED = "cancelled a request"
    LIFTED = "lifted a standing deletion"
    EXTENDED = "put off a due date"
    READ_RECEIPT = "read a receipt"
    SET_POLICY = "changed the retention policy"
    ASKED_POLICY = "asked to change the retention policy"
    APPROVED_POLICY = "approved a change of the retention policy"
    REFUSED_POLICY = "refused a change of the retention policy"
    PLACED_HOLD = "placed a legal hold"
    RELEASED_HOLD = "released a legal hold"
    ADDED_MEMBER = "added a member"
    SET_ROLE = "changed a member's role"
    REMOVED_MEMBER = "removed a member"
    RESET_PASSWORD = "reset a member's password"  # noqa: S105 -- words, no password
    MADE_KEY = "made an API key"
    REVOKED_KEY = "revoked an API key"
    DECIDED = "decided on an item"
    MOVED_ITEM = "moved an item to another queue"
    CHANGED_CALLBACK = "changed the result callback"


@dataclass(frozen=True, kw_only=True, slots=True)
class AuditEntry:
    """One line of a team's audit log."""

    team: TeamId
    at: datetime
    who: str
    """Keyed pseudonym of the name: the same one that requests keep of the person who asked."""
    name: str = sensitive()
    deed: AuditAction
    subject: str | None = None
    """Opaque id of a request, hold, member or key."""
    count: int | None = None
    sequence: int = 0


GENESIS = "0" * 64
"""The `previous` value of the first line."""


class ReadDoor(StrEnum):
    """The way by which rows were read."""

    QUERY = "query"
    EXPORT = "export"


@dataclass(frozen=True, kw_only=True, slots=True)
class LoggedRead:
    """One reading of rows."""

    at: datetime
    person: PersonKey
    teams: tuple[TeamId, ...]
    classes: frozenset[ColumnClass]
    purpose: Purpose | None
    door: ReadDoor
    rows: int
    """Rows in the answer."""
    rows_read: int
    """Rows that were read from files and queues, before any aggregation."""
    columns: tuple[str, ...] = ()
    """The columns of the lake that were read or named. Other names are left out: a person may have typed anything."""
    grants: tuple[GrantId, ...] = ()
    statement: str | None = None
    """A keyed digest of the SQL text. The text itself is not kept, because it may contain a person's name."""

    def body(self) -> dict[str, Any]:
        """Return the read in JSON's types."""
        return {
            "at": instant_text(self.at),
            "person": self.person,
            "teams": list(self.teams),
            "classes": sorted(each.value for each in self.classes),
            "purpose": None if self.purpose is None else self.purpose.value,
            "door": self.door.value,
            "rows": self.rows,
            "rowsRead": self.rows_read,
            "columns": list(self.columns),
            "grants": list(self.grants),
            "statement": self.statement,
        }


@dataclass(frozen=True, kw_only=True, slots=True)
class LogLine:
    """A read at its position in the log."""

    line: int
    """Counted from 1, without gaps."""
    read: LoggedRead
    previous: str
    digest: str

    @classmethod
    def chained(cls, read: LoggedRead, *, line: int, previous: str) -> "LogLine":
        """Return a read as the line that follows `previous`."""
        unsigned = cls(line=line, read=read, previous=previous, digest="")
        return replace(unsigned, digest=_digest_of(unsigned))


@dataclass(frozen=True, kw_only=True, slots=True)
class LogFault:
    """A position at which the log was altered."""

    line: int
    words: str


def _digest_of(line: LogLine) -> str:
    """Return the SHA-256 of a line, hexadecimal, over everything but its own digest."""
    # Sorted keys: the digest must not depend on the order in which fields are written.
    text = json.dumps({"line": line.line, "previous": line.previous} | line.read.body(), sort_keys=True)
    return sha256(text.encode()).hexdigest()


def chain_faults(lines: Iterable[LogLine], noted: Mapping[int, str]) -> Iterator[LogFault]:
    """Yield where the log breaks its chain or contradicts the notes in the ledger."""
    count, previous = 0, GENESIS
    for count, line in enumerate(lines, start=1):
        # 1. A gap: a line was removed.
        if line.line != count:
            yield LogFault(line=count, words=f"line {count} is missing; line {line.line} is in its place")
            return
        # 2. A broken chain: a line was changed or inserted.
        if line.previous != previous or _digest_of(line) != line.digest:
            yield LogFault(line=count, words="the line was altered")
            return
        # 3. A valid chain that differs from the note: somebody changed a line and computed all later digests again.
        if count in noted and noted[count] != line.digest:
            yield LogFault(line=count, words="the line differs from the ledger's note")
            return
        previous = line.digest
    # 4. The end was cut off: a chain cannot show that, only the note in the ledger (decision 0051).
    last = max(noted, default=0)
    if last > count:
        yield LogFault(line=count + 1, words=f"the log ends after {count} lines; the ledger noted {last}")
