"""Seal files that could not be read: nothing is lost, and nobody can read them without the keys.

Rules:

* Each file has its own key, which is kept wrapped in the catalog and destroyed there. Without it the file is
  unreadable.
* The content is encrypted with AES-256-GCM in chunks of 1 MiB, since a landing file may be larger than memory. Each
  chunk is bound to the file's id, its position, and whether it is the last. So no chunk can be cut off or moved.
* A file exists if its sidecar `<id>.json` exists: the sidecar is written last and deleted first. It has no personal
  data.
"""

import os
import re
import secrets
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from datetime import datetime
from pathlib import Path
from typing import Any, BinaryIO

import msgspec
import pyarrow as pa
from typing_extensions import override

from implio_pipeline.domain.errors import FileMissing, FileTampered, KeyMissing
from implio_pipeline.domain.ids import TeamId
from implio_pipeline.formats.ad_shape import landing_line
from implio_pipeline.ports.clock import Clock
from implio_pipeline.ports.exports import Origin, SetAsideFile, SetAsideFiles
from implio_pipeline.stores.catalog.home_keys import SqlSetAsideKeys
from implio_pipeline.stores.durable import make_folder, sync_folder, write_whole
from implio_pipeline.stores.keys.sealer import OVERHEAD_BYTES, Sealer

CHUNK_BYTES = 1 << 20
_ID = re.compile(r"[0-9a-f]{32}", re.ASCII)
_SEALED, _SIDECAR, _UNFINISHED = ".sealed", ".json", ".tmp"


