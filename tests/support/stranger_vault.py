"""A reader of vault files as a stranger writes it: from `docs/FORMAT.md` and what that names, without our code.

It keeps the document honest. Whatever it does not say has no place here: where the two disagree, the document is mended
first. Read "A vault file", "Keys" and "What authenticates the catalog" there beside it. It imports the standard
library, `cryptography`, and zstd from pyarrow. It refuses whatever the document does not describe.

`files_in` lists a home's files. `read_file` opens one with the keys and the catalog, and returns its columns. It opens
the footer, then the metadata and the pages of each column.
"""

import base64
import json
import sqlite3
import struct
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import cache
from hashlib import blake2b, sha256
from pathlib import Path
from struct import unpack_from
from typing import Any

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.keywrap import InvalidUnwrap, aes_key_unwrap
from pyarrow import decompress

MAGIC = b"PARE"
CLASSES = ("operational", "content", "identity")
_LENGTH, _NONCE, _TAG = 4, 12, 16
_FOOTER, _COLUMN, _PAGE, _DICTIONARY, _PAGE_HEADER, _DICTIONARY_HEADER = range(6)
_PLAIN, _RLE, _RLE_DICTIONARY = 0, 3, 8
_NO_CODEC, _ZSTD = 0, 6
_DATA_PAGE, _DICTIONARY_PAGE = 0, 2
_INT64, _DOUBLE, _BYTE_ARRAY, _FIXED = 2, 5, 6, 7
_REQUIRED, _OPTIONAL, _REPEATED = range(3)
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_KEY_FIELDS = {"keyMaterialType", "internalStorage", "isFooterKey", "masterKeyID", "wrappedDEK"}
_KEY_FIELDS |= {"doubleWrapping", "keyEncryptionKeyID", "wrappedKEK"}
_ABOUT_KMS = {"kmsInstanceID", "kmsInstanceURL"}

Struct = dict[int, Any]
"""The fields of a Thrift struct by their ids."""
FileKey = Callable[[str], bytes]
"""Opens the file key of a name, which is `<file id>/<class>`."""


class VaultRefused(Exception):
    """What was read is not what the format says, or not what was encrypted."""


def _demand(holds: object, otherwise: str) -> None:
    if not holds:
        raise VaultRefused(otherwise)


# Keys and catalog.


@dataclass(frozen=True, kw_only=True)
class Listed:
    """A live file as the catalog lists it."""

    file_id: str
    path: Path
    rows: int
    size_bytes: int
    digest: str


_NUMBERS = ["rows", "size_bytes", "anonymous_rows", "first_submitted_at", "last_submitted_at", "most_of_one_user"]
_OCTETS = ["low_key", "high_key", "filters"]
_TEXTS = ["file_id", "team", "region", "day", "kind", "digest", "outcomes"]


def files_in(home: Path) -> list[Listed]:
    """Return the live files of a home.

    Raises:
        VaultRefused: a row of the catalog is not what was written there.
    """
    ((root_key_id, wrapped),) = _rows(home, "select root_key_id, wrapped from home_keys where name = 'catalog'")
    key = _unwrap(_root_key(home, root_key_id), wrapped)
    names = [*_NUMBERS, *_OCTETS, *_TEXTS, "mac"]
    found = []
    for values in _rows(home, f"select {', '.join(names)} from vault_files where state = 'live'"):
        row = dict(zip(names, values, strict=True))
        _demand(_mac(row, key) == row["mac"], "a row of the catalog was altered")
        place = f"vault/{row['region']}/team={row['team']}/day={row['day']}/{row['file_id']}.parquet"
        known = {name: row[name] for name in ("file_id", "rows", "size_bytes", "digest")}
        found.append(Listed(path=home / place, **known))
    return found


