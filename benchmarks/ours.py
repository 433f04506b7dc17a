"""Our own pipeline as a contestant: the same flows that Dagster and the command line run."""

import benchmarks.like_the_command_line  # noqa: F401 -- before pyarrow

# isort: split
import getpass
import os
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import date, timedelta
from itertools import groupby
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from benchmarks.contestant import Batch, Contestant, main
from implio_pipeline import open_lake
from implio_pipeline.domain.access import Purpose
from implio_pipeline.domain.chunks import chunks
from implio_pipeline.domain.ids import Channel, ColumnClass, FileKind, Region, TeamId
from implio_pipeline.domain.instants import start_of
from implio_pipeline.domain.request import Request, RequestDraft
from implio_pipeline.domain.scope import ByDates, ByUser, Scope
from implio_pipeline.flows.access.grants import GrantDraft, grant
from implio_pipeline.flows.accounts.teams import add_team
from implio_pipeline.flows.deletion.accept import accept
from implio_pipeline.flows.deletion.erase import erase
from implio_pipeline.flows.files.ingest import ingest
from implio_pipeline.flows.files.submit import add_rows
from implio_pipeline.formats.columns import with_user_keys
from implio_pipeline.query.lake import Lake
from implio_pipeline.wiring import OpenHome, init_home, open_home


class Ours(Contestant):
    """A home below the lake's folder. All teams are in one region."""

    def __init__(self, lake: Path, threads: int) -> None:
        super().__init__(lake, threads)
        os.environ["IMPLIO_THREADS"] = str(threads)

    @contextmanager
    def _home(self) -> Iterator[OpenHome]:
        with open_home(self.lake / "home") as opened:
            yield opened

    def _make(self, batches: Sequence[Batch]) -> None:
        init_home(self.lake / "home")
        with (self.lake / "home" / "implio.toml").open("a") as settings:  # rivals need no second person either
            settings.write('\n[requests]\napprovals = "none"\n')
        with self._home() as opened:
            for team in sorted({batch.team for batch in batches}):
                made = add_team(opened, team, region=Region("eu")).team
                until = opened.clock.now() + timedelta(days=7)
                reader = {"person": getpass.getuser(), "granted_by": "the benchmark"}
                everything = frozenset(ColumnClass)
                grant(
                    opened,
                    GrantDraft(team=made, classes=everything, purpose=Purpose.AUDIT, until=until, **reader),
                )

    def ingest(self, batches: Sequence[Batch]) -> None:
        """Ingest the batches, partition by partition, each team in one commit."""
        self._make(batches)
        with self._home() as opened:
            for name, of_team in groupby(batches, key=lambda batch: batch.team):
                team = opened.catalog.teams.get(TeamId(name))
                add_rows(opened, team, _Rows(list(of_team), opened.keychain.user_key_maker(team.team)))

    def ingest_ndjson(self, batches: Sequence[Batch]) -> None:
        """Ingest the files as landing files: found, claimed, validated item by item, committed, removed.

        The landing folder gets links instead of moved files, because the rivals read theirs in place.
        """
        self._make(batches)
        landing = self.lake / "home" / "landing"
        with self._home() as opened:
            for batch in batches:
                folder = landing / batch.team
                folder.mkdir(parents=True, exist_ok=True)
                os.link(batch.path, folder / batch.path.name)
                os.utime(batch.path, (time.time() - 60,) * 2)  # no longer being written
            taken = ingest(opened)
            if taken.rejected or taken.erased_before or taken.too_old or taken.set_aside:
                raise ValueError(f"not every item came in: {taken}")

    def _carry_out(self, team: str, scopes: Sequence[Scope], mark: Callable[[str], None]) -> None:
        with self._home() as opened:
            drafts = [
                RequestDraft(team=TeamId(team), scope=scope, channel=Channel.CLI, received_at=opened.clock.now())
                for scope in scopes
            ]
            accepted = accept(opened, drafts)
            mark("hidden")
            ids = [each.request_id for each in accepted if isinstance(each, Request)]
            done = erase(opened, only=ids)
            if len(done.completed) != len(scopes):
                raise ValueError(f"{len(done.completed)} of {len(scopes)} requests completed: {done.failed}")

    def erase(self, team: str, users: Sequence[str], mark: Callable[[str], None]) -> None:
        """Accept one request a user, carry them out in one pass, and write their receipts."""
        self._carry_out(team, [ByUser(user_id=user) for user in users], mark)

    def hide(self, team: str, users: int) -> int:
        """Accept requests by user, a thousand at once, of the first users in the order of their ids."""
        connection = self.connect()
        query = "select distinct user_id from items where team = $1 and user_id is not null order by 1"
        ids = [user for (user,) in connection.execute(query, [team]).fetchall()][:users]
        connection.close()
        with self._home() as opened:
            for some in chunks(ids, 1_000):
                now = opened.clock.now()
                scopes = [ByUser(user_id=user) for user in some]
                accept(
                    opened,
                    [
                        RequestDraft(team=TeamId(team), scope=scope, channel=Channel.CLI, received_at=now)
                        for scope in scopes
                    ],
                )
        return len(ids)

    def drop_day(self, team: str, day: str) -> None:
        """Remove a day by a request for its dates."""
        start = start_of(date.fromisoformat(day))
        self._carry_out(team, [ByDates(start=start, end=start + timedelta(days=1))], lambda _: None)

    def connect(self) -> "_Connection":
        """Open the lake of every team with every class."""
        with self._home() as opened:
            teams = [team.team for team in opened.catalog.teams.all()]
        return _Connection(self.lake / "home", teams, self.threads)

    def count_user(self, connection: "_Connection", team: str, user: str) -> int:
        """Count by pseudonym, by which files are sorted."""
        query = "select count(*) from items where team = $team and user_key = $key"
        key = connection.lake.user_key(user, team=team)
        return connection.lake.sql(query, {"team": team, "key": key}).fetchall()[0][0]

    def referenced(self) -> set[Path]:
        """Return the live files."""
        with self._home() as opened:
            return {self._root / file.path for file in opened.catalog.manifest.files()}

    def stored(self) -> set[Path]:
        """Return every file of the vault."""
        return {path for path in self._root.rglob("*") if path.is_file()}

    @property
    def _root(self) -> Path:
        return self.lake / "home" / "vault" / "eu"

    def raw_survivors(self, team: str, users: Sequence[str]) -> int:
        """Decrypt every live file, ignoring tombstones. Files that the catalog does not list have no keys left."""
        wanted, found = pa.array(list(users), pa.string()), 0
        with self._home() as opened:
            manifest = opened.catalog.manifest
            for sealed in manifest.sealed(list(manifest.files(TeamId(team)))):
                rows = opened.vault.read(sealed, columns=["user_id"])
                found += pc.sum(pc.is_in(rows["user_id"], value_set=wanted)).as_py() or 0
        return found


