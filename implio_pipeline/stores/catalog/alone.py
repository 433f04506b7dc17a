"""What each person decided alone lately, and how much more they may: asked within the transaction that decides.

The team's row is locked meanwhile, so that two processes together cannot let more through than one would.
"""

from collections.abc import Iterable
from dataclasses import fields, replace
from datetime import date, datetime, timedelta

from sqlalchemy import Connection, delete, exists, func, insert, select

from implio_pipeline.domain.person import Introduction, same_person
from implio_pipeline.domain.plan import Allowance, ApprovalPolicy, most_alone
from implio_pipeline.domain.request import Request, RequestState
from implio_pipeline.domain.words import TeamId
from implio_pipeline.stores.catalog.tables import (
    FileState,
    introductions,
    policy_changes,
    requests,
    team_sizes,
    vault_files,
)
from implio_pipeline.stores.catalog.tables import teams as team_rows

_SIZES_KEPT = timedelta(days=400)
_INTRODUCTION = tuple(introductions.c[field.name] for field in fields(Introduction))


def note_size(connection: Connection, team: TeamId, day: date) -> None:
    """Remember how many items a team has, once a day, before its files change."""
    is_noted = (team_sizes.c.team == team, team_sizes.c.day == day)
    if connection.scalar(select(exists().where(*is_noted))):
        return
    is_old = (team_sizes.c.team == team, team_sizes.c.day < day - _SIZES_KEPT)
    connection.execute(delete(team_sizes).where(*is_old))
    connection.execute(insert(team_sizes), {"team": team, "day": day, "items": _live_items(connection, team)})


def people_of(connection: Connection, team: TeamId, who: str, *, since: datetime) -> frozenset[str]:
    """Return everybody who counts as one person with somebody now."""
    query = select(*_INTRODUCTION).where(introductions.c.team == team, introductions.c.at > since)
    return same_person(who, [Introduction(**row) for row in connection.execute(query).mappings()])


def allowance(
    connection: Connection, team: TeamId, who: str | None, policy: ApprovalPolicy, *, at: datetime
) -> Allowance:
    """Return how many items a person may have erased alone, and how many of them are used up.

    Requests of nobody known count together, as those of one person.
    """
    since = at - timedelta(days=policy.window_days)
    cap = connection.scalar(select(team_rows.c.cap_percent).where(team_rows.c.team == team)) or 0
    most = most_alone(policy, team_items=_items_at(connection, team, since.date()), cap_percent=cap)
    people = None if who is None else people_of(connection, team, who, since=since)
    is_theirs = requests.c.asked_by.is_(None) if people is None else requests.c.asked_by.in_(people)
    is_alone = (requests.c.team == team, is_theirs, requests.c.is_alone.is_(True), requests.c.accepted_at > since)
    used = connection.scalar(select(func.sum(requests.c.covered_items)).where(*is_alone))
    changes = policy_changes.c
    is_change = (changes.team == team, changes.is_alone.is_(True), changes.asked_at > since)
    by_policy = select(func.sum(changes.affected_items)).where(*is_change, changes.asked_by.in_(people or ()))
    return Allowance(most=most, used=int(used or 0) + int(connection.scalar(by_policy) or 0))


def judged(connection: Connection, asked: Iterable[Request], policy: ApprovalPolicy) -> list[Request]:
    """Return requests as they are to be stored: what is more than who asks may decide alone waits, unapproved."""
    left: dict[tuple[TeamId, str | None], int] = {}
    found: list[Request] = []
    for request in asked:
        if not request.is_alone or not request.covered_items or not policy.is_asked:
            found.append(request)
            continue
        who = (request.team, request.asked_by)
        if who not in left:
            left[who] = allowance(connection, *who, policy, at=request.accepted_at).left
        if request.covered_items > left[who]:
            request = replace(request, state=RequestState.UNAPPROVED, next_attempt_at=None, is_alone=False)  # noqa: PLW2901
        else:
            left[who] -= request.covered_items
        found.append(request)
    return found


def _items_at(connection: Connection, team: TeamId, day: date) -> int:
    """Return how many items a team had on a day: no change since then came before the first that was noted."""
    is_since = (team_sizes.c.team == team, team_sizes.c.day >= day)
    noted = connection.scalar(select(team_sizes.c["items"]).where(*is_since).order_by(team_sizes.c.day).limit(1))
    return _live_items(connection, team) if noted is None else int(noted)


def _live_items(connection: Connection, team: TeamId) -> int:
    is_its = (vault_files.c.state == FileState.LIVE, vault_files.c.team == team)
    return int(connection.scalar(select(func.sum(vault_files.c.rows)).where(*is_its)) or 0)
