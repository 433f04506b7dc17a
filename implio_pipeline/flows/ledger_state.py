"""The state that follows from the ledger's entries. A restore rebuilds the catalog from it; the audit compares with it.

An entry may be signed and still not readable. A flow that acts on the state must refuse such a ledger (`readable`). The
audit only reports it (`of`).
"""

from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from implio_pipeline.domain.access import GrantId
from implio_pipeline.domain.errors import LedgerBroken
from implio_pipeline.domain.hold import HoldId
from implio_pipeline.domain.ids import RequestId, TeamId
from implio_pipeline.domain.keys import KeyStatement, number_of, series_of
from implio_pipeline.domain.receipt import Receipt
from implio_pipeline.domain.statements import (
    AboutRequest,
    AccessLogNoted,
    AccessLogShortened,
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
from implio_pipeline.ports.ledger import Ledger, LedgerEntry


@dataclass(kw_only=True, slots=True)
class LedgerState:
    """The requests, holds, grants, logs and keys that the ledger knows."""

    tombstones: dict[RequestId, list[TombstonePlaced]] = field(default_factory=dict)
    """Oldest first. A crash may have written one twice."""
    receipts: dict[RequestId, list[Receipt]] = field(default_factory=dict)
    """Oldest first. A request with a receipt was begun, so it waits neither for approval nor for its grace period."""
    approved: dict[RequestId, RequestApproved] = field(default_factory=dict)
    lifted: set[RequestId] = field(default_factory=set)
    standing_lifted: dict[RequestId, StandingLifted] = field(default_factory=dict)
    due_at: dict[RequestId, datetime] = field(default_factory=dict)
    """Due dates that were extended."""
    holds: dict[HoldId, HoldPlaced] = field(default_factory=dict)
    released: dict[HoldId, datetime] = field(default_factory=dict)
    revoked: dict[GrantId, GrantRevoked] = field(default_factory=dict)
    log_digests: dict[int, str] = field(default_factory=dict)
    """Digest of the log of reads at each noted line; lines that a restore cut off are left out."""
    key_versions: dict[TeamId, int] = field(default_factory=dict)
    """The newest version of each team's rotating keys."""
    unreadable: list[LedgerEntry[Any]] = field(default_factory=list)

    @classmethod
    def of(cls, ledger: Ledger, *types: type[Statement]) -> "LedgerState":
        """Return the state from the entries of these types; from all entries when no type is given.

        With types, the ledger is searched through its index and only their entries are read.

        Raises:
            LedgerBroken: a line is not an entry.
        """
        state = cls()
        named = [entry for type_ in types for entry in ledger.newest_first(type_)]
        # Later entries override earlier ones, so they must be applied in the order of their chain.
        for entry in sorted(named, key=lambda each: (each.chain, each.sequence)) if types else ledger.entries():
            try:
                state.note(entry.statement)
            except LedgerBroken:
                state.unreadable.append(entry)
        return state

    @classmethod
    def readable(cls, ledger: Ledger, *types: type[Statement]) -> "LedgerState":
        """Return the state as `of` does, and refuse a ledger with an unreadable entry.

        Raises:
            LedgerBroken: an entry cannot be read.
        """
        state = cls.of(ledger, *types)
        if state.unreadable:
            raise LedgerBroken(f"{state.unreadable[0].place} of the ledger cannot be read")
        return state

    def note(self, statement: Statement) -> None:
        """Apply one statement; statements that do not change the state are ignored."""
        match statement:
            case AboutRequest():
                self._note_request(statement)
            case HoldPlaced(hold_id=hold_id):
                self.holds[hold_id] = statement
            case HoldReleased(hold_id=hold_id, released_at=released_at):
                self.released[hold_id] = released_at
            case GrantRevoked(grant_id=grant_id):
                self.revoked[grant_id] = statement
            case AccessLogNoted(lines=lines, digest=digest):
                self.log_digests[lines] = digest
            case AccessLogShortened(lines=lines, digest=digest):
                # A restore shortened the log: digests of the lines that it cut off would accuse an honest log.
                kept = {line: each for line, each in self.log_digests.items() if line <= lines}
                self.log_digests = kept | ({lines: digest} if lines else {})
            case KeyStatement(team_keys=keys):
                self._note_keys([*keys.live, *keys.retired, *keys.destroyed])
            case _:
                pass

    def _note_request(self, statement: AboutRequest) -> None:
        match statement:
            case TombstonePlaced(request_id=request_id):
                self.tombstones.setdefault(request_id, []).append(statement)
            case Receipt(request_id=request_id):
                # All are kept: a repeated receipt must not replace the first, which has the true counts.
                self.receipts.setdefault(request_id, []).append(statement)
            case RequestApproved(request_id=request_id):
                self.approved[request_id] = statement
            case TombstoneLifted(request_id=request_id):
                self.lifted.add(request_id)
            case StandingLifted(request_id=request_id):
                self.standing_lifted[request_id] = statement
            case DueDateExtended(request_id=request_id, due_at=due_at):
                self.due_at[request_id] = due_at
            case _:
                pass

    def _note_keys(self, key_ids: Iterable[str]) -> None:
        # Destroyed keys count too: the number of a key is never given to another one.
        for key_id in key_ids:
            team = TeamId(series_of(series_of(key_id)))
            self.key_versions[team] = max(number_of(key_id), self.key_versions.get(team, 0))
