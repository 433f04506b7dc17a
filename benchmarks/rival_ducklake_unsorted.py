"""DuckLake with its cheapest ingestion: one unsorted insert a team, as a second comparison for ours."""

from collections.abc import Sequence
from itertools import groupby

import pyarrow as pa

from benchmarks import duck
from benchmarks.contestant import Batch, main
from benchmarks.rival_ducklake import DuckLake


class UnsortedDuckLake(DuckLake):
    """The same lake in order of arrival."""

    order = ""

    def ingest(self, batches: Sequence[Batch]) -> None:
        """Insert each team's sixty days at once."""
        connection = self._create()
        for _, of_team in groupby(batches, key=lambda batch: batch.team):
            connection.register("batch", pa.concat_tables([_placed(batch) for batch in of_team]))
            connection.execute("insert into lake.items select * replace (day::date as day) from batch")
            connection.unregister("batch")
        connection.close()


def _placed(batch: Batch) -> pa.Table:
    rows = duck.arrow_batch(batch.path)
    for name, value in (("team", batch.team), ("day", batch.day)):
        rows = rows.append_column(name, pa.repeat(value, rows.num_rows))
    return rows


if __name__ == "__main__":
    main(UnsortedDuckLake)
