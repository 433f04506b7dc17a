"""A process that does one kind of work, question by question: both its sides.

`multiprocessing` would import the program that runs us once more in every process, Dagster with it, and copy what
comes back twice; ours import what they need for the work and nothing else.
"""

import gc
import os
import pickle
import signal
import socket
import subprocess
import sys
from collections.abc import Callable
from contextlib import suppress
from struct import Struct
from typing import Any

_END_SECONDS = 5.0
_HEAD = Struct("<BQQQ")
"""Whether a file comes along, and the lengths of what follows: a pickled value and two texts."""

_NO_LINEAR_ALGEBRA = {"OPENBLAS_NUM_THREADS": "1"}
"""Otherwise threads that come with numpy spend 0.13 s of processor waiting for work that never comes (measured)."""

Text = bytes | bytearray | memoryview
Answer = tuple[Any, Text, Text]
"""Anything small, and two texts of any size."""


class WorkerProcess:
    """One process, asked and heard over a socket that nobody else has.

    Args:
        module: What it runs; the module calls `work`.
    """

    def __init__(self, module: str) -> None:
        self._socket, theirs = socket.socketpair()
        with theirs:
            handle = theirs.fileno()
            self._process = subprocess.Popen(  # noqa: S603  # ourselves, and a number
                [sys.executable, "-P", "-m", module, str(handle)],
                pass_fds=(handle,),
                stdin=subprocess.DEVNULL,
                env=os.environ | _NO_LINEAR_ALGEBRA,
            )

    def ask(self, *question: object, file: int | None = None) -> Answer:
        """Return the answer; a failure over there is raised here.

        Args:
            question: What the process's function takes.
            file: A descriptor to hand over; it comes last in the question, open until that is answered.

        Raises:
            EOFError: the process has ended.
            OSError: the same.
        """
        _send(self._socket, question, file=file)
        told, first, second, _ = _received(self._socket)
        if isinstance(told, Exception):
            raise told
        return told, first, second

    def end(self) -> None:
        """Close the socket, upon which the process ends."""
        self._socket.close()
        try:
            self._process.wait(_END_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()


def work(act: Callable[..., Answer]) -> None:
    """Be such a process: answer each question until whoever started it hangs up.

    Parsing makes no cycles, so it goes without the cycle collector: a quarter faster.
    """
    gc.disable()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # whoever asked decides when it ends
    with socket.socket(fileno=int(sys.argv[1])) as asked, suppress(EOFError, ConnectionError):
        answer_all(asked, act)


def answer_all(asked: socket.socket, act: Callable[..., Answer]) -> None:
    """Answer each question with a failure, or with something small and two texts.

    Raises:
        EOFError: whoever asked has hung up.
    """
    while True:
        question, _, _, file = _received(asked)
        try:
            told, first, second = act(*question) if file is None else act(*question, file)
        except Exception as failure:  # noqa: BLE001  # raised again by whoever asked
            told, first, second = failure, b"", b""
        finally:
            if file is not None:
                os.close(file)
        _send(asked, told, first, second)


def _send(to: socket.socket, value: object, first: Text = b"", second: Text = b"", *, file: int | None = None) -> None:
    pickled = pickle.dumps(value, pickle.HIGHEST_PROTOCOL)
    head = _HEAD.pack(file is not None, len(pickled), len(first), len(second))
    if file is None:
        to.sendall(head)
    else:
        to.sendall(head[socket.send_fds(to, [head], [file]) :])
    for text in (pickled, first, second):
        to.sendall(text)


def _received(asked: socket.socket) -> tuple[Any, bytearray, bytearray, int | None]:
    head, files, _, _ = socket.recv_fds(asked, _HEAD.size, 1)
    if not head:
        raise EOFError("the other side has hung up")
    has_file, *lengths = _HEAD.unpack(head + _exactly(asked, _HEAD.size - len(head)))
    value, first, second = (_exactly(asked, length) for length in lengths)
    return pickle.loads(value), first, second, files[0] if has_file else None  # noqa: S301  # of our own process


def _exactly(asked: socket.socket, length: int) -> bytearray:
    """Return the next bytes, received into their place, so that nothing is copied once more."""
    text = bytearray(length)
    left = memoryview(text)
    while left:
        count = asked.recv_into(left)
        if not count:
            raise EOFError("the other side has hung up")
        left = left[count:]
    return text
