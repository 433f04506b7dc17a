"""Make a vault file without some of its rows, and decode only the pages that hold them.

Rules:

* Every octet of the new file is under new keys.
* A data page that loses no row is decrypted, encrypted under the new key and copied. Its header has the one form that
  names no value of a row.
* A dictionary is copied if rows that are kept have all its values. Otherwise the column is encoded again, with a
  dictionary of the values that are left. Files with statistics, which name values too, are not rewritten here.
* What a page holds is decoded and encoded by Arrow, never here. So are key material and schema.

`proof.py` proves that the new file is right.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import accumulate, pairwise

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from implio_pipeline.stores.vault.pages import modules as m
from implio_pipeline.stores.vault.pages.faults import Unsuitable
from implio_pipeline.stores.vault.pages.modules import DataHeader, Leaf, Module, SealedPages, data_header
from implio_pipeline.stores.vault.pages.thrift import I32, LIST, STRUCT, Field, Listed, Struct, decode_struct
from implio_pipeline.stores.vault.pages.thrift import encode_struct as encoded

_TAIL_BYTES = 8
"""The length of the footer, and the magic number."""

Rows = npt.NDArray[np.bool_]
"""For each row whether it is kept."""
Decode = Callable[[bytes | memoryview, Sequence[str] | None], pa.Table]
"""Returns columns of an encrypted file, decoded by Arrow: dictionaries as dictionaries. `None` is every column."""
DecodeInClear = Callable[[bytes], pa.Table]
"""Returns all columns of a file in clear, decoded by Arrow: dictionaries as dictionaries."""
Encode = Callable[[Sequence[pa.Table]], pa.Buffer]
"""Returns tables as the row groups of one file in clear, encoded by Arrow."""


@dataclass(frozen=True, kw_only=True, slots=True)
class PagePlan:
    """Which rows of which pages are kept."""

    rows: list[int]
    """The number of rows of each page of the old file."""
    kept: Rows
    """For each row of the old file."""
    kept_of: list[Rows]
    """The same for each page."""
    pages: list[int]
    """The old pages of which a row is kept: those of the new file, in order."""
    touched: list[int]
    """The old pages that lose rows."""


def plan_pages(rows: list[int], kept: Rows) -> PagePlan:
    """Return which pages are changed if some rows are kept."""
    kept_of = [kept[begin:end] for begin, end in pairwise(accumulate(rows, initial=0))]
    return PagePlan(
        rows=rows,
        kept=kept,
        kept_of=kept_of,
        pages=[page for page, each in enumerate(kept_of) if each.any()],
        touched=[page for page, each in enumerate(kept_of) if not each.all()],
    )


def decode_pages(file: SealedPages, pages: Sequence[int], decode: DecodeInClear) -> list[pa.Table]:
    """Return some data pages, a table for each.

    They are opened here, and Arrow decodes them from a file in clear that has only these pages and the dictionaries.

    Args:
        file: The file that has the pages.
        pages: The numbers of the wanted pages, in ascending order.
        decode: Decodes a file in clear.

    Raises:
        Unsuitable: a page does not open, or has another form.
    """
    if not pages:
        return []
    written, chunks, counts = _Written(b"PAR1"), [], [0] * len(pages)
    for leaf in file.leaves:
        begin, values, offsets = written.size, 0, {}
        if leaf.has_dictionary:
            offsets[m.DICTIONARY_OFFSET] = begin
            header, body = file.dictionary(leaf)
            fields, _ = decode_struct(header)
            written.add(encoded(_with(fields, {m.PAGE_STORED_BYTES: len(body)})), body)
        offsets[m.DATA_OFFSET] = written.size
        for place, page in enumerate(pages):
            described, body = data_header(file.header(leaf, page)), file.body(leaf, page)
            values += described.values
            if not leaf.is_list:
                counts[place] = described.values
            written.add(replace(described, stored_bytes=len(body)).encode(), body)
        sizes = offsets | {m.VALUES: values, m.COMPRESSED: written.size - begin}
        metadata = _with(leaf.metadata, sizes, without=(m.PAGE_COUNTS, m.SIZES))
        place_of = leaf.chunk[m.CHUNK_OFFSET]._replace(value=begin)
        chunks.append({m.CHUNK_OFFSET: place_of, m.CHUNK_PLAIN_METADATA: Field(STRUCT, dict(sorted(metadata.items())))})
    footer = encoded(_footer(file, chunks, rows=sum(counts), size=written.size, uncompressed=0))
    found = decode(written.closed(footer))
    edges = pairwise(accumulate(counts, initial=0))
    return [found.slice(begin, end - begin) for begin, end in edges]


def decode_sealed_pages(file: SealedPages, rows: list[int], pages: Sequence[int], decode: Decode) -> list[pa.Table]:
    """Return some data pages, a table for each, which Arrow opens as they are stored.

    It decodes them from a file in memory that has these pages, and the dictionaries. It finds a page by counting, so
    each page before the last of them is replaced by one of an empty row.

    Args:
        file: The file that has the pages.
        rows: The number of rows of each of its pages.
        pages: The numbers of the wanted pages, in ascending order.
        decode: Decodes columns under the keys of the file.
    """
    if not pages:
        return []
    wanted = set(pages)
    counts = [rows[page] if page in wanted else 1 for page in range(pages[-1] + 1)]
    written, chunks = _Written(m.MAGIC), []
    for leaf in file.leaves:
        begin, values, offsets = written.size, 0, {}
        if leaf.has_dictionary:
            offsets[m.DICTIONARY_OFFSET] = begin
            written.add(file.stored(leaf, -1))
        offsets[m.DATA_OFFSET] = written.size
        empty = _empty_page(leaf)
        for page in range(len(counts)):
            if page in wanted:
                values += data_header(file.header(leaf, page)).values
                written.add(file.stored(leaf, page))
            else:
                values += 1
                written.add(*_sealed(leaf, page, empty))
        sizes = offsets | {m.VALUES: values, m.COMPRESSED: written.size - begin}
        chunks.append(_chunk(leaf, _with(leaf.metadata, sizes, without=(m.PAGE_COUNTS, m.SIZES))))
    found = decode(written.closed(_tail(file, chunks, rows=sum(counts), size=written.size, uncompressed=0)), None)
    edges = enumerate(pairwise(accumulate(counts, initial=0)))
    return [found.slice(begin, end - begin) for page, (begin, end) in edges if page in wanted]


def without_rows(
    old: SealedPages,
    plan: PagePlan,
    touched: Sequence[pa.Table],
    *,
    skeleton: SealedPages,
    decode: Decode,
    encode: Encode,
) -> memoryview:
    """Return the file without the rows that are not kept.

    Args:
        old: The file that loses rows.
        plan: Which rows are kept.
        touched: The decoded pages that lose rows.
        skeleton: A file that Arrow wrote under the new keys. Its key material and schema are used, and no page.
        decode: Decodes columns under the keys of the old file.
        encode: Encodes pages.

    Raises:
        Unsuitable: a file has another form, another schema or other codecs.
    """
    if skeleton.footer[m.FILE_SCHEMA] != old.footer[m.FILE_SCHEMA]:
        raise Unsuitable("the file has another schema than files that are written now")
    if [leaf.metadata[m.CODEC] for leaf in skeleton.leaves] != [leaf.metadata[m.CODEC] for leaf in old.leaves]:
        raise Unsuitable("the file has other codecs than files that are written now")
    # 1. Encode what is left of the touched pages, each as a row group of its own.
    by_number = dict(zip(plan.touched, touched, strict=True))
    kept = [page.filter(pa.array(plan.kept_of[number])) for number, page in by_number.items()]
    changed = _encoded_pages([page for page in kept if page.num_rows], encode)
    # 2. Columns whose dictionary loses a value are encoded again as a whole, since their pages name places in it.
    losing = _columns_that_lose_a_value(old, plan, by_number, decode)
    compacted = _encoded_pages(_without_unused_values(plan, losing), encode)
    # 3. Write column after column: its dictionary, then the pages, copied or changed.
    written, chunks, uncompressed = _Written(m.MAGIC), [], 0
    for leaf, new in zip(old.leaves, skeleton.leaves, strict=True):
        if leaf.path[0] in losing.column_names:
            pages = [each[leaf.path] for each in compacted]
            metadata = _write(written, new, leaf.metadata, pages[0].dictionary, (page.data for page in pages))
        else:
            dictionary = _described(*old.dictionary(leaf)) if leaf.has_dictionary else None
            metadata = _write(written, new, leaf.metadata, dictionary, _data_pages(old, leaf, plan, changed))
        uncompressed += metadata[m.UNCOMPRESSED].value
        chunks.append(_chunk(new, metadata))
    # 4. Close it with a footer under the new keys.
    rows = int(np.count_nonzero(plan.kept))
    return memoryview(written.closed(_tail(skeleton, chunks, rows=rows, size=written.size, uncompressed=uncompressed)))


def _columns_that_lose_a_value(
    old: SealedPages, plan: PagePlan, touched: Mapping[int, pa.Table], decode: Decode
) -> pa.Table:
    """Return the columns of whose dictionary a value is in no row that is kept, with all rows of the old file."""
    # 1. A value that a kept row of the same pages has is not lost. This is so for nearly all, and costs little.
    suspected = []
    for leaf in old.leaves:
        if leaf.has_dictionary:
            name = leaf.path[0]
            erased: set[int] = set()
            remaining: set[int] = set()
            for number, page in touched.items():
                indexes, is_kept = _dictionary_of(page[name]).indices, plan.kept_of[number]
                erased |= _places(indexes.filter(pa.array(~is_kept)))
                remaining |= _places(indexes.filter(pa.array(is_kept)))
            if erased - remaining:
                suspected.append(name)
    if not suspected:
        return pa.table({})
    # 2. For the other values, look at the whole column.
    whole = decode(old.octets, suspected)
    kept = whole.filter(pa.array(plan.kept))
    used = {name: _places(_dictionary_of(kept[name]).indices) for name in suspected}
    return whole.select([name for name in suspected if len(used[name]) < len(_dictionary_of(whole[name]).dictionary)])


def _without_unused_values(plan: PagePlan, losing: pa.Table) -> list[pa.Table]:
    """Return the kept rows of each page of the new file, with dictionaries that have only their values."""
    if not losing.num_columns:
        return []
    kept = losing.filter(pa.array(plan.kept))
    compacted = {}
    for name in kept.column_names:
        column = _dictionary_of(kept[name])
        used = np.zeros(len(column.dictionary), dtype=np.bool_)
        used[sorted(_places(column.indices))] = True
        places = pa.array(np.cumsum(used) - 1, pa.int32()).take(column.indices)
        compacted[name] = pa.DictionaryArray.from_arrays(places, column.dictionary.filter(pa.array(used)))
    rows = pa.table(compacted)
    edges = pairwise(accumulate((int(np.count_nonzero(plan.kept_of[page])) for page in plan.pages), initial=0))
    return [rows.slice(begin, end - begin) for begin, end in edges]


def _dictionary_of(column: pa.ChunkedArray) -> pa.DictionaryArray:
    if not pa.types.is_dictionary(column.type):
        raise Unsuitable("a dictionary was not decoded as one")
    dictionaries = [chunk.dictionary for chunk in column.chunks]
    if any(not each.equals(dictionaries[0]) for each in dictionaries[1:]):
        raise Unsuitable("a column has several dictionaries")
    return column.combine_chunks() if column.num_chunks != 1 else column.chunk(0)


def _places(indexes: pa.Array) -> set[int]:
    return set(indexes.unique().to_pylist()) - {None}


@dataclass(frozen=True, slots=True)
class _Page:
    """A page in clear, compressed. Its header has the size of the sealed body."""

    header: bytes
    body: bytes
    page_bytes: int
    """The body's size before compression."""
    values: int


