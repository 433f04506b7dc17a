"""Parquet Modular Encryption through pyarrow: our file keys in the place of its master keys.

Every file gets a `CryptoFactory` of its own when it is written or rewritten: a factory shared between
threads can deadlock, because Arrow holds its key-cache lock while it waits for the GIL.
"""

import base64
from collections.abc import Mapping
from datetime import timedelta
from functools import cache
from typing import Any

import pyarrow.parquet.encryption as pe
from cryptography.hazmat.primitives.keywrap import InvalidUnwrap, aes_key_unwrap, aes_key_wrap

from implio_pipeline.domain.columns import Column, ColumnType, columns_of
from implio_pipeline.domain.ids import ColumnClass, FileId, FileKind

CACHE_LIFETIME = timedelta(days=3650)


def master_key_id(file_id: FileId, column_class: ColumnClass) -> str:
    """Return the name a file's footer gives to one of its keys; `:`, `,` and `;` are reserved by the format."""
    return f"{file_id}/{column_class}"


class FileKms(pe.KmsClient):  # type: ignore[misc]
    """Wraps and unwraps with the raw keys of files, by AES key wrap (RFC 3394).

    Args:
        keys: Raw file keys by master key id.
    """

    def __init__(self, keys: Mapping[str, bytes]) -> None:
        super().__init__()
        self._keys = keys

    def wrap_key(self, key_bytes: bytes, master_key_identifier: str) -> str:
        """Return a key wrapped under a file key, as text."""
        return base64.b64encode(aes_key_wrap(self._keys[master_key_identifier], key_bytes)).decode()

    def unwrap_key(self, wrapped_key: str, master_key_identifier: str) -> bytes:
        """Return the key that was wrapped under a file key.

        Raises:
            PermissionError: that file key was not granted, or did not wrap it.
        """
        key = self._keys.get(master_key_identifier)
        if key is None:
            raise PermissionError(f"key {master_key_identifier} was not granted")
        try:
            return aes_key_unwrap(key, base64.b64decode(wrapped_key))
        except InvalidUnwrap:
            raise PermissionError(f"key {master_key_identifier} did not wrap this") from None


def named_keys(file_id: FileId, raw: Mapping[ColumnClass, bytes]) -> dict[str, bytes]:
    """Return a file's raw keys under the names its footer gives them."""
    return {master_key_id(file_id, column_class): key for column_class, key in raw.items()}


def factory_for(keys: Mapping[str, bytes]) -> pe.CryptoFactory:
    """Return a factory that resolves keys from a mapping, for one file or one reader."""
    return pe.CryptoFactory(lambda _: FileKms(keys))


def connection() -> pe.KmsConnectionConfig:
    """Return the connection Arrow asks for; our keys need none."""
    return pe.KmsConnectionConfig()


def decryption() -> pe.DecryptionConfiguration:
    """Return a configuration whose key cache outlives every reader."""
    return pe.DecryptionConfiguration(cache_lifetime=CACHE_LIFETIME)


def encryption_properties(file_id: FileId, kind: FileKind, raw: Mapping[ColumnClass, bytes]) -> Any:
    """Return the properties that encrypt every leaf of a file under its class's key, footer included."""
    configuration = pe.EncryptionConfiguration(
        footer_key=master_key_id(file_id, ColumnClass.OPERATIONAL),
        column_keys={
            master_key_id(file_id, column_class): list(leaves) for column_class, leaves in leaves_by_class(kind).items()
        },
        encryption_algorithm="AES_GCM_V1",
        plaintext_footer=False,
        double_wrapping=True,
        internal_key_material=True,
        data_key_length_bits=256,
        cache_lifetime=CACHE_LIFETIME,
    )
    return factory_for(named_keys(file_id, raw)).file_encryption_properties(connection(), configuration)


def decryption_properties(file_id: FileId, raw: Mapping[ColumnClass, bytes]) -> Any:
    """Return the properties that decrypt the granted classes of one file."""
    return factory_for(named_keys(file_id, raw)).file_decryption_properties(connection(), decryption())


@cache
def leaves_by_class(kind: FileKind) -> dict[ColumnClass, tuple[str, ...]]:
    """Return the Parquet leaf paths of each class; a leaf that is missing here would be written in clear."""
    found: dict[ColumnClass, list[str]] = {}
    for column in columns_of(kind):
        found.setdefault(column.column_class, []).append(leaf_of(column))
    return {column_class: tuple(leaves) for column_class, leaves in found.items()}


def leaf_of(column: Column) -> str:
    """Return the path of a column's one Parquet leaf."""
    return f"{column.name}.list.element" if column.type is ColumnType.TEXTS else column.name
