"""What a query returned."""

from typing import Any

import pandas as pd
import pyarrow as pa


class Result:
    """The rows a query returned, held in memory."""

    def __init__(self, table: pa.Table) -> None:
        self._table = table

    @property
    def columns(self) -> list[str]:
        """The names of the columns."""
        names: list[str] = self._table.column_names
        return names

    def arrow(self) -> pa.Table:
        """Return the rows as an Arrow table."""
        return self._table

    def df(self) -> pd.DataFrame:
        """Return the rows as a pandas data frame."""
        return self._table.to_pandas()

    def fetchall(self) -> list[tuple[Any, ...]]:
        """Return the rows as tuples."""
        columns = [column.to_pylist() for column in self._table.columns]
        return list(zip(*columns, strict=True)) if columns else []

    def __len__(self) -> int:
        return int(self._table.num_rows)
