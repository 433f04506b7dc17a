"""The signing key of a chain in a file: PEM, mode 0600, beside the other keys of its region.

Rules:

* A new key waits in a file of its own until a batch names it, and only then replaces the old one. The file is named
  after the key, so that two processes that renew the key at once do not overwrite each other's.
* After a crash in between, the next process that appends uses the key that the newest batch names. A key that no batch
  names is destroyed by the daily housekeeping.
"""

from contextlib import suppress
from datetime import datetime
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
)
from typing_extensions import override

from implio_pipeline.domain.errors import KeyMissing
from implio_pipeline.ports.ledger import SigningKey
from implio_pipeline.stores.durable import make_folder, sync_folder, write_whole


class SigningKeyFile(SigningKey):
    """A signing key in a file.

    Args:
        path: The file.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._key: Ed25519PrivateKey | None = None

    @property
    def is_made(self) -> bool:
        """Return whether there is a key."""
        return self._path.exists()

    def make(self) -> None:
        """Make the key, unless there is one."""
        make_folder(self._path.parent)
        if not self.is_made:
            _write(self._path, Ed25519PrivateKey.generate())

    @override
    def public(self) -> bytes:
        return _raw(self._private())

    @override
    def sign(self, message: bytes) -> bytes:
        return self._private().sign(message)

    @override
    def stage(self) -> bytes:
        key = Ed25519PrivateKey.generate()
        _write(self._staged(_raw(key)), key)
        return _raw(key)

    @override
    def adopt(self, public: bytes) -> None:
        self._key = None
        # 1. The staged key replaces the old one, and so destroys it.
        with suppress(FileNotFoundError):
            self._staged(public).replace(self._path)
            sync_folder(self._path.parent)
        # 2. Another process may have done so.
        if self.public() != public:
            self._key = None
            raise key_outdated()

    @override
    def is_staged(self, public: bytes) -> bool:
        return self._staged(public).exists()

    @override
    def has_staged(self, *, older_than: datetime) -> bool:
        return bool(self._staged_before(older_than))

    @override
    def discard_staged(self, *, older_than: datetime) -> int:
        old = self._staged_before(older_than)
        for path in old:
            path.unlink(missing_ok=True)
        if old:
            sync_folder(self._path.parent)
        return len(old)

    def _staged_before(self, instant: datetime) -> list[Path]:
        found = []
        for path in self._path.parent.glob(f"{self._path.name}.*.next"):
            with suppress(FileNotFoundError):  # it was adopted at this moment
                if path.stat().st_mtime < instant.timestamp():
                    found.append(path)
        return found

    def _staged(self, public: bytes) -> Path:
        return self._path.with_name(f"{self._path.name}.{public.hex()[:16]}.next")

    def _private(self) -> Ed25519PrivateKey:
        if self._key is None:
            self._key = _read(self._path)
        return self._key


def key_outdated() -> KeyMissing:
    """Return the error of a machine whose signing key was renewed on another one."""
    return KeyMissing(
        "the ledger's signing key is not the one that its newest batch names",
        remedy="Copy the signing key's file from the machine on which it was renewed.",
    )


def pem_of(public: bytes) -> bytes:
    """Return a public key of 32 octets as PEM."""
    key = Ed25519PublicKey.from_public_bytes(public)
    return key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)


def _read(path: Path) -> Ed25519PrivateKey:
    try:
        key = load_pem_private_key(path.read_bytes(), password=None)
    except (OSError, ValueError):
        raise KeyMissing("the ledger's signing key is not in the key ring, or cannot be read") from None
    if not isinstance(key, Ed25519PrivateKey):
        raise KeyMissing("the ledger's signing key is not an Ed25519 key")
    return key


def _write(path: Path, key: Ed25519PrivateKey) -> None:
    write_whole(path, key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))


def _raw(key: Ed25519PrivateKey) -> bytes:
    return key.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)
