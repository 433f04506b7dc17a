"""An encrypted Parquet file of one row group, taken apart into its encrypted modules.

A file is `PARE`, the pages of one column after the other, the footer, its length and `PARE` again. A page is two
modules: a header and its data. Every module is its length (4 octets), a nonce (12), the ciphertext and a tag (16). What
a module is, and where, is in the additional data that it is authenticated with: none can be exchanged for another.

Source: Parquet modular encryption, https://github.com/apache/parquet-format/blob/master/Encryption.md, the sections
named below. Structs: https://github.com/apache/parquet-format/blob/master/src/main/thrift/parquet.thrift.
"""

import base64
import json
import os
import re
import struct
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import IntEnum
from functools import lru_cache, partial
from typing import Any

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.keywrap import InvalidUnwrap, aes_key_unwrap

from implio_pipeline.domain.ids import sensitive
from implio_pipeline.stores.vault.pages.faults import Unsuitable
from implio_pipeline.stores.vault.pages.thrift import I32, Field, Struct, decode_struct, write_unsigned

MAGIC = b"PARE"
_LENGTH, _NONCE, _TAG = 4, 12, 16
MODULE_OVERHEAD = _LENGTH + _NONCE + _TAG
_UNSIGNED = struct.Struct("<I")
_MODULES_A_PAGE = 2
_FIRST_GROUP = bytes(2)
_ORDINALS: tuple[Callable[..., bytes], ...] = (
    bytes,
    partial(struct.Struct("<2sH").pack, _FIRST_GROUP),
    partial(struct.Struct("<2sHH").pack, _FIRST_GROUP),
)
"""Return the ordinals of a module's additional data: none for a footer; row group and column; these and the page."""


class Module(IntEnum):
    """The types of modules. Source: Encryption.md, section 4.4.2, "AAD suffix"."""

    FOOTER = 0
    COLUMN_METADATA = 1
    DATA_PAGE = 2
    DICTIONARY_PAGE = 3
    DATA_PAGE_HEADER = 4
    DICTIONARY_PAGE_HEADER = 5


# Field numbers of the structs that are read here. Source: parquet.thrift.
CRYPTO_ALGORITHM, CRYPTO_KEY = 1, 2  # FileCryptoMetaData
AES_GCM_V1, UNIQUE_PART, NEEDS_PREFIX = 1, 2, 3  # EncryptionAlgorithm, AesGcmV1
FILE_VERSION, FILE_SCHEMA, FILE_ROWS, ROW_GROUPS, CREATED_BY, COLUMN_ORDERS = 1, 2, 3, 4, 6, 7  # FileMetaData
CHUNKS, GROUP_BYTES, GROUP_ROWS, GROUP_OFFSET, GROUP_COMPRESSED, GROUP_NUMBER = 1, 2, 3, 5, 6, 7  # RowGroup
CHUNK_OFFSET, CHUNK_PLAIN_METADATA, CHUNK_KEY, CHUNK_METADATA = 2, 3, 8, 9  # ColumnChunk
OWN_KEY, OWN_PATH, KEY_MATERIAL = 2, 1, 2  # ColumnCryptoMetaData, EncryptionWithColumnKey
PHYSICAL_TYPE, ENCODINGS, PATH, CODEC, VALUES, UNCOMPRESSED, COMPRESSED = 1, 2, 3, 4, 5, 6, 7  # ColumnMetaData
DATA_OFFSET, DICTIONARY_OFFSET, STATISTICS, PAGE_COUNTS, SIZES = 9, 11, 12, 13, 16  # ColumnMetaData
PAGE_BYTES, PAGE_STORED_BYTES = 2, 3  # PageHeader
UNCOMPRESSED_PAGES, ZSTD = 0, 6  # CompressionCodec
DATA, DICTIONARY = 0, 2  # PageType
PLAIN, INDEXES = 0, 8  # Encoding: PLAIN, RLE_DICTIONARY

NUMBER = rb"([\x80-\xff]*[\x00-\x7f])"
"""A number in a regular expression of octets."""
_DATA_HEADER = re.compile(
    # PageHeader: 1 type = DATA_PAGE, 2 uncompressed bytes, 3 stored bytes, 5 DataPageHeader: 1 values, 2 encoding =
    # PLAIN or RLE_DICTIONARY, 3 and 4 levels = RLE, 5 statistics, which are empty.
    rb"\x15\x00\x15"
    + NUMBER
    + rb"\x15"
    + NUMBER
    + rb"\x2c\x15"
    + NUMBER
    + rb"\x15([\x00\x10])\x15\x06\x15\x06\x1c\x00\x00\x00"
)
"""The one form of a data page's header that is copied. It has no place for a value of a row."""


