"""Claims on work, as rows of a table.

Rules:

* Every instant here is read from the database, so the clocks of workers do not matter.
* A claim need not survive a power cut: then its holder is gone too. So on SQLite its commit does not wait for the disk,
  and claiming costs a fraction of a millisecond.
* On SQLite all workers are on one machine. There a holder also locks a file while it lives. The system frees the lock
  however the process ends, so the work of a killed process is free at once. On PostgreSQL only the lease decides.
* Workers claim one after the other, under a lock that is held for milliseconds. Without it, a worker that inserts a
  claim and one that takes over a lapsed claim could deadlock (tried: PostgreSQL ended one of them, 40P01).
* A claim that its holder is renewing, giving back or committing is skipped (`FOR UPDATE SKIP LOCKED`), so no worker
  waits for another one's work.
"""

from collections.abc import Collection, Sequence
from datetime import datetime, timedelta
from pathlib import Path
from threading import Lock
from uuid import uuid4

from sqlalchemy import ColumnElement, Connection, Engine, delete, func, insert, or_, select, text, update
from typing_extensions import override

from implio_pipeline.domain.chunks import chunks
from implio_pipeline.domain.claims import LONGEST_LEASE, Claim, ClaimKind, WorkInHand
from implio_pipeline.domain.errors import ClaimLost
from implio_pipeline.ports.claims import Claims
from implio_pipeline.stores.catalog.column_types import EPOCH
from implio_pipeline.stores.catalog.engine import CLAIM_LOCK, lock, reading, writing
from implio_pipeline.stores.catalog.tables import claims
from implio_pipeline.stores.signs_of_life import SignsOfLife

_NOW = {
    "sqlite": "SELECT CAST((julianday('now') - 2440587.5) * 86400000 AS INTEGER)",
    "postgresql": "SELECT CAST(extract(epoch FROM clock_timestamp()) * 1000 AS BIGINT)",
}
"""The database's own clock, in milliseconds since 1970."""
_SIGN_END = "."
"""Separates the name of the lock file from the rest of a holder's name. Without a lock file there is no separator."""


