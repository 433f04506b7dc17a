"""Standing erasures: whose new items stay out of the store, since when, and who lifted it."""

from collections.abc import Sequence
from dataclasses import fields
from typing import Any

from sqlalchemy import Connection, RowMapping, delete, insert, select, update

from implio_pipeline.domain.chunks import chunks
from implio_pipeline.domain.errors import PlanOutdated
from implio_pipeline.domain.ids import RequestId, TeamId
from implio_pipeline.domain.request import Request
from implio_pipeline.domain.scope import Rule, StandingErasure, UserRule
from implio_pipeline.stores.catalog.row_macs import RowMacs
from implio_pipeline.stores.catalog.tables import standing_rules

_TABLE = standing_rules
_NAMES = tuple(field.name for field in fields(StandingErasure))


def put(connection: Connection, accepted: Sequence[tuple[Request, Rule]]) -> None:
    """Store the lasting part of each request that is standing; one that the ledger knows as lifted is stored lifted."""
    macs = RowMacs.of(connection)
    for request, rule in accepted:
        if not request.is_standing or not isinstance(rule, UserRule):
            continue
        row: dict[str, Any] = {
            "request_id": request.request_id,
            "team": request.team,
            "user_key": rule.user_key,
            "since": rule.before,
            "lifted_at": request.standing_lifted_at,
            "lifted_by": request.standing_lifted_by,
        }
        mac = macs.mac(_TABLE, row)
        is_told = request.standing_lifted_at is not None
        connection.execute(insert(_TABLE), {**row, "mac": mac, "in_ledger": is_told})
        macs.count(connection, _TABLE, request.team, added=[mac])


def of_team(connection: Connection, team: TeamId, *, is_checked: bool) -> list[StandingErasure]:
    """Return a team's standing erasures, lifted ones too.

    Raises:
        CatalogTampered: one is not as it was written, missing or too many, and `is_checked` asks for that.
    """
    macs = RowMacs.of(connection)
    if is_checked:
        rows = macs.rows_of(
            connection, _TABLE, team, noun="standing erasure", named_by="request_id", order="request_id"
        )
        return [_of(row) for row in rows]
    query = select(_TABLE).where(_TABLE.c.team == team).order_by(_TABLE.c.request_id)
    return [_of(row) for row in connection.execute(query).mappings() if macs.is_whole(_TABLE, row)]


def lift(connection: Connection, request: Request, *, is_in_ledger: bool) -> None:
    """Store that a standing erasure was lifted, as its request says.

    Raises:
        PlanOutdated: it was lifted before, or there is none.
        CatalogTampered: it is not as it was written.
    """
    is_it = (_TABLE.c.request_id == request.request_id, _TABLE.c.lifted_at.is_(None))
    row = connection.execute(select(_TABLE).where(*is_it).with_for_update()).mappings().one_or_none()
    if row is None:
        raise PlanOutdated(f"the standing erasure of request {request.request_id} was lifted by somebody else")
    macs = RowMacs.of(connection)
    macs.check(_TABLE, row, about=request.request_id, noun="standing erasure")
    # The row stays, lifted: the ledger's account of who was kept out must be comparable with it.
    values = {"lifted_at": request.standing_lifted_at, "lifted_by": request.standing_lifted_by}
    mac = macs.mac(_TABLE, {**row, **values})
    connection.execute(update(_TABLE).where(*is_it).values(**values, mac=mac, in_ledger=is_in_ledger))
    macs.count(connection, _TABLE, request.team, added=[mac], removed=[row["mac"]])


def forget(connection: Connection, team: TeamId, request_id: RequestId) -> None:
    """Forget the standing erasure of a request that was cancelled."""
    is_it = _TABLE.c.request_id == request_id
    gone = connection.scalars(select(_TABLE.c.mac).where(is_it)).all()
    connection.execute(delete(_TABLE).where(is_it))
    RowMacs.of(connection).count(connection, _TABLE, team, removed=gone)


def untold(connection: Connection) -> list[StandingErasure]:
    """Return lifted standing erasures whose lifting the ledger does not know yet.

    Raises:
        CatalogTampered: one is not as it was written.
    """
    query = select(_TABLE).where(_TABLE.c.lifted_at.is_not(None), _TABLE.c.in_ledger.is_(False))
    rows = connection.execute(query.order_by(_TABLE.c.request_id)).mappings().all()
    macs = RowMacs.of(connection)
    for row in rows:
        macs.check(_TABLE, row, about=row["request_id"], noun="standing erasure")
    return [_of(row) for row in rows]


def told(connection: Connection, request_ids: Sequence[RequestId]) -> None:
    """Remember that the ledger knows of these liftings."""
    for some in chunks(request_ids):
        connection.execute(update(_TABLE).where(_TABLE.c.request_id.in_(some)).values(in_ledger=True))


def _of(row: RowMapping) -> StandingErasure:
    return StandingErasure(**{name: row[name] for name in _NAMES})
