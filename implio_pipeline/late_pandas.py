"""Import pandas only when something asks for a data frame.

Arrow imports pandas at a process's first array, to know its types: 0.2 s and 50 MB (measured, pyarrow 26). Programs of
ours that make no data frame call `put_off_pandas` first. Arrow looks again when it makes or reads a data frame.

The library does not call it: until Arrow looks again, it takes a pandas series in `pa.array` for a plain sequence.
"""

import sys
from collections.abc import Sequence
from importlib.abc import MetaPathFinder
from types import ModuleType

import pyarrow as pa
from typing_extensions import override


class _NoPandas(MetaPathFinder):
    """Makes the import of pandas fail."""

    @override
    def find_spec(self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None, /) -> None:
        if fullname == "pandas":
            raise ImportError("pandas is imported later", name=fullname)


def put_off_pandas() -> None:
    """Make Arrow work without pandas until it makes or reads a data frame. Call it before other threads start."""
    if "pandas" in sys.modules:
        return
    finder = _NoPandas()
    sys.meta_path.insert(0, finder)
    try:
        pa.array([0])
    finally:
        sys.meta_path.remove(finder)
