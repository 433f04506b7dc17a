"""The result of a query."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from implio_pipeline.domain.errors import QueryRefused

if TYPE_CHECKING:
    import pandas as pd

_CANNOT_CONVERT = (ArithmeticError, ValueError, pa.ArrowException)
"""What pyarrow raises for values and types that do not exist in Python or pandas."""


class Result:
    """The rows that a query returned, in memory."""

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

    def df(self) -> "pd.DataFrame":
        """Return the rows as a pandas data frame.

        Raises:
            QueryRefused: a column has a value or a type that does not exist in pandas.
        """
        try:
            return self._table.to_pandas()
        except _CANNOT_CONVERT:
            raise self._refusal(lambda number: self._table.select([number]).to_pandas()) from None

    def fetchall(self) -> list[tuple[Any, ...]]:
        """Return the rows as tuples.

        Raises:
            QueryRefused: a column has a value that does not exist in Python, such as a day before the year 1.
        """
        try:
            columns = [column.to_pylist() for column in self._table.columns]
        except _CANNOT_CONVERT:
            raise self._refusal(lambda number: self._table.column(number).to_pylist()) from None
        return list(zip(*columns, strict=True)) if columns else []

    def _refusal(self, convert: Callable[[int], Any]) -> QueryRefused:
        """Name the column that cannot be converted, by its number: its name and its value may be personal data."""
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
