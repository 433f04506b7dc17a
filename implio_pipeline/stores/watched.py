"""A watched folder: which of its files are ready, and how one process makes one its own.

Other people write into the folder, so nothing in it is trusted: no link is followed, only plain files are opened,
and a file is left alone while somebody may still be writing it. A file is claimed by a lock on it and a rename out
of the folder; the lock of a process that died is free, and its file is offered again.
"""

import errno
import fcntl
import os
import secrets
import signal
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import NoReturn

from implio_pipeline.ports.clock import Clock
from implio_pipeline.stores.claimed_file import OPEN_FOLDER, ClaimedFile, OpenFile, instant_of_ns, mark_of, open_plain
from implio_pipeline.stores.durable import make_folder

CLAIMED = ".claimed"
_UNFINISHED = (".part", ".filepart", ".tmp", ".crdownload")
_AHEAD_SECONDS = 60
"""A file dated further ahead has a clock we cannot go by: the lease alone decides."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ReadyFile:
    """A file that may be claimed."""

    name: str
    modified_at: datetime
    arrived_at: datetime
    """When it came here or was last changed, by this machine's clock: its own date may be decades old."""
    mark: str
    """Names the file until somebody writes to it; see `mark_of`."""
    is_left_over: bool = False
    """Claimed by a process that died."""
    fault: OSError | None = None
    """Why the file could not even be looked at; its dates are not known then."""


@dataclass(frozen=True, kw_only=True, slots=True)
class UnclaimedFile:
    """A file that is there and cannot be claimed: whoever enters it is told why, so that it fails alone."""

    mark: str
    fault: OSError

    def __enter__(self) -> NoReturn:
        raise self.fault

    def __exit__(self, *_: object) -> None:
        """Nothing was claimed."""


class WatchedFolder:
    """One folder and the place its claimed files are moved to.

    Args:
        folder: What is watched.
        claimed: Where claimed files lie while they are worked on; on the same file system.
        suffixes: Kinds of file that are taken; all others are left alone.
        is_ignored: Tells which names are left alone although their suffix is known.
        clock: The present.
        settle_seconds: How long a file must not have been written to.
    """

    def __init__(
        self,
        folder: Path,
        claimed: Path,
        *,
        suffixes: Sequence[str],
        clock: Clock,
        settle_seconds: float,
        is_ignored: Callable[[str], bool] = lambda _: False,
    ) -> None:
        self.folder = folder
        self._claimed = claimed
        self._suffixes = tuple(sorted(suffixes, key=len, reverse=True))
        self._clock = clock
        self._settle_seconds = settle_seconds
        self._is_ignored = is_ignored

    def ready(self) -> Iterator[ReadyFile]:
        """Yield the files that can be claimed, listed lazily, left-over ones first; each that cannot be looked at too.

        Raises:
            OSError: a folder could not be listed.
        """
        for folder, is_left_over in ((self._claimed, True), (self.folder, False)):
            with _opened_folder(folder) as folder_fd:
                for name, inode, is_taken in self._entries(folder_fd):
                    if not is_taken:
                        continue
                    try:
                        ready = self._ready_one(name, folder_fd, is_left_over=is_left_over)
                    except OSError as error:
                        ready = self._unreadable(name, inode, error, is_left_over=is_left_over)
                    if ready:
                        yield ready

    def _unreadable(self, name: str, inode: int, fault: OSError, *, is_left_over: bool) -> ReadyFile:
        now = self._clock.now()
        return ReadyFile(
            name=name, modified_at=now, arrived_at=now, mark=f"{inode:x}", is_left_over=is_left_over, fault=fault
        )

    def _ready_one(self, name: str, folder_fd: int | None, *, is_left_over: bool) -> ReadyFile | None:
        file = None if folder_fd is None else open_plain(name, folder_fd, now=self._clock.now())
        if file is None:
            return None
        try:
            # The lock of a left-over file is let go when the file is closed.
            is_ready = _is_locked_by_us(file) if is_left_over else self._is_settled(file)
            arrived_at = instant_of_ns(os.fstat(file.fd).st_ctime_ns)
            mark = mark_of(file.fd)
        finally:
            os.close(file.fd)
        if not is_ready:
            return None
        return ReadyFile(
            name=name, modified_at=file.modified_at, arrived_at=arrived_at, mark=mark, is_left_over=is_left_over
        )

    def waiting_since(self, *, but: Collection[str] = ()) -> datetime | None:
        """Return when the oldest of the files that can be claimed came here, or `None` when there is none.

        Files whose marks are in `but` do not count.
        """
        return min((ready.arrived_at for ready in self.ready() if ready.mark not in but), default=None)

    def claim(self, *, but: Collection[str] = ()) -> Iterator[ClaimedFile | UnclaimedFile]:
        """Yield the files that are ready, each claimed; one that another process takes first is passed over.

        A name is claimed once: a file that was put back would otherwise be listed again, without end. Files whose marks
        are in `but`, at the moment they are met, are left alone.
        """
        make_folder(self._claimed)
        names: set[str] = set()
        for ready in self.ready():
            if ready.name in names or ready.mark in but:
                continue
            names.add(ready.name)
            try:
                claimed = self._claimed_one(ready)
            except OSError as error:
                yield UnclaimedFile(mark=ready.mark, fault=error)
                continue
            if claimed is not None:
                yield claimed

    def _claimed_one(self, ready: ReadyFile) -> ClaimedFile | None:
        if ready.fault is not None:
            raise ready.fault
        with (
            _opened_folder(self._claimed if ready.is_left_over else self.folder) as folder_fd,
            _opened_folder(self._claimed) as claimed_fd,
        ):
            if folder_fd is None or claimed_fd is None:
                return None
            file = open_plain(ready.name, folder_fd, now=self._clock.now())
            if file is None:
                return None
            suffix = self._suffix(ready.name)
            name = ready.name if ready.is_left_over else f"{secrets.token_hex(16)}{suffix}"
            try:
                is_ours = _is_ours(file, ready, name, folder_fd, claimed_fd)
            except OSError:
                os.close(file.fd)
                raise
            if not is_ours:
                os.close(file.fd)
                return None
        return ClaimedFile(file, self._claimed / name, home=self.folder, name=ready.name, suffix=suffix)

    def passed_over(self) -> Iterator[str]:
        """Yield the names of what is never taken: of another kind, no plain file, or not to be read by us."""
        with _opened_folder(self.folder) as folder_fd:
            for name, _, is_taken in self._entries(folder_fd):
                if not (is_taken and os.access(name, os.R_OK, dir_fd=folder_fd)):
                    yield name

    def _entries(self, folder_fd: int | None) -> Iterator[tuple[str, int, bool]]:
        """Yield names that are meant for us with their inodes, and whether they are of a kind we take."""
        if folder_fd is None:
            return
        with os.scandir(folder_fd) as entries:
            for entry in entries:
                if not (is_hidden(entry.name) or self._is_ignored(entry.name)):
                    is_taken = bool(self._suffix(entry.name)) and entry.is_file(follow_symlinks=False)
                    yield entry.name, entry.inode(), is_taken

    def _suffix(self, name: str) -> str:
        return next((suffix for suffix in self._suffixes if name.lower().endswith(suffix)), "")

    def _is_settled(self, file: OpenFile) -> bool:
        age = self._clock.now().timestamp() - os.fstat(file.fd).st_mtime
        return (age >= self._settle_seconds or age < -_AHEAD_SECONDS) and not has_writer(file)


