"""Write exports for access and portability requests (GDPR Art. 15 and 20), each in a folder of its own.

Rules:

* An export is recorded before its folder is made, so that it is purged even if the process dies while it writes.
* On this machine a folder has mode 0700. In a bucket, its policy alone decides who may read.
* If there is a recipient, every file except the manifest is a CMS envelope (RFC 5652, DER, AES-256-CBC, the key
  encrypted for an RSA certificate). `openssl cms -decrypt` opens it.
* An envelope encrypts and does not authenticate. So the manifest has the SHA-256 of each file, and the signed ledger
  has the SHA-256 of the manifest.
* In a folder outside the home, only files that did not change are deleted. Other files belong to somebody else.
"""

import os
import re
import secrets
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from datetime import date, datetime
from hashlib import sha256
from pathlib import Path, PurePath
from typing import Any

import msgspec
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from cryptography.hazmat.primitives.ciphers.algorithms import AES256
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.hazmat.primitives.serialization.pkcs7 import PKCS7EnvelopeBuilder, PKCS7Options
from typing_extensions import override

from implio_pipeline.domain.errors import FileMissing
from implio_pipeline.domain.export import ExportRecord, ExportRefused, PackedFile
from implio_pipeline.domain.instants import instant_text
from implio_pipeline.ports.exports import Exports
from implio_pipeline.ports.rows import Rows
from implio_pipeline.stores.durable import sync_folder, write_whole
from implio_pipeline.stores.objects.objects import Objects

_ID = re.compile(r"[0-9a-f]{32}", re.ASCII)
_RECORD_NAME = re.compile(r"[0-9a-f]{32}\.json", re.ASCII)
_RECORD, _PART, _ENVELOPE = ".json", ".part", ".p7m"
_MIN_RSA_BITS = 2048


class ExportStore(Exports):
    """The records of all exports, and the exports that have no folder of their own elsewhere; in a folder or a bucket.

    Args:
        objects: Holds the record of each export, `<id>.json`, and the files of the export, `<id>/…`, unless it is
            elsewhere.
        place: The folder of the objects, or the address of their bucket.
    """

    def __init__(self, objects: Objects, place: Path | str) -> None:
        self._objects = objects
        self._place = place

    @override
    def new_id(self) -> str:
        return secrets.token_hex(16)

    @override
    def fingerprint(self, certificate: bytes, *, at: datetime) -> str:
        loaded = _certificate(certificate)
        if not loaded.not_valid_before_utc <= at <= loaded.not_valid_after_utc:
            raise ExportRefused("the certificate is not valid now", code="recipient-invalid")
        return loaded.fingerprint(SHA256()).hex()

    @override
    def pack(self, name: str, records: Rows | Sequence[Mapping[str, Any]], *, recipient: bytes | None) -> PackedFile:
        lines = list(_lines(records))
        content = b"".join(lines)
        if recipient is not None:
            name, content = f"{name}{_ENVELOPE}", _enveloped(content, _certificate(recipient))
        return PackedFile(name=name, records=len(lines), content=content, digest=sha256(content).hexdigest())

    @override
    def put(self, record: ExportRecord, files: Sequence[PackedFile], *, folder: PurePath | None) -> str:
        export_id = record.export_id
        target = None if folder is None else Path(folder).absolute()
        if target is not None and os.path.lexists(target):
            raise ExportRefused("the folder for the export exists already", code="folder-taken")
        where = self._ours(export_id) if target is None else str(target)
        # 1. Record the export, durable, before any part of it is written.
        self._objects.put_new(_key(export_id), msgspec.json.encode(replace(record, folder=where)))
        # 2. Make a folder elsewhere. It must be new, so that no other process has it open.
        try:
            if target is not None:
                target.mkdir(mode=0o700)
        except OSError as error:
            self._objects.delete([_key(export_id)])
            if isinstance(error, FileExistsError | FileNotFoundError):
                raise ExportRefused(
                    "the folder for the export exists, or the one above it does not", code="folder-taken"
                ) from None
            raise
        # 3. Write the files. If one fails, delete the export.
        try:
            for file in files:
                if target is None:
                    self._objects.put_new(f"{export_id}/{file.name}", file.content)
                else:
                    _write(target / file.name, file.content)
            if target is not None:
                sync_folder(target.parent)
        except BaseException:
            self.discard(export_id)
            raise
        return where

    @override
    def all(self) -> list[ExportRecord]:
        found = [record for _, record in self._records() if record is not None]
        return sorted(found, key=lambda record: (record.created_at, record.export_id))

    @override
    def is_whole(self, record: ExportRecord) -> bool:
        if record.folder != self._ours(record.export_id):
            return True
        names = {f"{record.export_id}/{name}": digest for name, digest in record.digests.items()}
        read = self._objects.get_many(names)
        return all(content is not None and sha256(content).hexdigest() == names[key] for key, content in read)

    @override
    def discard(self, export_id: str) -> None:
        record = self._record(export_id)
        if record is None:
            raise FileMissing("no export has this id", remedy="List the exports and name one of them.")
        target = Path(record.folder)
        if record.folder == self._ours(export_id):
            self._objects.delete([each.key for each in self._objects.listing(f"{export_id}/")])
            if isinstance(self._place, Path):
                sync_folder(self._place)
        elif target.is_dir() and not target.is_symlink():
            for name, digest in record.digests.items():
                _unlink_unaltered(target / name, digest)
                (target / f"{name}{_PART}").unlink(missing_ok=True)
            with suppress(OSError):  # somebody put other files there
                target.rmdir()
            sync_folder(target.parent)
        # Delete the record last: after a crash the export is still listed, and is purged again.
        self._objects.delete([_key(export_id)])

    def sweep(self, *, older_than: datetime) -> int:
        """Delete records that a crash cut short. Their exports had no file yet. Returns how many."""
        cut = [key for key, record in self._records() if record is None]
        seen = [each for each in map(self._objects.look, cut) if each is not None and each.written_at < older_than]
        self._objects.delete([each.key for each in seen])
        return len(seen)

    def _records(self) -> Iterator[tuple[str, ExportRecord | None]]:
        """Yield the keys of records, each with the record; `None` for one that is cut."""
        keys = [each.key for each in self._objects.listing() if _RECORD_NAME.fullmatch(each.key)]
        for key, content in self._objects.get_many(keys):
            if content is not None:
                yield key, _decoded(content)

    def _record(self, export_id: str) -> ExportRecord | None:
        try:
            return _decoded(self._objects.get(_key(export_id))) if _ID.fullmatch(export_id) else None
        except FileMissing:
            return None

    def _ours(self, export_id: str) -> str:
        return f"{self._place}/{export_id}"


