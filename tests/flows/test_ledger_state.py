"""What the ledger's entries say together; an entry that cannot be read is neither passed over nor believed."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from support.ledger import HOME, local_ledger, raw

from implio_pipeline.domain.access import GrantId, PersonKey
from implio_pipeline.domain.errors import LedgerBroken
from implio_pipeline.domain.hold import HoldId, HoldReason
from implio_pipeline.domain.ids import Channel, RequestId, TeamId
from implio_pipeline.domain.keys import KeyStatement, KeyStates
from implio_pipeline.domain.scope import TeamRule
from implio_pipeline.domain.statements import (
    AccessLogNoted,
    AccessLogShortened,
    ClockRead,
    DueDateExtended,
    GrantRevoked,
    HoldPlaced,
    HoldReleased,
    RequestApproved,
    StandingLifted,
    Statement,
    TombstoneLifted,
    TombstonePlaced,
)
from implio_pipeline.flows.ledger_state import LedgerState
from implio_pipeline.stores.ledger.ledger import ChainedLedger

AT = datetime(2026, 3, 1, 12, tzinfo=UTC)
TEAM, ONE, TWO, HOLD = TeamId("ads"), RequestId("one"), RequestId("two"), HoldId("h")


@pytest.fixture
def log(tmp_path: Path) -> ChainedLedger:
    return local_ledger(tmp_path, region_of=HOME)


def tombstone(request_id: RequestId) -> TombstonePlaced:
    return TombstonePlaced(
        request_id=request_id,
        team=TEAM,
        channel=Channel.CLI,
        scope="ab",
        received_at=AT,
        rule=TeamRule(before=AT),
    )


def noted(lines: int) -> AccessLogNoted:
    return AccessLogNoted(lines=lines, digest=f"d{lines}", noted_at=AT)


def keys(*live: str, destroyed: tuple[str, ...] = ()) -> KeyStatement:
    states = KeyStates(live=dict.fromkeys(live, "f"), destroyed=dict.fromkeys(destroyed, "f"))
    return KeyStatement(at=AT, roots=KeyStates(), team_keys=states)


TOLD: list[Statement] = [
    tombstone(ONE),
    tombstone(TWO),
    tombstone(ONE),  # a crash came between the ledger and the catalog
    RequestApproved(request_id=ONE, team=TEAM, approved_at=AT, approved_by="p", items=1),
    DueDateExtended(request_id=ONE, team=TEAM, due_at=AT + timedelta(days=9), days=9),
    TombstoneLifted(request_id=TWO, team=TEAM, lifted_at=AT),
    StandingLifted(request_id=ONE, team=TEAM, lifted_at=AT, lifted_by=None),
    HoldPlaced(
        hold_id=HOLD,
        team=TEAM,
        scope="ab",
        reason=HoldReason.OTHER,
        placed_at=AT,
        until=AT,
        rule=TeamRule(before=AT),
    ),
    HoldReleased(hold_id=HOLD, team=TEAM, released_at=AT),
    GrantRevoked(grant_id=GrantId("g"), team=TEAM, revoked_by=PersonKey("p"), revoked_at=AT),
    noted(3),
    noted(9),
    AccessLogShortened(lines=5, digest="d5", lost=4, shortened_at=AT),
    noted(7),
    keys("ads/content/3", destroyed=("ads/content/2", "cars/seal/4")),
    keys("ads/content/2"),
    ClockRead(at=AT, is_confirmed=False),
    raw("of a newer version", {"requestId": ONE}),
]


def test_the_state_is_what_the_entries_say_in_their_order(log: ChainedLedger) -> None:
    log.append(TOLD)

    state = LedgerState.readable(log)

    assert {request_id: len(found) for request_id, found in state.tombstones.items()} == {ONE: 2, TWO: 1}
    assert (state.approved[ONE].approved_by, state.due_at[ONE], state.lifted) == ("p", AT + timedelta(days=9), {TWO})
    assert state.standing_lifted.keys() == {ONE}
    assert (state.holds[HOLD].reason, state.released) == (HoldReason.OTHER, {HOLD: AT})
    assert state.revoked.keys() == {"g"}
    assert state.log_digests == {3: "d3", 5: "d5", 7: "d7"}
    assert state.key_versions == {"ads": 3, "cars": 4}


def test_entries_of_a_few_types_say_the_same_as_all_of_them(log: ChainedLedger) -> None:
    log.append(TOLD)
    whole = LedgerState.of(log)

    part = LedgerState.of(log, AccessLogShortened, AccessLogNoted, HoldReleased, HoldPlaced)

    assert (part.log_digests, part.holds, part.released) == (whole.log_digests, whole.holds, whole.released)
    assert part.tombstones == {}


UNREADABLE = {
    "a tombstone without a rule": raw("tombstone", {"requestId": ONE, "team": TEAM, "kind": "user"}),
    "a receipt without counts": raw("receipt", {"requestId": ONE}),
    "keys of a newer version": raw("keys", {"format": "implio-keys/2", "at": "x", "roots": {}, "teamKeys": {}}),
    "a lifting of a number": raw("lifted", {"requestId": ONE, "team": 5, "liftedAt": "2026-03-01T00:00:00Z"}),
}


@pytest.mark.parametrize("entry", UNREADABLE)
def test_an_entry_that_is_signed_and_cannot_be_read_is_refused_by_who_acts_and_kept_for_who_compares(
    log: ChainedLedger, entry: str
) -> None:
    log.append([tombstone(TWO), UNREADABLE[entry], noted(3)])
    assert log.check() == []

    with pytest.raises(LedgerBroken, match="entry 2 "):
        LedgerState.readable(log)

    state = LedgerState.of(log)
    assert [each.sequence for each in state.unreadable] == [2]
    assert (set(state.tombstones), state.log_digests) == ({TWO}, {3: "d3"})
    assert LedgerState.readable(log, AccessLogNoted).log_digests == {3: "d3"}
