"""What a query returned."""

from collections.abc import Callable
from typing import Any

import pandas as pd
import pyarrow as pa

from implio_pipeline.domain.errors import QueryRefused

_CANNOT_CONVERT = (ArithmeticError, ValueError, pa.ArrowException)
"""What pyarrow raises for values and types that Python or pandas do not have."""


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
        """Return the rows as a pandas data frame.

        Raises:
            QueryRefused: a column holds a value or a type that pandas does not have.
        """
        try:
            return self._table.to_pandas()
        except _CANNOT_CONVERT:
            raise self._refusal(lambda number: self._table.select([number]).to_pandas()) from None

    def fetchall(self) -> list[tuple[Any, ...]]:
        """Return the rows as tuples.

        Raises:
            QueryRefused: a column holds a value that Python does not have, such as a day before the year 1.
        """
        try:
            columns = [column.to_pylist() for column in self._table.columns]
        except _CANNOT_CONVERT:
            raise self._refusal(lambda number: self._table.column(number).to_pylist()) from None
        return list(zip(*columns, strict=True)) if columns else []

    def _refusal(self, convert: Callable[[int], Any]) -> QueryRefused:
        """Name the column that cannot be converted by its place: its name may be anything, and its value personal."""
        for number in range(self._table.num_columns):
            try:
                convert(number)
            except _CANNOT_CONVERT:
                break
        return QueryRefused(
            f"column {number + 1} of the answer holds what Python has no value for",
            remedy="Cast that column to text: `…::varchar`.",
        )

    def __len__(self) -> int:
        return int(self._table.num_rows)
