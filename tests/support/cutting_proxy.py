"""A TCP proxy before a server that loses connections: PostgreSQL's at a chosen COMMIT, or any at random.

At a commit the client never learns which of the two happened: the server was told to commit and has done so, or it was
never told. At random it does what a network that loses packets looks like above TCP: octets come late and in small
pieces, nothing comes for seconds, and a connection ends in the middle of a message.
"""

import socket
import struct
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from enum import Enum
from random import Random
from threading import Lock, Thread

_COMMIT = b"Q" + struct.pack("!I", 4 + len(b"COMMIT\0")) + b"COMMIT\0"
"""The message of the protocol, as psycopg sends it."""
_SOME = 1 << 16
_CUT, _STALLED, _LATE = 0.005, 0.012, 0.3
"""How often a message is cut, stalled, or late, while the network is bad."""


class Lost(Enum):
    """What is lost of a commit."""

    COMMAND = "the command"
    ANSWER = "the answer"


class CuttingProxy:
    """The proxy. It counts commits from `begin` on.

    Args:
        port: The server's port on this machine.
    """

    def __init__(self, port: int) -> None:
        self._server = ("127.0.0.1", port)
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=64)
        self._lock = Lock()
        self.commits = self._at = 0
        self._lost = Lost.ANSWER
        self.is_cut = False
        self._bad: Random | None = None
        self.cuts = self.stalls = 0
        """What a bad network did."""
        self.port: int = self._listener.getsockname()[1]
        Thread(target=self._accept, daemon=True).start()

    def begin(self, *, at: int, lost: Lost) -> None:
        """Cut the connection of the `at`-th commit from now on; 0 for none."""
        with self._lock:
            self.commits, self._at, self._lost, self.is_cut = 0, at, lost, False

    def worsen(self, seed: int) -> None:
        """Lose packets from now on."""
        with self._lock:
            self._bad = Random(seed)  # noqa: S311

    def heal(self) -> None:
        """Lose nothing from now on."""
        with self._lock:
            self._bad = None

    def close(self) -> None:
        self._listener.close()

    def _accept(self) -> None:
        with suppress(OSError):  # it was closed
            while True:
                client, _ = self._listener.accept()
                server = socket.create_connection(self._server)
                Thread(target=self._forward, args=(client, server), daemon=True).start()
                Thread(target=self._back, args=(server, client), daemon=True).start()

    def _forward(self, client: socket.socket, server: socket.socket) -> None:
        with _ending(client, server), suppress(OSError):
            while some := client.recv(_SOME):
                lost = self._lost_here() if some.endswith(_COMMIT) else None
                if lost is None:
                    self._pass_on(some, server)
                    continue
                # 1. Nothing reaches the client from now on.
                _shut(client)
                if lost is Lost.ANSWER:
                    # 2. The server commits, and ends when it has read that its client is gone.
                    server.sendall(some)
                    server.shutdown(socket.SHUT_WR)
                    while server.recv(_SOME):
                        pass
                return

    def _back(self, server: socket.socket, client: socket.socket) -> None:
        with suppress(OSError):
            while some := server.recv(_SOME):
                self._pass_on(some, client)
        _shut(client)
        _shut(server)

    def _pass_on(self, some: bytes, to: socket.socket) -> None:
        """Send what came, as well as the network can.

        Raises:
            OSError: the connection is cut.
        """
        with self._lock:
            bad = self._bad
            fate, where = (1.0, 0) if bad is None else (bad.random(), bad.randrange(len(some)))
            self.cuts += fate < _CUT
            self.stalls += _CUT <= fate < _STALLED
        if fate < _LATE:
            time.sleep(1.5 if _CUT <= fate < _STALLED else fate / 10)
            to.sendall(some[:where])
            if fate < _CUT:
                raise ConnectionResetError
            some = some[where:]
        to.sendall(some)

    def _lost_here(self) -> Lost | None:
        with self._lock:
            self.commits += 1
            if self.commits != self._at:
                return None
            self.is_cut = True
            return self._lost


@contextmanager
def _ending(*sockets: socket.socket) -> Iterator[None]:
    try:
        yield
    finally:
        for each in sockets:
            _shut(each)
            each.close()


def _shut(each: socket.socket) -> None:
    with suppress(OSError):
        each.shutdown(socket.SHUT_RDWR)
