"""The storage of vault files: one local folder for each region.

Rules:

* A new file is durable, with its name, when `write` returns. A failed write leaves nothing behind.
* No file is ever overwritten, and no file is written through a link.
* Only plain files are read. Opening a pipe could block for ever.
"""

import errno
import os
import stat
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import BinaryIO

from implio_pipeline.domain.errors import FileMissing, RegionUnknown, StorageFull
from implio_pipeline.domain.faults import DISK_FULL_ERRNOS
from implio_pipeline.domain.ids import Region
from implio_pipeline.domain.replan import replan
from implio_pipeline.stores.durable import make_folder, sync_folder


class RegionFolders:
    """Local folders, one for each region. Paths are relative to the folder of the region."""

    def __init__(self, roots: Mapping[Region, Path]) -> None:
        self._roots = dict(roots)

    def write(self, region: Region, path: str, content: bytes | memoryview) -> None:
        """Write a new file, durable with its name on return.

        Raises:
            StorageFull: there is not enough room; nothing is left behind.
        """
        target = self._root(region) / path
        try:
            # 1. Make the folder and the file. Between the two calls an erasure may delete the folder with its last
            #    file. Then both are made again.
            handle = replan(
                lambda: _new_file(target), about="a folder", is_race=lambda error: isinstance(error, FileNotFoundError)
            )
            # 2. Write it. One `write` may take less than it is given (write(2): at most 2 GB, or until a signal).
            try:
                rest = memoryview(content)
                while rest:
                    rest = rest[os.write(handle, rest) :]
                os.fsync(handle)
            finally:
                os.close(handle)
            # 3. Make the name durable too, or a power cut could lose a file that the catalog lists.
            sync_folder(target.parent)
        except OSError as failure:
            # If the incomplete file cannot be deleted now, housekeeping deletes it.
            with suppress(OSError):
                self.delete(region, path)
            if failure.errno not in DISK_FULL_ERRNOS:
                raise
            raise StorageFull(f"no room for {len(content)} bytes in region {region}") from None

    def read(self, region: Region, path: str) -> bytes:
        """Return a file's bytes.

        Raises:
            FileMissing: the file does not exist.
        """
        try:
            with _opened(self._root(region) / path) as file:
                return file.read()
        except FileNotFoundError:
            raise FileMissing(f"{path} is not in the vault of region {region}") from None

    def location(self, region: Region, path: str) -> str:
        """Return where on disk a reader opens a file, after `fetch` was called for it. Nothing is looked up here."""
        return f"{self._root(region)}/{path}"

    def fetch(self, files: Iterable[tuple[Region, str]]) -> None:
        """Make files ready to be opened at their locations. Missing files raise no error here.

        Raises:
            OSError: a folder, a pipe or a device has a file's name.
        """
        for region, path in files:
            with suppress(FileNotFoundError):
                _check_plain(os.stat(self.location(region, path)).st_mode)  # noqa: PTH116 -- a tenth of the time

    def delete(self, region: Region, path: str) -> None:
        """Unlink a file, and its folders if they are empty now. Missing files are ignored."""
        target = self._root(region) / path
        target.unlink(missing_ok=True)
        for folder in (target.parent, target.parent.parent):
            try:
                folder.rmdir()  # fails where the folder holds other files
            except OSError:
                return

    def paths(self, region: Region) -> Iterator[str]:
        """Yield the path of every file below a region's root."""
        root = self._root(region)
        for folder, _, names in os.walk(root):
            for name in names:
                yield (Path(folder) / name).relative_to(root).as_posix()

    def tail(self, region: Region, path: str, *, size: int) -> tuple[int, bytes] | None:
        """Return a file's size in bytes and its last `size` bytes; `None` when it does not exist."""
        try:
            with _opened(self._root(region) / path) as file:
                size_bytes = file.seek(0, os.SEEK_END)
                file.seek(max(0, size_bytes - size))
                return size_bytes, file.read(size)
        except FileNotFoundError:
            return None

    def written_at(self, region: Region, path: str) -> datetime | None:
        """Return when a file was last written; `None` when it does not exist."""
        try:
            return datetime.fromtimestamp((self._root(region) / path).lstat().st_mtime, UTC)
        except FileNotFoundError:
            return None

    def _root(self, region: Region) -> Path:
        try:
            return self._roots[region]
        except KeyError:
            raise RegionUnknown(f"no storage root is configured for region {region}") from None


def _opened(target: Path) -> BinaryIO:
    """Open a plain file for reading.

    Raises:
        FileNotFoundError: the file does not exist.
        OSError: it is not a plain file.
    """
    # Without `O_NONBLOCK`, opening a pipe would wait for a writer for ever.
    fd = os.open(target, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        _check_plain(os.fstat(fd).st_mode)
        return os.fdopen(fd, "rb")
    except BaseException:
        os.close(fd)
        raise


def _check_plain(mode: int) -> None:
    if not stat.S_ISREG(mode):
        raise OSError(errno.EINVAL, "not a plain file")


def _new_file(target: Path) -> int:
    make_folder(target.parent)
    return os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
