"""DuckLake with encryption, as a careful user would set it up.

Partitioned by team and day, rows inserted in order of user id, zstd; a rewrite keeps their order. The table is not
`SORTED BY`: every rewrite would sort again, with up to six times the memory. An erasure is delete, rewrite_data_files,
expire_snapshots and cleanup_old_files: only after the last of them are the bytes gone.
"""

import uuid
from collections.abc import Callable, Sequence
from itertools import groupby
from pathlib import Path

import duckdb

from benchmarks import duck
from benchmarks.contestant import Batch, Contestant, main

PARTITIONS = "team, day"


class DuckLake(Contestant):
    """A catalog in a DuckDB file and encrypted Parquet files beside it."""

    partitions = PARTITIONS
    order = "order by user_id"

    def _attach(self) -> duckdb.DuckDBPyConnection:
        connection = duck.connect(self.threads, "httpfs", "ducklake")
        connection.execute(
            f"attach 'ducklake:{self.lake}/catalog.ducklake' as lake "
            f"(data_path '{self.lake.absolute()}/data/', override_data_path true, encrypted)"
        )
        return connection

    def _create(self) -> duckdb.DuckDBPyConnection:
        connection = self._attach()
        connection.execute(f"create table lake.items ({duck.ddl()})")
        connection.execute(f"alter table lake.items set partitioned by ({self.partitions})")
        connection.execute("call lake.set_option('parquet_compression', 'zstd')")
        connection.execute(f"call lake.set_option('parquet_compression_level', {duck.ZSTD_LEVEL})")
        return connection

    def ingest(self, batches: Sequence[Batch]) -> None:
        """Insert partition by partition, in one transaction a team. The README lists what else was tried."""
        connection = self._create()
        for _, of_team in groupby(batches, key=lambda batch: batch.team):
            connection.execute("begin")
            for batch in of_team:
                connection.register("batch", duck.arrow_batch(batch.path))
                self._insert(connection, "select * from batch", batch)
                connection.unregister("batch")
            connection.execute("commit")
        connection.close()

    def ingest_ndjson(self, batches: Sequence[Batch]) -> None:
        """Insert from `read_json` with explicit columns, partition by partition, one transaction a team."""
        connection = self._create()
        for _, of_team in groupby(batches, key=lambda batch: batch.team):
            connection.execute("begin")
            for batch in of_team:
                self._insert(connection, duck.from_ndjson(batch.path, batch.team, str(uuid.uuid4())), batch)
            connection.execute("commit")
        connection.close()

    def _insert(self, connection: duckdb.DuckDBPyConnection, rows: str, batch: Batch) -> None:
        connection.execute(
            f"insert into lake.items select *, '{batch.team}' as team, date '{batch.day}' as day from ({rows}) "
            f"{self.order}"
        )

    def erase(self, team: str, users: Sequence[str], mark: Callable[[str], None]) -> None:
        """Delete, then rewrite, expire and clean up."""
        connection = self._attach()
        if len(users) == 1:
            connection.execute("delete from lake.items where team = $1 and user_id = $2", [team, users[0]])
        else:
            connection.execute("create temp table gone as select unnest($1) as user_id", [list(users)])
            connection.execute(
                "delete from lake.items where team = $1 and user_id in (select user_id from gone)", [team]
            )
        mark("hidden")
        self._purge(connection)

    @staticmethod
    def _purge(connection: duckdb.DuckDBPyConnection) -> None:
        """Remove deleted rows from storage."""
        connection.execute("call ducklake_rewrite_data_files('lake', 'items', delete_threshold => 0)").fetchall()
        connection.execute("call ducklake_expire_snapshots('lake', older_than => now())").fetchall()
        connection.execute("call ducklake_cleanup_old_files('lake', cleanup_all => true)").fetchall()
        connection.close()

    def drop_day(self, team: str, day: str) -> None:
        """Remove one team's day."""
        connection = self._attach()
        connection.execute("delete from lake.items where team = $1 and day = $2", [team, day])
        self._purge(connection)

    def connect(self) -> duckdb.DuckDBPyConnection:
        """Return a connection with the view `items`."""
        connection = self._attach()
        connection.execute("create view items as select * from lake.items")
        return connection

    def _listed(self) -> list[tuple[str, bytes, str | None, bytes | None]]:
        connection = self._attach()
        found = connection.execute(
            "select data_file, data_file_encryption_key, delete_file, delete_file_encryption_key "
            "from ducklake_list_files('lake', 'items')"
        ).fetchall()
        connection.close()
        return found

    def referenced(self) -> set[Path]:
        """Return the data files that the lake refers to now."""
        files = {name for data, _, delete, _ in self._listed() for name in (data, delete) if name}
        return {self.lake / Path(name).relative_to(self.lake.absolute()) for name in files}

    def stored(self) -> set[Path]:
        """Return every data file in storage."""
        return duck.parquet_files(self.lake / "data")

    def raw_survivors(self, team: str, users: Sequence[str]) -> int:
        """Open every listed data file with its key, ignoring the catalog's deletions."""
        connection = duck.connect(self.threads, "httpfs")
        found = 0
        for path, key, _, _ in self._listed():
            config = f"{{footer_key_value: '{_literal(key)}'::blob}}"
            found += duck.rows_of(connection, f"read_parquet('{path}', encryption_config = {config})", team, users)
        return found


def _literal(key: bytes) -> str:
    """Return a key as SQL text. DuckDB would read its base64, of 24 characters, as a 192-bit key."""
    return "".join(f"\\x{octet:02X}" for octet in bytes(key))


if __name__ == "__main__":
    main(DuckLake)