def _mac(row: dict[str, Any], key: bytes) -> bytes:
    """Return the MAC of a row of `vault_files`."""
    octets = [row[name] for name in _OCTETS]
    texts = [row[name] for name in _TEXTS[:-1]] + [json.dumps(json.loads(row["outcomes"]), sort_keys=True)]
    parts = [row[name].to_bytes(8, "big") for name in _NUMBERS]
    parts += [b"\xff" * 4 if each is None else len(each).to_bytes(4, "big") for each in octets]
    parts += [each or b"" for each in octets]
    parts += ["\0".join(texts).encode()]
    return blake2b(b"".join(parts), digest_size=32, key=key, person=b"vault_files").digest()


def file_key(home: Path, name: str) -> bytes:
    """Open a file key: root key, team key, file key."""
    asked = (
        "select f.wrapped, t.wrapped, t.root_key_id from file_keys f join team_keys t on t.key_id = f.team_key_id "
        "where f.file_id = ? and f.column_class = ?"
    )
    file_id, _, column_class = name.partition("/")
    found = _rows(home, asked, file_id, column_class)
    _demand(len(found) == 1, "the catalog has no such key")
    file_wrapped, team_wrapped, root_key_id = found[0]
    return _unwrap(_unwrap(_root_key(home, root_key_id), team_wrapped), file_wrapped)


def _root_key(home: Path, root_key_id: str) -> bytes:
    region, column_class, epoch = root_key_id.split("/")
    return (home / "keys" / region / f"{column_class}.{epoch}.key").read_bytes()


def _rows(home: Path, asked: str, *values: str) -> list[tuple[Any, ...]]:
    with closing(sqlite3.connect(f"file:{home}/catalog/catalog.db?mode=ro", uri=True)) as catalog:
        return catalog.execute(asked, values).fetchall()


def _unwrap(key: bytes, wrapped: bytes) -> bytes:
    try:
        return aes_key_unwrap(key, wrapped)
    except (InvalidUnwrap, ValueError) as fault:
        raise VaultRefused("a key was wrapped by another key") from fault


@dataclass(frozen=True, kw_only=True)
class DataKey:
    """The key of a column or of the footer."""

    column_class: str
    """The class whose file key opens it."""
    kek_id: bytes
    key: bytes = field(repr=False)


def data_key(material: bytes, *, file_id: str, is_footer: bool, file_key: FileKey) -> DataKey:
    """Open the data key that key material tells of."""
    known = _json(material)
    _demand(known.keys() == (_KEY_FIELDS | _ABOUT_KMS if is_footer else _KEY_FIELDS), "key material has other fields")
    told = {"keyMaterialType": "PKMT1", "internalStorage": True, "isFooterKey": is_footer, "doubleWrapping": True}
    told |= dict.fromkeys(_ABOUT_KMS & known.keys(), "DEFAULT")
    _demand({name: known[name] for name in told} == told, "key material of another form")
    named, _, column_class = known["masterKeyID"].partition("/")
    _demand(named == file_id and column_class in CLASSES, "the key is of another file")
    kek_id = _base64(known["keyEncryptionKeyID"])
    _demand(len(kek_id) == 16, "the name of the KEK has another length")
    kek = _unwrap(file_key(known["masterKeyID"]), _base64(known["wrappedKEK"]))
    _demand(len(kek) == 16, "the KEK has another length")
    key = _opened(kek, _base64(known["wrappedDEK"]), kek_id)
    _demand(len(key) == 32, "the data key has another length")
    return DataKey(column_class=column_class, kek_id=kek_id, key=key)


def _json(material: bytes) -> dict[str, Any]:
    try:
        return dict(json.loads(material))
    except ValueError as fault:
        raise VaultRefused("key material is not JSON") from fault


def _base64(text: str) -> bytes:
    try:
        octets = base64.b64decode(text, validate=True)
    except ValueError as fault:
        raise VaultRefused("not base64") from fault
    _demand(base64.b64encode(octets).decode() == text, "not canonical base64")
    return octets


def _opened(key: bytes, sealed: bytes | memoryview, additional: bytes) -> bytes:
    """Open a nonce, a ciphertext and its tag."""
    _demand(len(sealed) >= _NONCE + _TAG, "too short for a nonce and a tag")
    try:
        return AESGCM(key).decrypt(bytes(sealed[:_NONCE]), bytes(sealed[_NONCE:]), additional)
    except InvalidTag as fault:
        raise VaultRefused("a module was encrypted by another key, for another place, or otherwise") from fault


