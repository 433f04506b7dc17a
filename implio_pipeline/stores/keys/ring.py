"""The local key ring: root keys in files of mode 0600, one per region and class.

A root key never leaves this module; it only wraps and unwraps. A KMS takes its place by doing the same two acts.
"""

import os
import re
import secrets
from pathlib import Path

from cryptography.hazmat.primitives.keywrap import InvalidUnwrap, aes_key_unwrap, aes_key_wrap

from implio_pipeline.domain.errors import KeyMissing, RegionUnknown
from implio_pipeline.domain.words import ColumnClass, Region

_ROOT_ID = re.compile(r"(?P<region>[a-z0-9_-]+)/(?P<name>[a-z]+)/(?P<epoch>[0-9]+)")
_KEY_BYTES = 32
HOME = Region("home")
"""The ring's own corner, for what belongs to no region: files set aside."""


class LocalKeyRing:
    """Root keys below one folder: `<region>/<name>.<epoch>.key`, 32 random bytes each."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._roots: dict[str, bytes] = {}

    def make(self, region: Region) -> None:
        """Make the first root key of each class of a region; those that exist stay."""
        names = [column_class.value for column_class in ColumnClass] if region != HOME else ["seal"]
        for name in names:
            if not self._epochs(region, name):
                self._write(region, name, 1)

    def wrap(self, region: Region, name: str, key: bytes) -> tuple[str, bytes]:
        """Wrap a key under the newest root key of that name, and return the root key's id with it.

        Raises:
            RegionUnknown: no root keys were made for the region.
            KeyMissing: the region has no such root key.

        Source: RFC 3394.
        """
        if not (self._folder / region).is_dir():
            raise RegionUnknown(f"no keys are made for region {region}")
        epochs = self._epochs(region, name)
        if not epochs:
            raise KeyMissing(f"region {region} has no root key for {name}")
        root_key_id = f"{region}/{name}/{epochs[-1]}"
        return root_key_id, aes_key_wrap(self._root(root_key_id), key)

    def unwrap(self, root_key_id: str, wrapped: bytes) -> bytes:
        """Return the key that was wrapped under a root key.

        Raises:
            KeyMissing: that root key is not in the ring, or is not the one that wrapped it.
        """
        try:
            return aes_key_unwrap(self._root(root_key_id), wrapped)
        except InvalidUnwrap:
            raise KeyMissing(f"root key {root_key_id} does not open what it should have wrapped") from None

    def _root(self, root_key_id: str) -> bytes:
        if root_key_id not in self._roots:
            match = _ROOT_ID.fullmatch(root_key_id)
            path = self._path(Region(match["region"]), match["name"], int(match["epoch"])) if match else None
            try:
                self._roots[root_key_id] = path.read_bytes() if path else b""
            except OSError:
                raise KeyMissing(f"root key {root_key_id} is not in the key ring") from None
            if len(self._roots[root_key_id]) != _KEY_BYTES:
                del self._roots[root_key_id]
                raise KeyMissing(f"root key {root_key_id} is not {_KEY_BYTES} bytes long")
        return self._roots[root_key_id]

    def _path(self, region: Region, name: str, epoch: int) -> Path:
        return self._folder / region / f"{name}.{epoch}.key"

    def _epochs(self, region: Region, name: str) -> list[int]:
        found = (self._folder / region).glob(f"{name}.*.key")
        return sorted(int(path.name.split(".")[1]) for path in found)

    def _write(self, region: Region, name: str, epoch: int) -> None:
        path = self._path(region, name, epoch)
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        try:
            os.write(handle, secrets.token_bytes(_KEY_BYTES))
            os.fsync(handle)
        finally:
            os.close(handle)
