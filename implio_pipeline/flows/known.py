"""What the ledger knows: every request, at its gate, and what became of it; what a restore goes by."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any

from implio_pipeline.domain.epochs import number_of, series_of, statement_of
from implio_pipeline.domain.errors import LedgerBroken
from implio_pipeline.domain.request import Request, RequestState
from implio_pipeline.domain.scope import Rule
from implio_pipeline.domain.words import RequestId, TeamId
from implio_pipeline.flows.accept import STANDING_LIFTED, tombstone_of
from implio_pipeline.ports.ledger import LedgerEntry
from implio_pipeline.ports.world import World


@dataclass(kw_only=True, slots=True)
class Known:
    """What the ledger knows, in its order."""

    requests: dict[RequestId, tuple[Request, Rule]] = field(default_factory=dict)
    """As they were accepted, at the gate that they stood at then."""
    begun: set[RequestId] = field(default_factory=set)
    """Those that have a receipt, if only of what a legal hold left: no gate counts for them any more."""
    approved: dict[RequestId, str] = field(default_factory=dict)
    """The keyed pseudonym of who approved."""
    lifted: set[RequestId] = field(default_factory=set)
    standing_lifted: dict[RequestId, tuple[datetime, str | None]] = field(default_factory=dict)
    """When, and by whom as a keyed pseudonym, standing deletions were lifted."""
    due_at: dict[RequestId, datetime] = field(default_factory=dict)
    """Due dates that were put off."""
    versions: dict[TeamId, int] = field(default_factory=dict)
    """The newest version of a team's rotating keys that was ever told."""

    @classmethod
    def of(cls, world: World) -> "Known":
        """Read the ledger, once it is known to hold.

        Raises:
            LedgerBroken: it does not; a forged line could erase anything.
        """
        faults = world.ledger.check()
        if faults:
            raise LedgerBroken(f"line {faults[0].line} of the ledger {faults[0].problem}")
        known = cls()
        for entry in world.ledger.entries():
            known.note(entry)
        return known

    def note(self, entry: LedgerEntry) -> None:
        """Take in one entry.

        Raises:
            LedgerBroken: it cannot be read.
        """
        body = entry.body
        request_id = RequestId(str(body.get("requestId")))
        try:
            match entry.kind:
                case "tombstone":
                    request, rule = tombstone_of(body)
                    self.requests.setdefault(request_id, (_at_gate(request, body), rule))
                case "receipt" | "re-erasure" | "partial-receipt":
                    self.begun.add(request_id)
                case "approved":
                    self.approved[request_id] = body["approvedBy"]
                case "lifted":
                    self.lifted.add(request_id)
                case kind if kind == STANDING_LIFTED:
                    self.standing_lifted[request_id] = (datetime.fromisoformat(body["liftedAt"]), body["liftedBy"])
                case "extended":
                    self.due_at[request_id] = datetime.fromisoformat(body["dueAt"])
                case "keys":
                    told = statement_of(body).team_keys
                    self.note_keys([*told.live, *told.retired, *told.destroyed])
                case _:
                    pass
        except (KeyError, TypeError, ValueError):
            raise LedgerBroken(f"entry {entry.sequence} of the ledger cannot be read") from None

    def note_keys(self, key_ids: Iterable[str]) -> None:
        """Remember the newest version of each team."""
        for key_id in key_ids:
            team = TeamId(series_of(series_of(key_id)))
            self.versions[team] = max(number_of(key_id), self.versions.get(team, 0))


def _at_gate(request: Request, body: Mapping[str, Any]) -> Request:
    """Return a request at the gate where the ledger saw it; what was let through by itself meanwhile asks again."""
    match body.get("gate"):
        case RequestState.UNAPPROVED.value:
            return replace(request, state=RequestState.UNAPPROVED)
        case RequestState.WAITING.value:
            not_before = datetime.fromisoformat(body["notBefore"])
            return replace(request, state=RequestState.WAITING, next_attempt_at=not_before)
        case _:
            return request
