"""The one form of the files that are rewritten page by page: what their structs and their changed pages hold.

A file of another form is rewritten whole. Of a new file the proof demands the form: all that its structs say follows
from its pages, and nothing stands behind the last value of a page. So no place is left where a value of an erased row
could be, and a reader finds what the metadata promise.
"""

import json
import re
from base64 import b64decode
from collections.abc import Mapping
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from implio_pipeline.stores.vault.pages import modules as m
from implio_pipeline.stores.vault.pages.faults import Unsuitable
from implio_pipeline.stores.vault.pages.modules import DataHeader, Leaf, SealedPages, data_header
from implio_pipeline.stores.vault.pages.thrift import BINARY, FALSE, I16, I32, I64, LIST, STRUCT, Field, Listed

_WRITER = re.compile(rb"parquet-cpp-arrow version \d{1,3}\.\d{1,3}\.\d{1,3}")
_DICTIONARY_HEADER = re.compile(
    # PageHeader: 1 type = DICTIONARY_PAGE, 2 uncompressed bytes, 3 stored bytes, 7 DictionaryPageHeader: 1 values, 2
    # encoding = PLAIN, 3 is not sorted.
    rb"\x15\x04\x15" + m.NUMBER + rb"\x15" + m.NUMBER + rb"\x4c\x15" + m.NUMBER + rb"\x15\x00\x12\x00\x00"
)
_LEVELS = 3
"""The encoding RLE. Source: parquet.thrift, Encoding."""
_VERSION = 2
_UNIQUE_BYTES, _WRAPPED_KEY_BYTES, _KEY_ID_BYTES, _WRAPPING_KEY_BYTES = 8, 60, 16, 24
_LENGTH = 4
_FRAME = b"\x28\xb5\x2f\xfd"

_METADATA = {
    m.PHYSICAL_TYPE,
    m.ENCODINGS,
    m.PATH,
    m.CODEC,
    m.VALUES,
    m.UNCOMPRESSED,
    m.COMPRESSED,
    m.PAGE_COUNTS,
}
"""The fields of a column's metadata, except the offsets of its pages."""

KeyNames = Mapping[str | None, str]
"""The name of our file key by column, and by `None` for the footer."""


def page_rows(file: SealedPages) -> list[int]:
    """Return the number of rows of each data page of a file that may lose rows, the same for every column.

    Raises:
        Unsuitable: columns differ in the rows of their pages, have statistics, or have another codec than zstd or none.
    """
    if not file.page_rows:
        rows = shared_rows(file)
        # A row of a list has several values, and begins at each repetition level of 0.
        for leaf in (each for each in file.leaves if each.is_list):
            for page, count in enumerate(rows):
                described = data_header(file.header(leaf, page))
                octets = _content(leaf, described, file.body(leaf, page))
                _, ones = _levels(octets, 0, width=1, count=described.values)
                _demand(described.values - ones == count, "a list")
        file.page_rows.extend(rows)
    return file.page_rows


def shared_rows(file: SealedPages) -> list[int]:
    """Return the number of rows of each data page of all columns but lists.

    Raises:
        Unsuitable: as for `page_rows`.
    """
    counted = next((leaf for leaf in file.leaves if not leaf.is_list), None)
    if counted is None or any(leaf.pages != counted.pages for leaf in file.leaves):
        raise Unsuitable("columns have different numbers of pages")
    rows = [data_header(file.header(counted, page)).values for page in range(counted.pages)]
    _demand(sum(rows) == file.rows, "the number of rows")
    for leaf in file.leaves:
        places = {m.DATA_OFFSET, m.DICTIONARY_OFFSET} if leaf.has_dictionary else {m.DATA_OFFSET}
        _demand(leaf.metadata.keys() - {m.SIZES} == _METADATA | places, "the metadata of a column")
        _demand(leaf.metadata[m.CODEC].value in {m.ZSTD, m.UNCOMPRESSED_PAGES}, "the codec of a column")
        _demand(leaf.metadata[m.ENCODINGS] == _encodings(leaf), "the encodings of a column")
        if not leaf.is_list:
            values = [data_header(file.header(leaf, page)).values for page in range(leaf.pages)]
            _demand(values == rows, "the rows of a page")
    return rows


