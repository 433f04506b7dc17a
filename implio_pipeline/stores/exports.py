"""Write exports for access and portability requests (GDPR Art. 15 and 20), each in a folder of mode 0700.

Rules:

* An export is recorded before its folder is made, so that it is purged even if the process dies while it writes.
* If there is a recipient, every file except the manifest is a CMS envelope (RFC 5652, DER, AES-256-CBC, the key
  encrypted for an RSA certificate). `openssl cms -decrypt` opens it.
* An envelope encrypts and does not authenticate. So the manifest has the SHA-256 of each file, and the signed ledger
  has the SHA-256 of the manifest.
* In a folder outside the home, only files that did not change are deleted. Other files belong to somebody else.
"""

import os
import re
import secrets
import shutil
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
from implio_pipeline.stores.durable import make_folder, sync_folder, write_whole

_ID = re.compile(r"[0-9a-f]{32}", re.ASCII)
_RECORD, _PART, _ENVELOPE = ".json", ".part", ".p7m"
_MIN_RSA_BITS = 2048


class ExportFolder(Exports):
    """The folder with the records of all exports, and with the exports that have no folder of their own elsewhere.

    Args:
        folder: Holds the record of each export, `<id>.json`, and the export itself, `<id>/`, unless it is elsewhere.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder

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
    def put(self, record: ExportRecord, files: Sequence[PackedFile], *, folder: PurePath | None) -> PurePath:
        # 1. Record the export, durable, before any part of it is written.
        make_folder(self._folder)
        target = self._folder / record.export_id if folder is None else Path(folder).absolute()
        if os.path.lexists(target):
            raise ExportRefused("the folder for the export exists already", code="folder-taken")
        _write(self._path(record.export_id), msgspec.json.encode(replace(record, folder=str(target))))
        # 2. Make the folder. It must be new, so that no other process has it open.
        try:
            target.mkdir(mode=0o700)
        except OSError as error:
            self._path(record.export_id).unlink(missing_ok=True)
            if isinstance(error, FileExistsError | FileNotFoundError):
                raise ExportRefused(
                    "the folder for the export exists, or the one above it does not", code="folder-taken"
                ) from None
            raise
        # 3. Write the files. If one fails, delete the export.
        try:
            for file in files:
                _write(target / file.name, file.content)
            sync_folder(target.parent)
        except BaseException:
            self.discard(record.export_id)
            raise
        return target

    @override
    def all(self) -> list[ExportRecord]:
        paths = [path for path in self._folder.glob(f"*{_RECORD}") if _ID.fullmatch(path.stem)]
        found = [msgspec.json.decode(path.read_bytes(), type=ExportRecord) for path in paths]
        return sorted(found, key=lambda record: (record.created_at, record.export_id))

    @override
    def is_whole(self, record: ExportRecord) -> bool:
        folder = Path(record.folder)
        return folder != self._folder / record.export_id or all((folder / name).exists() for name in record.digests)

    @override
    def discard(self, export_id: str) -> None:
        path = self._path(export_id)
        if not _ID.fullmatch(export_id) or not path.exists():
            raise FileMissing("no export has this id", remedy="List the exports and name one of them.")
        record = msgspec.json.decode(path.read_bytes(), type=ExportRecord)
        target = Path(record.folder)
        if target == self._folder / export_id:
            shutil.rmtree(target, ignore_errors=True)
        elif target.is_dir() and not target.is_symlink():
            for name, digest in record.digests.items():
                _unlink_unaltered(target / name, digest)
                (target / f"{name}{_PART}").unlink(missing_ok=True)
            with suppress(OSError):  # somebody put other files there
                target.rmdir()
        if target.parent.is_dir():
            sync_folder(target.parent)
        # Delete the record last: after a crash the export is still listed, and is purged again.
        path.unlink(missing_ok=True)
        sync_folder(self._folder)

    def _path(self, export_id: str) -> Path:
        return self._folder / f"{export_id}{_RECORD}"


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