class SqlClaims(Claims):
    """The port `Claims` over a table."""

    def __init__(self, engine: Engine, workers: Path | None) -> None:
        self._engine = engine
        database = engine.url.database if engine.dialect.name == "sqlite" else None
        self._signs = None if database is None else SignsOfLife(workers or Path(database).parent / "workers")
        self._sign: str | None = None
        self._making = Lock()

    @override
    def new_holder(self) -> str:
        name = uuid4().hex
        with self._making:
            # One lock file for all holders of this process: it is made when the first of them comes.
            if self._signs is not None and self._sign is None:
                self._signs.sweep()
                self._sign = uuid4().hex
                if not self._signs.hold(self._sign):
                    self._signs, self._sign = None, None
        return name if self._sign is None else f"{self._sign}{_SIGN_END}{name}"

    @override
    def claim(
        self,
        kind: ClaimKind,
        units: Collection[str],
        *,
        holder: str,
        work: str,
        lease: timedelta,
        most: int | None = None,
        is_whole: bool = False,
    ) -> list[Claim]:
        wanted = list(dict.fromkeys(units))
        if not wanted:
            return []
        fences: dict[str, int] = {}
        with writing(self._engine, is_synchronised=False) as connection:
            lock(connection, CLAIM_LOCK)
            now = _now(connection)
            for some in chunks(wanted):
                taken_over = self._free_lapsed(connection, kind, some, now)
                is_one = (claims.c.kind == kind, claims.c.unit.in_(some))
                busy = set(connection.scalars(select(claims.c.unit).where(*is_one)))
                free = [unit for unit in some if unit not in busy]
                if most is not None:
                    free = free[: most - len(fences)]
                rows = [
                    {
                        "kind": kind,
                        "unit": unit,
                        "work": work,
                        "holder": holder,
                        "claimed_at": now,
                        "until": now + lease,
                        "taken_over": taken_over.get(unit, 0),
                    }
                    for unit in free
                ]
                if rows:
                    added = insert(claims).returning(claims.c.unit, claims.c.fence)
                    fences |= {row.unit: row.fence for row in connection.execute(added.values(rows))}
                if len(fences) == most:
                    break
            if is_whole and len(fences) < len(wanted):
                connection.execute(delete(claims).where(claims.c.fence.in_(list(fences.values()))))
                fences = {}
        return [Claim(kind=kind, unit=unit, fence=fences[unit]) for unit in wanted if unit in fences]

    @override
    def renew(self, holder: str, *, lease: timedelta) -> int:
        with writing(self._engine, is_synchronised=False) as connection:
            until = _now(connection) + lease
            return connection.execute(update(claims).where(claims.c.holder == holder).values(until=until)).rowcount

    @override
    def check(self, claims: Collection[Claim]) -> None:
        if claims:
            with reading(self._engine) as connection:
                check_claims(connection, claims)

    @override
    def give_back(self, claims: Collection[Claim]) -> None:
        if claims:
            with writing(self._engine, is_synchronised=False) as connection:
                _delete(connection, claims)

    @override
    def leave(self, holder: str) -> int:
        with writing(self._engine, is_synchronised=False) as connection:
            return connection.execute(delete(claims).where(claims.c.holder == holder)).rowcount

    @override
    def claimed(self, kind: ClaimKind, units: Collection[str]) -> Collection[str]:
        found: set[str] = set()
        with reading(self._engine) as connection:
            now = _now(connection)
            for some in chunks(units):
                is_one = (claims.c.kind == kind, claims.c.unit.in_(some))
                found.update(connection.scalars(select(claims.c.unit).where(*is_one)))
                is_lapsed = self._is_lapsed(connection, kind, some, now)
                found.difference_update(connection.scalars(select(claims.c.unit).where(*is_one, is_lapsed)))
        return found

    @override
    def in_hand(self) -> Sequence[WorkInHand]:
        with reading(self._engine) as connection:
            now = _now(connection)
            sums = select(
                claims.c.work,
                func.count(claims.c.holder.distinct()),
                func.count(),
                func.min(claims.c.claimed_at),
                func.sum(claims.c.taken_over),
            ).where(claims.c.until > now)
            rows = connection.execute(sums.group_by(claims.c.work).order_by(claims.c.work)).all()
        return [
            WorkInHand(
                work=work,
                workers=workers,
                claims=count,
                oldest_seconds=max(0.0, (now - oldest).total_seconds()),
                taken_over=int(taken_over),
            )
            for work, workers, count, oldest, taken_over in rows
        ]

    def close(self) -> None:
        """Release the lock file. What this process has claimed is then free."""
        with self._making:
            if self._signs is not None and self._sign is not None:
                self._signs.release(self._sign)
            self._sign = None

    def _free_lapsed(
        self, connection: Connection, kind: ClaimKind, units: Collection[str], now: datetime
    ) -> dict[str, int]:
        """Delete the claims whose lease has ended or whose holder is dead. Returns how often each was taken over."""
        query = select(claims.c.fence, claims.c.unit, claims.c.taken_over).where(
            claims.c.kind == kind, claims.c.unit.in_(units), self._is_lapsed(connection, kind, units, now)
        )
        # SKIP LOCKED: another worker that takes one of them over at this moment gets it.
        rows = connection.execute(query.with_for_update(skip_locked=True)).all()
        if rows:
            connection.execute(delete(claims).where(claims.c.fence.in_([row.fence for row in rows])))
        return {row.unit: row.taken_over + 1 for row in rows}

    def _is_lapsed(
        self, connection: Connection, kind: ClaimKind, units: Collection[str], now: datetime
    ) -> ColumnElement[bool]:
        is_ended = or_(claims.c.until <= now, claims.c.until > now + LONGEST_LEASE)
        if self._signs is None:
            return is_ended
        is_one = (claims.c.kind == kind, claims.c.unit.in_(units))
        holders = connection.scalars(select(claims.c.holder).distinct().where(*is_one)).all()
        return or_(is_ended, claims.c.holder.in_([holder for holder in holders if self._is_dead(holder)]))

    def _is_dead(self, holder: str) -> bool:
        sign, _, worker = holder.partition(_SIGN_END)
        return bool(worker) and self._signs is not None and not self._signs.is_held(sign)


def check_claims(connection: Connection, held: Collection[Claim]) -> None:
    """Check within a transaction that nobody has taken claims over; until the transaction ends, nobody can.

    Raises:
        ClaimLost: a claim was taken over or given back.
    """
    found = 0
    for some in chunks([claim.fence for claim in held]):
        query = select(claims.c.fence).where(claims.c.fence.in_(some))
        if connection.get_execution_options().get("is_writer", False):
            query = query.with_for_update()
        found += len(connection.execute(query).all())
    _refuse_lost(len(held) - found)


def hand_in(connection: Connection, held: Collection[Claim]) -> None:
    """Give claims back within the transaction that commits their work.

    Raises:
        ClaimLost: a claim was taken over or given back; the transaction must be rolled back.
    """
    _refuse_lost(len(held) - _delete(connection, held))


def _refuse_lost(lost: int) -> None:
    if lost:
        raise ClaimLost(f"{lost} claims on this work were taken over by another worker")


def _delete(connection: Connection, held: Collection[Claim]) -> int:
    return sum(
        connection.execute(delete(claims).where(claims.c.fence.in_(some))).rowcount
        for some in chunks([claim.fence for claim in held])
    )


def _now(connection: Connection) -> datetime:
    milliseconds: int = connection.scalar(text(_NOW[connection.dialect.name]))
    return EPOCH + timedelta(milliseconds=milliseconds)