class _Rows:
    """The rows of batches. Each iteration reads and keys them again."""

    def __init__(self, batches: Sequence[Batch], user_key: Callable[[str], bytes]) -> None:
        self._batches = batches
        self._user_key = user_key

    def __iter__(self) -> Iterator[pa.Table]:
        for batch in self._batches:
            with pa.memory_map(str(batch.path)) as source:
                yield with_user_keys(pa.ipc.open_file(source).read_all(), FileKind.ITEMS, self._user_key)


class _Connection:
    """Our lake with the few methods of a DuckDB connection that the benchmark uses."""

    def __init__(self, home: Path, teams: Sequence[str], threads: int) -> None:
        self._opened = open_lake(home, team=teams, classes=tuple(ColumnClass), purpose="audit", threads=threads)
        self.lake: Lake = self._opened.__enter__()
        self.lake.sql("select 1")  # opens the snapshot

    def execute(self, query: str, params: Sequence[Any] = ()) -> "_Answer":
        named = {str(place): value for place, value in enumerate(params, start=1)}
        return _Answer(self.lake.sql(query, named or None).fetchall())

    def close(self) -> None:
        self._opened.__exit__(None, None, None)


class _Answer:
    def __init__(self, rows: list[tuple[Any, ...]]) -> None:
        self._rows = rows

    def fetchall(self) -> list[tuple[Any, ...]]:
        return self._rows

    def fetchone(self) -> tuple[Any, ...]:
        return self._rows[0]


if __name__ == "__main__":
    main(Ours)
