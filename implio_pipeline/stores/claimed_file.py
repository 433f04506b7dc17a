"""A file that this process has claimed, and how such files are opened, read, ended and written beside."""

import errno
import io
import os
import pwd
import secrets
import stat
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import chain
from pathlib import Path
from typing import Self

from implio_pipeline.domain.instants import FIRST_BELIEVED
from implio_pipeline.stores.durable import make_folder, sync_folder

_OPEN = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
_EPOCH, _MICROSECOND = datetime(1970, 1, 1, tzinfo=UTC), timedelta(microseconds=1)
OPEN_FOLDER = os.O_RDONLY | os.O_NOFOLLOW | os.O_DIRECTORY | os.O_CLOEXEC


@dataclass(frozen=True, kw_only=True, slots=True)
class OpenFile:
    """A plain file as it was opened."""

    fd: int
    size_bytes: int
    modified_at: datetime
    """When it was last written to, by its own date; never later than now."""
    opened_at: datetime
    owner: str
    """The machine's name for who owns the file; its number where there is no name."""


class ClaimedFile:
    """A file that this process has for itself; leaving the context without an end puts it back."""

    def __init__(self, file: OpenFile, path: Path, *, home: Path, name: str, suffix: str) -> None:
        self._fd = file.fd
        self._path = path
        self._home = home
        self._is_ended = False
        self._as_claimed = _written(file.fd)
        self.size_bytes = file.size_bytes
        self.modified_at = file.modified_at
        self.claimed_at = file.opened_at
        self.mark = mark_of(file.fd)
        self.owner = file.owner
        self.name = name
        """What it was called in the folder; a left-over file has lost its name."""
        self.claimed_name = path.name
        self.suffix = suffix

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.release()

    def arrived_at(self, *, first_at: datetime = FIRST_BELIEVED) -> datetime:
        """Return the file's own date, or when it was claimed where that date cannot be.

        Archives, copies and devices without a clock date files 1970, 1980 or years before they reached us. A date from
        before anything can have arrived, or one to come, is no instant of arrival.
        """
        return self.modified_at if first_at <= self.modified_at < self.claimed_at else self.claimed_at

    def open(self) -> io.BufferedReader:
        """Return a reader that begins at the start and leaves the claim alone."""
        return io.BufferedReader(_Reader(self._fd), 1 << 20)

    def has_changed(self) -> bool:
        """Tell whether somebody wrote to the file after it was claimed."""
        return _written(self._fd) != self._as_claimed

    def remove(self) -> None:
        """Unlink the file for good."""
        self._end(self._path.unlink)

    def move(self, folder: Path) -> None:
        """Move the file into another folder, under its claimed name."""
        make_folder(folder)
        self._end(lambda: os.replace(self._path, folder / self._path.name))  # noqa: PTH105

    def release(self) -> None:
        """Put the file back where it lay; where its name is taken by now, under its claimed one."""
        self._end(self._put_back)

    def _put_back(self) -> None:
        for name in (self.name, self._path.name):
            # A link, unlike a rename, never replaces a file that has come meanwhile. Where there are no links, the
            # file stays among the claimed ones, free to be claimed.
            with suppress(OSError):
                os.link(self._path, self._home / name, follow_symlinks=False)
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
            os.close(self._fd)


class _Reader(io.RawIOBase):
    """Reads at its own place, so that readers of one descriptor do not disturb one another."""

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


def write_beside(folder: Path, name: str, content: bytes, *, others: Iterable[str] | None = None) -> None:
    """Write a small file of mode 0600 into a folder that others can write to: whole or not at all, through no link.

    Args:
        folder: Where.
        name: Of the file; what has the name is replaced.
        content: Of the file.
        others: When given, nothing is replaced: of `name` and these the first is taken that nothing has.

    Raises:
        OSError: the folder is a link or not there.
    """
    folder_fd = os.open(folder, OPEN_FOLDER)
    unfinished = f".{secrets.token_hex(8)}.tmp"
    try:
        with os.fdopen(_new(unfinished, folder_fd), "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        if others is not None:
            name = next(free for free in chain([name], others) if _is_reserved(free, folder_fd))
        os.rename(unfinished, name, src_dir_fd=folder_fd, dst_dir_fd=folder_fd)
        os.fsync(folder_fd)
    finally:
        os.close(folder_fd)


def _new(name: str, folder_fd: int) -> int:
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    return os.open(name, flags, 0o600, dir_fd=folder_fd)


def _is_reserved(name: str, folder_fd: int) -> bool:
    """Take a name that nothing has, by an empty file, so that no other process takes it too."""
    try:
        os.close(_new(name, folder_fd))
    except FileExistsError:
        return False
    return True


def open_plain(name: str, folder_fd: int, *, now: datetime) -> OpenFile | None:
    """Open a plain file; a link, a pipe, a device or a file that has gone is none."""
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
    modified_at = instant_of_ns(max(0, status.st_mtime_ns), latest=now)
    return OpenFile(
        fd=fd,
        size_bytes=status.st_size,
        modified_at=modified_at,
        opened_at=now,
        owner=_name_of(status.st_uid),
    )


def _name_of(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return f"uid {uid}"


def instant_of_ns(nanoseconds: int, *, latest: datetime | None = None) -> datetime:
    """Return a file's instant, cut to the microsecond as all are; not later than `latest`."""
    microseconds = nanoseconds // 1000
    if latest is not None:
        microseconds = min(microseconds, (latest - _EPOCH) // _MICROSECOND)
    return _EPOCH + timedelta(microseconds=microseconds)


def mark_of(fd: int) -> str:
    """Return what names a file wherever it is moved on its disk, until somebody writes to it; nothing personal."""
    status = os.fstat(fd)
    return f"{status.st_ino:x}-{status.st_size:x}-{status.st_mtime_ns:x}"


def _written(fd: int) -> tuple[int, int]:
    status = os.fstat(fd)
    return status.st_size, status.st_mtime_ns
