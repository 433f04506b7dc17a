"""Carry out a change in one transaction: compare the catalog with the plan of the change, then write everything.

Flows prepare files without a lock and commit them here by compare-and-swap. If something has changed since the plan,
`PlanOutdated` is raised, nothing is written, and the flow plans again. One commit:

1. takes back the claims on the work, compares tombstones and holds with the plan, and notes the size of the team once a
   day;
2. adds what may exist only once: landing file, posts, team keys;
3. swaps files, and destroys the keys of the removed ones;
4. writes what belongs to the files: queue entries, outcomes of requests, applied verdicts;
5. shreds team keys.
"""

from collections.abc import Collection
from dataclasses import asdict, fields
from datetime import timedelta
from typing import Any

from sqlalchemy import Connection, delete, exists, func, insert, select, update

from implio_pipeline.domain.chunks import chunks
from implio_pipeline.domain.errors import PlanOutdated, PostInWork, Unverified
from implio_pipeline.domain.file_changes import Change, FileOutcome
from implio_pipeline.domain.files import FileKey
from implio_pipeline.domain.ids import FileId
from implio_pipeline.domain.intake import POST_KEPT, LandingState
from implio_pipeline.domain.moderation import QueueEntry
from implio_pipeline.domain.request import ERASING_STATES
from implio_pipeline.domain.residency import ResidencyRefused
from implio_pipeline.stores.catalog import teams
from implio_pipeline.stores.catalog.bulk_insert import bulk_insert
from implio_pipeline.stores.catalog.claims import check_claims, hand_in
from implio_pipeline.stores.catalog.file_rows import live_sum, row_of_file
from implio_pipeline.stores.catalog.moderation_tables import decisions, deliveries, sealed_decisions, sealed_notes
from implio_pipeline.stores.catalog.row_macs import RowMacs
from implio_pipeline.stores.catalog.rules import newest_sequence
from implio_pipeline.stores.catalog.tables import (
    FileState,
    erased_people,
    file_keys,
    file_outcomes,
    holds,
    landings,
    posts,
    queue_entries,
    queues,
    requests,
    team_keys,
    team_sizes,
    tombstones,
    vault_files,
)
from implio_pipeline.stores.catalog.tables import teams as team_rows

_SIZES_KEPT = timedelta(days=400)
_ENTRIES_AT_ONCE = 10_000
"""A million items may bring 100,000 queue entries, which as rows take 50 MB."""
_KEY = tuple(field.name for field in fields(FileKey))
_ENTRY = tuple(field.name for field in fields(QueueEntry))
_OUTCOME = tuple(field.name for field in fields(FileOutcome))


def carry_out(connection: Connection, change: Change) -> None:
    """Carry out a change within a writing transaction. If this raises, the transaction must be rolled back.

    A file that is both removed and added is re-wrapped: it stays live, and the added keys replace its keys.

    Raises:
        PlanOutdated: the catalog has changed since the plan, or a request that it erases for is being finished.
        ClaimLost: another worker has taken the work over.
        PostInWork: a post with one of the idempotency keys was taken since the plan.
        TeamUnknown: there is no such team.
        ResidencyRefused: a file to add is in another region than its team.
        Unverified: an erasure removes a file that it did not prove.
    """
    team = change.team
    # 1. Lock the team, and compare. A newer tombstone or hold would not have been applied to these files.
    newest_at = teams.lock(connection, team)
    # A worker that was paused must not commit over the one that took its work over.
    hand_in(connection, change.claims)
    if change.kept_claims:
        check_claims(connection, change.kept_claims)
    newest = newest_sequence(connection, tombstones, team)
    if newest != change.planned_at:
        raise PlanOutdated(f"team {team} has tombstone {newest}; the work was planned at {change.planned_at}")
    if change.held_at is not None and newest_sequence(connection, holds, team) != change.held_at:
        raise PlanOutdated(f"a legal hold was placed on team {team} after the work was planned")
    _check_requests(connection, change)
    _note_size(connection, change)
    # 2. Add what may exist only once: landing file, posts, team keys.
    _record_landing(connection, change)
    _record_posts(connection, change)
    _add_team_keys(connection, change)
    # 3. Remove files with their keys, then add files.
    _check_proved(connection, change)
    rewrapped = frozenset(change.remove) & {sealed.file.file_id for sealed in change.add}
    doomed = _doom(connection, change, rewrapped)
    added = _add(connection, change, rewrapped)
    # One update of the tally for both: each costs two statements while the team is locked.
    macs = RowMacs.of(connection)
    macs.count(connection, vault_files, team, added=added, removed=doomed)
    if doomed:
        teams.mark_spent(connection, [team])
    latest = max((sealed.file.last_submitted_at for sealed in change.add), default=newest_at)
    if latest > newest_at:
        teams.raise_time(connection, team, to=latest)
    # 4. Write what belongs to the files.
    _add_queue_entries(connection, change)
    outcomes = [{name: getattr(outcome, name) for name in _OUTCOME} for outcome in change.outcomes]
    its_own = {"team": team, "committed_at": change.committed_at}
    macs.insert(connection, file_outcomes, [{**outcome, **its_own} for outcome in outcomes])
    _mark_verdicts_applied(connection, change)
    _count_erased_people(connection, change)
    # 5. Remove team keys last: by now nothing may be wrapped under them.
    _shred(connection, change)


