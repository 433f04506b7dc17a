"""Sealed values that outlive a request: they are sealed again when a team's seal key rotates."""

from collections.abc import Callable, Collection
from dataclasses import dataclass

from sqlalchemy import Engine, Table, select, update
from typing_extensions import override

from implio_pipeline.domain.ids import TeamId
from implio_pipeline.domain.keys import Seal
from implio_pipeline.domain.moderation import seal_context
from implio_pipeline.ports.catalog import Seals
from implio_pipeline.stores.catalog.engine import reading, writing
from implio_pipeline.stores.catalog.home_seals import rewrap_home_keys
from implio_pipeline.stores.catalog.moderation_tables import decisions, sealed_callbacks, sealed_decisions, sealed_notes


@dataclass(frozen=True, kw_only=True, slots=True)
class _Kind:
    """One table of sealed values: its key, and the column that its context names."""

    table: Table
    key: str
    named_by: str


_KINDS = {
    "decision": _Kind(table=sealed_decisions, key="sequence", named_by="task_id"),
    "note": _Kind(table=sealed_notes, key="note", named_by="task_id"),
    "callback": _Kind(table=sealed_callbacks, key="team", named_by="team"),
}


class SqlSeals(Seals):
    """The port `Seals` over tables."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    @override
    def all(self, team: TeamId) -> list[Seal]:
        found: list[Seal] = []
        with reading(self._engine) as connection:
            for kind, each in _KINDS.items():
                source = decisions if each.table is sealed_decisions else each.table
                query = select(each.table.c[each.key], source.c[each.named_by], each.table.c.sealed)
                if source is decisions:
                    query = query.join_from(each.table, decisions, decisions.c.sequence == each.table.c.sequence)
                for key, name, sealed in connection.execute(query.where(source.c.team == team)):
                    found.append(Seal(kind=kind, key=key, context=seal_context(kind, name), sealed=sealed))
        return found

    @override
    def replace(self, before: Seal, sealed: bytes) -> bool:
        kind = _KINDS[before.kind]
        is_same = (kind.table.c[kind.key] == before.key, kind.table.c.sealed == before.sealed)
        with writing(self._engine) as connection:
            return bool(connection.execute(update(kind.table).where(*is_same).values(sealed=sealed)).rowcount)

    @override
    def rewrap_home_keys(self, old: Collection[str], rewrap: Callable[[str, bytes], tuple[str, bytes]]) -> int:
        return rewrap_home_keys(self._engine, old, rewrap)
