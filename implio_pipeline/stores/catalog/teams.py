"""Teams, their policies, their wrapped keys, and the values sealed under these keys.

Rules:

* A transaction that decides by a team's files, keys or tombstones locks the team first, with `lock`.
* A team's logical time never decreases. Rules end after it, so a slow clock cannot make a rule that misses items.
* No team key is added under a root key that has a newer epoch in use: it is about to be destroyed.
* No value is stored that is sealed under a destroyed key, and no key is destroyed under which a value is sealed. Both
  are decided with the team locked.
* Who deletes a sealed value or a file's key marks the team's keys as spent (`domain/epochs.py`).
"""

from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import (
    ColumnElement,
    Connection,
    Engine,
    RowMapping,
    Table,
    and_,
    bindparam,
    delete,
    exists,
    false,
    func,
    insert,
    or_,
    select,
    update,
)
from sqlalchemy.exc import IntegrityError
from typing_extensions import override

from implio_pipeline.domain.errors import PlanOutdated, TeamInvalid, TeamUnknown
from implio_pipeline.domain.ids import KeyId, Region, TeamId
from implio_pipeline.domain.keys import (
    ROTATING_PURPOSES,
    SEAL_END,
    Seal,
    TeamKey,
    number_of,
    sealed_under,
    series_of,
)
from implio_pipeline.domain.moderation import STANDING_QUEUES, seal_context
from implio_pipeline.domain.plan import Appointment
from implio_pipeline.domain.retention import RetentionPolicy
from implio_pipeline.domain.team import Team
from implio_pipeline.ports.catalog import Teams
from implio_pipeline.stores.catalog import engine, tables
from implio_pipeline.stores.catalog.engine import reading, writing
from implio_pipeline.stores.catalog.moderation_tables import decisions, sealed_callbacks, sealed_decisions, sealed_notes
from implio_pipeline.stores.catalog.row_macs import RowMacs
from implio_pipeline.stores.catalog.tables import holds, requests, sealed_holds, sealed_scopes


@dataclass(frozen=True, kw_only=True, slots=True)
class _SealKind:
    """A table of sealed values: its key, and the column that the context of a value names."""

    table: Table
    key: str
    source: Table
    """The table that has the team; the same one, or the one that `key` refers to."""
    named_by: str
    is_kind_named: bool = True
    """Whether the context also names the kind."""


_SEALS = {
    "request": _SealKind(
        table=sealed_scopes, key="request_id", source=requests, named_by="request_id", is_kind_named=False
    ),
    "hold": _SealKind(table=sealed_holds, key="hold_id", source=holds, named_by="hold_id", is_kind_named=False),
    "decision": _SealKind(table=sealed_decisions, key="sequence", source=decisions, named_by="task_id"),
    "note": _SealKind(table=sealed_notes, key="note", source=sealed_notes, named_by="task_id"),
    "callback": _SealKind(table=sealed_callbacks, key="team", source=sealed_callbacks, named_by="team"),
}
"""Values sealed under a team's key. What is missing here is lost when that key rotates."""


