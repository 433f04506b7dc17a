"""The ledger: all chains as one. It decides which chain an entry belongs to, and finds entries in every chain.

Rules:

* An entry about a team is in the chain of the team's region, and one about an epoch in the chain of its region. All
  others are in the chain `home`.
* Between chains, entries are ordered by the time of their batches; within a chain, by their numbers.
"""

import heapq
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any

from typing_extensions import override

from implio_pipeline.domain.epochs import EpochDestroyed
from implio_pipeline.domain.errors import LedgerBroken
from implio_pipeline.domain.ids import Region, RequestId, TeamId
from implio_pipeline.domain.keys import HOME
from implio_pipeline.domain.ledger_codec import body_of, entry_kind
from implio_pipeline.domain.receipt import Receipt, WholeReceipt
from implio_pipeline.domain.statements import Statement, TombstonePlaced
from implio_pipeline.ports.ledger import Ledger, LedgerEntry, LedgerFault, StatementT
from implio_pipeline.stores.ledger.chain import RECEIPT_KINDS, Chain

_TOMBSTONE_KIND = entry_kind(TombstonePlaced)


class ChainedLedger(Ledger):
    """The ledger over its chains.

    Args:
        chains: One for each region, and `home`.
        region_of: Returns the region of a team. It is asked once for each team: a team never moves.
    """

    def __init__(self, chains: Sequence[Chain], region_of: Callable[[TeamId], Region]) -> None:
        self._chains = {chain.name: chain for chain in chains}
        self._region_of = region_of
        self._regions: dict[TeamId, Region] = {}

    @override
    def chains(self) -> list[Region]:
        return list(self._chains)

    @override
    def public_key(self, chain: Region) -> bytes:
        return self._chain(chain).public_key()

    @override
    def check(self) -> list[LedgerFault]:
        return [fault for chain in self._chains.values() for fault in chain.check()]

    @override
    def checkpoint(self, chain: Region) -> str:
        return self._chain(chain).checkpoint()

    @override
    def renew_key(self, chain: Region) -> None:
        self._chain(chain).renew_key()

    @override
    def discard_staged_keys(self, *, older_than: datetime) -> int:
        return sum(chain.discard_staged_keys(older_than=older_than) for chain in self._chains.values())

    @override
    def append(self, statements: Sequence[Statement], *, is_told_once: bool = False) -> list[LedgerEntry[Statement]]:
        by_chain: dict[Region, list[Statement]] = {}
        for each in statements:
            by_chain.setdefault(self._chain_of(each), []).append(each)
        added: list[LedgerEntry[Statement]] = []
        for name, theirs in by_chain.items():
            entries = [(entry_kind(each), body_of(each)) for each in theirs]
            added += self._chain(name).append(entries, is_told_once=is_told_once)
        return added

    @override
    def size(self) -> int:
        return sum(chain.size() for chain in self._chains.values())

    @override
    def entries(self) -> Iterator[LedgerEntry[Statement]]:
        return heapq.merge(*(chain.entries() for chain in self._chains.values()), key=lambda each: each.signed_at)

    @override
    def newest_first(
        self, type_: type[StatementT], *, chain: Region | None = None
    ) -> Iterator[LedgerEntry[StatementT]]:
        some = self._chains.values() if chain is None else [self._chain(chain)]
        found = [each.newest_first(entry_kind(type_)) for each in some]
        return heapq.merge(*found, key=lambda each: each.signed_at, reverse=True)

    @override
    def receipt(self, request_id: RequestId) -> LedgerEntry[Receipt] | None:
        entries = self.receipts({request_id}).get(request_id, [])
        whole = (entry for entry in entries if entry.kind == entry_kind(WholeReceipt))
        return next(whole, entries[-1] if entries else None)

    @override
    def receipts(self, request_ids: Collection[RequestId]) -> dict[RequestId, list[LedgerEntry[Receipt]]]:
        found: dict[RequestId, list[LedgerEntry[Receipt]]] = {}
        if not request_ids:
            return found
        for chain in self._chains.values():
            for entry in chain.of_requests(request_ids, RECEIPT_KINDS):
                found.setdefault(RequestId(str(entry.body.get("requestId"))), []).append(entry)
        return found

    @override
    def tombstones(
        self, request_ids: Collection[RequestId]
    ) -> Mapping[RequestId, LedgerEntry[TombstonePlaced] | LedgerBroken]:
        found: dict[RequestId, LedgerEntry[TombstonePlaced] | LedgerBroken] = {}
        if not request_ids:
            return found
        for chain in self._chains.values():
            for name, entry in chain.tombstones(request_ids, _TOMBSTONE_KIND).items():
                found[RequestId(name)] = entry
        return found

    def _chain(self, name: Region) -> Chain:
        try:
            return self._chains[name]
        except KeyError:
            raise LedgerBroken("the ledger has no chain of this name") from None

    def _chain_of(self, statement: Statement) -> Region:
        if isinstance(statement, EpochDestroyed):
            return statement.region
        team: Any = getattr(statement, "team", None)
        if team is None:
            return HOME
        if team not in self._regions:
            self._regions[team] = self._region_of(team)
        return self._regions[team]