# Thrift's compact protocol.


def _thrift(octets: bytes) -> tuple[Struct, int]:
    """Read a struct; return its fields and where it ends."""
    reader = _Thrift(octets)
    try:
        return reader.struct(), reader.at
    except IndexError as fault:
        raise VaultRefused("a struct is cut off") from fault


def _whole_thrift(octets: bytes) -> Struct:
    found, end = _thrift(octets)
    _demand(end == len(octets), "octets after a struct")
    return found


@dataclass
class _Thrift:
    octets: bytes
    at: int = 0

    def struct(self) -> Struct:
        fields: Struct = {}
        number = 0
        while head := self.octet():
            number = number + (head >> 4) if head >> 4 else self.zigzag()
            _demand(number not in fields, "a field is there twice")
            # The type of a boolean field is its value.
            fields[number] = head & 15 == 1 if head & 15 in {1, 2} else self.value(head & 15)
        return fields

    def value(self, kind: int) -> Any:
        match kind:
            case 1 | 2 | 3:
                return self.octet()
            case 4 | 5 | 6:
                return self.zigzag()
            case 8:
                return self.binary()
            case 9:
                head = self.octet()
                count = head >> 4 if head >> 4 < 15 else self.varint()
                return [self.value(head & 15) for _ in range(count)]
            case 12:
                return self.struct()
        raise VaultRefused("a type that Parquet does not use")

    def octet(self) -> int:
        self.at += 1
        return self.octets[self.at - 1]

    def varint(self) -> int:
        found = shift = 0
        while True:
            octet = self.octet()
            found |= (octet & 127) << shift
            shift += 7
            if octet < 128:
                return found

    def zigzag(self) -> int:
        found = self.varint()
        return found >> 1 ^ -(found & 1)

    def binary(self) -> bytes:
        size = self.varint()
        self.at += size
        _demand(self.at <= len(self.octets), "a text is cut off")
        return self.octets[self.at - size : self.at]


# The file.


@dataclass(frozen=True, kw_only=True)
class Leaf:
    """A column of the schema that has values."""

    path: tuple[str, ...]
    physical: int
    octets: int
    """The length of a value of fixed length."""
    is_text: bool
    is_instant: bool
    most_repeated: int
    most_defined: int
    list_defined: int
    """The definition level at and above which a row has a list, if it is a list."""


@dataclass(frozen=True, kw_only=True)
class Module:
    """Where an encrypted module is in the file, its length included."""

    name: str
    start: int
    end: int
    key: bytes = field(repr=False)
    additional: bytes = field(repr=False)


@dataclass(kw_only=True)
class Opened:
    """A file that was read."""

    rows: int
    columns: dict[str, list[Any]] = field(default_factory=dict)
    classes: dict[str, str] = field(default_factory=dict)
    """The class whose key opens each column."""
    types: dict[str, Leaf] = field(default_factory=dict)
    pages: dict[str, list[int]] = field(default_factory=dict)
    """The number of rows of each page of a column."""
    with_dictionary: set[str] = field(default_factory=set)
    modules: list[Module] = field(default_factory=list)
    """All modules in the order of the file. The metadata of columns are within the last one, the footer."""


def read_file(home: Path, listed: Listed, octets: bytes | None = None) -> Opened:
    """Read a file of a home.

    Args:
        home: The folder of the home.
        listed: The file as the catalog lists it.
        octets: What to read instead of what the file holds; it is not compared with the digest of the catalog.

    Raises:
        VaultRefused: it is not what the format says.
    """
    content = listed.path.read_bytes() if octets is None else octets
    is_listed = (len(content), sha256(content).hexdigest()) == (listed.size_bytes, listed.digest)
    _demand(octets is not None or is_listed, "the catalog has another size or digest")
    keys = cache(lambda name: file_key(home, name))
    try:
        opened = _Reader(content, listed.file_id, keys).read()
    except (KeyError, IndexError, TypeError, AttributeError, UnicodeDecodeError, struct.error) as fault:
        raise VaultRefused("a field is missing, or has another type") from fault
    _demand(opened.rows == listed.rows, "the catalog has another number of rows")
    return opened