def check_structs(file: SealedPages, names: KeyNames) -> None:
    """Check that the structs of a file say what follows from its pages, and nothing else.

    Raises:
        Unsuitable: they do not.
    """
    _demand(file.described.keys() == {m.CRYPTO_ALGORITHM, m.CRYPTO_KEY}, "the struct in clear")
    algorithm = {m.UNIQUE_PART: Field(BINARY, file.unique), m.NEEDS_PREFIX: Field(FALSE, value=False)}
    expected = Field(STRUCT, {m.AES_GCM_V1: Field(STRUCT, algorithm)})
    _demand(file.described[m.CRYPTO_ALGORITHM] == expected and len(file.unique) == _UNIQUE_BYTES, "the algorithm")
    _check_material(file.described[m.CRYPTO_KEY].value, names[None], is_footer=True)
    total = sum(_check_column(file, leaf, names) for leaf in file.leaves)
    size = file.leaves[-1].edges[-1]
    (group,) = file.footer[m.ROW_GROUPS].value.values
    expected_group = {
        m.CHUNKS: group[m.CHUNKS],
        m.GROUP_BYTES: Field(I64, total),
        m.GROUP_ROWS: Field(I64, file.rows),
        m.GROUP_OFFSET: Field(I64, len(m.MAGIC)),
        m.GROUP_COMPRESSED: Field(I64, size - len(m.MAGIC)),
        m.GROUP_NUMBER: Field(I16, 0),
    }
    writer = file.footer.get(m.CREATED_BY, Field(BINARY, b""))
    orders = Listed(STRUCT, [{1: Field(STRUCT, {})}] * len(file.leaves))
    expected_footer = {
        m.FILE_VERSION: Field(I32, _VERSION),
        m.FILE_SCHEMA: file.footer[m.FILE_SCHEMA],
        m.FILE_ROWS: Field(I64, file.rows),
        m.ROW_GROUPS: file.footer[m.ROW_GROUPS],
        m.CREATED_BY: writer,
        m.COLUMN_ORDERS: Field(LIST, orders),
    }
    _demand(group == expected_group, "the row group")
    _demand(file.footer == expected_footer and _WRITER.fullmatch(writer.value) is not None, "the footer")


def _check_column(file: SealedPages, leaf: Leaf, names: KeyNames) -> int:
    """Check the structs of a column. Returns the octets of its pages before compression."""
    # 1. The column's entry in the footer.
    path = Field(LIST, Listed(BINARY, [each.encode() for each in leaf.path]))
    material = leaf.chunk[m.CHUNK_KEY].value[m.OWN_KEY].value[m.KEY_MATERIAL]
    own = Field(STRUCT, {m.OWN_PATH: path, m.KEY_MATERIAL: material})
    expected_chunk = {
        m.CHUNK_OFFSET: Field(I64, 0),
        m.CHUNK_KEY: Field(STRUCT, {m.OWN_KEY: own}),
        m.CHUNK_METADATA: leaf.chunk[m.CHUNK_METADATA],
    }
    _demand(leaf.chunk == expected_chunk, "a column in the footer")
    _check_material(material.value, names[leaf.path[0]], is_footer=False)
    # 2. The metadata. A header counts as it is stored, as Arrow counts it.
    headers = [file.header(leaf, page) for page in range(leaf.pages)]
    described = [data_header(each) for each in headers]
    uncompressed = sum(len(each) + m.MODULE_OVERHEAD for each in headers) + sum(each.page_bytes for each in described)
    for number, each in enumerate(described):
        _demand(each.stored_bytes == leaf.module_bytes(number), "the size of a page")
        _demand(each.is_indexes is leaf.has_dictionary, "the encoding of a page")
    places = {m.DATA_OFFSET: Field(I64, leaf.edges[2 * leaf.has_dictionary])}
    counts = [m.page_count(m.DATA, m.INDEXES if leaf.has_dictionary else m.PLAIN, leaf.pages)]
    if leaf.has_dictionary:
        header, body = file.dictionary(leaf)
        found = _DICTIONARY_HEADER.fullmatch(header)
        if found is None:
            raise Unsuitable("a dictionary has another header")
        page_bytes, stored_bytes, _ = map(m.number_in, found.groups())
        _demand(stored_bytes == leaf.module_bytes(-1) and page_bytes == len(body), "the size of a dictionary")
        uncompressed += len(header) + m.MODULE_OVERHEAD + page_bytes
        places[m.DICTIONARY_OFFSET] = Field(I64, leaf.edges[0])
        counts.insert(0, m.page_count(m.DICTIONARY, m.PLAIN, 1))
    expected = places | {
        m.PHYSICAL_TYPE: _type_of(file, leaf),
        m.ENCODINGS: _encodings(leaf),
        m.PATH: path,
        m.CODEC: leaf.metadata[m.CODEC],
        m.VALUES: Field(I64, sum(each.values for each in described)),
        m.UNCOMPRESSED: Field(I64, uncompressed),
        m.COMPRESSED: Field(I64, leaf.edges[-1] - leaf.edges[0]),
        m.PAGE_COUNTS: Field(LIST, Listed(STRUCT, counts)),
    }
    _demand(leaf.metadata == expected, "the metadata of a column")
    return uncompressed


