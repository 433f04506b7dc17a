"""A process that does one kind of work, question by question: both its sides.

`multiprocessing` would import the program that runs us once more in every process, Dagster with it, and copy what
comes back twice; ours import what they need for the work and nothing else.
"""

import gc
import signal
import socket
import subprocess
import sys
from collections.abc import Callable
from contextlib import suppress
from multiprocessing.connection import Connection
from typing import Any

_END_SECONDS = 5.0

Answer = tuple[Any, bytes, bytes]
"""Anything small, and two texts of any size."""


class WorkerProcess:
    """One process, asked and heard over a socket that nobody else has.

    Args:
        module: What it runs; the module calls `work`.
    """

    def __init__(self, module: str) -> None:
        ours, theirs = socket.socketpair()
        with theirs:
            handle = theirs.fileno()
            self._process = subprocess.Popen(  # noqa: S603  # ourselves, and a number
                [sys.executable, "-P", "-m", module, str(handle)], pass_fds=(handle,), stdin=subprocess.DEVNULL
            )
        self._connection: Connection[Any, Any] = Connection(ours.detach())

    def ask(self, *question: object) -> Answer:
        """Return the answer; a failure over there is raised here.

        Raises:
            EOFError: the process has ended.
        """
        self._connection.send(question)
        told = self._connection.recv()
        if isinstance(told, Exception):
            raise told
        return told, self._connection.recv_bytes(), self._connection.recv_bytes()

    def end(self) -> None:
        """Close the socket, upon which the process ends."""
        self._connection.close()
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
    with Connection(int(sys.argv[1])) as connection, suppress(EOFError, ConnectionError):
        answer_all(connection, act)


def answer_all(connection: "Connection[Any, Any]", act: Callable[..., Answer]) -> None:
    """Answer each question with a failure, or with something small and two texts.

    Raises:
        EOFError: whoever asked has hung up.
    """
    while True:
        question = connection.recv()
        try:
            told, first, second = act(*question)
        except Exception as failure:  # noqa: BLE001  # raised again by whoever asked
            connection.send(failure)
            continue
        connection.send(told)
        connection.send_bytes(first)
        connection.send_bytes(second)
