"""DuckDB on plaintext Parquet: the reference for queries. It erases nothing."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from benchmarks import duck
from benchmarks.contestant import Batch, Contestant, main


class Plain(Contestant):
    """One Parquet file a partition, sorted by user id, zstd, written by DuckDB."""

    def ingest(self, batches: Sequence[Batch]) -> None:
        """Write every partition."""
        connection = duck.connect(self.threads)
        for batch in batches:
            path = self.lake / f"team={batch.team}" / f"day={batch.day}" / "items.parquet"
            path.parent.mkdir(parents=True)
            connection.register("batch", duck.arrow_batch(batch.path))
            connection.execute(
                f"copy (select * from batch order by user_id) to '{path}' "
                f"(format parquet, compression zstd, compression_level {duck.ZSTD_LEVEL})"
            )
            connection.unregister("batch")
        connection.close()

    def erase(self, team: str, users: Sequence[str], mark: Callable[[str], None]) -> None:
        """Refuse: the reference only answers queries."""
        raise NotImplementedError

    def connect(self) -> Any:
        """Return a connection with the view `items`."""
        connection = duck.connect(self.threads)
        duck.hive_view(connection, self.lake)
        return connection

    def referenced(self) -> set[Path]:
        """Return the data files that the lake refers to now."""
        return self.stored()

    def stored(self) -> set[Path]:
        """Return every data file in storage."""
        return duck.parquet_files(self.lake)

    def raw_survivors(self, team: str, users: Sequence[str]) -> int:
        """Count the rows of the users in all files in storage."""
        return duck.rows_of(self.connect(), "items", team, users)


if __name__ == "__main__":
    main(Plain)
