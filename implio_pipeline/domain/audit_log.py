"""Two logs, kept apart from the ledger: who did what in a team, and who read which classes; never a value of an item.

Every line of the log of reads is chained to the one before it. Now and then the newest link is noted in the signed
ledger, so that a line that is altered, left out or cut off shows.
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


class Deed(StrEnum):
    """What somebody did."""

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
    """Keyed pseudonym of the name, the same as requests keep of who asked."""
    name: str = sensitive()
    deed: Deed
    subject: str | None = None
    """Opaque id of a request, hold, member or key."""
    count: int | None = None
    sequence: int = 0


GENESIS = "0" * 64
"""What the first line is chained to."""


class ReadDoor(StrEnum):
    """Through which door rows were read."""

    QUERY = "query"
    EXPORT = "export"


@dataclass(frozen=True, kw_only=True, slots=True)
class Read:
    """One reading of rows; it is written down before the rows are handed out."""

    at: datetime
    person: PersonKey
    teams: tuple[TeamId, ...]
    classes: frozenset[ColumnClass]
    purpose: Purpose | None
    door: ReadDoor
    rows: int
    """Rows of the answer."""
    rows_read: int
    """Rows that left the files and queues, before anything was aggregated."""
    columns: tuple[str, ...] = ()
    """Columns of ours that were read or named; a name that somebody made up may be anything, and is not here."""
    grants: tuple[GrantId, ...] = ()
    statement: str | None = None
    """A keyed digest of the SQL text; the text may name a person."""

    def body(self) -> dict[str, Any]:
        """Return a read as JSON values."""
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
    """A read in its place in the log."""

    line: int
    """Counted from 1, without gaps."""
    read: Read
    previous: str
    digest: str

    @classmethod
    def chained(cls, read: Read, *, line: int, previous: str) -> "LogLine":
        """Return a read as the log's next line."""
        unsigned = cls(line=line, read=read, previous=previous, digest="")
        return replace(unsigned, digest=_digest_of(unsigned))


@dataclass(frozen=True, kw_only=True, slots=True)
class LogFault:
    """Where the log is not what was written."""

    line: int
    words: str


def _digest_of(line: LogLine) -> str:
    """Return the SHA-256 of a line and its link to the one before, hexadecimal; its own digest does not count."""
    text = json.dumps({"line": line.line, "previous": line.previous} | line.read.body(), sort_keys=True)
    return sha256(text.encode()).hexdigest()


def chain_faults(lines: Iterable[LogLine], noted: Mapping[int, str]) -> Iterator[LogFault]:
    """Yield where the log breaks its own chain, or is not what the ledger noted."""
    count, previous = 0, GENESIS
    for count, line in enumerate(lines, start=1):
        if line.line != count:
            yield LogFault(line=count, words=f"line {count} is missing; line {line.line} stands in its place")
            return
        if line.previous != previous or _digest_of(line) != line.digest:
            yield LogFault(line=count, words="it is not the line that was written")
            return
        if count in noted and noted[count] != line.digest:
            yield LogFault(line=count, words="it is not the line that the ledger noted")
            return
        previous = line.digest
    last = max(noted, default=0)
    if last > count:
        yield LogFault(line=count + 1, words=f"the log ends after {count} lines; the ledger noted {last}")