def page_count(page_type: int, encoding: int, count: int) -> Struct:
    """Return what the metadata of a column say of its pages of one type (PageEncodingStats)."""
    return {1: Field(I32, page_type), 2: Field(I32, encoding), 3: Field(I32, count)}


@dataclass(frozen=True, slots=True)
class DataHeader:
    """The header of a data page without statistics."""

    page_bytes: int
    """Before compression."""
    stored_bytes: int
    """After compression and encryption, with the module's overhead if it is encrypted."""
    values: int
    """The number of values; of a column without lists, the number of rows."""
    is_indexes: bool
    """Whether the values are places in a dictionary."""

    def encode(self) -> bytes:
        """Return the octets of the header."""
        written = bytearray(b"\x15\x00\x15")
        write_unsigned(written, self.page_bytes << 1)
        written += b"\x15"
        write_unsigned(written, self.stored_bytes << 1)
        written += b"\x2c\x15"
        write_unsigned(written, self.values << 1)
        written += b"\x15\x10" if self.is_indexes else b"\x15\x00"
        written += b"\x15\x06\x15\x06\x1c\x00\x00\x00"
        return bytes(written)


@lru_cache(maxsize=4_096)
def data_header(octets: bytes) -> DataHeader:
    """Return the decoded header of a data page.

    Raises:
        Unsuitable: the header has another form.
    """
    found = _DATA_HEADER.fullmatch(octets)
    if not found:
        raise Unsuitable("a page has statistics or another encoding")
    page_bytes, stored_bytes, values, encoding = found.groups()
    return DataHeader(number_in(page_bytes), number_in(stored_bytes), number_in(values), encoding != b"\x00")


def number_in(octets: bytes) -> int:
    """Return a number that is not negative, as a struct has it."""
    # Seven bits an octet, the lowest first. The last bit is the sign, and a size has none.
    number = 0
    for octet in octets[::-1]:
        number = number << 7 | octet & 127
    return number >> 1


class Sealer:
    """Opens and seals the modules of one key of one file.

    Args:
        key: The data key, 32 octets.
        unique: The octets that are in the additional data of every module of the file.
    """

    def __init__(self, key: bytes, unique: bytes) -> None:
        self._cipher = AESGCM(key)
        # Source: Encryption.md, section 4.4: the file's part, then type, row group, column and page. Our files have no
        # prefix and one row group.
        self._begins = [unique + bytes([module]) for module in Module]

    def open(self, octets: memoryview, module: Module, *place: int) -> bytes:
        """Return what a module holds.

        Args:
            octets: The whole module.
            module: Its type.
            place: The number of the column in the row group and, for data pages, of the page in the column.

        Raises:
            Unsuitable: the module does not open under this key at this place.
        """
        if _UNSIGNED.unpack_from(octets)[0] != len(octets) - _LENGTH:
            raise Unsuitable(f"a module of type {module.name} has another length")
        nonce, sealed = octets[_LENGTH : _LENGTH + _NONCE], octets[_LENGTH + _NONCE :]
        try:
            return self._cipher.decrypt(nonce, sealed, self._begins[module] + _ORDINALS[len(place)](*place))
        except InvalidTag:
            raise Unsuitable(f"a module of type {module.name} does not open") from None

    def seal(self, octets: bytes, module: Module, *place: int) -> bytes:
        """Return the module that holds these octets, under a new random nonce."""
        nonce = os.urandom(_NONCE)
        sealed = self._cipher.encrypt(nonce, octets, self._begins[module] + _ORDINALS[len(place)](*place))
        return _UNSIGNED.pack(_NONCE + len(sealed)) + nonce + sealed


@dataclass(frozen=True, kw_only=True, slots=True)
class Leaf:
    """One column chunk: the pages of a leaf column."""

    number: int
    """Its place in the row group, which is in the additional data of its modules."""
    path: tuple[str, ...]
    chunk: Struct
    metadata: Struct
    key: bytes = sensitive()
    """Its data key."""
    sealer: Sealer
    edges: list[int]
    """Where its modules begin in the file, and where the last one ends. A page is two: a header and a body."""

    @property
    def has_dictionary(self) -> bool:
        """Whether its first page is a dictionary."""
        return DICTIONARY_OFFSET in self.metadata

    @property
    def pages(self) -> int:
        """Return the number of its data pages."""
        return len(self.edges) // _MODULES_A_PAGE - self.has_dictionary

    @property
    def is_list(self) -> bool:
        """Whether a row may have several values."""
        return len(self.path) > 1

    def module_bytes(self, page: int) -> int:
        """Return the size of the body of a data page as it is stored; of the dictionary if the page is -1."""
        body = _MODULES_A_PAGE * (page + self.has_dictionary) + 1
        return self.edges[body + 1] - self.edges[body]


