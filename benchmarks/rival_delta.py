"""delta-rs, without encryption: delete, then vacuum with no retention."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
from deltalake import DeltaTable, WriterProperties, write_deltalake

from benchmarks import duck
from benchmarks.contestant import Batch, Contestant, main


class Delta(Contestant):
    """One Delta table partitioned by team and day, sorted by user id within a file, zstd."""

    _zstd = WriterProperties(compression="ZSTD", compression_level=duck.ZSTD_LEVEL)

    def ingest(self, batches: Sequence[Batch]) -> None:
        """Write every partition."""
        for batch in batches:
            rows = duck.arrow_batch(batch.path)
            rows = rows.take(pc.sort_indices(rows["user_id"]))
            for name, value in (("team", batch.team), ("day", batch.day)):
                rows = rows.append_column(name, pa.repeat(value, rows.num_rows))
            write_deltalake(
                str(self.lake),
                rows,
                partition_by=["team", "day"],
                mode="append",
                writer_properties=self._zstd,
            )

    def erase(self, team: str, users: Sequence[str], mark: Callable[[str], None]) -> None:
        """Delete by predicate, then vacuum."""
        quoted = ", ".join(f"'{user}'" for user in users)
        self._delete(f"team = '{team}' and user_id in ({quoted})", mark)

    def drop_day(self, team: str, day: str) -> None:
        """Remove one team's day."""
        self._delete(f"team = '{team}' and day = '{day}'", lambda _: None)

    def _delete(self, predicate: str, mark: Callable[[str], None]) -> None:
        table = DeltaTable(str(self.lake))
        table.delete(predicate, writer_properties=self._zstd)
        mark("hidden")
        table.vacuum(retention_hours=0, enforce_retention_duration=False, dry_run=False)

    def connect(self) -> Any:
        """Return a connection with the view `items`."""
        connection = duck.connect(self.threads)
        connection.register("delta", DeltaTable(str(self.lake)).to_pyarrow_dataset())
        connection.execute("create view items as select * from delta")
        return connection

    def referenced(self) -> set[Path]:
        """Return the data files that the lake refers to now."""
        return {Path(uri) for uri in DeltaTable(str(self.lake)).file_uris()}

    def stored(self) -> set[Path]:
        """Return every data file in storage."""
        return {path.absolute() for path in duck.parquet_files(self.lake) if "_delta_log" not in path.parts}

    def raw_survivors(self, team: str, users: Sequence[str]) -> int:
        """Count the rows of the users in all files in storage."""
        source = f"read_parquet('{self.lake}/team=*/*/*.parquet', hive_partitioning = true)"
        return duck.rows_of(duck.connect(self.threads), source, team, users)


if __name__ == "__main__":
    main(Delta)