@dataclass(frozen=True, slots=True)
class _Encoded:
    """What Arrow encoded of one column of one row group."""

    dictionary: _Page | None
    data: _Page


def _data_pages(
    old: SealedPages, leaf: Leaf, plan: PagePlan, changed: Sequence[Mapping[tuple[str, ...], _Encoded]]
) -> Iterator[_Page]:
    encoded_again, touched = iter(changed), set(plan.touched)
    for page in plan.pages:
        if page in touched:
            yield next(encoded_again)[leaf.path].data
            continue
        header = old.header(leaf, page)
        described = data_header(header)
        if described.is_indexes is not leaf.has_dictionary:
            raise Unsuitable("a column has pages with and without a dictionary")
        yield _Page(header, old.body(leaf, page), described.page_bytes, described.values)


def _described(header: bytes, body: bytes) -> _Page:
    fields, _ = decode_struct(header)
    return _Page(header, body, fields[m.PAGE_BYTES].value, 0)


def _write(written: "_Written", new: Leaf, like: Struct, dictionary: _Page | None, pages: Iterator[_Page]) -> Struct:
    """Write the pages of a column, and return its metadata."""
    begin, values, uncompressed, number = written.size, 0, 0, -1
    offsets, counts = {}, []
    if dictionary is not None:
        offsets[m.DICTIONARY_OFFSET] = begin
        written.add(
            new.sealer.seal(dictionary.header, Module.DICTIONARY_PAGE_HEADER, new.number),
            new.sealer.seal(dictionary.body, Module.DICTIONARY_PAGE, new.number),
        )
        uncompressed = len(dictionary.header) + m.MODULE_OVERHEAD + dictionary.page_bytes
        counts.append(m.page_count(m.DICTIONARY, m.PLAIN, 1))
    offsets[m.DATA_OFFSET] = written.size
    for number, page in enumerate(pages):
        values += page.values
        uncompressed += len(page.header) + m.MODULE_OVERHEAD + page.page_bytes  # as Arrow counts
        written.add(*_sealed(new, number, page))
    counts.append(m.page_count(m.DATA, m.INDEXES if dictionary else m.PLAIN, number + 1))
    sizes = {m.VALUES: values, m.UNCOMPRESSED: uncompressed, m.COMPRESSED: written.size - begin}
    metadata = _with(like, offsets | sizes, without=(m.SIZES, m.DICTIONARY_OFFSET))
    return metadata | {m.PAGE_COUNTS: Field(LIST, Listed(STRUCT, counts))}