_OF_SYSTEMS = frozenset({"thumbs.db", "desktop.ini"})
"""Files that file managers leave behind; `~$` begins the lock files of an office suite."""


def is_hidden(name: str) -> bool:
    """Tell whether a name says that its file is nobody's business, or not whole yet."""
    return name.startswith((".", "~$")) or name.lower() in _OF_SYSTEMS or name.lower().endswith(_UNFINISHED)


@contextmanager
def _opened_folder(folder: Path) -> Iterator[int | None]:
    """Open a folder unless it is missing or a link."""
    try:
        fd = os.open(folder, OPEN_FOLDER)
    except OSError as error:
        if error.errno not in (errno.ENOENT, errno.ELOOP, errno.ENOTDIR):
            raise
        yield None
        return
    try:
        yield fd
    finally:
        os.close(fd)


def _is_ours(file: OpenFile, ready: ReadyFile, name: str, folder_fd: int, claimed_fd: int) -> bool:
    # 1. Lock, so that whoever lists the claimed files sees this one as taken.
    if not _is_locked_by_us(file):
        return False
    try:
        # 2. Rename it out of the folder, unless it lies there already.
        if not ready.is_left_over:
            os.rename(ready.name, name, src_dir_fd=folder_fd, dst_dir_fd=claimed_fd)
        # 3. What was renamed must be what was locked; anything else waits as a left-over file.
        found = os.stat(name, dir_fd=claimed_fd, follow_symlinks=False)
    except FileNotFoundError:
        return False
    return os.path.samestat(found, os.fstat(file.fd))


def _is_locked_by_us(file: OpenFile) -> bool:
    try:
        fcntl.flock(file.fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def has_writer(file: OpenFile) -> bool:
    """Tell whether a process has the file open for writing: a read lease is refused then.

    Where leases are not to be had (another owner, a network file system), the settling time decides alone.
    """
    if not hasattr(fcntl, "F_SETLEASE"):
        return False
    try:
        # Who opens the file for writing while we hold the lease sends us a signal: one that is ignored by default.
        fcntl.fcntl(file.fd, fcntl.F_SETSIG, signal.SIGURG)
        fcntl.fcntl(file.fd, fcntl.F_SETLEASE, fcntl.F_RDLCK)
        fcntl.fcntl(file.fd, fcntl.F_SETLEASE, fcntl.F_UNLCK)
    except OSError as error:
        return error.errno in (errno.EAGAIN, errno.EWOULDBLOCK)
    return False
