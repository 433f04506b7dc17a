"""Carrying a change out: compare with what it was planned on, then swap, in one transaction."""

from collections.abc import Collection, Sequence
from dataclasses import asdict, fields
from datetime import date
from typing import Any

from sqlalchemy import Connection, delete, exists, func, insert, select, update

from implio_pipeline.domain.chunks import chunks
from implio_pipeline.domain.errors import PlanOutdated, Unverified
from implio_pipeline.domain.file_changes import Change, FileOutcome
from implio_pipeline.domain.files import FileKey
from implio_pipeline.domain.ids import FileId, KeyId, TeamId
from implio_pipeline.domain.intake import ErasedPeople, LandingRecord, LandingState
from implio_pipeline.domain.residency import OutOfRegion
from implio_pipeline.stores.catalog import moderation, teams
from implio_pipeline.stores.catalog.acceptance import newest_tombstone
from implio_pipeline.stores.catalog.alone import note_size
from implio_pipeline.stores.catalog.bulk_insert import bulk_insert
from implio_pipeline.stores.catalog.file_rows import row_of_file
from implio_pipeline.stores.catalog.holds import newest_hold
from implio_pipeline.stores.catalog.landings import remember_posts
from implio_pipeline.stores.catalog.row_macs import RowMacs
from implio_pipeline.stores.catalog.tables import (
    FileState,
    erased_people,
    file_keys,
    file_outcomes,
    landings,
    team_keys,
    vault_files,
)
from implio_pipeline.stores.catalog.tables import teams as team_rows

_KEY = tuple(field.name for field in fields(FileKey))
_OUTCOME = tuple(field.name for field in fields(FileOutcome))


def carry_out(connection: Connection, change: Change) -> None:
    """Carry a change out within a writing transaction; whatever is raised must end it.

    A file both removed and added is re-wrapped: it stays live, its keys are replaced by those added.

    Raises:
        PlanOutdated: the catalog is no longer what the change was planned on.
        PostInWork: a post with one of the idempotency keys was taken in meanwhile.
        TeamUnknown: there is no such team.
        OutOfRegion: a file to add lies in another region than its team's.
    """
    # 1. Hold the team still, and compare.
    newest_at = teams.lock(connection, change.team)
    _same_tombstones(connection, change)
    _same_holds(connection, change)
    note_size(connection, change.team, change.committed_at.date())
    # 2. Landing file, posts, team keys: each may be there only once.
    if change.landing is not None:
        _remember(connection, change.landing)
    remember_posts(connection, change.posts)
    _add_team_keys(connection, change)
    # 3. Files out, with their keys, then files in; those that go must be those that were proved.
    _same_files(connection, change)
    rewrapped = frozenset(change.remove) & {sealed.file.file_id for sealed in change.add}
    gone = _doom(connection, change, rewrapped)
    added = _add(connection, change, rewrapped)
    RowMacs.of(connection).count(connection, vault_files, change.team, added=added, removed=gone)
    latest = max((sealed.file.last_submitted_at for sealed in change.add), default=newest_at)
    if latest > newest_at:
        teams.raise_time(connection, change.team, to=latest)
    # 4. What goes with them.
    moderation.put_entries(connection, change.team, change.queue)
    _record_outcomes(connection, change)
    moderation.settled(connection, change)
    _count_people(connection, change.team, change.committed_at.date(), change.erased_people)
    # 5. Team keys out, last: nothing may be wrapped under them any more.
    _shred(connection, change.team, change.shred_team_keys)


def _same_tombstones(connection: Connection, change: Change) -> None:
    newest = newest_tombstone(connection, change.team)
    if newest != change.planned_at:
        raise PlanOutdated(f"team {change.team} has tombstone {newest}; the work was planned at {change.planned_at}")


def _same_holds(connection: Connection, change: Change) -> None:
    if change.held_at is not None and newest_hold(connection, change.team) != change.held_at:
        raise PlanOutdated(f"a legal hold was placed on team {change.team} meanwhile")


def _same_files(connection: Connection, change: Change) -> None:
    """Compare the files that an erasure swaps with those it rewrote or counted.

    Raises:
        Unverified: it names another file, which would lose rows that nobody asked for.
    """
    if not change.outcomes:
        return
    proved = {outcome.digest_before for outcome in change.outcomes}
    for some in chunks(change.remove):
        query = select(vault_files.c.file_id, vault_files.c.digest).where(vault_files.c.file_id.in_(some))
        for file_id, digest in connection.execute(query):
            if digest not in proved:
                raise Unverified(f"file {file_id} is to be replaced, and is not the one that was read", about=file_id)


