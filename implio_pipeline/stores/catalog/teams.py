"""Teams, their policies and their wrapped keys."""

from collections.abc import Sequence
from dataclasses import asdict
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, Engine, RowMapping, delete, insert, select, update
from sqlalchemy.exc import IntegrityError
from typing_extensions import override

from implio_pipeline.domain.errors import PlanOutdated, TeamInvalid, TeamUnknown
from implio_pipeline.domain.ids import Region, TeamId
from implio_pipeline.domain.keys import TeamKey, number_of, series_of
from implio_pipeline.domain.moderation import DEFAULT_QUEUE, ESCALATED_QUEUE
from implio_pipeline.domain.plan import Introduction
from implio_pipeline.domain.retention import RetentionPolicy
from implio_pipeline.domain.team import Team
from implio_pipeline.ports.catalog import Teams
from implio_pipeline.stores.catalog import tables
from implio_pipeline.stores.catalog.engine import reading, writing
from implio_pipeline.stores.catalog.row_macs import RowMacs, make_key


class SqlTeams(Teams):
    """The port `Teams` over tables."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    @override
    def add(self, team: Team, keys: Sequence[TeamKey]) -> None:
        with writing(self._engine) as connection:
            try:
                make_key(connection)
                macs, row = RowMacs.of(connection), _row_of(team)
                connection.execute(insert(tables.teams), {**row, "mac": macs.mac(tables.teams, row)})
            except IntegrityError:
                raise TeamInvalid(f"there is a team {team.team} already", remedy="Choose another name.") from None
            # A tally that is missing is an alteration, so each is made with its team, at 0.
            macs.begin(connection, team.team)
            add_keys(connection, keys)
            names = (DEFAULT_QUEUE, ESCALATED_QUEUE)
            connection.execute(insert(tables.queues), [{"team": team.team, "queue": name} for name in names])

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
        self._change(team, _policy_row(policy))

    @override
    def set_limits(self, team: TeamId, *, cap_percent: int, grace_hours: int) -> None:
        self._change(team, {"cap_percent": cap_percent, "grace_hours": grace_hours})

    def _change(self, team: TeamId, values: dict[str, Any]) -> None:
        with writing(self._engine) as connection:
            change(connection, team, values)

    @override
    def introduce(self, introduction: Introduction) -> None:
        table = tables.introductions
        is_same = [table.c[name] == getattr(introduction, name) for name in ("team", "at", "who", "by")]
        with writing(self._engine) as connection:
            lock(connection, introduction.team)
            macs, row = RowMacs.of(connection), asdict(introduction)
            row["mac"] = macs.mac(table, row)
            # The same introduction may be told again from the ledger: it replaces itself.
            same = connection.scalars(select(table.c.mac).where(*is_same)).all()
            macs.count(connection, table, introduction.team, added=[row["mac"]], removed=same)
            connection.execute(delete(table).where(*is_same))
            connection.execute(insert(table), row)

    @override
    def keys(self, team: TeamId | None = None) -> list[TeamKey]:
        keys = tables.team_keys
        query = select(keys).order_by(keys.c.version.desc(), keys.c.purpose)
        if team is not None:
            query = query.where(keys.c.team == team)
        with reading(self._engine) as connection:
            return [TeamKey(**row) for row in connection.execute(query).mappings()]

    @override
    def rewrap(self, keys: Sequence[tuple[TeamKey, TeamKey]]) -> None:
        table = tables.team_keys
        with writing(self._engine) as connection:
            for before, after in sorted(keys, key=lambda pair: pair[0].key_id):  # in one order: no two block each other
                is_same = (table.c.key_id == before.key_id, table.c.wrapped == before.wrapped)
                new = {"root_key_id": after.root_key_id, "wrapped": after.wrapped}
                if not connection.execute(update(table).where(*is_same).values(new)).rowcount:
                    raise PlanOutdated(f"team key {before.key_id} was changed or shredded meanwhile")


def change(connection: Connection, team: TeamId, values: dict[str, Any]) -> None:
    """Store other values in a team's row, within a writing transaction.

    Raises:
        TeamUnknown: there is no such team.
    """
    _store(connection, _row(connection, team, is_locked=True), values)


def lock(connection: Connection, team: TeamId) -> datetime:
    """Lock the team: no other transaction decides by its files, keys or tombstones until this one ends.

    Returns the team's logical time. No other transaction can raise it until then.

    On SQLite the writing transaction is alone as it is; elsewhere the team's row is locked.

    Raises:
        TeamUnknown: there is no such team.
        CatalogTampered: its row is not as it was written.
    """
    newest_at: datetime = _row(connection, team, is_locked=True)["newest_at"]
    return newest_at


def raise_time(connection: Connection, team: TeamId, *, to: datetime) -> None:
    """Raise the team's logical time; it never falls."""
    row = _row(connection, team)
    if row["newest_at"] < to:
        _store(connection, row, {"newest_at": to})


def add_keys(connection: Connection, keys: Sequence[TeamKey]) -> None:
    """Insert team keys.

    Raises:
        PlanOutdated: one is wrapped under a root key that others have left for a newer one, so that it is about to be
            destroyed.
    """
    if keys:
        _same_roots(connection, keys)
        connection.execute(insert(tables.team_keys), [asdict(key) for key in keys])


def _same_roots(connection: Connection, keys: Sequence[TeamKey]) -> None:
    """Compare with the root keys in use; locked, so that who wraps them anew waits for us or we for them."""
    root = tables.team_keys.c.root_key_id
    for series in sorted({series_of(key.root_key_id) for key in keys}):
        theirs = select(root).where(root.startswith(f"{series}/", autoescape=True)).with_for_update(read=True)
        newest = max(map(number_of, connection.scalars(theirs)), default=0)
        if any(series_of(key.root_key_id) == series and number_of(key.root_key_id) < newest for key in keys):
            raise PlanOutdated(f"root key {series} was renewed meanwhile")


def _store(connection: Connection, row: RowMapping, values: dict[str, Any]) -> None:
    """Change a row of a locked team."""
    mac = RowMacs.of(connection).mac(tables.teams, {**row, **values})
    change = update(tables.teams).where(tables.teams.c.team == row["team"])
    connection.execute(change.values({**values, "mac": mac}))


def _row(connection: Connection, team: TeamId, *, is_locked: bool = False) -> RowMapping:
    query = select(tables.teams).where(tables.teams.c.team == team)
    row = connection.execute(query.with_for_update() if is_locked else query).mappings().one_or_none()
    if row is None:
        raise TeamUnknown("there is no such team")
    RowMacs.of(connection).check(tables.teams, row, about=team, noun="team")
    return row


def _row_of(team: Team) -> dict[str, Any]:
    row = {"team": team.team, "region": team.region, "created_at": team.created_at}
    row["newest_at"] = team.newest_at
    limits = {"cap_percent": team.cap_percent, "grace_hours": team.grace_hours}
    return {**row, **limits, **_policy_row(team.policy)}


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
    """Return a team whose policy and limits are not to be believed."""
    return Team(team=row["team"], region=row["region"], created_at=row["created_at"], cap_percent=0, is_altered=True)
