"""What most scripts do: read each partition with pandas, filter it, write it back. No encryption, no catalog."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from benchmarks import duck
from benchmarks.contestant import Batch, Contestant, main
from implio_pipeline.domain.ids import FileKind
from implio_pipeline.formats.schema import arrow_schema


class Pandas(Contestant):
    """One Parquet file a partition, zstd."""

    def _path(self, team: str, day: str) -> Path:
        return self.lake / f"team={team}" / f"day={day}" / "items.parquet"

    @staticmethod
    def _write(rows: pd.DataFrame, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        half = path.with_suffix(".half")
        # Without the schema, a column of nulls would change its type when it is rewritten.
        rows.to_parquet(
            half,
            engine="pyarrow",
            compression="zstd",
            compression_level=duck.ZSTD_LEVEL,
            index=False,
            schema=arrow_schema(FileKind.ITEMS),
        )
        half.replace(path)

    def ingest(self, batches: Sequence[Batch]) -> None:
        """Write every partition."""
        for batch in batches:
            rows = duck.arrow_batch(batch.path).to_pandas().sort_values("user_id")
            self._write(rows, self._path(batch.team, batch.day))

    def erase(self, team: str, users: Sequence[str], mark: Callable[[str], None]) -> None:
        """Read every partition of the team completely. Write only those that change."""
        for path in sorted((self.lake / f"team={team}").rglob("*.parquet")):
            rows = pd.read_parquet(path, partitioning=None)
            kept = rows[~rows["user_id"].isin(users)]
            if len(kept) < len(rows):
                self._write(kept, path)
        mark("hidden")

    def drop_day(self, team: str, day: str) -> None:
        """Remove one team's day."""
        self._path(team, day).unlink()

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
    main(Pandas)