def _remember(connection: Connection, landing: LandingRecord) -> None:
    is_same = (landings.c.team == landing.team, landings.c.digest == landing.digest)
    is_in = landings.c.state == LandingState.INGESTED
    if connection.scalar(select(exists().where(*is_same, is_in))):
        raise PlanOutdated(f"team {landing.team} has taken this landing file already")
    connection.execute(delete(landings).where(*is_same))  # what was set aside may come in after all
    connection.execute(insert(landings), asdict(landing))


def _count_people(connection: Connection, team: TeamId, day: date, counts: ErasedPeople | None) -> None:
    if not counts:
        return
    is_it = (erased_people.c.team == team, erased_people.c.day == day)
    more = {
        "kept_out": erased_people.c.kept_out + counts.kept_out,
        "returned": erased_people.c.returned + counts.returned,
    }
    if not connection.execute(update(erased_people).where(*is_it).values(more)).rowcount:
        connection.execute(insert(erased_people), {"team": team, "day": day, **asdict(counts)})


def _add_team_keys(connection: Connection, change: Change) -> None:
    if not change.new_team_keys:
        return
    query = select(team_keys.c.purpose, team_keys.c.version).where(team_keys.c.team == change.team)
    known = {tuple(row) for row in connection.execute(query)}
    if not known.isdisjoint((key.purpose, key.version) for key in change.new_team_keys):
        raise PlanOutdated(f"team {change.team} has keys of this version already")
    teams.add_keys(connection, change.new_team_keys)


def _doom(connection: Connection, change: Change, rewrapped: Collection[FileId]) -> list[bytes]:
    """Take files off the live ones, destroy their keys, and return the MACs of their rows; those re-wrapped stay."""
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
        connection.execute(delete(file_keys).where(file_keys.c.file_id.in_(some)))
        gone = [file_id for file_id in some if file_id not in rewrapped]
        if gone:
            connection.execute(
                update(vault_files).where(vault_files.c.file_id.in_(gone)).values(state=FileState.DOOMED)
            )
    if found != len(change.remove):
        raise PlanOutdated(f"{len(change.remove) - found} of {len(change.remove)} files to remove are no longer live")
    return macs


def _add(connection: Connection, change: Change, rewrapped: Collection[FileId]) -> list[bytes]:
    """Insert new files and keys, and return the MACs of the files' rows."""
    _same_region(connection, change)
    keys = [{name: getattr(key, name) for name in _KEY} for sealed in change.add for key in sealed.keys]
    _same_team_keys(connection, change.team, {key["team_key_id"] for key in keys})
    macs = RowMacs.of(connection)
    new = [row_of_file(macs, sealed.file) for sealed in change.add if sealed.file.file_id not in rewrapped]
    bulk_insert(connection, vault_files, new)
    bulk_insert(connection, file_keys, keys)
    return [row["mac"] for row in new]


def _same_region(connection: Connection, change: Change) -> None:
    if not change.add:
        return
    region = connection.scalar(select(team_rows.c.region).where(team_rows.c.team == change.team))
    astray = sum(sealed.file.region != region for sealed in change.add)
    if astray:
        raise OutOfRegion(f"{astray} new files of team {change.team} do not lie in its region {region}")


def _same_team_keys(connection: Connection, team: TeamId, used: Collection[KeyId]) -> None:
    if not used:
        return
    known = connection.scalars(select(team_keys.c.key_id).where(team_keys.c.team == team))
    gone = len(set(used).difference(known))
    if gone:
        raise PlanOutdated(f"{gone} team keys that new files are wrapped under are shredded")


def _record_outcomes(connection: Connection, change: Change) -> None:
    if not change.outcomes:
        return
    macs = RowMacs.of(connection)
    rows: list[dict[str, Any]] = []
    for outcome in change.outcomes:
        row = {name: getattr(outcome, name) for name in _OUTCOME}
        row |= {"team": change.team, "committed_at": change.committed_at}
        rows.append({**row, "mac": macs.mac(file_outcomes, row)})
    bulk_insert(connection, file_outcomes, rows)
    macs.count(connection, file_outcomes, change.team, added=[row["mac"] for row in rows])


def _shred(connection: Connection, team: TeamId, keys: Sequence[KeyId]) -> None:
    if not keys:
        return
    in_use = connection.scalar(
        select(func.count(file_keys.c.file_id.distinct())).where(file_keys.c.team_key_id.in_(keys))
    )
    if in_use:
        raise PlanOutdated(f"{in_use} live files are still wrapped under the team keys to shred")
    is_its = (team_keys.c.team == team, team_keys.c.key_id.in_(keys))
    if connection.execute(delete(team_keys).where(*is_its)).rowcount != len(keys):
        raise PlanOutdated(f"team {team} no longer has all the keys to shred")
