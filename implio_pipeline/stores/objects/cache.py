"""Copies, on this machine's disk, of encrypted files in buckets, for readers that open files themselves.

Rules:

* A copy is as encrypted as the file: nobody can read it without the keys. Nothing in clear is written here.
* Copies are named by their digest and checked against it when they are fetched. An altered copy is thrown away.
* The folder is bounded. When it is full, the least recently used copies are removed. A reader whose copy was removed in
  between gets `FileMissing` and tries again.
* The processes of a machine share the folder without a lock: a copy appears whole, by a rename.
* When a file is erased, its copy is removed from this machine. Other machines keep their copies until they need the
  room. Nobody can open them, since the file's keys are destroyed (`docs/THREATS.md`).
"""

import os
import secrets
from collections.abc import Iterator, Sequence
from contextlib import suppress
from hashlib import sha256
from pathlib import Path

from implio_pipeline.domain.errors import CacheTooSmall, FileMissing, FileTampered
from implio_pipeline.domain.files import VaultFile
from implio_pipeline.stores.durable import make_folder
from implio_pipeline.stores.objects.bucket import each_at_once
from implio_pipeline.stores.objects.objects import Objects

_UNFINISHED = ".part"
_CHECK_SHARE = 16
"""The folder is measured again when this part of its bound was written, since listing it for each copy is slow."""


def is_content(file: VaultFile, content: bytes) -> bool:
    """Return whether bytes are those of a file, as the catalog lists it."""
    return len(content) == file.size_bytes and sha256(content).hexdigest() == file.digest


class CiphertextCache:
    """A bounded folder of copies.

    Args:
        folder: The folder; it is made with the first copy.
        max_bytes: Its bound. A process may exceed it by a sixteenth for a moment.
    """

    def __init__(self, folder: Path, *, max_bytes: int) -> None:
        self._folder = folder
        self._max_bytes = max_bytes
        self._unmeasured = max_bytes  # measure with the first copy

    def path(self, file: VaultFile) -> Path:
        """Return the path of a file's copy, whether it exists or not."""
        return self._folder / file.digest[:2] / file.digest

    def get(self, file: VaultFile) -> bytes | None:
        """Return the bytes of a copy; `None` if there is no copy, or if it was altered."""
        try:
            content = self.path(file).read_bytes()
        except FileNotFoundError:
            return None
        if not is_content(file, content):
            self.remove(file)
            return None
        self._use(file)
        return content

    def put(self, file: VaultFile, content: bytes) -> None:
        """Keep a copy. The bytes of another file are not kept."""
        if not is_content(file, content):
            return
        target = self.path(file)
        unfinished = target.with_name(f"{secrets.token_hex(8)}{_UNFINISHED}")
        make_folder(target.parent)
        try:
            # Not durable: after a power cut a copy may be empty or damaged. Its size and its digest show that.
            handle = os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
            with os.fdopen(handle, "wb") as copy:
                copy.write(content)
            unfinished.rename(target)
        except OSError:
            unfinished.unlink(missing_ok=True)
            raise
        self._unmeasured += len(content)
        if self._unmeasured > self._max_bytes // _CHECK_SHARE:
            self._unmeasured = 0
            self._evict()

    def fetch(self, files: Sequence[VaultFile], place: Objects) -> None:
        """Fetch files into the folder, many at once. A missing file is left out: its reader notices.

        Raises:
            FileTampered: a file in the bucket is not the one the catalog lists.
        """
        wanted = {file.path: file for file in files if not self._has(file)}

        def bring(path: str) -> None:
            file = wanted[path]
            with suppress(FileMissing):
                content = place.get(path)
                if not is_content(file, content):
                    raise FileTampered(
                        f"file {file.file_id} of team {file.team}, day {file.day}, is not the one the catalog lists"
                    )
                self.put(file, content)

        for _ in each_at_once(bring, wanted):
            pass

    def check_room(self, files: Sequence[VaultFile]) -> None:
        """Check that files fit into the folder together.

        Raises:
            CacheTooSmall: they do not.
        """
        size_bytes = sum(file.size_bytes for file in files)
        if size_bytes > self._max_bytes:
            raise CacheTooSmall(f"the files take {size_bytes} bytes, and the cache may hold {self._max_bytes}")

    def is_altered(self, file: VaultFile) -> bool:
        """Return whether a copy differs from the file that the catalog lists. Such a copy is removed."""
        try:
            is_same = is_content(file, self.path(file).read_bytes())
        except FileNotFoundError:
            return False
        if not is_same:
            self.remove(file)
        return not is_same

    def remove(self, file: VaultFile) -> None:
        """Remove a copy. A missing one is ignored."""
        self.path(file).unlink(missing_ok=True)

    def _has(self, file: VaultFile) -> bool:
        try:
            if self.path(file).stat().st_size != file.size_bytes:
                return False
        except FileNotFoundError:
            return False
        self._use(file)
        return True

    def _use(self, file: VaultFile) -> None:
        with suppress(FileNotFoundError):
            os.utime(self.path(file))

    def _evict(self) -> None:
        """Remove the least recently used copies, until the others take nine tenths of the bound."""
        copies = sorted(self._copies())
        left = sum(size for _, size, _ in copies)
        for _, size, path in copies:
            if left <= self._max_bytes * 9 // 10:
                return
            path.unlink(missing_ok=True)
            left -= size

    def _copies(self) -> Iterator[tuple[float, int, Path]]:
        with os.scandir(self._folder) as folders:
            below = [each.path for each in folders if each.is_dir(follow_symlinks=False)]
        for folder in below:
            with os.scandir(folder) as entries:
                for entry in entries:
                    with suppress(FileNotFoundError):
                        found = entry.stat(follow_symlinks=False)
                        yield found.st_mtime, found.st_size, Path(entry.path)