class SqlTeams(Teams):
    """The port `Teams` over tables."""

    def __init__(self, database: Engine) -> None:
        self._engine = database

    @override
    def add(self, team: Team, keys: Sequence[TeamKey]) -> None:
        with reading(self._engine) as connection:
            is_new = RowMacs.is_new(connection)
        made = RowMacs.new_key(self._engine) if is_new else None
        with writing(self._engine) as connection:
            # Of processes that add the first teams at once, one stores its key.
            engine.lock(connection, engine.KEY_LOCK)
            RowMacs.store_key(connection, made)
            add(connection, team, keys)

    @override
    def get(self, team: TeamId) -> Team:
        with reading(self._engine) as connection:
            return _team_of(_row(connection, team))

    @override
    def all(self) -> list[Team]:
        with reading(self._engine) as connection:
            found = connection.execute(select(tables.teams)).mappings().all()
            macs = RowMacs.of(connection) if found else None
        teams = [_team_of(row) if macs and macs.is_whole(tables.teams, row) else _altered(row) for row in found]
        return sorted(teams, key=lambda team: team.team)

    @override
    def regions(self) -> dict[TeamId, Region]:
        with reading(self._engine) as connection:
            found = connection.execute(select(tables.teams.c.team, tables.teams.c.region).order_by(tables.teams.c.team))
            return {TeamId(row.team): Region(row.region) for row in found}

    @override
    def set_policy(self, team: TeamId, policy: RetentionPolicy) -> None:
        with writing(self._engine) as connection:
            change(connection, team, _policy_row(policy))

    @override
    def set_limits(self, team: TeamId, *, cap_percent: int, grace_hours: int) -> None:
        with writing(self._engine) as connection:
            change(connection, team, {"cap_percent": cap_percent, "grace_hours": grace_hours})

    @override
    def add_appointment(self, appointment: Appointment) -> None:
        table = tables.appointments
        # After a restore the ledger reports the same appointment again. It replaces itself.
        is_same = [table.c[name] == getattr(appointment, name) for name in ("at", "who", "by")]
        with writing(self._engine) as connection:
            lock(connection, appointment.team)
            macs = RowMacs.of(connection)
            macs.delete(connection, table, appointment.team, *is_same)
            macs.insert(connection, table, [asdict(appointment)])

    @override
    def keys(self, team: TeamId | None = None) -> list[TeamKey]:
        keys = tables.team_keys
        query = select(keys).order_by(keys.c.version.desc(), keys.c.purpose)
        if team is not None:
            query = query.where(keys.c.team == team)
        with reading(self._engine) as connection:
            return [TeamKey(**row) for row in connection.execute(query).mappings()]

    @override
    def rotating_since(self) -> datetime | None:
        key, newer = tables.team_keys.c, tables.team_keys.alias()
        has_newer = exists().where(
            newer.c.team == key.team, newer.c.purpose == key.purpose, newer.c.version > key.version
        )
        query = select(func.min(key.created_at)).where(key.purpose.in_(ROTATING_PURPOSES), ~has_newer)
        with reading(self._engine) as connection:
            since: datetime | None = connection.scalar(query)
        return since

    @override
    def first_key_at(self) -> datetime | None:
        with reading(self._engine) as connection:
            first: datetime | None = connection.scalar(select(func.min(tables.team_keys.c.created_at)))
        return first

    @override
    def spent(self) -> frozenset[TeamId]:
        key = tables.team_keys.c
        query = select(key.team).distinct().where(key.is_spent)
        with reading(self._engine) as connection:
            return frozenset(connection.scalars(query))

    @override
    def rewrap(self, keys: Sequence[tuple[TeamKey, TeamKey]]) -> None:
        table = tables.team_keys
        with writing(self._engine) as connection:
            for series in sorted({series_of(before.root_key_id) for before, _ in keys}):
                engine.lock_series(connection, series)
            is_same = (table.c.key_id == bindparam("its_id"), table.c.wrapped == bindparam("was"))
            new: dict[str, Any] = {"root_key_id": bindparam("root"), "wrapped": bindparam("now")}
            rows = [
                {"its_id": before.key_id, "was": before.wrapped, "root": after.root_key_id, "now": after.wrapped}
                for before, after in sorted(keys, key=lambda pair: pair[0].key_id)  # in one order: no two deadlock
            ]
            if rows and connection.execute(update(table).where(*is_same).values(new), rows).rowcount != len(rows):
                raise PlanOutdated("a team key was changed or shredded after the work was planned")

    @override
    def seals(self, team: TeamId, *, under: Collection[KeyId] | None = None, most: int | None = None) -> list[Seal]:
        found: list[Seal] = []
        with reading(self._engine) as connection:
            for kind, each in _SEALS.items():
                sealed, key = each.table.c.sealed, each.table.c[each.key]
                query = select(key, each.source.c[each.named_by], sealed).where(each.source.c.team == team)
                if each.source is not each.table:
                    query = query.join_from(each.table, each.source, each.source.c[each.key] == key)
                if under is not None:
                    query = query.where(_is_under(sealed, under))
                limit = None if most is None else most - len(found)
                for row_key, name, value in connection.execute(query.limit(limit)):
                    context = seal_context(kind, name) if each.is_kind_named else name
                    found.append(Seal(kind=kind, key=row_key, context=context, sealed=value))
        return found

    @override
    def replace_seals(self, team: TeamId, seals: Sequence[tuple[Seal, bytes]]) -> int:
        replaced = 0
        with writing(self._engine) as connection:
            lock(connection, team)
            check_seals(connection, (sealed for _, sealed in seals))
            for before, sealed in seals:
                kind = _SEALS[before.kind]
                is_same = (kind.table.c[kind.key] == before.key, kind.table.c.sealed == before.sealed)
                replaced += connection.execute(update(kind.table).where(*is_same).values(sealed=sealed)).rowcount
        return replaced