@dataclass
class _Reader:
    content: bytes
    file_id: str
    file_key: FileKey
    unique: bytes = b""
    kek_ids: dict[str, bytes] = field(default_factory=dict)
    uncompressed: int = 0
    footer_start: int = 0
    footer_module: Module | None = None
    opened: Opened = field(default_factory=lambda: Opened(rows=0))

    def read(self) -> Opened:
        footer = self.footer()
        schema = list(_leaves(footer[2]))
        _demand(len(footer[4]) == 1, "another number of row groups")
        (group,) = footer[4]
        _demand(group[3] == footer[3], "the footer has another number of rows")
        _demand(group.get(7, 0) == 0, "the row group has another ordinal")
        _demand(len(group[1]) == len(schema), "another number of columns")
        _demand(5 not in footer, "an Arrow schema, or other words of a writer")
        self.opened = Opened(rows=footer[3])
        at = len(MAGIC)
        for number, (leaf, chunk) in enumerate(zip(schema, group[1], strict=True)):
            at = self.column(leaf, chunk, number, at)
        _demand(at == self.footer_start, "octets between the columns and the footer")
        _demand(group[5] == len(MAGIC) and group[6] == at - len(MAGIC), "the row group is elsewhere")
        _demand(group[2] == self.uncompressed, "the row group has another size")
        people, instants = self.opened.columns["user_key"], self.opened.columns["submitted_at"]
        order = [(key is None, key or b"", instant) for key, instant in zip(people, instants, strict=True)]
        _demand(order == sorted(order), "rows in another order")
        self.opened.modules += [self.footer_module] if self.footer_module else []
        return self.opened

    def footer(self) -> Struct:
        """Open the footer."""
        content = self.content
        _demand(len(content) >= 12 and content[:4] == content[-4:] == MAGIC, "other magic octets")
        (size,) = unpack_from("<I", content, len(content) - 8)
        end = len(content) - 8
        self.footer_start = end - size
        _demand(self.footer_start >= len(MAGIC), "the footer is longer than the file")
        crypto, length = _thrift(content[self.footer_start : end])
        _demand(crypto.keys() == {1, 2} and crypto[1].keys() == {1}, "another algorithm")
        algorithm = crypto[1][1]
        _demand(algorithm.keys() <= {2, 3} and algorithm.get(3, False) is False, "a prefix of the additional data")
        self.unique = algorithm[2]
        _demand(len(self.unique) == 8, "another length of the additional data")
        opened = self.data_key(crypto[2], is_footer=True)
        key = opened.key
        _demand(opened.column_class == "operational", "another class opens the footer")
        start, additional = self.footer_start + length, self.unique + bytes([_FOOTER])
        sealed, after = self.module(start)
        _demand(after == end, "octets after the footer")
        self.footer_module = Module(name="footer", start=start, end=end, key=key, additional=additional)
        return _whole_thrift(_opened(key, sealed, additional))

    def data_key(self, material: bytes, *, is_footer: bool) -> DataKey:
        opened = data_key(material, file_id=self.file_id, is_footer=is_footer, file_key=self.file_key)
        known = self.kek_ids.setdefault(opened.column_class, opened.kek_id)
        _demand(known == opened.kek_id, "the class has another KEK")
        return opened

    def module(self, at: int) -> tuple[bytes, int]:
        """Return a module without its length, and where it ends."""
        _demand(at + _LENGTH <= len(self.content), "a module is cut off")
        (size,) = unpack_from("<I", self.content, at)
        end = at + _LENGTH + size
        _demand(end <= len(self.content), "a module is cut off")
        return self.content[at + _LENGTH : end], end

    def additional(self, kind: int, *ordinals: int) -> bytes:
        """Return the additional data of a module of the only row group."""
        return self.unique + bytes([kind]) + b"".join(each.to_bytes(2, "little") for each in (0, *ordinals))

    def column(self, leaf: Leaf, chunk: Struct, number: int, at: int) -> int:
        """Read a column whose modules begin at a place; return where they end."""
        name = leaf.path[0]
        metadata, owner = self.metadata(chunk, number, leaf)
        _demand(metadata[3] == [each.encode() for each in leaf.path], "metadata of another column")
        _demand(metadata[1] == leaf.physical, "the column has another type")
        codec = metadata[4]
        is_plain = 11 in metadata or leaf.physical == _DOUBLE
        _demand(codec == (_NO_CODEC if is_plain else _ZSTD), "another codec")
        _demand(metadata.keys().isdisjoint({10, 12, 14}), "an index, statistics or a Bloom filter")
        _demand(at == metadata.get(11, metadata[9]), "the column begins elsewhere")
        end = at + metadata[7]
        size = 0
        dictionary = None
        if 11 in metadata:
            header, page, at, size = self.page(owner.key, number, None, at, codec)
            _demand(header[1] == _DICTIONARY_PAGE and header[7][2] == _PLAIN, "a dictionary of another form")
            dictionary, rest = _plain(leaf, page, header[7][1])
            _demand(not rest, "octets after a dictionary")
            self.opened.with_dictionary.add(name)
        _demand(at == metadata[9], "the first data page is elsewhere")
        cells: list[Any] = []
        counts: list[int] = []
        levels = Levels()
        kinds = Counter([(_DICTIONARY_PAGE, _PLAIN)] if 11 in metadata else [])
        while at < end:
            header, page, at, more = self.page(owner.key, number, len(counts), at, codec)
            size += more
            _demand(header[1] == _DATA_PAGE, "another kind of page")
            rows, found = _cells(leaf, header[5], page, dictionary)
            levels.add(found)
            kinds[_DATA_PAGE, header[5][2]] += 1
            counts.append(len(rows))
            cells += rows
        _demand(at == end, "the column ends within a page")
        _demand(len(levels.defined) == metadata[5], "the column has another number of values")
        _demand(len(cells) == self.opened.rows, "the column has another number of rows")
        # Headers are counted as they are in the file, or as they are in clear.
        _demand(size - metadata[6] in {0, (_LENGTH + _NONCE + _TAG) * kinds.total()}, "the column has another size")
        self.uncompressed += metadata[6]
        _demand({(each[1], each[2]): each[3] for each in metadata[13]} == kinds, "the column has other pages")
        slots = [slot for cell in cells for slot in cell or ()] if leaf.most_repeated else cells
        _demand(set(dictionary or ()) <= set(slots), "a value in the dictionary that no row has")
        _demand(_are_sizes(metadata.get(16, {}), leaf, levels, slots), "sizes of other values")
        self.opened.columns[name] = cells
        self.opened.classes[name] = owner.column_class
        self.opened.types[name] = leaf
        self.opened.pages[name] = counts
        return end

    def metadata(self, chunk: Struct, number: int, leaf: Leaf) -> tuple[Struct, DataKey]:
        """Return the metadata of a column and its data key."""
        _demand(chunk.keys() == {2, 8, 9} and chunk[8].keys() == {2}, "the column has no key of its own")
        crypto = chunk[8][2]
        _demand(crypto[1] == [each.encode() for each in leaf.path], "the key is of another column")
        owner = self.data_key(crypto[2], is_footer=False)
        sealed = chunk[9]
        _demand(unpack_from("<I", sealed)[0] == len(sealed) - _LENGTH, "a module of another length")
        opened = _opened(owner.key, sealed[_LENGTH:], self.additional(_COLUMN, number))
        return _whole_thrift(opened), owner

    def page(self, key: bytes, column: int, number: int | None, at: int, codec: int) -> tuple[Struct, bytes, int, int]:
        """Return the header of a page, the page uncompressed, where it ends, and the size of both.

        A dictionary has no number.
        """
        which, kinds = f"page {number}", (_PAGE_HEADER, _PAGE)
        ordinals: tuple[int, ...] = (column, number or 0)
        if number is None:
            which, kinds, ordinals = "dictionary", (_DICTIONARY_HEADER, _DICTIONARY), (column,)
        of_header, of_page = (self.additional(kind, *ordinals) for kind in kinds)
        sealed, start = self.module(at)
        header = _whole_thrift(_opened(key, sealed, of_header))
        body, end = self.module(start)
        _demand(header[3] == end - start, "a page of another length")
        _demand(4 not in header, "a checksum")
        page = _uncompressed(_opened(key, body, of_page), header[2], codec)
        name = f"{which} of column {column}"
        self.opened.modules += [
            Module(name=f"header of {name}", start=at, end=start, key=key, additional=of_header),
            Module(name=name, start=start, end=end, key=key, additional=of_page),
        ]
        return header, page, end, start - at + len(page)