def _sealed(leaf: Leaf, number: int, page: _Page) -> tuple[bytes, bytes]:
    return (
        leaf.sealer.seal(page.header, Module.DATA_PAGE_HEADER, leaf.number, number),
        leaf.sealer.seal(page.body, Module.DATA_PAGE, leaf.number, number),
    )


def _empty_page(leaf: Leaf) -> _Page:
    """Return a data page of one row without a value."""
    # Levels are their size in four octets, then a run of one zero: the run's length times two, and the level. Lists
    # have two kinds of levels. After them, places in a dictionary begin with their number of bits.
    levels = b"\x02\x00\x00\x00\x02\x00" * (2 if leaf.is_list else 1) + (b"\x00" if leaf.has_dictionary else b"")
    is_compressed = leaf.metadata[m.CODEC].value == m.ZSTD
    body = pa.compress(levels, codec="zstd", asbytes=True) if is_compressed else levels
    described = DataHeader(len(levels), len(body) + m.MODULE_OVERHEAD, 1, leaf.has_dictionary)
    return _Page(described.encode(), body, len(levels), 1)


def _with(fields: Struct, numbers: Mapping[int, int], *, without: Sequence[int] = ()) -> Struct:
    left = {number: field for number, field in fields.items() if number not in without}
    return left | {number: Field(fields[number].type, value) for number, value in numbers.items()}


