"""Callbacks of teams (webhooks), their allowed hosts, and pending deliveries.

A delivery is stored in the same transaction as its event, and only if the team has a callback. A withdrawn delivery is
never sent: a deletion request covers its item.
"""

from collections.abc import Iterable, Sequence
from dataclasses import fields, replace
from datetime import datetime, timedelta
from secrets import token_hex

from sqlalchemy import ColumnElement, Connection, Engine, delete, exists, insert, select, update
from typing_extensions import override

from implio_pipeline.domain.callback import Callback, CallbackEvent, Delivery
from implio_pipeline.domain.errors import CallbackUnknown
from implio_pipeline.domain.ids import RequestId, TeamId
from implio_pipeline.domain.moderation import StoredVerdict
from implio_pipeline.ports.moderation import Callbacks
from implio_pipeline.stores.catalog import teams
from implio_pipeline.stores.catalog.bulk_insert import bulk_insert
from implio_pipeline.stores.catalog.engine import reading, writing
from implio_pipeline.stores.catalog.moderation_tables import callback_hosts, deliveries, sealed_callbacks

_DELIVERY = tuple(field.name for field in fields(Delivery))
_DELIVERIES = select(*(deliveries.c[name] for name in _DELIVERY)).where(deliveries.c.withdrawn_by.is_(None))