def _leaves(schema: list[Struct]) -> Iterator[Leaf]:
    """Yield the leaves of a flattened tree."""
    at = 1

    def below(path: tuple[str, ...], repeated: int, defined: int, list_defined: int) -> Iterator[Leaf]:
        nonlocal at
        element = schema[at]
        at += 1
        path = (*path, element[4].decode())
        repetition = element[3]
        defined += repetition != _REQUIRED
        if repetition == _REPEATED:
            repeated, list_defined = repeated + 1, defined - 1
        for _ in range(element.get(5, 0)):
            yield from below(path, repeated, defined, list_defined)
        if 5 not in element:
            logical = element.get(10, {})
            is_instant = 8 in logical
            if is_instant:
                _demand(logical[8][1] is True and logical[8][2].keys() == {2}, "an instant of another unit")
            _demand(element[1] in {_INT64, _DOUBLE, _BYTE_ARRAY, _FIXED}, "another physical type")
            yield Leaf(
                path=path,
                physical=element[1],
                octets=element.get(2, 0),
                is_text=1 in logical,
                is_instant=is_instant,
                most_repeated=repeated,
                most_defined=defined,
                list_defined=list_defined,
            )

    for _ in range(schema[0][5]):
        yield from below((), 0, 0, 0)
    _demand(at == len(schema), "the schema has more elements than its tree")


