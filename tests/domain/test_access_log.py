"""The log of reads: whatever is altered, left out or cut off shows."""

from collections.abc import Iterable
from dataclasses import fields, replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from implio_pipeline.domain.access import GrantId, PersonKey, Purpose
from implio_pipeline.domain.audit_log import GENESIS, LoggedRead, LogLine, ReadDoor, chain_faults
from implio_pipeline.domain.ids import ColumnClass, TeamId
from implio_pipeline.domain.statements import AccessLogNoted, AccessLogShortened, Statement
from implio_pipeline.flows.ledger_state import LedgerState

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
OTHERS = {
    "at": NOW + timedelta(microseconds=1),
    "person": PersonKey("other"),
    "teams": (TeamId("other"),),
    "classes": frozenset({ColumnClass.CONTENT}),
    "purpose": Purpose.LEGAL,
    "door": ReadDoor.EXPORT,
    "rows": 10**9,
    "columns": ("title",),
    "grants": (GrantId("other"),),
    "statement": "other",
    "rows_read": 6,
}


def a_read(number: int) -> LoggedRead:
    return LoggedRead(
        at=NOW + timedelta(seconds=number),
        person=PersonKey("ann"),
        teams=(TeamId("ads"),),
        classes=frozenset({ColumnClass.OPERATIONAL}),
        purpose=None,
        door=ReadDoor.QUERY,
        rows=number,
        rows_read=5,
    )


def a_log(count: int, *, start: int = 0, previous: str = GENESIS) -> list[LogLine]:
    lines: list[LogLine] = []
    for number in range(start + 1, start + count + 1):
        lines.append(LogLine.chained(a_read(number), line=number, previous=previous))
        previous = lines[-1].digest
    return lines


def noted(line: LogLine) -> AccessLogNoted:
    return AccessLogNoted(lines=line.line, digest=line.digest, noted_at=NOW)


def expected_digests(statements: Iterable[Statement]) -> dict[int, str]:
    state = LedgerState()
    for statement in statements:
        state.note(statement)
    return state.log_digests


@given(count=st.integers(0, 6))
def test_a_log_that_was_only_added_to_holds(count) -> None:
    log = a_log(count)

    assert list(chain_faults(log, expected_digests(map(noted, log)))) == []


@pytest.mark.parametrize("name", [field.name for field in fields(LoggedRead)])
def test_a_line_altered_in_any_field_shows(name) -> None:
    log = a_log(3)
    log[1] = replace(log[1], read=replace(log[1].read, **{name: OTHERS[name]}))

    (fault,) = chain_faults(log, {})
    assert fault.line == 2


@given(place=st.integers(0, 4))
def test_a_line_left_out_shows(place) -> None:
    log = a_log(5)
    expected = expected_digests([noted(log[-1])])
    del log[place]

    (fault,) = chain_faults(log, expected)
    assert fault.line == place + 1


def test_a_log_that_was_written_anew_from_some_line_on_shows_by_the_ledger() -> None:
    log = a_log(4)
    expected = expected_digests([noted(log[3])])
    forged = [*log[:2], *a_log(2, start=2, previous=log[0].digest)]
    anew = [*log[:2], LogLine.chained(a_read(9), line=3, previous=log[1].digest)]
    anew.append(LogLine.chained(a_read(4), line=4, previous=anew[2].digest))

    assert [fault.line for fault in chain_faults(forged, expected)] == [3]
    assert [fault.line for fault in chain_faults(anew, expected)] == [4]
    assert list(chain_faults(anew, {})) == []


def test_a_log_that_a_restore_made_shorter_goes_on_from_there() -> None:
    log = a_log(5)
    kept = log[:3]
    shortened = AccessLogShortened(lines=3, digest=log[2].digest, lost=2, shortened_at=NOW)
    entries = [noted(log[1]), noted(log[4]), shortened]
    longer = [*kept, LogLine.chained(a_read(9), line=4, previous=kept[-1].digest)]

    assert [fault.line for fault in chain_faults(kept, expected_digests(entries[:2]))] == [4]
    assert list(chain_faults(longer, expected_digests([*entries, noted(longer[-1])]))) == []
    assert expected_digests(entries) == {2: log[1].digest, 3: log[2].digest}
