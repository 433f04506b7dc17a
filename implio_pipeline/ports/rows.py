"""Many rows in columns, and how long-running work reports its progress."""

from collections.abc import Callable
from typing import Any, Protocol

Progress = Callable[[int, int], None]
"""Called with the number of steps done and the number of all steps."""


class Rows(Protocol):
    """Many rows in columns (an Arrow table). Flows pass them on and never look inside."""

    @property
    def num_rows(self) -> int:
        """The number of rows."""

    @property
    def nbytes(self) -> int:
        """The size in memory, in bytes."""

    def to_pylist(self) -> list[dict[str, Any]]:
        """Return the rows as plain values. Only for a few rows, at the edge."""