def _uncompressed(page: bytes, size: int, codec: int) -> bytes:
    if codec == _NO_CODEC:
        _demand(len(page) == size, "a page has another size than its header says")
        return page
    if not size:
        return b""
    try:
        return bytes(decompress(page, size, "zstd", asbytes=True))
    except (OSError, ValueError) as fault:
        raise VaultRefused("a page is not compressed as its header says") from fault


# Levels and values.


@dataclass(kw_only=True)
class Levels:
    """The levels of all slots of a page or a column."""

    repeated: list[int] = field(default_factory=list)
    defined: list[int] = field(default_factory=list)

    def add(self, other: "Levels") -> None:
        self.repeated += other.repeated
        self.defined += other.defined


def _cells(leaf: Leaf, header: Struct, page: bytes, dictionary: list[Any] | None) -> tuple[list[Any], Levels]:
    """Return the cells of a data page of version 1, and its levels."""
    count = header[1]
    _demand(header[3] == header[4] == _RLE and not header.get(5), "levels of another encoding, or statistics")
    repeats, page = _levels(page, leaf.most_repeated, count)
    defines, page = _levels(page, leaf.most_defined, count)
    present = sum(each == leaf.most_defined for each in defines)
    if header[2] == _RLE_DICTIONARY:
        _demand(dictionary is not None, "a place in no dictionary")
        width, page = page[0] if page else 0, page[1:]
        places = _hybrid(page, width, present)
        _demand(not places or max(places) < len(dictionary or ()), "a place beyond the dictionary")
        values = [(dictionary or [])[place] for place in places]
    else:
        _demand(header[2] == _PLAIN, "values of another encoding")
        values, rest = _plain(leaf, page, present)
        _demand(not rest, "octets after the values")
    found = iter(values)
    slots = [next(found) if each == leaf.most_defined else None for each in defines]
    cells = _lists(leaf, repeats, defines, slots) if leaf.most_repeated else slots
    return cells, Levels(repeated=repeats, defined=defines)


