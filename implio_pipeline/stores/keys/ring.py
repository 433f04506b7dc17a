"""The local key ring: root keys in files of mode 0600, one for each region, class and epoch.

Rules:

* A root key never leaves this module. Other modules ask it to wrap, unwrap, make and destroy, as they would ask a KMS.
* A key file is complete or missing, and no key ever overwrites another one.
* To destroy a key, its file is renamed, the rename is made durable, and then the file is overwritten. After a crash the
  key is still complete, or it has a name that marks it for destruction.
"""

import hmac
import os
import re
import secrets
from collections.abc import Collection, Iterable, Iterator, Mapping
from contextlib import suppress
from datetime import datetime
from pathlib import Path

from cryptography.hazmat.primitives.keywrap import InvalidUnwrap, aes_key_unwrap, aes_key_wrap
from typing_extensions import override

from implio_pipeline.domain.errors import KeyMissing
from implio_pipeline.domain.ids import Region
from implio_pipeline.domain.keys import KeyContext, root_key_names
from implio_pipeline.domain.replan import reread
from implio_pipeline.ports.keychain import KeyRing
from implio_pipeline.stores.durable import make_folder, sync_folder

_ROOT_ID = re.compile(r"(?P<region>[A-Za-z0-9_-]+)/(?P<name>[a-z]+)/(?P<epoch>[0-9]+)")
_FILE = re.compile(r"(?P<name>[a-z]+)\.(?P<epoch>[0-9]+)\.key", re.ASCII)
_KEY_BYTES = 32
_PRINT_BYTES = 8
_UNFINISHED, _DOOMED = ".new", ".shred"