def _check_requests(connection: Connection, change: Change) -> None:
    """Check that nobody finishes a request for which this change erases: its receipt would not count these items."""
    for some in chunks(sorted({outcome.request_id for outcome in change.outcomes})):
        query = select(requests.c.state).where(requests.c.request_id.in_(some)).order_by(requests.c.request_id)
        # Who finishes a request moves its row first, and then counts. So one of the two waits for the other here.
        if not ERASING_STATES.issuperset(connection.scalars(query.with_for_update(read=True))):
            raise PlanOutdated("another worker finishes a request of this work")


def _note_size(connection: Connection, change: Change) -> None:
    """Note how many items a team has before its files change, once a day: the cap is a share of that number."""
    day = change.committed_at.date()
    is_its = team_sizes.c.team == change.team
    if connection.scalar(select(exists().where(is_its, team_sizes.c.day == day))):
        return
    macs = RowMacs.of(connection)
    macs.delete(connection, team_sizes, change.team, team_sizes.c.day < day - _SIZES_KEPT)
    row = {"team": change.team, "day": day, "items": live_sum(connection, change.team)}
    macs.insert(connection, team_sizes, [row])


def _record_landing(connection: Connection, change: Change) -> None:
    if change.landing is None:
        return
    is_same = (landings.c.team == change.landing.team, landings.c.digest == change.landing.digest)
    if connection.scalar(select(exists().where(*is_same, landings.c.state == LandingState.INGESTED))):
        raise PlanOutdated(f"team {change.landing.team} has taken this landing file already")
    connection.execute(delete(landings).where(*is_same))  # a file that was set aside may come in later
    connection.execute(insert(landings), asdict(change.landing))


def _record_posts(connection: Connection, change: Change) -> None:
    # The number of remembered posts needs no limit: each takes 200 bytes for a day, and its items take more.
    for post in change.posts:
        is_same = (posts.c.team == post.team, posts.c.key_digest == post.key_digest)
        connection.execute(delete(posts).where(*is_same, posts.c.taken_at <= post.taken_at - POST_KEPT))
        if connection.scalar(select(posts.c.batch_id).where(*is_same)) is not None:
            raise PostInWork("another call with this Idempotency-Key was accepted first")
        connection.execute(insert(posts), asdict(post))


def _add_team_keys(connection: Connection, change: Change) -> None:
    if not change.new_team_keys:
        return
    query = select(team_keys.c.purpose, team_keys.c.version).where(team_keys.c.team == change.team)
    known = {tuple(row) for row in connection.execute(query)}
    if not known.isdisjoint((key.purpose, key.version) for key in change.new_team_keys):
        raise PlanOutdated(f"team {change.team} has keys of this version already")
    teams.add_keys(connection, change.new_team_keys)


def _check_proved(connection: Connection, change: Change) -> None:
    """Compare the files that an erasure removes with those that it rewrote or counted.

    Raises:
        Unverified: it removes a file for which it has no outcome.
    """
    if not change.outcomes:
        return
    proved = {outcome.digest_before for outcome in change.outcomes}
    for some in chunks(change.remove):
        query = select(vault_files.c.file_id, vault_files.c.digest).where(vault_files.c.file_id.in_(some))
        for file_id, digest in connection.execute(query):
            if digest not in proved:
                raise Unverified(f"file {file_id} is to be replaced, and is not the one that was read", about=file_id)


def _doom(connection: Connection, change: Change, rewrapped: Collection[FileId]) -> list[bytes]:
    """Mark files as doomed and destroy their keys. Re-wrapped files stay live.

    Returns the MACs of the doomed rows, which the caller takes off the tally.
    """
    found = 0
    macs: list[bytes] = []
    for some in chunks(change.remove):
        is_live = (
            vault_files.c.file_id.in_(some),
            vault_files.c.team == change.team,
            vault_files.c.state == FileState.LIVE,
        )
        live = connection.execute(select(vault_files.c.file_id, vault_files.c.mac).where(*is_live)).all()
        found += len(live)
        macs += [mac for file_id, mac in live if file_id not in rewrapped]
        # From the commit on nobody can open these files, even before they are unlinked.
        connection.execute(delete(file_keys).where(file_keys.c.file_id.in_(some)))
        gone = [file_id for file_id in some if file_id not in rewrapped]
        if gone:
            is_gone = vault_files.c.file_id.in_(gone)
            connection.execute(update(vault_files).where(is_gone).values(state=FileState.DOOMED))
    if found != len(change.remove):
        raise PlanOutdated(f"{len(change.remove) - found} of {len(change.remove)} files to remove are no longer live")
    return macs