def _are_sizes(told: Struct, leaf: Leaf, levels: Levels, slots: list[Any]) -> bool:
    """Tell whether the size statistics of a column are those of its values."""
    size = sum(len(slot.encode() if isinstance(slot, str) else slot) for slot in slots if isinstance(slot, str | bytes))
    counted: dict[int, Any] = {
        2: [levels.repeated.count(each) for each in range(leaf.most_repeated + 1)],
        3: [levels.defined.count(each) for each in range(leaf.most_defined + 1)],
    }
    counted |= {1: size} if leaf.physical == _BYTE_ARRAY else {}
    return all(told[each] in (counted.get(each), []) for each in told)


def _lists(leaf: Leaf, repeats: list[int], defines: list[int], slots: list[Any]) -> list[Any]:
    """Gather slots into lists. Below the level of a list there is none; at it, an empty one."""
    cells: list[Any] = []
    for repeat, define, slot in zip(repeats, defines, slots, strict=True):
        if repeat:
            _demand(cells and cells[-1], "a page begins within a row")
            cells[-1].append(slot)
        else:
            cells.append(None if define < leaf.list_defined else [] if define == leaf.list_defined else [slot])
    return cells


def _levels(page: bytes, most: int, count: int) -> tuple[list[int], bytes]:
    """Return levels, and what follows them."""
    if not most:
        return [0] * count, page
    _demand(len(page) >= _LENGTH, "levels are cut off")
    (size,) = unpack_from("<I", page)
    _demand(len(page) >= _LENGTH + size, "levels are cut off")
    levels = _hybrid(page[_LENGTH : _LENGTH + size], most.bit_length(), count)
    _demand(max(levels, default=0) <= most, "a level that the schema does not have")
    return levels, page[_LENGTH + size :]


def _hybrid(octets: bytes, width: int, count: int) -> list[int]:
    """Return numbers from runs and groups of eight."""
    reader, found = _Thrift(octets), list[int]()
    try:
        while len(found) < count:
            head = reader.varint()
            if head & 1:
                _demand(head >> 1, "an empty run")
                for _ in range(head >> 1):
                    bits = int.from_bytes(octets[reader.at : reader.at + width], "little")
                    reader.at += width
                    found += [bits >> place * width & (1 << width) - 1 for place in range(8)]
            else:
                size = -(-width // 8)
                value = int.from_bytes(octets[reader.at : reader.at + size], "little")
                reader.at += size
                _demand(head, "an empty run")
                _demand(head >> 1 <= count, "a run of more numbers than there are")
                found += [value] * (head >> 1)
    except IndexError as fault:
        raise VaultRefused("numbers are cut off") from fault
    _demand(reader.at == len(octets), "octets after the numbers")
    # The last group of eight is filled up.
    _demand(not any(found[count:]), "numbers that no value has")
    return found[:count]


def _plain(leaf: Leaf, octets: bytes, count: int) -> tuple[list[Any], bytes]:
    """Return values, and what follows them."""
    if leaf.physical == _BYTE_ARRAY:
        return _texts(leaf, octets, count)
    size = leaf.octets if leaf.physical == _FIXED else 8
    _demand(len(octets) >= size * count, "values are cut off")
    cut = [octets[place * size : (place + 1) * size] for place in range(count)]
    return [_value(leaf, each) for each in cut], octets[size * count :]


def _texts(leaf: Leaf, octets: bytes, count: int) -> tuple[list[Any], bytes]:
    found, at = list[Any](), 0
    for _ in range(count):
        _demand(at + _LENGTH <= len(octets), "values are cut off")
        (size,) = unpack_from("<I", octets, at)
        at += _LENGTH + size
        _demand(at <= len(octets), "values are cut off")
        found.append(_value(leaf, octets[at - size : at]))
    return found, octets[at:]


def _value(leaf: Leaf, octets: bytes) -> Any:
    match leaf.physical:
        case 2:
            (number,) = unpack_from("<q", octets)
            return _EPOCH + timedelta(microseconds=number) if leaf.is_instant else number
        case 5:
            return unpack_from("<d", octets)[0]
    return octets.decode() if leaf.is_text else octets
