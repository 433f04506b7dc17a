"""Seal files that could not be read: nothing is lost, and nobody can read them without the keys.

Rules:

* Each file has its own key, which is kept wrapped in the catalog and destroyed there. Without it the file is
  unreadable.
* The content is encrypted with AES-256-GCM in chunks of 1 MiB, since a landing file may be larger than memory. Each
  chunk is bound to the file's id, its position, and whether it is the last. So no chunk can be cut off or moved.
* A file exists if its sidecar `<id>.json` exists: the sidecar is written last and deleted first. It has no personal
  data.
* A file of more than 16 chunks is in several parts, in a folder as in a bucket.
"""

import re
import secrets
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from datetime import datetime
from typing import Any

import msgspec
import pyarrow as pa
from typing_extensions import override

from implio_pipeline.domain.errors import FileMissing, FileTampered, KeyMissing
from implio_pipeline.domain.ids import TeamId
from implio_pipeline.formats.ad_shape import landing_line
from implio_pipeline.ports.clock import Clock
from implio_pipeline.ports.exports import Origin, SetAsideFile, SetAsideFiles
from implio_pipeline.stores.catalog.home_keys import SqlSetAsideKeys
from implio_pipeline.stores.keys.sealer import OVERHEAD_BYTES, Sealer
from implio_pipeline.stores.objects.objects import Objects

CHUNK_BYTES = 1 << 20
_CHUNKS_OF_A_PART = 16
"""How many chunks one object has, because an object is written from memory."""
_ID_LENGTH = 32
_ID = re.compile(r"[0-9a-f]{32}", re.ASCII)
_SIDECAR_NAME = re.compile(r"[0-9a-f]{32}\.json", re.ASCII)
_OURS = re.compile(r"[0-9a-f]{32}(\.json|(\.[0-9]+)?\.sealed)", re.ASCII)
_SEALED, _SIDECAR = ".sealed", ".json"


class SetAside(SetAsideFiles):
    """The sealed files, in a folder or in a bucket.

    Args:
        objects: Holds `<id>.json` and `<id>.sealed` for each file, and `<id>.<part>.sealed` for a large one.
        keys: The keys of the files.
        clock: The present.
    """

    def __init__(self, objects: Objects, keys: SqlSetAsideKeys, clock: Clock) -> None:
        self._objects = objects
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
        identifier = secrets.token_hex(16)
        sealer = Sealer(self._keys.make(identifier, now=self._clock.now()))
        # 2. Encrypt the content chunk by chunk.
        size, part = 0, bytearray()
        for index, (chunk, is_last) in enumerate(_chunks(content)):
            part += sealer.seal(chunk, context=_context(identifier, index, is_last=is_last))
            size += len(chunk)
            if is_last or (index + 1) % _CHUNKS_OF_A_PART == 0:
                self._objects.put_new(_part(identifier, index // _CHUNKS_OF_A_PART), memoryview(part))
                part = bytearray()
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
        self._objects.put_new(f"{identifier}{_SIDECAR}", msgspec.json.format(msgspec.json.encode(sealed)))
        return identifier

    @override
    def seal_items(self, parts: Iterable[pa.Table], *, team: TeamId, code: str, reason: str) -> str:
        lines = (_line(row) for part in parts for row in part.to_pylist())
        return self.seal(lines, origin=Origin.LANDING, team=team, code=code, reason=reason)

    def list(self) -> list[SetAsideFile]:
        """Return the files, oldest first."""
        keys = [each.key for each in self._objects.listing() if _SIDECAR_NAME.fullmatch(each.key)]
        found = []
        for _, content in self._objects.get_many(keys):
            # One that is gone was discarded since, and one that is cut is being written, or was left by a crash.
            with suppress(msgspec.DecodeError):
                if content is not None:
                    found.append(msgspec.json.decode(content, type=SetAsideFile))
        return sorted(found, key=lambda one: (one.created_at, one.id))

    def open(self, identifier: str) -> Iterator[bytes]:
        """Yield the content of a file.

        Raises:
            FileMissing: no file has this id.
            FileTampered: the file was altered or cut. What was yielded before is authentic.
            KeyMissing: the key, or the root key that wraps it, was destroyed.
        """
        size_bytes = self._sidecar(identifier).size_bytes
        sealer = Sealer(self._keys.open(identifier))
        chunks = max(1, -(-size_bytes // CHUNK_BYTES))
        parts = [_part(identifier, number) for number in range(-(-chunks // _CHUNKS_OF_A_PART))]
        index, step = 0, CHUNK_BYTES + OVERHEAD_BYTES
        for part in parts:
            try:
                sealed = self._objects.get(part)
            except FileMissing:
                sealed = b""
            for start in range(0, max(1, len(sealed)), step):
                context = _context(identifier, index, is_last=index == chunks - 1)
                try:
                    yield sealer.unseal(sealed[start : start + step], context=context)
                except KeyMissing:  # the key exists, so the content is wrong
                    raise FileTampered(f"the set-aside file {identifier} is not what was sealed") from None
                index += 1
        if index != chunks:
            raise FileTampered(f"the set-aside file {identifier} is not what was sealed")

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
        known = self.list()
        expired = tuple(one.id for one in known if one.created_at < before)
        # A crash may have left a key without a file, or a file without a sidecar.
        self._discard(expired, with_keys=self._keys.older_than(before))
        kept = {one.id for one in known}.difference(expired)
        self._objects.delete(
            [
                each.key
                for each in self._objects.listing()
                if _OURS.fullmatch(each.key) and each.key[:_ID_LENGTH] not in kept and each.written_at < before
            ]
        )
        return expired

    def _discard(self, identifiers: Sequence[str], *, with_keys: Iterable[str] = ()) -> None:
        # Destroy the keys first, in one transaction. If a crash prevents the deletion, the files are unreadable.
        if keys := {*identifiers, *with_keys}:
            self._keys.destroy(keys)
        for identifier in identifiers:
            of_file = [each.key for each in self._objects.listing(identifier) if _OURS.fullmatch(each.key)]
            self._objects.delete(sorted(of_file, key=lambda key: not key.endswith(_SIDECAR)))

    def _sidecar(self, identifier: str) -> SetAsideFile:
        if _ID.fullmatch(identifier):
            with suppress(FileMissing, msgspec.DecodeError):
                return msgspec.json.decode(self._objects.get(f"{identifier}{_SIDECAR}"), type=SetAsideFile)
        raise FileMissing("no set-aside file has this id", remedy="List the set-aside files and name one of them.")


def _part(identifier: str, number: int) -> str:
    return f"{identifier}{f'.{number}' if number else ''}{_SEALED}"


def _line(row: Mapping[str, Any]) -> bytes:
    """Return a row as a line of a landing file: an item in the form it was sent in, or the text of a rejected item."""
    return f"{row['original_ad']}\n".encode() if "original_ad" in row else landing_line(row)


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