def _add(connection: Connection, change: Change, rewrapped: Collection[FileId]) -> list[bytes]:
    """Insert new files and keys. Returns the MACs of the new rows, which the caller adds to the tally."""
    if not change.add:
        return []
    # 1. GDPR Art. 44: items stay in the region that their team was promised.
    region = connection.scalar(select(team_rows.c.region).where(team_rows.c.team == change.team))
    astray = sum(sealed.file.region != region for sealed in change.add)
    if astray:
        facts = f"{astray} new files of team {change.team} are not in its region {region}"
        raise ResidencyRefused(facts, code="out-of-region")
    # 2. A file wrapped under a shredded team key could never be read.
    keys = [{name: getattr(key, name) for name in _KEY} for sealed in change.add for key in sealed.keys]
    known = connection.scalars(select(team_keys.c.key_id).where(team_keys.c.team == change.team))
    gone = len({key["team_key_id"] for key in keys}.difference(known))
    if gone:
        raise PlanOutdated(f"{gone} team keys that new files are wrapped under are shredded")
    # 3. Files first: keys refer to them.
    macs = RowMacs.of(connection)
    rows = [row_of_file(macs, sealed.file) for sealed in change.add if sealed.file.file_id not in rewrapped]
    new = [{**row, "mac": macs.mac(vault_files, row)} for row in rows]
    bulk_insert(connection, vault_files, new)
    bulk_insert(connection, file_keys, keys)
    return [row["mac"] for row in new]


def _add_queue_entries(connection: Connection, change: Change) -> None:
    """Put new items on their queues. A queue that does not exist yet is made."""
    if not change.queue:
        return
    known = set(connection.scalars(select(queues.c.queue).where(queues.c.team == change.team)))
    new = {entry.queue for entry in change.queue} - known
    if new:
        connection.execute(insert(queues), [{"team": change.team, "queue": name} for name in sorted(new)])
    for some in chunks(change.queue, _ENTRIES_AT_ONCE):
        bulk_insert(connection, queue_entries, [{name: getattr(entry, name) for name in _ENTRY} for entry in some])


def _mark_verdicts_applied(connection: Connection, change: Change) -> None:
    """Note that a change wrote verdicts into the vault. From now on retention by outcome uses the decided outcome.

    Raises:
        PlanOutdated: a verdict is gone, withdrawn, or written already.
    """
    for some in chunks(change.settled):
        is_its = (
            decisions.c.team == change.team,
            decisions.c.sequence.in_(some),
            decisions.c.settled_at.is_(None),
            decisions.c.withdrawn_by.is_(None),
        )
        rows = connection.execute(select(decisions.c.task_key, decisions.c.decided).where(*is_its)).all()
        # A verdict that is gone belonged to an erased item: the files must be written again without the item.
        if len(rows) != len(some):
            raise PlanOutdated(f"{len(some) - len(rows)} of {len(some)} verdicts to settle are gone")
        values: dict[str, Any] = {"outcome": decisions.c.decided, "settled_at": change.committed_at}
        connection.execute(update(decisions).where(*is_its).values(values))
        teams.delete_sealed(connection, sealed_decisions, [change.team], sealed_decisions.c.sequence.in_(some))
        # Notes and deliveries of an item are kept as long as the item.
        for decided in {row.decided for row in rows}:
            tasks = [row.task_key for row in rows if row.decided is decided]
            for table in (sealed_notes, deliveries):
                is_about = (table.c.team == change.team, table.c.task_key.in_(tasks))
                connection.execute(update(table).where(*is_about).values(outcome=decided.value))


def _count_erased_people(connection: Connection, change: Change) -> None:
    counts, day = change.erased_people, change.committed_at.date()
    if not counts:
        return
    is_it = (erased_people.c.team == change.team, erased_people.c.day == day)
    more = {
        "kept_out": erased_people.c.kept_out + counts.kept_out,
        "returned": erased_people.c.returned + counts.returned,
    }
    if not connection.execute(update(erased_people).where(*is_it).values(more)).rowcount:
        connection.execute(insert(erased_people), {"team": change.team, "day": day, **asdict(counts)})


def _shred(connection: Connection, change: Change) -> None:
    if not change.shred_team_keys:
        return
    uses = select(func.count(file_keys.c.file_id.distinct()))
    in_use = connection.scalar(uses.where(file_keys.c.team_key_id.in_(change.shred_team_keys)))
    if in_use:
        raise PlanOutdated(f"{in_use} live files are still wrapped under the team keys to shred")
    if teams.is_sealed_under(connection, change.shred_team_keys):
        raise PlanOutdated("something is still sealed under the team keys to shred")
    is_its = (team_keys.c.team == change.team, team_keys.c.key_id.in_(change.shred_team_keys))
    if connection.execute(delete(team_keys).where(*is_its)).rowcount != len(change.shred_team_keys):
        raise PlanOutdated(f"team {change.team} no longer has all the keys to shred")