def add(connection: Connection, team: Team, keys: Sequence[TeamKey]) -> None:
    """Insert a team with its first keys, tallies and queues, within a writing transaction.

    Raises:
        TeamInvalid: a team of this name exists.
        PlanOutdated: other keys are already wrapped under a newer epoch of the same root key.
    """
    row = {"team": team.team, "region": team.region, "created_at": team.created_at, "newest_at": team.newest_at}
    row |= {"cap_percent": team.cap_percent, "grace_hours": team.grace_hours, **_policy_row(team.policy)}
    macs = RowMacs.of(connection)
    try:
        connection.execute(insert(tables.teams), {**row, "mac": macs.mac(tables.teams, row)})
    except IntegrityError:
        raise TeamInvalid(f"there is a team {team.team} already", remedy="Choose another name.") from None
    macs.make_tallies(connection, team.team)
    add_keys(connection, keys)
    connection.execute(insert(tables.queues), [{"team": team.team, "queue": name} for name in STANDING_QUEUES])


def lock(connection: Connection, team: TeamId) -> datetime:
    """Lock a team until the transaction ends, and return its logical time.

    On SQLite a writing transaction is the only one. On PostgreSQL the team's row is locked, and deletions go first.

    Raises:
        TeamUnknown: there is no such team.
        CatalogTampered: its row was altered.
    """
    engine.give_way(connection, team)
    newest_at: datetime = _row(connection, team, is_locked=True)["newest_at"]
    return newest_at


def change(connection: Connection, team: TeamId, values: dict[str, Any]) -> None:
    """Store other values in a team's row, within a writing transaction.

    Raises:
        TeamUnknown: there is no such team.
        CatalogTampered: its row was altered.
    """
    RowMacs.of(connection).change(connection, tables.teams, _row(connection, team, is_locked=True), values)


def raise_time(connection: Connection, team: TeamId, *, to: datetime) -> None:
    """Raise the logical time of a locked team, unless it is later already."""
    row = _row(connection, team)
    if row["newest_at"] < to:
        RowMacs.of(connection).change(connection, tables.teams, row, {"newest_at": to})


def check_seals(connection: Connection, sealed: Iterable[bytes | None]) -> None:
    """Check that values may be stored which are sealed under a locked team's keys.

    Raises:
        PlanOutdated: a rotation has destroyed one of these keys since; seal again.
    """
    used = {sealed_under(each) for each in sealed if each is not None}
    known = connection.scalars(select(tables.team_keys.c.key_id).where(tables.team_keys.c.key_id.in_(used)))
    if used.difference(known):
        raise PlanOutdated("the key that sealed a value was renewed at the same time")


def is_sealed_under(connection: Connection, key_ids: Collection[KeyId]) -> bool:
    """Return whether a value is sealed under one of a locked team's keys."""
    return any(
        connection.scalar(select(exists().where(_is_under(each.table.c.sealed, key_ids)))) for each in _SEALS.values()
    )