def _key(export_id: str) -> str:
    return f"{export_id}{_RECORD}"


def _decoded(content: bytes) -> ExportRecord | None:
    try:
        return msgspec.json.decode(content, type=ExportRecord)
    except msgspec.DecodeError:
        return None


def _write(path: Path, content: bytes) -> None:
    write_whole(path, content, unfinished=path.with_name(f"{path.name}{_PART}"))


def _certificate(pem: bytes) -> x509.Certificate:
    try:
        loaded = x509.load_pem_x509_certificate(pem)
        key = loaded.public_key()
    except Exception:  # noqa: BLE001 -- anybody may send anything here, and the parser fails in many ways
        raise ExportRefused("this is not an X.509 certificate in PEM", code="recipient-invalid") from None
    if not isinstance(key, RSAPublicKey) or key.key_size < _MIN_RSA_BITS:
        raise ExportRefused(
            f"the certificate's key is not RSA of {_MIN_RSA_BITS} bits or more", code="recipient-invalid"
        )
    return loaded


def _enveloped(content: bytes, recipient: x509.Certificate) -> bytes:
    builder = PKCS7EnvelopeBuilder().set_data(content).add_recipient(recipient)
    return builder.set_content_encryption_algorithm(AES256).encrypt(Encoding.DER, [PKCS7Options.Binary])


def _lines(records: Any) -> Iterator[bytes]:
    rows = records if isinstance(records, Sequence) else records.to_pylist()
    for row in rows:
        yield msgspec.json.encode({name: _plain(value) for name, value in row.items() if value is not None}) + b"\n"


def _plain(value: Any) -> Any:
    match value:
        case bytes():
            return value.hex()
        case datetime():
            return instant_text(value)
        case date():
            return value.isoformat()
        case _:
            return value


def _unlink_unaltered(path: Path, digest: str) -> None:
    try:
        handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        return  # somebody moved it, or put a link in its place
    with os.fdopen(handle, "rb") as file:
        is_ours = sha256(file.read()).hexdigest() == digest
    if is_ours:
        path.unlink(missing_ok=True)