class SetAside(SetAsideFiles):
    """The folder of sealed files.

    Args:
        folder: Holds `<id>.sealed` and `<id>.json` for each file.
        keys: The keys of the files.
        clock: The present.
    """

    def __init__(self, folder: Path, keys: SqlSetAsideKeys, clock: Clock) -> None:
        self._folder = folder
        self._keys = keys
        self._clock = clock

    def seal(self, content: Iterable[bytes], *, origin: Origin, team: TeamId | None, code: str, reason: str) -> str:
        """Seal a file, durable on return. Returns its id.

        Args:
            content: The bytes of the file, in pieces of any size.
            origin: Where the file came from.
            team: The team of the file, or `None` if it is unknown.
            code: The code of the failure, without personal data.
            reason: The facts of the failure, without personal data.
        """
        # 1. Make the key first, durable. If a crash follows, the key has no file, and it expires.
        make_folder(self._folder)
        identifier = secrets.token_hex(16)
        sealer = Sealer(self._keys.make(identifier, now=self._clock.now()))
        # 2. Encrypt the content chunk by chunk.
        with _new_file(self._path(identifier, _SEALED)) as file:
            size = 0
            for index, (chunk, is_last) in enumerate(_chunks(content)):
                file.write(sealer.seal(chunk, context=_context(identifier, index, is_last=is_last)))
                size += len(chunk)
        sealed = SetAsideFile(
            id=identifier,
            origin=origin,
            team=team,
            code=code,
            reason=reason,
            size_bytes=size,
            created_at=self._clock.now(),
        )
        # 3. Write the sidecar last. From then on the file exists.
        text = msgspec.json.format(msgspec.json.encode(sealed))
        write_whole(self._path(identifier, _SIDECAR), text, unfinished=self._path(identifier, _UNFINISHED))
        return identifier

    @override
    def seal_items(self, parts: Iterable[pa.Table], *, team: TeamId, code: str, reason: str) -> str:
        lines = (_line(row) for part in parts for row in part.to_pylist())
        return self.seal(lines, origin=Origin.LANDING, team=team, code=code, reason=reason)

    def list(self) -> list[SetAsideFile]:
        """Return the files, oldest first."""
        found = []
        for path in self._folder.glob(f"*{_SIDECAR}"):
            with suppress(FileMissing, FileNotFoundError):  # not the name of a sidecar, or discarded since
                found.append(self._sidecar(path.stem))
        return sorted(found, key=lambda one: (one.created_at, one.id))

    def open(self, identifier: str) -> Iterator[bytes]:
        """Yield the content of a file.

        Raises:
            FileMissing: no file has this id.
            FileTampered: the file was altered or cut. What was yielded before is authentic.
            KeyMissing: the key, or the root key that wraps it, was destroyed.
        """
        self._sidecar(identifier)
        sealer = Sealer(self._keys.open(identifier))
        step = CHUNK_BYTES + OVERHEAD_BYTES
        with self._path(identifier, _SEALED).open("rb") as file:
            sealed, index = file.read(step), 0
            while True:
                following = file.read(step)
                try:
                    chunk = sealer.unseal(sealed, context=_context(identifier, index, is_last=not following))
                except KeyMissing:  # the key exists, so the content is wrong
                    raise FileTampered(f"the set-aside file {identifier} is not what was sealed") from None
                yield chunk
                if not following:
                    return
                sealed, index = following, index + 1

    @override
    def discard(self, identifier: str) -> None:
        if _ID.fullmatch(identifier):
            self._discard([identifier])

    @override
    def discard_of(self, team: TeamId, *, before: datetime) -> int:
        theirs = [one.id for one in self.list() if one.team == team and one.created_at < before]
        self._discard(theirs)
        return len(theirs)

    def expire(self, before: datetime) -> tuple[str, ...]:
        """Discard the files that were set aside before an instant, and what crashes left. Returns the discarded ids."""
        expired = tuple(one.id for one in self.list() if one.created_at < before)
        # A crash may have left a key without a file, or a file without a sidecar.
        self._discard(expired, with_keys=self._keys.older_than(before))
        for path in (*self._folder.glob(f"*{_SEALED}"), *self._folder.glob(f"*{_UNFINISHED}")):
            is_remains = path.suffix != _SEALED or not path.with_suffix(_SIDECAR).exists()
            if is_remains and path.stat().st_mtime < before.timestamp():
                path.unlink(missing_ok=True)
        return expired

    def _discard(self, identifiers: Sequence[str], *, with_keys: Iterable[str] = ()) -> None:
        # Destroy the keys first, in one transaction. If a crash prevents the unlinking, the files are unreadable.
        if keys := {*identifiers, *with_keys}:
            self._keys.destroy(keys)
        for identifier in identifiers if self._folder.is_dir() else ():
            self._path(identifier, _SIDECAR).unlink(missing_ok=True)
            sync_folder(self._folder)
            self._path(identifier, _SEALED).unlink(missing_ok=True)

    def _sidecar(self, identifier: str) -> SetAsideFile:
        path = self._path(identifier, _SIDECAR)
        if not _ID.fullmatch(identifier) or not path.exists():
            raise FileMissing("no set-aside file has this id", remedy="List the set-aside files and name one of them.")
        return msgspec.json.decode(path.read_bytes(), type=SetAsideFile)

    def _path(self, identifier: str, suffix: str) -> Path:
        return self._folder / f"{identifier}{suffix}"


def _line(row: Mapping[str, Any]) -> bytes:
    """Return a row as a line of a landing file: an item in the form it was sent in, or the text of a rejected item."""
    return f"{row['original_ad']}\n".encode() if "original_ad" in row else landing_line(row)


@contextmanager
def _new_file(path: Path) -> Iterator[BinaryIO]:
    """Open a new file of mode 0600; its content is durable when the block ends without an error."""
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600), "wb") as file:
        yield file
        file.flush()
        os.fsync(file.fileno())


def _chunks(content: Iterable[bytes]) -> Iterator[tuple[bytes, bool]]:
    """Yield chunks of equal size, and whether each is the last; one empty chunk for no content."""
    held = bytearray()
    for part in content:
        held += part
        while len(held) > CHUNK_BYTES:
            yield bytes(held[:CHUNK_BYTES]), False
            del held[:CHUNK_BYTES]
    yield bytes(held), True


def _context(identifier: str, index: int, *, is_last: bool) -> str:
    return f"set-aside/{identifier}/{index}/{'last' if is_last else 'more'}"
