"""The ledger's state: what its entries say together, in their order. A restore and the audit go by it.

An entry that was signed and cannot be read is kept as such: whoever acts on the state refuses it, whoever compares
names it.
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
    """What the ledger says."""

    tombstones: dict[RequestId, list[TombstonePlaced]] = field(default_factory=dict)
    """A crash may have written one twice; the oldest comes first."""
    receipts: dict[RequestId, list[Receipt]] = field(default_factory=dict)
    """Oldest first. A request with any was begun: no gate counts for it any more."""
    approved: dict[RequestId, RequestApproved] = field(default_factory=dict)
    lifted: set[RequestId] = field(default_factory=set)
    standing_lifted: dict[RequestId, StandingLifted] = field(default_factory=dict)
    due_at: dict[RequestId, datetime] = field(default_factory=dict)
    """Due dates that were put off."""
    holds: dict[HoldId, HoldPlaced] = field(default_factory=dict)
    released: dict[HoldId, datetime] = field(default_factory=dict)
    revoked: dict[GrantId, GrantRevoked] = field(default_factory=dict)
    log_digests: dict[int, str] = field(default_factory=dict)
    """Digest of the log of reads at each line that was noted. What a restore cut off no longer counts."""
    key_versions: dict[TeamId, int] = field(default_factory=dict)
    """The newest version of each team's rotating keys."""
    unreadable: list[LedgerEntry[Any]] = field(default_factory=list)

    @classmethod
    def of(cls, ledger: Ledger, *types: type[Statement]) -> "LedgerState":
        """Return what the entries of some types say; those of all types when none is named.

        To name types costs no more than reading their entries: the ledger is searched, not read.

        Raises:
            LedgerBroken: a line is no entry.
        """
        state = cls()
        named = [entry for type_ in types for entry in ledger.newest_first(type_)]
        for entry in sorted(named, key=lambda each: each.sequence) if types else ledger.entries():
            try:
                state.note(entry.statement)
            except LedgerBroken:
                state.unreadable.append(entry)
        return state

    @classmethod
    def readable(cls, ledger: Ledger, *types: type[Statement]) -> "LedgerState":
        """Return what the entries say, as `of` does.

        Raises:
            LedgerBroken: an entry cannot be read.
        """
        state = cls.of(ledger, *types)
        if state.unreadable:
            raise LedgerBroken(f"entry {state.unreadable[0].sequence} of the ledger cannot be read")
        return state

    def note(self, statement: Statement) -> None:
        """Take in one statement; those that say nothing of the state are passed over."""
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
        for key_id in key_ids:
            team = TeamId(series_of(series_of(key_id)))
            self.key_versions[team] = max(number_of(key_id), self.key_versions.get(team, 0))
