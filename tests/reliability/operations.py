"""Every operation that changes a file or the catalog, counted; at a chosen one the process kills itself.

Three hooks are needed, because none sees every operation: an audit hook (open for writing, rename, link, unlink, mkdir,
rmdir, truncate), wrappers around `os.write` and `os.fsync`, and SQLite's trace of each statement (on PostgreSQL,
SQLAlchemy's events). A process dies *before* an operation takes effect. A write is two operations; at the second, half
of the bytes are written. Reads are not counted: dying at one is the same as dying after the write before it.

Not seen: single writes inside C code (SQLite's log, Python's buffered files). Kills at random instants reach those.
"""

import os
import signal
import sys
from dataclasses import dataclass, field
from threading import Lock
from typing import Any

from sqlalchemy import Engine, event
from sqlalchemy.pool import Pool
from support.catalogs import ON_POSTGRESQL

_CHANGES = {
    "os.rename": "rename",
    "os.link": "link",
    "os.symlink": "symlink",
    "os.remove": "unlink",
    "os.mkdir": "mkdir",
    "os.rmdir": "rmdir",
    "os.truncate": "truncate",
    "os.utime": "utime",
}
_FOR_WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC
_WRITING_SQL = ("BEGIN IMMEDIATE", "INSERT", "UPDATE", "DELETE", "COMMIT", "CREATE", "DROP", "PRAGMA WAL_CHECKPOINT")


@dataclass(kw_only=True)
class Operations:
    """The process's operations, from `begin` on."""

    kill_at: int = 0
    """The operation to die at, from 1; 0 for none."""
    names: list[str] = field(default_factory=list)
    _is_counting: bool = False
    _lock: Any = field(default_factory=Lock)
    _inside: bool = False

    def install(self) -> None:
        """Install the hooks. They cannot be removed, so this is for a process that ends soon."""
        sys.addaudithook(self._heard)
        if ON_POSTGRESQL:
            event.listen(Engine, "before_cursor_execute", lambda _, __, statement, *___: self._sql(statement))
            event.listen(Engine, "commit", lambda _: self._sql("COMMIT"))
        else:
            event.listen(Pool, "connect", lambda connection, _: connection.set_trace_callback(self._sql))
        write, fsync = os.write, os.fsync

        def counted_write(fd: int, content: Any) -> int:
            self._step("write")
            if self._step("write torn", is_last=True):
                write(fd, memoryview(content)[: len(content) // 2])
                self._die()
            return write(fd, content)

        def counted_fsync(fd: int) -> None:
            self._step("fsync")
            fsync(fd)

        os.write, os.fsync = counted_write, counted_fsync  # type: ignore[assignment]

    def begin(self) -> None:
        self._is_counting = True

    def end(self) -> None:
        self._is_counting = False

    def _heard(self, name: str, arguments: tuple[Any, ...]) -> None:
        if not self._is_counting:
            return
        if name in _CHANGES:
            self._step(_CHANGES[name])
        elif name == "open" and isinstance(arguments[2], int) and arguments[2] & _FOR_WRITING:
            self._step("open for writing")

    def _sql(self, statement: str) -> None:
        words = statement.lstrip()[:24].upper()
        if self._is_counting and words.startswith(_WRITING_SQL):
            self._step(f"sql {' '.join(words.split()[:2])}")

    def _step(self, name: str, *, is_last: bool = False) -> bool:
        """Count the operation. If it is the chosen one, die here, or tell the caller to die."""
        if not self._is_counting:
            return False
        with self._lock:
            self.names.append(name)
            is_here = len(self.names) == self.kill_at
        if is_here and not is_last:
            self._die()
        return is_here

    @staticmethod
    def _die() -> None:
        os.kill(os.getpid(), signal.SIGKILL)
