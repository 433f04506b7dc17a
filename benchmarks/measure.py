"""Wall time, processor time and peak memory of one act in this process."""

import os
import resource
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any, Self


def pin(cores: int) -> None:
    """Limit this process to some cores. Its libraries size their thread pools by that."""
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:cores])


def seconds(act: Callable[[], Any]) -> tuple[float, Any]:
    """Return how long an act took and what it returned."""
    began = time.perf_counter()
    returned = act()
    return time.perf_counter() - began, returned


def processor_seconds(act: Callable[[], Any]) -> tuple[float, float, Any]:
    """Return how long an act took, how long on processors, and what it returned."""
    began = time.process_time()
    took, returned = seconds(act)
    return took, time.process_time() - began, returned


class Measured:
    """A context that measures its body. It sets `figures` at its end."""

    def __enter__(self) -> Self:
        self.figures: dict[str, float] = {}
        with suppress(OSError):  # only Linux can reset the peak
            Path("/proc/self/clear_refs").write_text("5")
        self._base = _peak_mb()
        self._processor = time.process_time()
        self._began = time.perf_counter()
        return self

    def mark(self, name: str) -> None:
        """Record when the act reached a point."""
        self.figures[f"{name}_s"] = time.perf_counter() - self._began

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.figures |= {
            "wall_s": time.perf_counter() - self._began,
            "cpu_s": time.process_time() - self._processor,
            "base_mb": self._base,
            "peak_mb": _peak_mb(),
        }


def _peak_mb() -> float:
    """Return the largest resident size since the last start, in MB of 10^6 bytes."""
    with suppress(OSError):
        for line in Path("/proc/self/status").read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024 / 1e6
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e6
