"""What the catalog keeps of items beside the queues: it goes with them by the same predicate, in one transaction.

Rows that may be wanted again, because the request may be cancelled or a legal hold covers them, are withdrawn: no
read returns them. They go when the request is begun, those under a hold when it is completed.
"""

from collections.abc import Iterator, Sequence
from datetime import datetime

from sqlalchemy import ColumnElement, Connection, Table, bindparam, delete, exists, false, not_, or_, select, update

from implio_pipeline.domain.chunks import chunks
from implio_pipeline.domain.ids import RequestId, TeamId, UserKey
from implio_pipeline.domain.scope import Rule
from implio_pipeline.stores.catalog.moderation_tables import TRACES, decisions, deliveries, sealed_decisions
from implio_pipeline.stores.catalog.rules import covered, rule_of
from implio_pipeline.stores.catalog.tables import holds

_IS_TRACED = select(
    or_(
        *(
            exists().where(table.c.team == bindparam("team"), table.c.user_key == bindparam("user_key"))
            for table in TRACES
        )
    )
)
"""Whether anything is kept of a user's items."""


def has_holds(connection: Connection, team: TeamId) -> bool:
    """Tell whether the team has a legal hold that was not released."""
    return bool(connection.scalar(select(exists().where(holds.c.team == team, holds.c.released_at.is_(None)))))


def take(connection: Connection, team: TeamId, rule: Rule, *, by: RequestId, is_kept: bool) -> None:
    """Take away what is kept of the items that a request's rule covers.

    Args:
        connection: Of the transaction that accepts the request.
        team: Whose items.
        rule: The request's.
        by: The request.
        is_kept: Whether everything is only withdrawn; otherwise only what a legal hold covers is.
    """
    # A hold spares verdicts and notes, never a delivery: nothing more is to be sent about the item.
    held = list(_holds(connection, team))
    for table in TRACES:
        theirs = [table.c.team == team, covered(rule, table), table.c.withdrawn_by.is_(None)]
        spared = _spared(held, table)
        if is_kept or (held and table is not deliveries):
            kept = theirs if is_kept else [*theirs, spared]
            connection.execute(update(table).where(*kept).values(withdrawn_by=by))
        if not is_kept:
            _delete(connection, table, [*theirs, not_(spared)] if held and table is not deliveries else theirs)


def take_users(connection: Connection, team: TeamId, keys: Sequence[UserKey], before: datetime) -> None:
    """Take away what is kept of these users' items submitted before an instant."""
    if len(keys) == 1 and not connection.scalar(_IS_TRACED, {"team": team, "user_key": keys[0]}):
        return  # as most often when they come one by one, with somebody waiting
    for some in chunks(list(dict.fromkeys(keys))):
        for table in TRACES:
            is_their = (table.c.user_key.in_(some), table.c.submitted_at < before)
            _delete(connection, table, [table.c.team == team, *is_their, table.c.withdrawn_by.is_(None)])


def put_back(connection: Connection, request_id: RequestId) -> None:
    """Put back what a request withdrew."""
    for table in TRACES:
        connection.execute(update(table).where(table.c.withdrawn_by == request_id).values(withdrawn_by=None))


def forget(connection: Connection, request_ids: Sequence[RequestId], *, is_held_too: bool) -> None:
    """Forget what requests withdrew; what a legal hold covers only if asked to."""
    for some in chunks(request_ids):
        for table in TRACES:
            is_theirs = table.c.withdrawn_by.in_(some)
            teams = connection.scalars(select(table.c.team).where(is_theirs).distinct()).all()
            for team in teams:
                spared = false() if is_held_too else _spared(list(_holds(connection, team)), table)
                _delete(connection, table, [table.c.team == team, is_theirs, not_(spared)])


def _holds(connection: Connection, team: TeamId) -> Iterator[Rule]:
    """Yield the rules of legal holds that were not released; one that has only expired spares a little longer."""
    query = select(holds).where(holds.c.team == team, holds.c.released_at.is_(None))
    for row in connection.execute(query).mappings():
        yield rule_of(row)


def _spared(held: Sequence[Rule], table: Table) -> ColumnElement[bool]:
    # A comparison with a user key that is not there is unknown, which is not "not covered".
    return or_(false(), *(covered(rule, table).is_(True) for rule in held))


def _delete(connection: Connection, table: Table, those: Sequence[ColumnElement[bool]]) -> None:
    if table is decisions:
        # The words of a verdict refer to its row, so they go first.
        sequences = select(decisions.c.sequence).where(*those)
        connection.execute(delete(sealed_decisions).where(sealed_decisions.c.sequence.in_(sequences)))
    connection.execute(delete(table).where(*those))
