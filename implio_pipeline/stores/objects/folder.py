"""Objects as files below a local folder.

Rules:

* A new file is durable, with its name, when `put_new` returns. A failed write leaves nothing behind.
* No file is ever overwritten, and no file is written through a link.
* Only plain files are read. Opening a pipe could block for ever.
* Until `put_new` returns, readers may see an incomplete file. So a key is given to others only afterwards.
"""

import errno
import os
import stat
from collections.abc import Collection, Iterable, Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import BinaryIO

from typing_extensions import override

from implio_pipeline.domain.errors import FileMissing, StorageFull
from implio_pipeline.domain.faults import DISK_FULL_ERRNOS
from implio_pipeline.domain.replan import replan
from implio_pipeline.stores.durable import make_folder, sync_folder
from implio_pipeline.stores.objects.objects import Objects, StoredObject, checked_key

_PIECE_BYTES = 1 << 20


class ObjectFolder(Objects):
    """A local folder. Keys are paths relative to it.

    Args:
        root: The folder. It need not exist before the first object.
    """

    def __init__(self, root: Path) -> None:
        self.root = root

    @override
    def put_new(self, key: str, content: bytes | memoryview) -> None:
        target = self._path(key)
        is_ours = False
        try:
            # 1. Make the folder and the file. Between the two calls an erasure may delete the folder with its last
            #    file. Then both are made again.
            handle = replan(
                lambda: _new_file(target), about="a folder", is_race=lambda error: isinstance(error, FileNotFoundError)
            )
            is_ours = True
            # 2. Write it. One `write` may take less than it is given (write(2): at most 2 GB, or until a signal).
            try:
                rest = memoryview(content)
                while rest:
                    rest = rest[os.write(handle, rest) :]
                os.fsync(handle)
            finally:
                os.close(handle)
            # 3. Make the name durable too, or a power cut could lose a file that others were told of.
            sync_folder(target.parent)
        except OSError as failure:
            # If the incomplete file cannot be deleted now, housekeeping deletes it.
            with suppress(OSError):
                if is_ours:
                    self.delete([key])
            if failure.errno not in DISK_FULL_ERRNOS:
                raise
            raise StorageFull(f"no room for {len(content)} bytes") from None

    @override
    def get(self, key: str) -> bytes:
        with _found(), _opened(self._path(key)) as file:
            return file.read()

    @override
    def get_many(self, keys: Iterable[str]) -> Iterator[tuple[str, bytes | None]]:
        # One after another: threads would not make a local disk faster.
        for key in keys:
            content: bytes | None = None
            with suppress(FileMissing):
                content = self.get(key)
            yield key, content

    @override
    def stream(self, found: StoredObject) -> Iterator[bytes]:
        with _found():
            file = _opened(self._path(found.key))
        with file:
            if _described(found.key, os.fstat(file.fileno())).mark != found.mark:
                raise FileMissing("another file has taken its place")
            yield from iter(lambda: file.read(_PIECE_BYTES), b"")

    @override
    def tail(self, key: str, *, size: int) -> tuple[int, bytes] | None:
        try:
            with _opened(self._path(key)) as file:
                size_bytes = file.seek(0, os.SEEK_END)
                file.seek(max(0, size_bytes - size))
                return size_bytes, file.read(size)
        except (FileNotFoundError, NotADirectoryError):
            return None

    @override
    def look(self, key: str) -> StoredObject | None:
        try:
            return _described(key, self._path(key).lstat())
        except (FileNotFoundError, NotADirectoryError):
            return None

    @override
    def listing(self, prefix: str = "", *, after: str = "") -> Iterator[StoredObject]:
        # Begin in the deepest folder that the prefix names, so that nothing else is listed.
        above, _, _ = prefix.rpartition("/")
        for key in _keys_below(self.root / above if above else self.root, f"{above}/" if above else ""):
            if key.startswith(prefix) and key.encode(errors="surrogateescape") > after.encode():
                found = self.look(key)
                if found is not None:  # it may be deleted while its folder is listed
                    yield found

    @override
    def delete(self, keys: Collection[str]) -> None:
        for key in keys:
            target = self._path(key)
            with suppress(FileNotFoundError, NotADirectoryError):
                target.unlink()
            for folder in target.parents:
                if folder == self.root:
                    break
                try:
                    folder.rmdir()  # fails where the folder holds other files
                except OSError:
                    break

    @override
    def delete_same(self, found: StoredObject) -> bool:
        now = self.look(found.key)
        if now is not None and now.mark == found.mark:
            self.delete([found.key])
            return True
        return now is None

    @override
    def sweep(self, *, older_than: datetime) -> int:
        return 0  # a write that failed leaves nothing, and what a crash left is listed

    def keys(self) -> Iterator[str]:
        """Yield the key of every file, in no order."""
        for folder, _, names in os.walk(self.root):
            for name in names:
                yield (Path(folder) / name).relative_to(self.root).as_posix()

    def check_plain(self, key: str) -> None:
        """Check that readers may open a file themselves. A missing file raises no error here.

        Raises:
            OSError: a folder, a pipe or a device has the file's name.
        """
        with suppress(FileNotFoundError, NotADirectoryError):
            _check_plain(os.stat(f"{self.root}/{key}").st_mode)  # noqa: PTH116 -- a tenth of the time

    def _path(self, key: str) -> Path:
        return self.root / checked_key(key)


@contextmanager
def _found() -> Iterator[None]:
    """Raise `FileMissing` for a file that does not exist."""
    try:
        yield
    except (FileNotFoundError, NotADirectoryError):
        raise FileMissing("the file does not exist") from None


def _keys_below(folder: Path, prefix: str) -> Iterator[str]:
    """Yield the keys of the files below a folder in the order of their octets, as a bucket lists them."""
    try:
        with os.scandir(folder) as entries:
            # A folder sorts as if its name ended with `/`: `a.b` comes before `a/b`.
            names = sorted(f"{entry.name}/" if entry.is_dir(follow_symlinks=False) else entry.name for entry in entries)
    except FileNotFoundError:
        return
    for name in names:
        if name.endswith("/"):
            yield from _keys_below(folder / name, prefix + name)
        else:
            yield prefix + name


def _described(key: str, status: os.stat_result) -> StoredObject:
    return StoredObject(
        key=key,
        size_bytes=status.st_size,
        written_at=datetime.fromtimestamp(status.st_mtime, UTC),
        mark=f"{status.st_ino:x}-{status.st_size:x}-{status.st_mtime_ns:x}",
    )


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