class SqlCallbacks(Callbacks):
    """The port `Callbacks` over tables."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    @override
    def hosts(self, team: TeamId) -> frozenset[str]:
        query = select(callback_hosts.c.host).where(callback_hosts.c.team == team)
        with reading(self._engine) as connection:
            return frozenset(connection.scalars(query))

    @override
    def allow(self, team: TeamId, hosts: Iterable[str]) -> None:
        names = sorted(set(hosts))
        with writing(self._engine) as connection:
            teams.lock(connection, team)
            connection.execute(delete(callback_hosts).where(callback_hosts.c.team == team))
            if names:
                connection.execute(insert(callback_hosts), [{"team": team, "host": name} for name in names])
            # Delete a callback to a host that is no longer allowed, with its pending deliveries.
            is_elsewhere = (sealed_callbacks.c.team == team, sealed_callbacks.c.host.not_in(names))
            if teams.delete_sealed(connection, sealed_callbacks, [team], *is_elsewhere):
                connection.execute(delete(deliveries).where(deliveries.c.team == team))

    @override
    def get(self, team: TeamId) -> Callback | None:
        query = select(sealed_callbacks).where(sealed_callbacks.c.team == team)
        with reading(self._engine) as connection:
            row = connection.execute(query).mappings().one_or_none()
        return None if row is None else Callback(**row)

    @override
    def put(self, callback: Callback) -> None:
        row = {field.name: getattr(callback, field.name) for field in fields(Callback)}
        with writing(self._engine) as connection:
            teams.lock(connection, callback.team)
            teams.check_seals(connection, [callback.sealed])
            is_its = sealed_callbacks.c.team == callback.team
            teams.delete_sealed(connection, sealed_callbacks, [callback.team], is_its)
            connection.execute(insert(sealed_callbacks), row)

    @override
    def remove(self, team: TeamId) -> None:
        with writing(self._engine) as connection:
            connection.execute(delete(deliveries).where(deliveries.c.team == team))
            if not teams.delete_sealed(connection, sealed_callbacks, [team], sealed_callbacks.c.team == team):
                raise CallbackUnknown("the team has no callback")

    @override
    def teams_due(self, *, now: datetime) -> list[TeamId]:
        query = select(deliveries.c.team).where(*_is_due(now)).distinct().order_by(deliveries.c.team)
        with reading(self._engine) as connection:
            return [TeamId(team) for team in connection.scalars(query)]

    @override
    def due(self, team: TeamId, *, now: datetime, most: int) -> list[Delivery]:
        order = (deliveries.c.next_attempt_at, deliveries.c.delivery)
        query = _DELIVERIES.where(deliveries.c.team == team, *_is_due(now)).order_by(*order).limit(most)
        with reading(self._engine) as connection:
            return [Delivery(**row) for row in connection.execute(query).mappings()]

    @override
    def begin(self, delivery: Delivery, *, until: datetime) -> Delivery | None:
        # The number of attempts is compared and raised: of two processes one begins the attempt.
        is_same = (
            deliveries.c.delivery_id == delivery.delivery_id,
            deliveries.c.attempts == delivery.attempts,
            deliveries.c.withdrawn_by.is_(None),
        )
        after = replace(delivery, attempts=delivery.attempts + 1, next_attempt_at=until)
        claimed = update(deliveries).where(*is_same).values(attempts=after.attempts, next_attempt_at=until)
        with writing(self._engine) as connection:
            return after if connection.execute(claimed).rowcount else None

    @override
    def done(self, delivery: Delivery) -> None:
        with writing(self._engine) as connection:
            connection.execute(delete(deliveries).where(deliveries.c.delivery_id == delivery.delivery_id))

    @override
    def put_off(self, delivery: Delivery) -> None:
        names = ("attempts", "next_attempt_at", "error_code", "given_up_at")
        # An update, not an insert: a delivery that was cancelled during the attempt must not return.
        values = {name: getattr(delivery, name) for name in names}
        its_own = deliveries.c.delivery_id == delivery.delivery_id
        with writing(self._engine) as connection:
            connection.execute(update(deliveries).where(its_own).values(values))

    @override
    def all(self, team: TeamId | None = None) -> list[Delivery]:
        query = _DELIVERIES.order_by(deliveries.c.delivery)
        if team is not None:
            query = query.where(deliveries.c.team == team)
        with reading(self._engine) as connection:
            return [Delivery(**row) for row in connection.execute(query).mappings()]

    @override
    def forget_given_up(self, before: datetime) -> int:
        with writing(self._engine) as connection:
            return connection.execute(delete(deliveries).where(deliveries.c.given_up_at < before)).rowcount


def add_decision_delivery(connection: Connection, decided: StoredVerdict) -> None:
    """Add a delivery of a verdict, if its team has a callback."""
    if not _has_callback(connection, decided.team):
        return
    delivery = Delivery(
        delivery_id=token_hex(16),
        team=decided.team,
        event=CallbackEvent.DECISION,
        made_at=decided.decided_at,
        next_attempt_at=decided.decided_at,
        task_id=decided.task_id,
        task_key=decided.task_key,
        user_key=decided.user_key,
        submitted_at=decided.submitted_at,
        outcome=decided.outcome,
    )
    connection.execute(insert(deliveries), {name: getattr(delivery, name) for name in _DELIVERY})


def add_deliveries(
    connection: Connection, event: CallbackEvent, about: Sequence[tuple[TeamId, RequestId, datetime, timedelta]]
) -> None:
    """Add a delivery of an event for each request whose team has a callback.

    Args:
        connection: The connection of the event's own transaction, so that both are stored or neither.
        event: What happened.
        about: Team, request (or change of policy), the instant of the event, and how long its first attempt waits.
    """
    told = {team for team in {team for team, *_ in about} if _has_callback(connection, team)}
    new = [
        Delivery(
            delivery_id=token_hex(16),
            team=team,
            event=event,
            made_at=at,
            next_attempt_at=at + wait,
            request_id=request_id,
        )
        for team, request_id, at, wait in about
        if team in told
    ]
    bulk_insert(connection, deliveries, [{name: getattr(each, name) for name in _DELIVERY} for each in new])


def _is_due(now: datetime) -> tuple[ColumnElement[bool], ...]:
    return (
        deliveries.c.next_attempt_at <= now,
        deliveries.c.given_up_at.is_(None),
        deliveries.c.withdrawn_by.is_(None),
    )


def _has_callback(connection: Connection, team: TeamId) -> bool:
    return bool(connection.scalar(select(exists().where(sealed_callbacks.c.team == team))))