class LocalKeyRing(KeyRing):
    """Root keys as `<region>/<name>.<epoch>.key`, 32 random bytes each.

    Args:
        folder: Holds a folder for each region, and one for the home.
        elsewhere: The folders of regions whose keys are kept in another place.
        but: Regions whose keys are in a key service. Their folders are ignored.
    """

    def __init__(
        self, folder: Path, elsewhere: Mapping[Region, Path] | None = None, *, but: Collection[Region] = ()
    ) -> None:
        self._folder = folder
        self._but = frozenset(but)
        self._elsewhere = {region: path for region, path in (elsewhere or {}).items() if path != folder / region}
        self._roots: dict[str, bytes] = {}

    @override
    def is_in_service(self, region: Region) -> bool:
        return False

    @override
    def make(self, region: Region) -> None:
        for name in root_key_names(region):
            if not self._epochs(region, name):
                self._write(region, name, 1)

    @override
    def renew(self, region: Region) -> None:
        for name in root_key_names(region):
            epochs = self._epochs(region, name)
            if not epochs:
                raise _no_root_key(region, name)
            self._write(region, name, epochs[-1] + 1)

    @override
    def identities(self) -> dict[str, str]:
        # From the files, not from memory: another process may have changed the ring.
        return {root_key_id: fingerprint(root_key_id, key) for root_key_id, key in self._keys()}

    def owners(self) -> dict[str, list[str]]:
        """Return the regions that hold each key, by a fingerprint of the key alone.

        If several regions hold one key, somebody copied it. Destroying it in one region would not destroy the copy.

        Raises:
            KeyMissing: a file of the ring has the wrong length.
        """
        found: dict[str, list[str]] = {}
        for root_key_id, key in self._keys():
            found.setdefault(fingerprint("any", key), []).append(root_key_id.partition("/")[0])
        return found

    @override
    def wrap(self, region: Region, name: str, key: bytes, *, context: KeyContext) -> tuple[str, bytes]:
        # RFC 3394 has no associated data, so the context is not bound. Whoever can read the files has the key anyway.
        def wrap_under_newest() -> tuple[str, bytes]:
            epochs = self._epochs(region, name)
            if not epochs:
                raise _no_root_key(region, name)
            root_key_id = f"{region}/{name}/{epochs[-1]}"
            return root_key_id, aes_key_wrap(self._root(root_key_id), key)

        # A rotation may destroy the newest key after the files were listed.
        return reread(wrap_under_newest, about=f"the root keys of region {region}")

    @override
    def unwrap(self, root_key_id: str, wrapped: bytes, *, context: KeyContext) -> bytes:
        try:
            return aes_key_unwrap(self._root(root_key_id), wrapped)
        except (InvalidUnwrap, ValueError):  # ValueError: a length that RFC 3394 never makes
            raise KeyMissing(f"root key {root_key_id} does not open what it should have wrapped") from None

    @override
    def rewrap(self, root_key_id: str, wrapped: bytes, *, context: KeyContext) -> tuple[str, bytes]:
        region, name, _ = root_key_id.split("/")
        return self.wrap(Region(region), name, self.unwrap(root_key_id, wrapped, context=context), context=context)

    @override
    def retire(self, root_key_ids: Iterable[str]) -> dict[str, datetime | None]:
        # Flash storage and copy-on-write file systems may keep the overwritten bytes. Only disk encryption helps there.
        # 1. Take each key out of the ring by a rename, which is atomic.
        folders, listed = set(), list(root_key_ids)
        for root_key_id in listed:
            self._roots.pop(root_key_id, None)
            path = self._path_of(root_key_id)
            if path is not None:
                with suppress(FileNotFoundError):  # another rotation may have destroyed it
                    path.rename(path.with_name(f".{path.name}.{secrets.token_hex(4)}{_DOOMED}"))
                    folders.add(path.parent)
        # 2. Make the renames durable before any byte is overwritten, so that a crash never leaves half a key in the
        #    ring.
        for folder in folders:
            sync_folder(folder)
        # 3. Overwrite and unlink every renamed key, also those that earlier crashes left.
        for _, folder in self._folders():
            for path in folder.glob(f".*{_DOOMED}"):
                _overwrite_and_unlink(path)
                sync_folder(folder)
        return dict.fromkeys(listed)

    def _folders(self) -> Iterator[tuple[str, Path]]:
        for path in sorted(self._folder.glob("*/")):
            if Region(path.name) not in self._elsewhere and Region(path.name) not in self._but:
                yield path.name, path
        yield from sorted(self._elsewhere.items())

    def _keys(self) -> Iterator[tuple[str, bytes]]:
        for region, folder in self._folders():
            for path in sorted(folder.glob("*.key")):
                match = _FILE.fullmatch(path.name)
                if match:
                    root_key_id = f"{region}/{match['name']}/{int(match['epoch'])}"
                    with suppress(FileNotFoundError):  # a rotation may destroy it after it was listed
                        yield root_key_id, _read(path, root_key_id)

    def _folder_of(self, region: Region) -> Path:
        return self._elsewhere.get(region, self._folder / region)

    def _root(self, root_key_id: str) -> bytes:
        if root_key_id not in self._roots:
            path = self._path_of(root_key_id)
            try:
                self._roots[root_key_id] = _read(path, root_key_id) if path else b""
            except FileNotFoundError:
                raise KeyMissing(f"root key {root_key_id} is not in the key ring") from None
            except OSError as error:
                raise KeyMissing(f"root key {root_key_id} cannot be read: {error.strerror}") from None
            if not self._roots[root_key_id]:
                del self._roots[root_key_id]
                raise KeyMissing("the key ring has no root key of this name")
        return self._roots[root_key_id]

    def _path_of(self, root_key_id: str) -> Path | None:
        match = _ROOT_ID.fullmatch(root_key_id)
        return self._path(Region(match["region"]), match["name"], int(match["epoch"])) if match else None

    def _path(self, region: Region, name: str, epoch: int) -> Path:
        return self._folder_of(region) / f"{name}.{epoch}.key"

    def _epochs(self, region: Region, name: str) -> list[int]:
        found = map(_FILE.fullmatch, (path.name for path in self._folder_of(region).glob(f"{name}.*.key")))
        return sorted(int(match["epoch"]) for match in found if match)

    def _write(self, region: Region, name: str, epoch: int) -> None:
        # 1. Write the key under a temporary name, and make it durable: a crash leaves no incomplete key in the ring.
        path = self._path(region, name, epoch)
        make_folder(path.parent)
        unfinished = path.with_name(f".{path.name}.{secrets.token_hex(4)}{_UNFINISHED}")
        handle = os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        try:
            os.write(handle, secrets.token_bytes(_KEY_BYTES))
            os.fsync(handle)
        finally:
            os.close(handle)
        # 2. Give it its name by a link. Unlike a rename, a link never replaces a key that another process made for this
        #    epoch, under which something may be wrapped already.
        try:
            path.hardlink_to(unfinished)
        except FileExistsError:
            pass
        finally:
            unfinished.unlink()
        sync_folder(path.parent)


def fingerprint(key_id: str, key: bytes) -> str:
    """Return 16 hexadecimal digits that differ between two keys of one id and reveal nothing about the key.

    They are the first 8 octets of HMAC-SHA-256 of `fingerprint`, a zero octet and the id under the key; see
    `docs/KEYS.md`.
    """
    return hmac.digest(key, b"fingerprint\0" + key_id.encode(), "sha256")[:_PRINT_BYTES].hex()


def _no_root_key(region: Region, name: str) -> KeyMissing:
    return KeyMissing(f"region {region} has no root key for {name}")


def _read(path: Path, root_key_id: str) -> bytes:
    key = path.read_bytes()
    if len(key) != _KEY_BYTES:
        raise KeyMissing(f"root key {root_key_id} is not {_KEY_BYTES} bytes long")
    return key


def _overwrite_and_unlink(path: Path) -> None:
    with suppress(FileNotFoundError):
        handle = os.open(path, os.O_WRONLY | os.O_NOFOLLOW)
        try:
            os.write(handle, secrets.token_bytes(max(_KEY_BYTES, os.fstat(handle).st_size)))
            os.fsync(handle)
        finally:
            os.close(handle)
        path.unlink()