def _chunk(leaf: Leaf, metadata: Struct) -> Struct:
    octets = encoded(dict(sorted(metadata.items())))
    sealed = leaf.sealer.seal(octets, Module.COLUMN_METADATA, leaf.number)
    return leaf.chunk | {m.CHUNK_METADATA: leaf.chunk[m.CHUNK_METADATA]._replace(value=sealed)}


class _Written:
    """The octets of a new file, up to what was added last."""

    def __init__(self, magic: bytes) -> None:
        self._magic = magic
        self._parts: list[bytes | memoryview] = [magic]
        self.size = len(magic)

    def add(self, *parts: bytes | memoryview) -> None:
        self._parts += parts
        self.size += sum(map(len, parts))

    def closed(self, tail: bytes) -> bytes:
        """Return the whole file, which ends with the octets of a footer."""
        return b"".join([*self._parts, tail, len(tail).to_bytes(4, "little"), self._magic])


def _tail(like: SealedPages, chunks: list[Struct], *, rows: int, size: int, uncompressed: int) -> bytes:
    """Return the end of an encrypted file, with its footer under the keys of another one."""
    footer = _footer(like, chunks, rows=rows, size=size, uncompressed=uncompressed)
    return like.crypto + like.sealer.seal(encoded(footer), Module.FOOTER)


