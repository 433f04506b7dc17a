"""No pandas in programs that make no data frame.

Arrow imports pandas at a process's first array, to know its types, and DuckDB at its first parameter: 0.2 s and 50 MB
(measured, pyarrow 26 and DuckDB 2.0). Both work without it. The library does not call this: its user may have pandas.
"""

import sys
from collections.abc import Sequence
from importlib.abc import MetaPathFinder
from types import ModuleType

from typing_extensions import override


class _NoPandas(MetaPathFinder):
    @override
    def find_spec(self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None, /) -> None:
        if fullname == "pandas":
            raise ImportError("this program makes no data frames", name=fullname)


def forbid_pandas() -> None:
    """Make every later import of pandas fail in this process."""
    sys.meta_path.insert(0, _NoPandas())
