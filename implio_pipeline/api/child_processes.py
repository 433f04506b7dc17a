"""Processes that the server keeps beside itself: started with it, started again when they end, ended with it.

A child knows its server by its standard input: the server writes a byte to wake it, and the system closes it however
the server ends. `FromServer` is the child's side.
"""

import os
import select
import subprocess
import sys
from threading import Event, Lock, Thread

_RESTART_SECONDS = 1.0
_WAKINGS_AT_ONCE = 65_536


class ChildProcess:
    """One child of the server.

    Args:
        module: What it runs: a module of ours.
        arguments: Its arguments.
    """

    def __init__(self, module: str, *arguments: str) -> None:
        self._command = [sys.executable, "-m", module, *arguments]
        self._child: subprocess.Popen[bytes] | None = None
        self._lock = Lock()
        self._is_ending = Event()
        self._keeper = Thread(target=self._keep, name=module.rpartition(".")[2], daemon=True)

    def start(self) -> None:
        """Start the child, and start it again whenever it ends."""
        self._start_child()
        self._keeper.start()

    def wake(self, why: bytes) -> None:
        """Write to the child's standard input, if somebody reads it."""
        with self._lock:
            if self._child is None or self._child.stdin is None or self._child.stdin.closed:
                return
            try:
                os.write(self._child.stdin.fileno(), why)
            except OSError:
                return  # it has ended, or has more waking than it can read; it looks at everything anyway

    def end(self) -> None:
        """Tell the child to end."""
        self._is_ending.set()
        with self._lock:
            child = self._child
            if child is not None and child.stdin is not None:
                child.stdin.close()

    def join(self) -> None:
        """Wait until the child has ended."""
        self._keeper.join()

    def _start_child(self) -> None:
        child = subprocess.Popen(self._command, stdin=subprocess.PIPE, bufsize=0)  # noqa: S603 -- our own module
        if child.stdin is not None:
            os.set_blocking(child.stdin.fileno(), False)
        with self._lock:
            self._child = child

    def _keep(self) -> None:
        while self._child is not None:
            self._child.wait()
            if self._is_ending.wait(_RESTART_SECONDS):
                return
            self._start_child()


class FromServer:
    """What a child hears of its server."""

    def is_gone(self) -> bool:
        """Return whether the server has ended: nobody holds the other end of standard input."""
        ends = select.poll()
        ends.register(sys.stdin, 0)  # a hang-up is told in any case
        return any(event & select.POLLHUP for _, event in ends.poll(0))

    def wait(self, seconds: float) -> bool:
        """Wait until the server wakes the child, or time is over. Returns `False` when the server has ended."""
        ready, _, _ = select.select([sys.stdin], [], [], seconds)
        return not ready or bool(os.read(sys.stdin.fileno(), _WAKINGS_AT_ONCE))
