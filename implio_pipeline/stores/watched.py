"""Watch a folder: find the files that are ready, and claim each of them for one process.

Rules:

* Others can write into the folder, so nothing in it is trusted: no link is followed, and only plain files are opened.
* A file is ready when it has not been written to for the settling time, and no process has it open for writing.
* To claim a file, a process locks it and then renames it into the folder of claimed files. If the process dies, the
  kernel frees the lock, and the next process takes the file from there.
* A file that cannot be examined, opened or claimed fails alone. The others are still yielded.
"""

import errno
import fcntl
import os
import secrets
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

from typing_extensions import override

from implio_pipeline.ports.claims import Claiming
from implio_pipeline.ports.clock import Clock
from implio_pipeline.stores.claimed_file import ClaimedFile, OpenFile, open_plain
from implio_pipeline.stores.durable import OPEN_FOLDER, make_folder
from implio_pipeline.stores.watched_place import ReadyFile, UnclaimedFile, WatchedPlace, is_hidden

CLAIMED = ".claimed"
_MAX_AHEAD_SECONDS = 60
"""A file with a later date comes from a clock that differs too much. Then only the lease tells whether it is ready."""


class WatchedFolder(WatchedPlace):
    """One folder, and the folder that its claimed files are moved to.

    Args:
        folder: The folder that is watched.
        claimed: The folder of claimed files, on the same file system.
        suffixes: Suffixes of the files that are taken. All other files are not touched.
        clock: The present.
        settle_seconds: How long a file must not have been written to.
        is_ignored: Returns whether a file is not touched although its suffix is one of `suffixes`.
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

    @override
    def ready(self) -> Iterator[ReadyFile]:
        # A file that cannot be examined is yielded with its fault.
        for folder, is_left_over in ((self._claimed, True), (self.folder, False)):
            with _opened_folder(folder) as folder_fd:
                for name, inode, is_taken in self._entries(folder_fd):
                    if folder_fd is None or not is_taken:
                        continue
                    try:
                        ready = self._look(name, folder_fd, is_left_over=is_left_over)
                    except OSError as error:
                        now, mark = self._clock.now(), f"{inode:x}"
                        ready = ReadyFile(
                            name=name,
                            modified_at=now,
                            arrived_at=now,
                            size_bytes=0,
                            mark=mark,
                            is_left_over=is_left_over,
                            fault=error,
                        )
                    if ready:
                        yield ready

    @override
    def claim(self, worker: Claiming, *, but: Collection[str] = ()) -> Iterator[ClaimedFile | UnclaimedFile]:
        make_folder(self._claimed)
        names: set[str] = set()
        for ready in self.ready():
            # A released file is listed again under its name. Each name is claimed once, or this would never end.
            if ready.name in names or ready.mark in but:
                continue
            names.add(ready.name)
            try:
                claimed = self._claim_one(ready)
            except OSError as error:
                yield UnclaimedFile(mark=ready.mark, fault=error)
                continue
            if claimed is not None:
                yield claimed

    @override
    def passed_over(self) -> Iterator[str]:
        # Files of other suffixes, those that are not plain, and those that we may not read.
        with _opened_folder(self.folder) as folder_fd:
            for name, _, is_taken in self._entries(folder_fd):
                if not (is_taken and os.access(name, os.R_OK, dir_fd=folder_fd)):
                    yield name

    @override
    def count_reports(self, suffix: str) -> int:
        if not self.folder.is_dir():
            return 0
        with os.scandir(self.folder) as entries:
            return sum(entry.name.endswith(suffix) for entry in entries)

    def _entries(self, folder_fd: int | None) -> Iterator[tuple[str, int, bool]]:
        """Yield the names that are not hidden or ignored, with their inodes and whether such files are taken."""
        if folder_fd is None:
            return
        with os.scandir(folder_fd) as entries:
            for entry in entries:
                if not (is_hidden(entry.name) or self._is_ignored(entry.name)):
                    is_taken = bool(self._suffix(entry.name)) and entry.is_file(follow_symlinks=False)
                    yield entry.name, entry.inode(), is_taken

    def _suffix(self, name: str) -> str:
        return next((suffix for suffix in self._suffixes if name.lower().endswith(suffix)), "")

    def _look(self, name: str, folder_fd: int, *, is_left_over: bool) -> ReadyFile | None:
        now = self._clock.now()
        file = open_plain(name, folder_fd, now=now)
        if file is None:
            return None
        try:
            if is_left_over:
                # If the lock of a claimed file is free, its process has died. Closing the file frees our own lock.
                is_ready = _lock(file)
            else:
                age = now.timestamp() - os.fstat(file.fd).st_mtime
                is_settled = age >= self._settle_seconds or age < -_MAX_AHEAD_SECONDS
                is_ready = is_settled and not file.has_writer()
        finally:
            os.close(file.fd)
        if not is_ready:
            return None
        return ReadyFile(
            name=name,
            modified_at=file.modified_at,
            arrived_at=file.changed_at,
            size_bytes=file.size_bytes,
            mark=file.mark,
            is_left_over=is_left_over,
        )

    def _claim_one(self, ready: ReadyFile) -> ClaimedFile | None:
        if ready.fault is not None:
            raise ready.fault
        with (
            _opened_folder(self._claimed if ready.is_left_over else self.folder) as folder_fd,
            _opened_folder(self._claimed) as claimed_fd,
            ExitStack() as unless_claimed,
        ):
            if folder_fd is None or claimed_fd is None:
                return None
            # 1. Open the file and lock it, so that other processes see that it is in use.
            file = open_plain(ready.name, folder_fd, now=self._clock.now())
            if file is None:
                return None
            unless_claimed.callback(os.close, file.fd)
            if not _lock(file):
                return None
            # 2. Move it to the claimed files, unless it is there already. The new name is random: the old name may
            #    contain a person's name, or may already be in use there.
            suffix = self._suffix(ready.name)
            name = ready.name if ready.is_left_over else f"{secrets.token_hex(16)}{suffix}"
            try:
                if not ready.is_left_over:
                    os.rename(ready.name, name, src_dir_fd=folder_fd, dst_dir_fd=claimed_fd)
                found = os.stat(name, dir_fd=claimed_fd, follow_symlinks=False)
            except FileNotFoundError:
                return None
            # 3. Check that the renamed file is the locked one. Somebody may have replaced it between the two steps. The
            #    other file then waits among the claimed files.
            if not os.path.samestat(found, os.fstat(file.fd)):
                return None
            unless_claimed.pop_all()
        return ClaimedFile(file, self._claimed / name, home=self.folder, name=ready.name, suffix=suffix)


@contextmanager
def _opened_folder(folder: Path) -> Iterator[int | None]:
    """Open a folder; give `None` if it is missing or a link."""
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


def _lock(file: OpenFile) -> bool:
    try:
        fcntl.flock(file.fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
