"""Open and claim files in folders that others can write to.

Rules:

* No link is followed, and only plain files are opened. A link could lead to one of our own files, and a pipe would
  block.
* Size, dates and content are read through the open descriptor. A moment later the name may lead to another file.
* A claimed file is removed, moved or released exactly once. Leaving its context without one of these releases it.
"""

import errno
import fcntl
import io
import os
import pwd
import signal
import stat
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from typing_extensions import override

from implio_pipeline.domain.claims import Claim
from implio_pipeline.stores.durable import make_folder, sync_folder, write_beside
from implio_pipeline.stores.watched_place import TakenFile

_OPEN = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
_EPOCH, _MICROSECOND = datetime(1970, 1, 1, tzinfo=UTC), timedelta(microseconds=1)


@dataclass(frozen=True, kw_only=True, slots=True)
class OpenFile:
    """A plain file, and its facts when it was opened."""

    fd: int
    size_bytes: int
    modified_at: datetime
    """The file's own date of its last change (mtime), cut to `opened_at`."""
    changed_at: datetime
    """When it arrived or was last changed by this machine's clock (ctime). The file's own date may be decades old."""
    opened_at: datetime
    mark: str
    """Identifies the file until somebody writes to it, also after a move. It has no personal data."""
    owner: str
    """The owner's name on this machine, or `uid` and a number."""

    def has_writer(self) -> bool:
        """Return whether a process has the file open for writing. `False` where the system cannot tell."""
        # A read lease is refused while somebody has the file open for writing (fcntl(2)). Files of other owners and
        # network file systems have no leases. For them only the settling time protects a file that is being written.
        if not hasattr(fcntl, "F_SETLEASE"):
            return False
        try:
            # If somebody opens the file for writing while we hold the lease, the kernel sends us a signal. The default
            # signal, SIGIO, would end the process. SIGURG is ignored by default.
            fcntl.fcntl(self.fd, fcntl.F_SETSIG, signal.SIGURG)
            fcntl.fcntl(self.fd, fcntl.F_SETLEASE, fcntl.F_RDLCK)
            fcntl.fcntl(self.fd, fcntl.F_SETLEASE, fcntl.F_UNLCK)
        except OSError as error:
            return error.errno in (errno.EAGAIN, errno.EWOULDBLOCK)
        return False


def open_plain(name: str, folder_fd: int, *, now: datetime) -> OpenFile | None:
    """Open a plain file of a folder; return `None` for a link, a pipe, a device or a file that is gone.

    Raises:
        OSError: the file could not be opened for another reason.
    """
    try:
        fd = os.open(name, _OPEN, dir_fd=folder_fd)
    except OSError as error:
        if error.errno in (errno.ENOENT, errno.ELOOP, errno.ENXIO, errno.EACCES, errno.EPERM):
            return None
        raise
    status = os.fstat(fd)
    if not stat.S_ISREG(status.st_mode):
        os.close(fd)
        return None
    return OpenFile(
        fd=fd,
        size_bytes=status.st_size,
        modified_at=_instant(max(0, status.st_mtime_ns), latest=now),
        changed_at=_instant(status.st_ctime_ns),
        opened_at=now,
        mark=_mark_of(fd),
        owner=_name_of(status.st_uid),
    )


def _mark_of(fd: int) -> str:
    status = os.fstat(fd)
    return f"{status.st_ino:x}-{status.st_size:x}-{status.st_mtime_ns:x}"


class ClaimedFile(TakenFile):
    """A file in a folder that only this process may use.

    Args:
        file: The file, locked by this process.
        path: Its path among the claimed files.
        home: The folder it was claimed from.
        name: Its name in that folder. For a file that a dead process had claimed, that name is lost, and this is its
            claimed name.
        suffix: Its suffix, which says its format.
    """

    def __init__(self, file: OpenFile, path: Path, *, home: Path, name: str, suffix: str) -> None:
        self._fd = file.fd
        self._path = path
        self._is_ended = False
        self._as_claimed = _written(file.fd)
        self.size_bytes = file.size_bytes
        self.modified_at = file.modified_at
        self.claimed_at = file.opened_at
        self.mark = file.mark
        self.owner = file.owner
        self.claims: tuple[Claim, ...] = ()
        self.home = home
        self.name = name
        self.claimed_name = path.name
        self.suffix = suffix

    @override
    def open(self) -> io.BufferedReader:
        return reader_of(self._fd)

    @override
    def has_changed(self) -> bool:
        return _written(self._fd) != self._as_claimed

    @override
    def report(self, name: str, content: bytes, *, others: Iterable[str] | None = None, below: str = "") -> None:
        folder = self.home / below
        if below:
            # Others can write to the folder. A link or file with the name of the reports' folder is removed.
            if folder.is_symlink() or folder.is_file():
                folder.unlink()
            with suppress(FileExistsError):
                folder.mkdir(mode=0o700)
        write_beside(folder, name, content, others=others)

    @override
    def remove(self) -> None:
        self._end(self._path.unlink)

    @override
    def move(self, folder: Path) -> None:
        make_folder(folder)
        self._end(lambda: os.replace(self._path, folder / self._path.name))  # noqa: PTH105

    @override
    def release(self) -> None:
        # If another file has its name now, it gets its claimed name.
        self._end(self._return)

    def _return(self) -> None:
        for name in (self.name, self._path.name):
            # A link, unlike a rename, never replaces a file that arrived after the claim. On a file system without
            # links the file stays in the folder of claimed files, where the next process takes it.
            with suppress(OSError):
                os.link(self._path, self.home / name, follow_symlinks=False)
                self._path.unlink()
                return

    def _end(self, act: Callable[[], object]) -> None:
        if self._is_ended:
            return
        self._is_ended = True
        try:
            act()
            sync_folder(self._path.parent)
        finally:
            os.close(self._fd)  # ends the lock


def reader_of(fd: int) -> io.BufferedReader:
    """Return a reader from the start of an open file. Closing it leaves the descriptor open."""
    return io.BufferedReader(_Reader(fd), 1 << 20)


class _Reader(io.RawIOBase):
    """Keeps its own position, so that several readers can share one descriptor."""

    def __init__(self, fd: int) -> None:
        self._fd = fd
        self._at = 0

    def readable(self) -> bool:
        return True

    def fileno(self) -> int:
        return self._fd

    def tell(self) -> int:
        return self._at

    def readinto(self, buffer: "memoryview") -> int:  # type: ignore[override]
        count = os.preadv(self._fd, [buffer], self._at)
        self._at += count
        return count


def _name_of(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return f"uid {uid}"


def _instant(nanoseconds: int, *, latest: datetime | None = None) -> datetime:
    """Return a file's instant, cut to the microsecond; not later than `latest`."""
    microseconds = nanoseconds // 1000
    if latest is not None:  # as integers: a file may be dated beyond the year 9999, which `datetime` cannot hold
        microseconds = min(microseconds, (latest - _EPOCH) // _MICROSECOND)
    return _EPOCH + timedelta(microseconds=microseconds)


def _written(fd: int) -> tuple[int, int]:
    status = os.fstat(fd)
    return status.st_size, status.st_mtime_ns
