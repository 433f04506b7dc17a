"""Forked children: modules are imported once, and every run has its own process.

The parent never starts a thread and never opens a home, so that children inherit neither.
"""

import faulthandler
import json
import os
import resource
import signal
import sys
import tempfile
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

MEMORY = Path("/dev/shm")  # noqa: S108


@dataclass(frozen=True, kw_only=True)
class Ended:
    """How a child ended."""

    signal: int
    """The signal that killed it, or 0."""
    code: int
    answer: Any
    seconds: float
    peak_bytes: int
    trace: str = ""

    @property
    def is_killed(self) -> bool:
        return self.signal == signal.SIGKILL

    @property
    def is_well(self) -> bool:
        return not self.signal and not self.code


def start(act: Callable[[], Any], *, seconds: float | None = 240, most_bytes: int | None = None) -> tuple[int, str]:
    """Start `act` in a child. Return its process id and where it writes its answer."""
    handle, answer = tempfile.mkstemp(dir=scratch_root())
    os.close(handle)
    sys.stdout.flush()
    pid = os.fork()
    if pid:
        return pid, answer
    code = 1
    try:
        log = os.open(f"{answer}.trace", os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        if seconds is not None:  # not in a process that forks again: the child would wait for the watchdog
            faulthandler.dump_traceback_later(seconds, exit=True, file=log)
        if most_bytes is not None:
            resource.setrlimit(resource.RLIMIT_AS, (most_bytes, most_bytes))
        Path(answer).write_text(json.dumps(act()))
        code = 0
    except BaseException:  # noqa: BLE001  # the parent reports it
        Path(f"{answer}.trace").write_text(traceback.format_exc())
    finally:
        os._exit(code)


def join(pid: int, answer: str, *, began: float | None = None) -> Ended:
    _, status, usage = os.wait4(pid, 0)
    text, trace = Path(answer), Path(f"{answer}.trace")
    known = text.read_text()
    told = trace.read_text() if trace.exists() else ""
    text.unlink()
    trace.unlink(missing_ok=True)
    return Ended(
        signal=os.WTERMSIG(status) if os.WIFSIGNALED(status) else 0,
        code=os.WEXITSTATUS(status) if os.WIFEXITED(status) else 0,
        answer=json.loads(known) if known else None,
        seconds=time.monotonic() - began if began else 0.0,
        peak_bytes=usage.ru_maxrss * 1024,
        trace=told,
    )


def run(act: Callable[[], Any], **limits: Any) -> Ended:
    """Run `act` in a child and wait for it."""
    began = time.monotonic()
    return join(*start(act, **limits), began=began)


def in_lanes(points: list[Any], act: Callable[[Any, int], Any], *, lanes: int = 2) -> list[Any]:
    """Return the answer of `act(point, lane)` for each point, computed by several processes in parallel."""
    parts = [points[lane::lanes] for lane in range(lanes)]
    began = [
        start(lambda part=part, lane=lane: [act(point, lane) for point in part], seconds=None)
        for lane, part in enumerate(parts)
        if part
    ]
    ended = [join(*one) for one in began]
    broken = next((one for one in ended if not one.is_well), None)
    if broken:
        raise RuntimeError(f"a lane ended with signal {broken.signal}, code {broken.code}\n{broken.trace}")
    return [answer for one in ended for answer in one.answer]


def scratch_root() -> str | None:
    return str(MEMORY) if MEMORY.is_dir() else None
