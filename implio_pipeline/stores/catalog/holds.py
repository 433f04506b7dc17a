"""Legal holds (GDPR Art. 17(3)). Their sealed parts have a table of their own and are destroyed at release."""

from dataclasses import fields
from typing import Any

from sqlalchemy import Engine, RowMapping, insert, select
from typing_extensions import override

from implio_pipeline.domain.errors import HoldRefused
from implio_pipeline.domain.hold import Hold, HoldId
from implio_pipeline.domain.ids import TeamId
from implio_pipeline.ports.requests import Holds
from implio_pipeline.stores.catalog import teams
from implio_pipeline.stores.catalog.engine import reading, writing
from implio_pipeline.stores.catalog.row_macs import RowMacs
from implio_pipeline.stores.catalog.rules import newest_sequence, row_of, rule_of
from implio_pipeline.stores.catalog.tables import holds, sealed_holds

_OWN = tuple(field.name for field in fields(Hold) if field.name not in ("rule", "sealed"))
_HOLDS = (
    select(holds, sealed_holds.c.sealed)
    .outerjoin_from(holds, sealed_holds, sealed_holds.c.hold_id == holds.c.hold_id)
    .order_by(holds.c.sequence)
)


class SqlHolds(Holds):
    """The port `Holds` over tables."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    @override
    def place(self, hold: Hold) -> Hold:
        row: dict[str, Any] = {name: getattr(hold, name) for name in _OWN if name != "sequence"}
        with writing(self._engine) as connection:
            # The lock: a commit that was planned without this hold either ends before it, or fails.
            teams.lock(connection, hold.team)
            if connection.scalar(select(holds.c.sequence).where(holds.c.hold_id == hold.hold_id)) is None:
                RowMacs.of(connection).insert(connection, holds, [row | row_of(hold.rule)])
                teams.check_seals(connection, [hold.sealed])
                if hold.sealed is not None:
                    connection.execute(insert(sealed_holds), {"hold_id": hold.hold_id, "sealed": hold.sealed})
        return self.get(hold.hold_id)

    @override
    def get(self, hold_id: HoldId) -> Hold:
        with reading(self._engine) as connection:
            row = connection.execute(_HOLDS.where(holds.c.hold_id == hold_id)).mappings().one_or_none()
            if row is None:
                raise HoldRefused("there is no legal hold with this id")
            return _hold_of(RowMacs.of(connection), row)

    @override
    def all(self, team: TeamId | None = None) -> list[Hold]:
        query = _HOLDS if team is None else _HOLDS.where(holds.c.team == team)
        with reading(self._engine) as connection:
            rows = connection.execute(query).mappings().all()
            if not rows and team is None:
                return []  # an empty catalog has no key yet
            macs = RowMacs.of(connection)
            found = [_hold_of(macs, row) for row in rows]
            # A deleted hold would let an erasure take what it protects.
            if team is not None:
                macs.check_tally(connection, holds, team, [row["mac"] for row in rows])
        return found

    @override
    def newest(self, team: TeamId) -> int:
        with reading(self._engine) as connection:
            return newest_sequence(connection, holds, team)

    @override
    def release(self, hold: Hold) -> None:
        is_its = (holds.c.hold_id == hold.hold_id, holds.c.released_at.is_(None))
        with writing(self._engine) as connection:
            row = connection.execute(select(holds).where(*is_its).with_for_update()).mappings().one_or_none()
            if row is None:
                raise HoldRefused(f"hold {hold.hold_id} was released before")
            RowMacs.of(connection).change(connection, holds, row, {"released_at": hold.released_at})
            teams.delete_sealed(connection, sealed_holds, [hold.team], sealed_holds.c.hold_id == hold.hold_id)


def _hold_of(macs: RowMacs, row: RowMapping) -> Hold:
    macs.check(holds, row)
    return Hold(rule=rule_of(row), sealed=row["sealed"], **{name: row[name] for name in _OWN})
