"""Where vault files lie: one folder a region, files whole or not at all."""

import errno
import hashlib
import os
import stat
from collections.abc import Iterator, Mapping
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import BinaryIO

from implio_pipeline.domain.errors import FileMissing, RegionUnknown, StorageFull
from implio_pipeline.domain.faults import FULL
from implio_pipeline.domain.ids import Region
from implio_pipeline.domain.replan import replan
from implio_pipeline.stores.durable import make_folder, sync_folder


class RegionFolders:
    """Local folders, one per region; paths are relative and made by the catalog alone."""

    def __init__(self, roots: Mapping[Region, Path]) -> None:
        self._roots = dict(roots)

    def write(self, region: Region, path: str, content: bytes | memoryview) -> None:
        """Write a new file, durable with its name on return.

        Raises:
            StorageFull: there is no room; nothing is left behind.
        """
        target = self._root(region) / path
        try:
            handle = _new_file(target)
            try:
                _write_all(handle, memoryview(content))
                os.fsync(handle)
            finally:
                os.close(handle)
            sync_folder(target.parent)
        except OSError as failure:
            with suppress(OSError):  # what was begun is of no use; housekeeping sweeps what cannot be unlinked now
                self.delete(region, path)
            if failure.errno not in FULL:
                raise
            raise StorageFull(f"no room for {len(content)} bytes in region {region}") from None

    def read(self, region: Region, path: str) -> bytes:
        """Return a file's bytes.

        Raises:
            FileMissing: it is not there.
        """
        try:
            with _opened(self._root(region) / path) as file:
                return file.read()
        except FileNotFoundError:
            raise FileMissing(f"{path} is not in the vault of region {region}") from None

    def location(self, region: Region, path: str) -> Path:
        """Return where a file lies, for readers that open it themselves; one that is gone is theirs to miss.

        Raises:
            OSError: no file lies there, but a folder, a pipe or a device: to open a pipe waits for ever.
        """
        target = self._root(region) / path
        with suppress(FileNotFoundError):
            _check_plain(target.stat().st_mode)
        return target

    def delete(self, region: Region, path: str) -> None:
        """Unlink a file; one that is gone already is no error."""
        target = self._root(region) / path
        target.unlink(missing_ok=True)
        for folder in (target.parent, target.parent.parent):
            try:
                folder.rmdir()  # only when it is empty
            except OSError:
                return

    def paths(self, region: Region) -> Iterator[str]:
        """Yield the path of every file below a region's root."""
        root = self._root(region)
        for folder, _, names in os.walk(root):
            for name in names:
                yield (Path(folder) / name).relative_to(root).as_posix()

    def tail(self, region: Region, path: str, *, size: int) -> tuple[int, bytes] | None:
        """Return a file's size and its last bytes, `None` when it is gone."""
        try:
            with _opened(self._root(region) / path) as file:
                size_bytes = file.seek(0, os.SEEK_END)
                file.seek(max(0, size_bytes - size))
                return size_bytes, file.read(size)
        except FileNotFoundError:
            return None

    def written_at(self, region: Region, path: str) -> datetime | None:
        """Return when a file was last written, `None` when it is gone."""
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
    """Open a file for reading. A pipe in its place is refused: without `O_NONBLOCK`, to open one waits for ever.

    Raises:
        FileNotFoundError: it is gone.
        OSError: it is no plain file.
    """
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


def digest_of(content: bytes | memoryview) -> str:
    """Return the SHA-256 of a file's bytes, hexadecimal."""
    return hashlib.sha256(content).hexdigest()


def _new_file(target: Path) -> int:
    def make() -> int:
        make_folder(target.parent)
        return os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)

    # Somebody may delete the last other file of the folder, and the folder with it.
    return replan(make, about="a folder", is_race=lambda error: isinstance(error, FileNotFoundError))


def _write_all(handle: int, content: memoryview) -> None:
    while content:
        content = content[os.write(handle, content) :]