def delete_sealed(connection: Connection, table: Table, teams: Iterable[TeamId], *those: ColumnElement[bool]) -> int:
    """Delete sealed values of these teams, and mark their keys. Returns the number of values."""
    deleted = connection.execute(delete(table).where(*those)).rowcount
    if deleted:
        mark_spent(connection, teams)
    return deleted


def mark_spent(connection: Connection, teams: Iterable[TeamId]) -> None:
    """Note that something was deleted which keys of these teams open: an epoch must therefore renew them.

    Call it after the deletion: if that finds something under a new key, the row of this key is there.
    """
    key = tables.team_keys.c
    for team in sorted(teams):
        is_its = (key.team == team, key.purpose.in_(ROTATING_PURPOSES), key.is_spent.is_(False))
        connection.execute(update(tables.team_keys).where(*is_its).values(is_spent=True))


def _is_under(sealed: ColumnElement[bytes], key_ids: Collection[KeyId]) -> ColumnElement[bool]:
    """Return the predicate of values that are sealed under one of these keys: they begin with its id and `SEAL_END`."""
    after = bytes([SEAL_END[0] + 1])
    return or_(
        false(),
        *(and_(sealed >= key_id.encode() + SEAL_END, sealed < key_id.encode() + after) for key_id in sorted(key_ids)),
    )


def add_keys(connection: Connection, keys: Sequence[TeamKey]) -> None:
    """Insert team keys.

    Raises:
        PlanOutdated: other keys are already wrapped under a newer epoch of the same root key.
    """
    if not keys:
        return
    for series in sorted({series_of(key.root_key_id) for key in keys}):
        # A shared lock: a rotation that wraps the keys of this series again waits for us, or we wait for it.
        engine.lock_series(connection, series, is_shared=True)
        newest = max(map(number_of, _root_keys_in_use(connection, series)), default=0)
        if any(series_of(key.root_key_id) == series and number_of(key.root_key_id) < newest for key in keys):
            raise PlanOutdated(f"root key {series} was renewed after the work was planned")
    connection.execute(insert(tables.team_keys), [asdict(key) for key in keys])


def _root_keys_in_use(connection: Connection, series: str) -> Iterator[str]:
    """Yield each root key of a series that wraps a team key.

    There are few, and each is one look into the index. To read the keys of 10,000 teams takes as long as making the
    team's own: closing an epoch renews the keys of all teams, so it would grow with the square of their number.
    """
    root = tables.team_keys.c.root_key_id
    last: str | None = f"{series}/"
    while last is not None:
        last = connection.scalar(select(func.min(root)).where(root > last, root < f"{series}0"))  # "0" follows "/"
        if last is not None:
            yield last


def _row(connection: Connection, team: TeamId, *, is_locked: bool = False) -> RowMapping:
    query = select(tables.teams).where(tables.teams.c.team == team)
    row = connection.execute(query.with_for_update() if is_locked else query).mappings().one_or_none()
    if row is None:
        raise TeamUnknown("there is no such team")
    RowMacs.of(connection).check(tables.teams, row)
    return row


def _policy_row(policy: RetentionPolicy) -> dict[str, Any]:
    return {"keep_days": policy.keep_days, "by_outcome": dict(policy.by_outcome)}


def _team_of(row: RowMapping) -> Team:
    return Team(
        team=row["team"],
        region=row["region"],
        created_at=row["created_at"],
        policy=RetentionPolicy(keep_days=row["keep_days"], by_outcome=row["by_outcome"]),
        cap_percent=row["cap_percent"],
        grace_hours=row["grace_hours"],
        newest_at=row["newest_at"],
    )


def _altered(row: RowMapping) -> Team:
    """Return a team whose row was altered. Its retention policy erases nothing, and nobody may erase alone."""
    return Team(team=row["team"], region=row["region"], created_at=row["created_at"], cap_percent=0, is_altered=True)