@dataclass(frozen=True, kw_only=True, slots=True)
class SealedPages:
    """An encrypted file, taken apart."""

    octets: memoryview
    footer_begin: int
    """Where the footer's module begins."""
    crypto: bytes
    """The struct in clear before the footer: algorithm, unique part and the footer's key material."""
    described: Struct
    """The same, decoded."""
    unique: bytes
    """The octets that are in the additional data of every module of the file."""
    footer: Struct
    key: bytes = sensitive()
    """The data key of the footer."""
    sealer: Sealer
    """Opens and seals the footer."""
    leaves: tuple[Leaf, ...]
    _opened: dict[tuple[int, int, int], bytes] = field(default_factory=dict, repr=False)
    """What was opened. Surgery and proof open the same pages."""
    page_rows: list[int] = field(default_factory=list, repr=False)
    """The number of rows of each page, once `form.page_rows` has found it."""

    @property
    def rows(self) -> int:
        """Return the number of rows."""
        rows: int = self.footer[FILE_ROWS].value
        return rows

    def header(self, leaf: Leaf, page: int) -> bytes:
        """Return the octets of the header of a data page."""
        return self._open(leaf, page, 0, Module.DATA_PAGE_HEADER)

    def body(self, leaf: Leaf, page: int) -> bytes:
        """Return the octets of a data page, decrypted and still compressed."""
        return self._open(leaf, page, 1, Module.DATA_PAGE)

    def dictionary(self, leaf: Leaf) -> tuple[bytes, bytes]:
        """Return the octets of the header and the body of a column's dictionary."""
        header, body = self._module(leaf, -1, 0), self._module(leaf, -1, 1)
        return (
            leaf.sealer.open(header, Module.DICTIONARY_PAGE_HEADER, leaf.number),
            leaf.sealer.open(body, Module.DICTIONARY_PAGE, leaf.number),
        )

    def stored(self, leaf: Leaf, page: int) -> memoryview:
        """Return the two modules of a data page as they are stored; of the dictionary if the page is -1."""
        first = _MODULES_A_PAGE * (page + leaf.has_dictionary)
        return self.octets[leaf.edges[first] : leaf.edges[first + _MODULES_A_PAGE]]

    def nonces(self) -> list[bytes]:
        """Return the nonces of all modules of pages, of the columns' metadata and of the footer."""
        begins = [edge for leaf in self.leaves for edge in leaf.edges[:-1]]
        begins.append(self.footer_begin)
        sealed = [leaf.chunk[CHUNK_METADATA].value[_LENGTH : _LENGTH + _NONCE] for leaf in self.leaves]
        return sealed + [bytes(self.octets[begin + _LENGTH : begin + _LENGTH + _NONCE]) for begin in begins]

    def _open(self, leaf: Leaf, page: int, part: int, module: Module) -> bytes:
        place = (leaf.number, page, part)
        if (known := self._opened.get(place)) is None:
            known = self._opened[place] = leaf.sealer.open(self._module(leaf, page, part), module, leaf.number, page)
        return known

    def _module(self, leaf: Leaf, page: int, part: int) -> memoryview:
        first = _MODULES_A_PAGE * (page + leaf.has_dictionary) + part
        return self.octets[leaf.edges[first] : leaf.edges[first + 1]]


