"""A child process that answers questions: the caller's side and the child's side.

The rules:

* A child holds no key. It gets what a question brings, and nothing else of the home.
* A child imports what its work needs. `multiprocessing` would import the caller's main program, Dagster included, into
  every child, and copy large answers twice. loky needs 14 ms where this needs 7 (a post of 100 items), cannot hand over
  an open file, and discards its whole pool when one child is killed (decision 0005).
* A killed child is replaced, and its question is asked once more. A question that kills two children fails: asked in
  the caller's own process, it would kill that one too.
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

from implio_pipeline.no_pandas import forbid_pandas

_END_SECONDS = 5.0
_HEAD = Struct("<BQQQ")
"""Whether a file comes along, then the lengths of a pickled value and of two byte strings."""

_NO_LINEAR_ALGEBRA = {"OPENBLAS_NUM_THREADS": "1"}
"""Without this, numpy's threads spend 0.13 s of processor time waiting for work that never comes (measured)."""

Text = bytes | bytearray | memoryview
Answer = tuple[Any, Text, Text]
"""One small value of any type, and two byte strings of any size."""


class WorkerProcess:
    """One child process, asked over a socket pair. It starts at once.

    One thread uses it at a time.

    Args:
        module: What the child runs. The module calls `answer_questions`.
    """

    def __init__(self, module: str) -> None:
        self._module = module
        self._start()

    def ask(self, *question: object, file: int | None = None) -> Answer:
        """Return the answer. An exception in the child is raised here.

        Args:
            question: The arguments of the child's function.
            file: A file descriptor to hand over. It is the function's last argument, and the child closes it.

        Raises:
            EOFError: the child was killed, and so was the one that replaced it.
            OSError: the same.
        """
        for may_try_again in (True, False):
            try:
                _send(self._socket, question, file=file)
                told, first, second, _ = _received(self._socket)
                break
            except (EOFError, OSError):
                self._restart()
                if not may_try_again:
                    raise
        if isinstance(told, Exception):
            raise told
        return told, first, second

    def end(self) -> None:
        """Close the socket and wait for the child to end."""
        self._socket.close()
        try:
            self._process.wait(_END_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def _start(self) -> None:
        self._socket, theirs = socket.socketpair()
        with theirs:
            handle = theirs.fileno()
            self._process = subprocess.Popen(  # noqa: S603  # our own interpreter, and a number
                [sys.executable, "-P", "-m", self._module, str(handle)],
                pass_fds=(handle,),
                stdin=subprocess.DEVNULL,
                env=os.environ | _NO_LINEAR_ALGEBRA,
            )

    def _restart(self) -> None:
        self.end()
        self._start()


def answer_questions(act: Callable[..., Answer]) -> None:
    """Answer every question with `act`, in the child, until the caller closes the socket."""
    forbid_pandas()
    gc.disable()  # parsing makes no reference cycles: without the collector it is a quarter faster (measured)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the caller too, which then ends its children
    with socket.socket(fileno=int(sys.argv[1])) as asked, suppress(EOFError, ConnectionError):
        while True:
            question, _, _, file = _received(asked)
            try:
                told, first, second = act(*question) if file is None else act(*question, file)
            except Exception as failure:  # noqa: BLE001  # the caller raises it again
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
        raise EOFError("the other side closed the socket")
    has_file, *lengths = _HEAD.unpack(head + _exactly(asked, _HEAD.size - len(head)))
    value, first, second = (_exactly(asked, length) for length in lengths)
    return pickle.loads(value), first, second, files[0] if has_file else None  # noqa: S301  # of our own process


def _exactly(asked: socket.socket, length: int) -> bytearray:
    """Return the next bytes. They are received into one buffer, which saves a copy."""
    text = bytearray(length)
    left = memoryview(text)
    while left:
        count = asked.recv_into(left)
        if not count:
            raise EOFError("the other side closed the socket")
        left = left[count:]
    return text
