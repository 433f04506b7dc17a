"""The cap: how many items one person may have erased within the window without a second person, over all channels.

It is compared in the transaction that decides, with the team's row locked, so that two processes together do not exceed
it. If a row that the cap depends on was altered, nobody decides alone.
"""

from collections.abc import Iterable
from dataclasses import fields, replace
from datetime import date, datetime, timedelta

from sqlalchemy import Connection, func, select

from implio_pipeline.domain.errors import CatalogTampered
from implio_pipeline.domain.ids import TeamId
from implio_pipeline.domain.plan import Allowance, Appointment, ApprovalPolicy, same_person
from implio_pipeline.domain.request import Request, RequestState
from implio_pipeline.stores.catalog.file_rows import live_sum
from implio_pipeline.stores.catalog.row_macs import RowMacs
from implio_pipeline.stores.catalog.tables import appointments, policy_changes, requests, team_sizes, teams

_APPOINTMENT = tuple(field.name for field in fields(Appointment))


def same_person_as(connection: Connection, team: TeamId, who: str, *, since: datetime) -> frozenset[str]:
    """Return all identities that count as one person with `who`, because one made the other an administrator.

    Raises:
        CatalogTampered: an appointment was altered.
    """
    rows = RowMacs.of(connection).rows_of(connection, appointments, team)
    ties = [Appointment(**{name: row[name] for name in _APPOINTMENT}) for row in rows]
    return same_person(who, [tie for tie in ties if tie.at > since])


def allowance(
    connection: Connection, team: TeamId, who: str | None, policy: ApprovalPolicy, *, at: datetime
) -> Allowance:
    """Return how many items a person may have erased alone, and how many of them are used up.

    Requests of unknown people count together, as those of one person.

    Raises:
        CatalogTampered: a row that the cap depends on was altered. Requests are summed from an index; their rows are
            checked where one is read, and by the audit.
    """
    since = at - timedelta(days=policy.window_days)
    # 1. The cap is a share of the items that the team had when the window began, so that erasures do not change it.
    cap = connection.scalar(select(teams.c.cap_percent).where(teams.c.team == team)) or 0
    most = policy.most_alone(team_items=_items_at(connection, team, since.date()), cap_percent=cap)
    # 2. Find who counts as one person. Appointments from before the window count too, for one more length of the
    #    window.
    tied_since = since - timedelta(days=policy.window_days)
    people = None if who is None else same_person_as(connection, team, who, since=tied_since)
    # 3. Add up what they used: requests decided alone, and items that a shorter policy made overdue.
    is_theirs = requests.c.asked_by.is_(None) if people is None else requests.c.asked_by.in_(people)
    is_alone = (requests.c.team == team, is_theirs, requests.c.is_alone.is_(True), requests.c.accepted_at > since)
    used = connection.scalar(select(func.sum(requests.c.covered_items)).where(*is_alone))
    by_policy = sum(
        row["affected_items"]
        for row in RowMacs.of(connection).rows_of(connection, policy_changes, team)
        if row["is_alone"] and row["asked_at"] > since and row["asked_by"] in (people or ())
    )
    return Allowance(most=most, used=int(used or 0) + by_policy)


def apply_cap(connection: Connection, asked: Iterable[Request], policy: ApprovalPolicy) -> list[Request]:
    """Return the requests, with the state unapproved for those above the cap of their asker."""
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
            except CatalogTampered:  # the audit names the row, and requests of other teams go on
                left[who] = 0
        if request.covered_items > left[who]:
            request = replace(request, state=RequestState.UNAPPROVED, next_attempt_at=None, is_alone=False)  # noqa: PLW2901
        else:
            left[who] -= request.covered_items
        found.append(request)
    return found


def _items_at(connection: Connection, team: TeamId, day: date) -> int:
    """Return how many items a team had on a day. Sizes are noted before the first change of a day."""
    is_since = (team_sizes.c.team == team, team_sizes.c.day >= day)
    query = select(team_sizes).where(*is_since).order_by(team_sizes.c.day).limit(1)
    noted = connection.execute(query).mappings().one_or_none()
    if noted is None:
        return live_sum(connection, team)
    RowMacs.of(connection).check(team_sizes, noted)
    return int(noted["items"])