def _encodings(leaf: Leaf) -> Field:
    return Field(LIST, Listed(I32, [m.PLAIN, _LEVELS, m.INDEXES] if leaf.has_dictionary else [_LEVELS, m.PLAIN]))


def _type_of(file: SealedPages, leaf: Leaf) -> Field:
    """Return the physical type that the schema gives a column."""
    leaves = [each for each in file.footer[m.FILE_SCHEMA].value.values if m.PHYSICAL_TYPE in each]
    found: Field = leaves[leaf.number][m.PHYSICAL_TYPE]
    return found


def _check_material(octets: bytes, name: str, *, is_footer: bool) -> None:
    """Check key material: our file key has this name, and nothing is said but wrapped keys."""
    try:
        said: dict[str, Any] = json.loads(octets)
        wrapped = {each: said[each] for each in ("wrappedDEK", "keyEncryptionKeyID", "wrappedKEK")}
        sizes = [len(b64decode(each, validate=True)) for each in wrapped.values()]
    except (ValueError, KeyError, TypeError):
        raise Unsuitable("the key material has another form") from None
    instance = {"kmsInstanceID": "DEFAULT", "kmsInstanceURL": "DEFAULT"} if is_footer else {}
    expected = {"keyMaterialType": "PKMT1", "internalStorage": True, "isFooterKey": is_footer, **instance}
    expected |= {"masterKeyID": name, "wrappedDEK": wrapped["wrappedDEK"], "doubleWrapping": True, **wrapped}
    _demand(octets == json.dumps(expected, separators=(",", ":")).encode(), "the key material")
    _demand(sizes == [_WRAPPED_KEY_BYTES, _KEY_ID_BYTES, _WRAPPING_KEY_BYTES], "a wrapped key")


def check_dictionary(file: SealedPages, leaf: Leaf) -> None:
    """Check that a dictionary has as many values as it says, and nothing behind them.

    Raises:
        Unsuitable: it has not.
    """
    header, body = file.dictionary(leaf)
    found = _DICTIONARY_HEADER.fullmatch(header)
    at = count = 0
    while at < len(body):
        at += _LENGTH + int.from_bytes(body[at : at + _LENGTH], "little")
        count += 1
    _demand(found is not None and m.number_in(found[3]) == count and at == len(body), "the values of a dictionary")


