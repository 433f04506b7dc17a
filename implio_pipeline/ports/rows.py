"""Many rows in columns, and how a long work tells how far it is."""

from collections.abc import Callable
from typing import Any, Protocol

Progress = Callable[[int, int], None]
"""Called with steps done and steps in all."""


class Rows(Protocol):
    """Many rows in columns (an Arrow table); flows pass them on and never look inside."""

    @property
    def num_rows(self) -> int:
        """How many rows there are."""

    @property
    def nbytes(self) -> int:
        """Their size in memory."""

    def to_pylist(self) -> list[dict[str, Any]]:
        """Return the rows as plain values; for few rows, at the edge."""
