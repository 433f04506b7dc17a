"""What each person decided alone lately, and how much more they may: asked within the transaction that decides.

The team's row is locked, so that two processes together approve no more than one would.
"""

from collections.abc import Iterable
from dataclasses import fields, replace
from datetime import date, datetime, timedelta

from sqlalchemy import Connection, delete, exists, func, insert, select

from implio_pipeline.domain.errors import CatalogTampered
from implio_pipeline.domain.ids import TeamId
from implio_pipeline.domain.plan import Allowance, ApprovalPolicy, Introduction, most_alone, same_person
from implio_pipeline.domain.request import Request, RequestState
from implio_pipeline.stores.catalog.file_rows import live_sum
from implio_pipeline.stores.catalog.row_macs import RowMacs
from implio_pipeline.stores.catalog.tables import (
    introductions,
    policy_changes,
    requests,
    team_sizes,
)
from implio_pipeline.stores.catalog.tables import teams as team_rows

_SIZES_KEPT = timedelta(days=400)
_INTRODUCTION = tuple(field.name for field in fields(Introduction))


def note_size(connection: Connection, team: TeamId, day: date) -> None:
    """Remember how many items a team has, once a day, before its files change."""
    is_noted = (team_sizes.c.team == team, team_sizes.c.day == day)
    if connection.scalar(select(exists().where(*is_noted))):
        return
    is_old = (team_sizes.c.team == team, team_sizes.c.day < day - _SIZES_KEPT)
    macs, row = (
        RowMacs.of(connection),
        {"team": team, "day": day, "items": live_sum(connection, team)},
    )
    mac = macs.mac(team_sizes, row)
    old = connection.scalars(select(team_sizes.c.mac).where(*is_old)).all()
    macs.count(connection, team_sizes, team, added=[mac], removed=old)
    connection.execute(delete(team_sizes).where(*is_old))
    connection.execute(insert(team_sizes), {**row, "mac": mac})


def people_of(connection: Connection, team: TeamId, who: str, *, since: datetime) -> frozenset[str]:
    """Return everybody who counts as one person with somebody now.

    Raises:
        CatalogTampered: who made whom an administrator is not as it was written.
    """
    rows = RowMacs.of(connection).rows_of(connection, introductions, team, noun="introduction of team")
    ties = [Introduction(**{name: row[name] for name in _INTRODUCTION}) for row in rows]
    return same_person(who, [tie for tie in ties if tie.at > since])


def allowance(
    connection: Connection, team: TeamId, who: str | None, policy: ApprovalPolicy, *, at: datetime
) -> Allowance:
    """Return how many items a person may have erased alone, and how many of them are used up.

    Requests of nobody known count together, as those of one person.

    Raises:
        CatalogTampered: what the cap is judged by is not as it was written. Requests are summed from an index; whether
            their rows are as they were written is asked where one is read, and by the audit.
    """
    since = at - timedelta(days=policy.window_days)
    cap = connection.scalar(select(team_rows.c.cap_percent).where(team_rows.c.team == team)) or 0
    most = most_alone(policy, team_items=_items_at(connection, team, since.date()), cap_percent=cap)
    # What an account erased while it counted as one person with another counts for as long as that is in the window.
    tied_since = since - timedelta(days=policy.window_days)
    people = None if who is None else people_of(connection, team, who, since=tied_since)
    is_theirs = requests.c.asked_by.is_(None) if people is None else requests.c.asked_by.in_(people)
    is_alone = (requests.c.team == team, is_theirs, requests.c.is_alone.is_(True), requests.c.accepted_at > since)
    used = connection.scalar(select(func.sum(requests.c.covered_items)).where(*is_alone))
    by_policy = sum(
        row["affected_items"]
        for row in RowMacs.of(connection).rows_of(connection, policy_changes, team, noun="policy change of team")
        if row["is_alone"] and row["asked_at"] > since and row["asked_by"] in (people or ())
    )
    return Allowance(most=most, used=int(used or 0) + by_policy)


def judged(connection: Connection, asked: Iterable[Request], policy: ApprovalPolicy) -> list[Request]:
    """Return requests as they are to be stored: what is more than who asks may decide alone waits, unapproved.

    Where what the cap is judged by was altered, nobody decides alone: the request hides its items, and waits.
    """
    left: dict[tuple[TeamId, str | None], int] = {}
    found: list[Request] = []
    for request in asked:
        if not request.is_alone or not request.covered_items or not policy.is_asked:
            found.append(request)
            continue
        who = (request.team, request.asked_by)
        if who not in left:
            try:
                left[who] = allowance(connection, *who, policy, at=request.accepted_at).left
            except CatalogTampered:  # the audit names the row; no other team's requests wait for that
                left[who] = 0
        if request.covered_items > left[who]:
            request = replace(request, state=RequestState.UNAPPROVED, next_attempt_at=None, is_alone=False)  # noqa: PLW2901
        else:
            left[who] -= request.covered_items
        found.append(request)
    return found


def _items_at(connection: Connection, team: TeamId, day: date) -> int:
    """Return how many items a team had on a day: no change since then came before the first that was noted."""
    is_since = (team_sizes.c.team == team, team_sizes.c.day >= day)
    query = select(team_sizes).where(*is_since).order_by(team_sizes.c.day).limit(1)
    noted = connection.execute(query).mappings().one_or_none()
    if noted is None:
        return live_sum(connection, team)
    RowMacs.of(connection).check(team_sizes, noted, about=team, noun="the size of team")
    return int(noted["items"])