def check_page(file: SealedPages, leaf: Leaf, page: int, rows: pa.ChunkedArray) -> None:
    """Check that a data page ends with its last value.

    Args:
        file: The file that has the page.
        leaf: Its column.
        page: Its number.
        rows: What Arrow decodes of the page.

    Raises:
        Unsuitable: it does not.
    """
    described, body = data_header(file.header(leaf, page)), file.body(leaf, page)
    octets, at = _content(leaf, described, body), 0
    values = pc.list_flatten(rows) if leaf.is_list else rows
    count = len(values) - values.null_count
    if leaf.is_list:
        at, ones = _levels(octets, at, width=1, count=described.values)
        _demand(described.values - ones == len(rows), "a list")
    at, _ = _levels(octets, at, width=2 if leaf.is_list else 1, count=described.values)
    if described.is_indexes:
        _demand(at < len(octets), "a page")
        at, _ = _runs(octets, at + 1, width=octets[at], count=count)
    elif pa.types.is_string(values.type):
        at += _LENGTH * count + (pc.sum(pc.binary_length(values)).as_py() or 0)
    else:
        at += values.type.byte_width * count
    _demand(at == len(octets), "the last value of a page")


def _content(leaf: Leaf, described: DataHeader, body: bytes) -> bytes:
    """Return the octets of a page before compression."""
    if leaf.metadata[m.CODEC].value == m.ZSTD:
        _demand(_frame_end(body) == len(body), "the compressed octets of a page")
        try:
            body = pa.decompress(body, described.page_bytes, "zstd", asbytes=True)
        except (pa.ArrowException, OSError):
            raise Unsuitable("a page cannot be decompressed") from None
    _demand(len(body) == described.page_bytes, "the size of a page")
    return body


def _frame_end(octets: bytes) -> int:
    """Return where the first zstd frame ends. Source: RFC 8878, section 3.1.1."""
    _demand(octets[:4] == _FRAME and len(octets) > len(_FRAME), "a zstd frame")
    descriptor = octets[4]
    is_single = descriptor >> 5 & 1
    at = 5 + (1 - is_single) + (0, 1, 2, 4)[descriptor & 3] + (is_single, 2, 4, 8)[descriptor >> 6]
    is_last = False
    while not is_last and at < len(octets):
        block = int.from_bytes(octets[at : at + 3], "little")
        is_last, is_run = bool(block & 1), block >> 1 & 3 == 1
        at += 3 + (1 if is_run else block >> 3)
    return at + 4 * (descriptor >> 2 & 1)


def _levels(octets: bytes, at: int, *, width: int, count: int) -> tuple[int, int]:
    """Return where levels end that begin at a place, and the sum of those of one bit."""
    begin = at + _LENGTH
    end, ones = _runs(octets, begin, width=width, count=count)
    _demand(end == begin + int.from_bytes(octets[at:begin], "little"), "the levels of a page")
    return end, ones


def _runs(octets: bytes, at: int, *, width: int, count: int) -> tuple[int, int]:
    """Return where a sequence of runs ends that begins at a place, and the sum of its numbers if they have one bit.

    Source: parquet-format, Encodings.md, "Run Length Encoding / Bit-Packing Hybrid".
    """
    ones = 0
    try:
        while count > 0:
            head = shift = 0
            more = True
            while more:
                head |= (octets[at] & 127) << shift
                more, shift, at = octets[at] > 127, shift + 7, at + 1  # noqa: PLR2004 -- seven bits an octet
            if head & 1:  # groups of eight numbers, of which the last is padded with zeros
                size = (head >> 1) * width
                run = min((head >> 1) * 8, count)
                packed = int.from_bytes(octets[at : at + size], "little")
                _demand((head >> 1) * 8 - run < 8 and not packed >> run * width, "the padding of a run")  # noqa: PLR2004
                if width == 1:
                    ones += packed.bit_count()
            else:  # one number, repeated
                size, run = (width + 7) // 8, head >> 1
                if width == 1:
                    ones += run * octets[at]
            _demand(0 < run <= count and at + size <= len(octets), "a run")
            at, count = at + size, count - run
    except IndexError:
        raise Unsuitable("the runs of a page are cut off") from None
    return at, ones


def _demand(is_so: bool, what: str) -> None:
    if not is_so:
        raise Unsuitable(f"{what} has another form")
