"""The audit log of reads: who read which classes of which teams, for what, and how much; never a value.

Every line is chained to the one before it. Now and then the newest link is noted in the signed ledger, so that a
line that is altered, left out or cut off shows.
"""

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from enum import StrEnum
from hashlib import sha256
from typing import Any

from implio_pipeline.domain.days import instant_text
from implio_pipeline.domain.grant import GrantId, PersonKey, Purpose
from implio_pipeline.domain.ids import ColumnClass, TeamId

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


@dataclass(frozen=True, kw_only=True, slots=True)
class LogLine:
    """A read in its place in the log."""

    line: int
    """Counted from 1, without gaps."""
    read: Read
    previous: str
    digest: str


@dataclass(frozen=True, kw_only=True, slots=True)
class LogFault:
    """Where the log is not what was written."""

    line: int
    words: str


def chained(read: Read, *, line: int, previous: str) -> LogLine:
    """Return a read as the log's next line."""
    unsigned = LogLine(line=line, read=read, previous=previous, digest="")
    return replace(unsigned, digest=digest_of(unsigned))


def digest_of(line: LogLine) -> str:
    """Return the SHA-256 of a line and its link to the one before, hexadecimal; its own digest does not count."""
    text = json.dumps({"line": line.line, "previous": line.previous} | read_body(line.read), sort_keys=True)
    return sha256(text.encode()).hexdigest()


def read_body(read: Read) -> dict[str, Any]:
    """Return a read as JSON values."""
    return {
        "at": instant_text(read.at),
        "person": read.person,
        "teams": list(read.teams),
        "classes": sorted(each.value for each in read.classes),
        "purpose": None if read.purpose is None else read.purpose.value,
        "door": read.door.value,
        "rows": read.rows,
        "rowsRead": read.rows_read,
        "columns": list(read.columns),
        "grants": list(read.grants),
        "statement": read.statement,
    }


def faults_of(lines: Iterable[LogLine], noted: Mapping[int, str]) -> Iterator[LogFault]:
    """Yield where the log breaks its own chain, or is not what the ledger noted."""
    count, previous = 0, GENESIS
    for count, line in enumerate(lines, start=1):
        if line.line != count:
            yield LogFault(line=count, words=f"line {count} is missing; line {line.line} stands in its place")
            return
        if line.previous != previous or digest_of(line) != line.digest:
            yield LogFault(line=count, words="it is not the line that was written")
            return
        if count in noted and noted[count] != line.digest:
            yield LogFault(line=count, words="it is not the line that the ledger noted")
            return
        previous = line.digest
    last = max(noted, default=0)
    if last > count:
        yield LogFault(line=count + 1, words=f"the log ends after {count} lines; the ledger noted {last}")