def take_apart(octets: memoryview, key_of: Callable[[str], bytes]) -> SealedPages:
    """Return the modules of an encrypted file of one row group, all of whose columns have keys of their own.

    Args:
        octets: The whole file.
        key_of: Returns our file key by the name that the key material gives it.

    Raises:
        Unsuitable: the file has another form, does not open under these keys, or has octets that belong to no module.
    """
    # 1. The end of the file: what is in clear, the footer, and the length of both. Arrow has signed octets.
    octets = octets.cast("B")
    if len(octets) < 3 * _LENGTH or octets[:_LENGTH] != MAGIC or octets[-_LENGTH:] != MAGIC:
        raise Unsuitable("the file has no encrypted footer")
    end = len(octets) - 2 * _LENGTH
    begin = end - int.from_bytes(octets[end : end + _LENGTH], "little")
    if begin < _LENGTH:
        raise Unsuitable("the footer is longer than the file")
    tail = bytes(octets[begin:end])
    crypto, place = decode_struct(tail)
    keys = _DataKeys(key_of)
    algorithm = _present(crypto, CRYPTO_ALGORITHM)
    unique: bytes = _present(_present(algorithm, AES_GCM_V1), UNIQUE_PART)
    key = keys.unwrap(_present(crypto, CRYPTO_KEY))
    sealer = Sealer(key, unique)
    footer = _only_struct(sealer.open(memoryview(tail)[place:], Module.FOOTER))
    # 2. The columns, which must fill the file up to the footer without a gap.
    groups = _present(footer, ROW_GROUPS).values
    if len(groups) != 1:
        raise Unsuitable("the file has several row groups")
    leaves, at = [], _LENGTH
    for number, chunk in enumerate(_present(groups[0], CHUNKS).values):
        own = _present(_present(chunk, CHUNK_KEY), OWN_KEY)
        column_key = keys.unwrap(_present(own, KEY_MATERIAL))
        column = Sealer(column_key, unique)
        sealed = memoryview(_present(chunk, CHUNK_METADATA))
        metadata = _only_struct(column.open(sealed, Module.COLUMN_METADATA, number))
        data_begins = _present(metadata, DATA_OFFSET)
        begins = metadata[DICTIONARY_OFFSET].value if DICTIONARY_OFFSET in metadata else data_begins
        ends = begins + _present(metadata, COMPRESSED)
        if begins != at or ends > end:
            raise Unsuitable("the file has octets that belong to no column")
        edges = _module_edges(octets, begins, ends)
        if data_begins != edges[_MODULES_A_PAGE if DICTIONARY_OFFSET in metadata else 0]:
            raise Unsuitable("a column's first page is not where its metadata say")
        at = ends
        leaves.append(
            Leaf(
                number=number,
                path=tuple(each.decode() for each in _present(metadata, PATH).values),
                chunk=chunk,
                metadata=metadata,
                key=column_key,
                sealer=column,
                edges=edges,
            )
        )
    if at != begin:
        raise Unsuitable("the file has octets that belong to no column")
    return SealedPages(
        octets=octets,
        footer_begin=begin + place,
        crypto=tail[:place],
        described=crypto,
        unique=unique,
        footer=footer,
        key=key,
        sealer=sealer,
        leaves=tuple(leaves),
    )


def _module_edges(octets: memoryview, begin: int, end: int) -> list[int]:
    """Return where the modules between two places begin, and where the last one ends."""
    edges = [begin]
    while begin < end:
        length: int = _UNSIGNED.unpack_from(octets, begin)[0]
        begin += _LENGTH + length
        if length < _NONCE + _TAG or begin > end:
            raise Unsuitable("a module is longer than its column")
        edges.append(begin)
    return edges


def _only_struct(octets: bytes) -> Struct:
    fields, end = decode_struct(octets)
    if end != len(octets):
        raise Unsuitable("there are octets behind a struct")
    return fields


def _present(fields: Struct, number: int) -> Any:
    if number not in fields:
        raise Unsuitable(f"the file has no field {number} where one is needed")
    return fields[number].value


class _DataKeys:
    """Unwraps the data keys that key material holds: `PKMT1` with double wrapping, as Arrow writes it.

    Source: the key tools of parquet-java and Arrow C++ (`key_material.h`, `key_toolkit_internal.cc`).
    """

    def __init__(self, key_of: Callable[[str], bytes]) -> None:
        self._key_of = key_of
        self._wrapping: dict[str, AESGCM] = {}

    def unwrap(self, material: bytes) -> bytes:
        try:
            described = json.loads(material)
            name, wrapped = described["keyEncryptionKeyID"], base64.b64decode(described["wrappedDEK"])
            if name not in self._wrapping:
                own = self._key_of(described["masterKeyID"])
                self._wrapping[name] = AESGCM(aes_key_unwrap(own, base64.b64decode(described["wrappedKEK"])))
            return self._wrapping[name].decrypt(wrapped[:_NONCE], wrapped[_NONCE:], base64.b64decode(name))
        except (ValueError, KeyError, TypeError, InvalidUnwrap, InvalidTag):
            raise Unsuitable("the key material has another form") from None
