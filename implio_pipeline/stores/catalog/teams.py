"""Teams, their policies and their wrapped keys."""

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from sqlalchemy import Connection, Engine, RowMapping, insert, select, update
from sqlalchemy.exc import IntegrityError

from implio_pipeline.domain.errors import TeamInvalid, TeamUnknown
from implio_pipeline.domain.intake import DEFAULT_QUEUE, ESCALATED_QUEUE
from implio_pipeline.domain.keys import TeamKey
from implio_pipeline.domain.retention import RetentionPolicy
from implio_pipeline.domain.team import Team
from implio_pipeline.domain.words import TeamId
from implio_pipeline.stores.catalog import tables
from implio_pipeline.stores.catalog.engine import reading, writing


class SqlTeams:
    """The port `Teams` over tables."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def add(self, team: Team, keys: Sequence[TeamKey]) -> None:
        """Add a team with its first keys and its two standing queues.

        Raises:
            TeamInvalid: there is such a team already.
        """
        with writing(self._engine) as connection:
            try:
                connection.execute(insert(tables.teams), _row_of(team))
            except IntegrityError:
                raise TeamInvalid(f"there is a team {team.team} already", remedy="Choose another name.") from None
            add_keys(connection, keys)
            names = (DEFAULT_QUEUE, ESCALATED_QUEUE)
            connection.execute(insert(tables.queues), [{"team": team.team, "queue": name} for name in names])

    def get(self, team: TeamId) -> Team:
        """Return the team.

        Raises:
            TeamUnknown: there is none.
        """
        with reading(self._engine) as connection:
            row = connection.execute(select(tables.teams).where(tables.teams.c.team == team)).mappings().one_or_none()
        if row is None:
            raise _unknown(team)
        return _team_of(row)

    def all(self) -> list[Team]:
        """Return every team, by name."""
        with reading(self._engine) as connection:
            found = connection.execute(select(tables.teams)).mappings().all()
        return sorted((_team_of(row) for row in found), key=lambda team: team.team)

    def set_policy(self, team: TeamId, policy: RetentionPolicy) -> None:
        """Replace the team's retention policy.

        Raises:
            TeamUnknown: there is no such team.
        """
        change = update(tables.teams).where(tables.teams.c.team == team).values(_policy_row(policy))
        with writing(self._engine) as connection:
            if not connection.execute(change).rowcount:
                raise _unknown(team)

    def keys(self, team: TeamId) -> list[TeamKey]:
        """Return the team's live keys, newest version first."""
        keys = tables.team_keys
        query = select(keys).where(keys.c.team == team).order_by(keys.c.version.desc(), keys.c.purpose)
        with reading(self._engine) as connection:
            return [TeamKey(**row) for row in connection.execute(query).mappings()]


def lock(connection: Connection, team: TeamId) -> None:
    """Let no other transaction decide by the team's files, keys or tombstones until this one ends.

    On SQLite the writing transaction is alone as it is; elsewhere the team's row is locked.

    Raises:
        TeamUnknown: there is no such team.
    """
    query = select(tables.teams.c.team).where(tables.teams.c.team == team).with_for_update()
    if connection.execute(query).one_or_none() is None:
        raise _unknown(team)


def add_keys(connection: Connection, keys: Sequence[TeamKey]) -> None:
    """Insert team keys."""
    if keys:
        connection.execute(insert(tables.team_keys), [asdict(key) for key in keys])


def _unknown(team: TeamId) -> TeamUnknown:
    return TeamUnknown(f"there is no team {team}")


def _row_of(team: Team) -> dict[str, Any]:
    row = {"team": team.team, "region": team.region, "created_at": team.created_at}
    return {**row, **_policy_row(team.policy)}


def _policy_row(policy: RetentionPolicy) -> dict[str, Any]:
    return {"keep_days": policy.keep_days, "by_outcome": dict(policy.by_outcome)}


def _team_of(row: RowMapping) -> Team:
    return Team(
        team=row["team"],
        region=row["region"],
        created_at=row["created_at"],
        policy=RetentionPolicy(keep_days=row["keep_days"], by_outcome=row["by_outcome"]),
    )