def _footer(like: SealedPages, chunks: list[Struct], *, rows: int, size: int, uncompressed: int) -> Struct:
    """Return the footer of a file with these columns and the schema of another one."""
    (group,) = like.footer[m.ROW_GROUPS].value.values
    numbers = {
        m.GROUP_BYTES: uncompressed,
        m.GROUP_ROWS: rows,
        m.GROUP_OFFSET: len(m.MAGIC),
        m.GROUP_COMPRESSED: size - len(m.MAGIC),
    }
    changed = _with(group, numbers) | {m.CHUNKS: Field(LIST, Listed(STRUCT, chunks))}
    return _with(like.footer, {m.FILE_ROWS: rows}) | {m.ROW_GROUPS: Field(LIST, Listed(STRUCT, [changed]))}


def _encoded_pages(groups: Sequence[pa.Table], encode: Encode) -> list[dict[tuple[str, ...], _Encoded]]:
    """Return what Arrow encodes of each table: by leaf column the dictionary and the one data page."""
    if not groups:
        return []
    octets = encode(groups).to_pybytes()
    size = int.from_bytes(octets[-_TAIL_BYTES:-4], "little")
    footer, _ = decode_struct(octets[-_TAIL_BYTES - size : -_TAIL_BYTES])
    return [
        {
            tuple(each.decode() for each in metadata[m.PATH].value.values): _encoded_column(octets, metadata)
            for chunk in group[m.CHUNKS].value.values
            for metadata in [chunk[m.CHUNK_PLAIN_METADATA].value]
        }
        for group in footer[m.ROW_GROUPS].value.values
    ]


def _encoded_column(octets: bytes, metadata: Struct) -> _Encoded:
    dictionary, begin = None, metadata[m.DATA_OFFSET].value
    if m.DICTIONARY_OFFSET in metadata:
        first = metadata[m.DICTIONARY_OFFSET].value
        header, at = decode_struct(octets, first)
        body = octets[at:begin]
        stored = header | {m.PAGE_STORED_BYTES: Field(I32, len(body) + m.MODULE_OVERHEAD)}
        dictionary = _Page(encoded(stored), body, header[m.PAGE_BYTES].value, 0)
    else:
        first = begin
    _, at = decode_struct(octets, begin)
    described = data_header(octets[begin:at])
    end = at + described.stored_bytes
    if end != first + metadata[m.COMPRESSED].value or described.is_indexes is not (dictionary is not None):
        raise Unsuitable("a page was encoded as several, or without its dictionary")
    body = octets[at:end]
    stored_header = replace(described, stored_bytes=len(body) + m.MODULE_OVERHEAD)
    return _Encoded(dictionary, _Page(stored_header.encode(), body, described.page_bytes, described.values))
