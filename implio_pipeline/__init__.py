"""Keeps user-generated content lawfully: an encrypted lake that can forget, and prove it.

from implio_pipeline import open_lake

with open_lake(team="acme") as lake:
print(lake.sql("select count(*) from items"))
"""

import os
import sys
from typing import TYPE_CHECKING, Any

if sys.platform == "linux":
    # Arrow reads this when it is imported. Its own choice, mimalloc, keeps more of what was freed: an erasure of 1,000
    # users from 60 files of 20,000 rows takes 100 MB more at its peak with it than with jemalloc, in the same processor
    # time. jemalloc with one arena a core takes 15 MB less, but scans 12 to 20 % more processor time (measured).
    os.environ.setdefault("ARROW_DEFAULT_MEMORY_POOL", "jemalloc")

if TYPE_CHECKING:
    from implio_pipeline.wiring import open_lake

__version__ = "0.2.0"
__all__ = ["open_lake"]


def __getattr__(name: str) -> Any:
    """Import what opens a lake when it is asked for: every command imports this package, and few read."""
    if name != "open_lake":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from implio_pipeline.wiring import open_lake  # noqa: PLC0415

    return open_lake
