"""An erasure that rewrites pages: the same rows are left as after a whole rewrite, and nothing of the others is."""

import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from stores.test_vault import Forgetful, any_rows, work_on
from support.clock import NOW
from support.depth import examples
from support.home import ADS, Home, storage_of
from support.items import Ad, key_of, table_of, table_of_rows

from implio_pipeline.domain.columns import ColumnType, columns_of
from implio_pipeline.domain.errors import FileTampered, KeyMissing, Unverified
from implio_pipeline.domain.files import SealedFile
from implio_pipeline.domain.ids import ColumnClass, FileId, FileKind, Region, UserKey
from implio_pipeline.domain.scope import UserRule
from implio_pipeline.stores.vault import encoding
from implio_pipeline.stores.vault import vault as vault_module
from implio_pipeline.stores.vault.cluster import Bounds
from implio_pipeline.stores.vault.encoding import (
    decode,
    decode_in_clear,
    encode,
    encode_empty_row,
    encode_in_clear,
    key_names,
    named_keys,
    word_columns,
)
from implio_pipeline.stores.vault.pages import form, surgery
from implio_pipeline.stores.vault.pages import modules as m
from implio_pipeline.stores.vault.pages.choice import has_pages, is_cheaper_by_page
from implio_pipeline.stores.vault.pages.faults import Unsuitable
from implio_pipeline.stores.vault.pages.form import page_rows
from implio_pipeline.stores.vault.pages.modules import SealedPages, take_apart
from implio_pipeline.stores.vault.pages.proof import is_without_rows
from implio_pipeline.stores.vault.pages.surgery import Rows, plan_pages, without_rows
from implio_pipeline.stores.vault.pages.thrift import BINARY, LIST, STRUCT, Field, Listed, decode_struct, encode_struct
from implio_pipeline.stores.vault.vault import EncryptedVault

quick = settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


class Keyed:
    """An id and the raw keys of a file."""

    def __init__(self, kind: FileKind) -> None:
        self.kind = kind
        self.file_id = FileId(os.urandom(16).hex())
        self.raw = {each: os.urandom(32) for each in ColumnClass}

    def encode(self, rows: pa.Table, page_rows: int | None) -> memoryview:
        return encode(rows, file_id=self.file_id, kind=self.kind, raw=self.raw, page_rows=page_rows)

    def apart(self, octets: bytes | memoryview) -> SealedPages:
        return take_apart(memoryview(octets), named_keys(self.file_id, self.raw).__getitem__)

    def decode(self, octets: bytes | memoryview, columns: Sequence[str] | None) -> pa.Table:
        words = [name for name in word_columns(self.kind) if columns is None or name in columns]
        return decode(octets, file_id=self.file_id, raw=self.raw, columns=columns, dictionaries=words)

    def decode_in_clear(self, octets: bytes) -> pa.Table:
        return decode_in_clear(octets, kind=self.kind)

    def whole(self, octets: bytes | memoryview) -> pa.Table:
        return decode(octets, file_id=self.file_id, raw=self.raw)

    def skeleton(self) -> SealedPages:
        return self.apart(encode_empty_row(file_id=self.file_id, kind=self.kind, raw=self.raw))


def rewritten(old: SealedPages, before: Keyed, after: Keyed, kept: Rows) -> memoryview:
    """Return the octets of a file without the rows that are not kept."""
    plan = plan_pages(page_rows(old), kept)
    return without_rows(
        old,
        plan,
        surgery.decode_pages(old, plan.touched, before.decode_in_clear),
        skeleton=after.skeleton(),
        decode=before.decode,
        encode=partial(encode_in_clear, kind=before.kind),
    )


def is_proven(old: SealedPages, new: bytes | memoryview, before: Keyed, after: Keyed, kept: Rows) -> bool:
    try:
        return is_without_rows(
            old,
            after.apart(new),
            np.flatnonzero(~kept),
            names=key_names(after.file_id, after.kind),
            decode_old=before.decode,
            decode_new=after.decode,
        )
    except (Unsuitable, FileTampered, KeyMissing):
        return False


def contents(file: SealedPages) -> Iterator[bytes]:
    """Yield what every module of a file holds, decrypted, and pages decompressed too."""
    yield encode_struct(file.footer)
    for leaf in file.leaves:
        yield encode_struct(leaf.metadata)
        pages = [(file.header(leaf, page), file.body(leaf, page)) for page in range(leaf.pages)]
        for header, body in [*pages, *([file.dictionary(leaf)] if leaf.has_dictionary else [])]:
            yield header
            if leaf.metadata[m.CODEC].value == m.ZSTD:
                yield pa.decompress(body, decode_struct(header)[0][m.PAGE_BYTES].value, "zstd", asbytes=True)
            else:
                yield body


def marked(rows: list[dict[str, Any]], kind: FileKind) -> list[dict[str, Any]]:
    """Return rows in whose texts stands the number of the row, so that each can be found in a file's octets."""
    texts = [column for column in columns_of(kind) if column.type in {ColumnType.TEXT, ColumnType.TEXTS}]
    found = []
    for number, row in enumerate(rows):
        mark = f"<row {number}>"
        changed = {
            column.name: f"{row[column.name]}{mark}"
            if column.type is ColumnType.TEXT
            else [f"{each}{mark}" for each in row[column.name]]
            for column in texts
            if row[column.name] is not None
        }
        # Words too, in some rows only: a dictionary keeps what several rows have.
        words = {name: f"{row[name]}{mark}" for name in word_columns(kind) if row[name] and number % 2}
        found.append(row | changed | words | {"task_id": mark})
    return found


@pytest.mark.parametrize("kind", list(FileKind))
@given(data=st.data(), page_rows=st.integers(1, 4), seed=st.integers(0, 2**32))
@settings(quick, max_examples=examples(60))
def test_the_kept_rows_are_left_in_their_order_and_no_module_has_anything_of_the_others(
    kind: FileKind, data: st.DataObject, page_rows: int, seed: int
) -> None:
    drawn = [row for _ in range(4) for row in data.draw(any_rows[kind])]
    rows = table_of_rows(marked(drawn, kind), kind=kind)
    kept = np.random.default_rng(seed).random(rows.num_rows) < data.draw(st.sampled_from([0.1, 0.5, 0.9]))
    kept[seed % rows.num_rows] = True
    before, after = Keyed(kind), Keyed(kind)
    old = before.apart(before.encode(rows, page_rows))

    new = rewritten(old, before, after, kept)

    assert after.whole(new).equals(rows.filter(pa.array(kept)))
    assert is_proven(old, new, before, after, kept)
    marks = [f"<row {number}>".encode() for number in np.flatnonzero(~kept)]
    for octets in contents(after.apart(new)):
        assert not [mark for mark in marks if mark in octets]
    # What was rewritten can be rewritten again.
    again = np.arange(int(kept.sum())) != seed % int(kept.sum())
    if again.any():
        third = Keyed(kind)
        newest = rewritten(after.apart(new), after, third, again)
        assert third.whole(newest).equals(rows.filter(pa.array(kept)).filter(pa.array(again)))
        assert is_proven(after.apart(new), newest, after, third, again)


def some_rows(count: int = 12) -> pa.Table:
    """Return rows of three people: a sixth Ann's, a sixth Cid's, whose last has a city of its own."""
    users = ["ann"] * (count // 6) + ["bob"] * (count - 2 * (count // 6)) + ["cid"] * (count // 6)
    rows = [Ad(task=f"t{number:02}", user=user) for number, user in enumerate(users)]
    found = table_of(rows).to_pylist()
    for number, row in enumerate(found):
        row |= {
            "city": "Lund" if number < count - 1 else "Visby",
            "title": f"title {number}",
            "images": [f"{number}.png"],
        }
        row |= {"user_name": f"name {number}", "postal_code": f"{number // 2}"}
    return table_of_rows(found)


def without_the_last(count: int) -> Rows:
    return np.arange(count) < count - 1


Fault = Callable[[pytest.MonkeyPatch], None]


def keeps_an_erased_row(patch: pytest.MonkeyPatch) -> None:
    real = surgery.plan_pages
    patch.setitem(
        globals(), "plan_pages", lambda rows, kept: real(rows, kept | (np.arange(len(kept)) == kept.argmin()))
    )


def drops_a_kept_row(patch: pytest.MonkeyPatch) -> None:
    real = surgery.plan_pages
    patch.setitem(
        globals(), "plan_pages", lambda rows, kept: real(rows, kept & (np.arange(len(kept)) != kept.argmax()))
    )


def alters_a_cell(patch: pytest.MonkeyPatch) -> None:
    real = surgery.decode_pages

    def altered(*known: Any) -> list[pa.Table]:
        return [
            page.set_column(number, page.schema.field(number), pa.array(["altered"] * page.num_rows))
            for page in real(*known)
            for number in [page.schema.get_field_index("title")]
        ]

    patch.setattr(surgery, "decode_pages", altered)


def copies_a_touched_page(patch: pytest.MonkeyPatch) -> None:
    real = surgery._data_pages
    patch.setattr(
        surgery, "_data_pages", lambda old, leaf, plan, changed: real(old, leaf, replace(plan, touched=[]), changed)
    )


def copies_every_dictionary(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(surgery, "_columns_that_lose_a_value", lambda *_: pa.table({}))


def swaps_two_pages(patch: pytest.MonkeyPatch) -> None:
    real = surgery._data_pages

    def swapped(*known: Any) -> Iterator[Any]:
        first, second, *others = real(*known)
        return iter([second, first, *others])

    patch.setattr(surgery, "_data_pages", swapped)


def while_writing(patch: pytest.MonkeyPatch, name: str, wrong: Any) -> None:
    """Replace a function while the new file is written, and not while pages of the old one are decoded."""
    write = surgery._write

    def writing(*known: Any) -> Any:
        with pytest.MonkeyPatch.context() as within:
            within.setattr(surgery, name, wrong)
            return write(*known)

    patch.setattr(surgery, "_write", writing)


def authenticates_pages_with_a_wrong_number(patch: pytest.MonkeyPatch) -> None:
    real = surgery._sealed
    while_writing(patch, "_sealed", lambda leaf, number, page: real(leaf, number + 1, page))


def authenticates_pages_with_a_wrong_column(patch: pytest.MonkeyPatch) -> None:
    real = surgery._sealed
    while_writing(
        patch, "_sealed", lambda leaf, number, page: real(replace(leaf, number=leaf.number + 1), number, page)
    )


def seals_pages_under_the_old_keys(patch: pytest.MonkeyPatch) -> None:
    real = surgery._data_pages
    olds: dict[tuple[str, ...], m.Leaf] = {}

    def noted(old: SealedPages, leaf: m.Leaf, *known: Any) -> Iterator[Any]:
        olds[leaf.path] = leaf
        return real(old, leaf, *known)

    sealed = surgery._sealed
    patch.setattr(surgery, "_data_pages", noted)
    while_writing(patch, "_sealed", lambda leaf, number, page: sealed(olds.get(leaf.path, leaf), number, page))


def uses_one_nonce_for_all(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(m.os, "urandom", bytes)


def forgets_whose_key_a_column_has(patch: pytest.MonkeyPatch) -> None:
    real = surgery.without_rows

    def forgetful(old: SealedPages, *known: Any, skeleton: SealedPages, **named: Any) -> memoryview:
        leaves = [
            replace(leaf, chunk={number: field for number, field in leaf.chunk.items() if number != m.CHUNK_KEY})
            for leaf in skeleton.leaves
        ]
        return real(old, *known, skeleton=replace(skeleton, leaves=tuple(leaves)), **named)

    patch.setitem(globals(), "without_rows", forgetful)


def says_a_range_of_values(patch: pytest.MonkeyPatch) -> None:
    real = surgery._write
    limits = Field(STRUCT, {5: Field(BINARY, b"zoe"), 6: Field(BINARY, b"ann")})
    patch.setattr(surgery, "_write", lambda *known: real(*known) | {m.STATISTICS: limits})


def says_a_range_of_a_page(patch: pytest.MonkeyPatch) -> None:
    real = m.DataHeader.encode

    def with_statistics(header: m.DataHeader) -> bytes:
        fields, _ = decode_struct(real(header))
        fields[5].value[5] = Field(STRUCT, {5: Field(BINARY, b"zoe")})
        return encode_struct(fields)

    patch.setattr(m.DataHeader, "encode", with_statistics)


def leaves_octets_between_columns(patch: pytest.MonkeyPatch) -> None:
    real = surgery._write

    def late(written: Any, *known: Any) -> Any:
        written.add(b"ann")
        return real(written, *known)

    patch.setattr(surgery, "_write", late)


def forgets_a_page(patch: pytest.MonkeyPatch) -> None:
    real = surgery._data_pages
    patch.setattr(surgery, "_data_pages", lambda *known: iter(list(real(*known))[:-1]))


def says_another_number_of_values(patch: pytest.MonkeyPatch) -> None:
    real = surgery._write

    def wrong(*known: Any) -> Any:
        metadata = real(*known)
        return metadata | {m.VALUES: metadata[m.VALUES]._replace(value=metadata[m.VALUES].value - 3)}

    patch.setattr(surgery, "_write", wrong)


def names_a_value_in_the_metadata_of_a_column(patch: pytest.MonkeyPatch) -> None:
    real = surgery._write
    patch.setattr(surgery, "_write", lambda *known: real(*known) | {8: PROPERTIES})


def names_a_value_in_the_footer(patch: pytest.MonkeyPatch) -> None:
    real = surgery._footer
    patch.setattr(
        surgery, "_footer", lambda *known, **named: dict(sorted((real(*known, **named) | {5: PROPERTIES}).items()))
    )


def names_a_value_beside_the_key_of_a_column(patch: pytest.MonkeyPatch) -> None:
    real = surgery._chunk
    patch.setattr(surgery, "_chunk", lambda *known: {1: Field(BINARY, b"Visby")} | real(*known))


def names_a_value_in_clear(patch: pytest.MonkeyPatch) -> None:
    real = surgery.without_rows

    def chatty(*known: Any, skeleton: SealedPages, **named: Any) -> memoryview:
        crypto = encode_struct(skeleton.described | {9: Field(BINARY, b"Visby")})
        return real(*known, skeleton=replace(skeleton, crypto=crypto), **named)

    patch.setitem(globals(), "without_rows", chatty)


def leaves_octets_behind_the_footer(patch: pytest.MonkeyPatch) -> None:
    real = surgery._tail

    def longer(*known: Any, **named: Any) -> bytes:
        with pytest.MonkeyPatch.context() as within:
            within.setattr(surgery, "encoded", lambda fields: encode_struct(fields) + b"Visby")
            return real(*known, **named)

    patch.setattr(surgery, "_tail", longer)


def changes_the_octets_of_titles(
    patch: pytest.MonkeyPatch, change: Callable[[bytes], bytes], *, is_compressed: bool
) -> None:
    real = surgery._encoded_column

    def altered(octets: bytes, metadata: Any) -> Any:
        found = real(octets, metadata)
        if metadata[m.PATH].value.values != [b"title"]:
            return found
        header, body = m.data_header(found.data.header), found.data.body
        if is_compressed:
            body = change(body)
        else:
            plain = change(pa.decompress(body, header.page_bytes, "zstd", asbytes=True))
            header, body = replace(header, page_bytes=len(plain)), pa.compress(plain, codec="zstd", asbytes=True)
        header = replace(header, stored_bytes=len(body) + m.MODULE_OVERHEAD)
        return replace(found, data=surgery._Page(header.encode(), body, header.page_bytes, header.values))

    patch.setattr(surgery, "_encoded_column", altered)


def hides_a_value_behind_the_last_one_of_a_page(patch: pytest.MonkeyPatch) -> None:
    changes_the_octets_of_titles(patch, lambda octets: octets + b"\x08\0\0\0title 11", is_compressed=False)


def hides_a_value_in_a_frame_that_no_reader_reads(patch: pytest.MonkeyPatch) -> None:
    skipped = b"\x50\x2a\x4d\x18\x08\0\0\0title 11"
    changes_the_octets_of_titles(patch, lambda body: body + skipped, is_compressed=True)


def hides_a_value_behind_a_dictionary(patch: pytest.MonkeyPatch) -> None:
    real = surgery._write

    def hiding(written: Any, leaf: m.Leaf, like: Any, dictionary: Any, pages: Any) -> Any:
        if leaf.path == ("city",):
            fields, _ = decode_struct(dictionary.header)
            body = dictionary.body + b"\x05\0\0\0Visby"
            sizes = {m.PAGE_BYTES: len(body), m.PAGE_STORED_BYTES: len(body) + m.MODULE_OVERHEAD}
            dictionary = surgery._described(encode_struct(surgery._with(fields, sizes)), body)
        return real(written, leaf, like, dictionary, pages)

    patch.setattr(surgery, "_write", hiding)


def gives_every_column_a_key_of_one_class(patch: pytest.MonkeyPatch) -> None:
    leaves = [leaf for some in encoding._leaves_by_class(FileKind.ITEMS).values() for leaf in some]
    patch.setattr(encoding, "_leaves_by_class", lambda _: {ColumnClass.OPERATIONAL: leaves})


PROPERTIES = Field(LIST, Listed(STRUCT, [{1: Field(BINARY, b"city"), 2: Field(BINARY, b"Visby")}]))
FAULTS: list[Fault] = [
    says_another_number_of_values,
    names_a_value_in_the_metadata_of_a_column,
    names_a_value_in_the_footer,
    names_a_value_beside_the_key_of_a_column,
    names_a_value_in_clear,
    leaves_octets_behind_the_footer,
    hides_a_value_behind_the_last_one_of_a_page,
    hides_a_value_in_a_frame_that_no_reader_reads,
    hides_a_value_behind_a_dictionary,
    gives_every_column_a_key_of_one_class,
    keeps_an_erased_row,
    drops_a_kept_row,
    alters_a_cell,
    copies_a_touched_page,
    copies_every_dictionary,
    swaps_two_pages,
    authenticates_pages_with_a_wrong_number,
    authenticates_pages_with_a_wrong_column,
    seals_pages_under_the_old_keys,
    uses_one_nonce_for_all,
    forgets_whose_key_a_column_has,
    says_a_range_of_values,
    says_a_range_of_a_page,
    leaves_octets_between_columns,
    forgets_a_page,
]


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.__name__.replace("_", " "))
def test_a_rewriter_of_pages_with_a_fault_is_not_proven(fault: Fault) -> None:
    rows, (before, after) = some_rows(), (Keyed(FileKind.ITEMS), Keyed(FileKind.ITEMS))
    old, kept = before.apart(before.encode(rows, 3)), without_the_last(12)
    assert is_proven(old, rewritten(old, before, after, kept), before, after, kept)

    with pytest.MonkeyPatch.context() as patch:
        fault(patch)
        new = rewritten(old, before, after, kept)

    assert not is_proven(old, new, before, after, kept)


def test_a_file_under_keys_of_the_old_one_is_not_proven() -> None:
    rows, keyed = some_rows(), Keyed(FileKind.ITEMS)
    old, kept = keyed.apart(keyed.encode(rows, 3)), without_the_last(12)
    plan = plan_pages(page_rows(old), kept)
    pages = surgery.decode_pages(old, plan.touched, keyed.decode_in_clear)

    new = without_rows(
        old, plan, pages, skeleton=old, decode=keyed.decode, encode=partial(encode_in_clear, kind=keyed.kind)
    )

    assert keyed.whole(new).equals(rows.filter(pa.array(kept)))
    assert not is_proven(old, new, keyed, keyed, kept)


@pytest.mark.parametrize(("octets", "ones"), [(b"\x03\x05", 2), (b"\x06\x01", 3), (b"\x02\x00\x03\x03", 2)])
def test_levels_are_counted(octets: bytes, ones: int) -> None:
    assert form._runs(octets, 0, width=1, count=3) == (len(octets), ones)


@pytest.mark.parametrize(
    "octets",
    [b"\x05\x05\x00", b"\x03\x85", b"\x08\x01", b"\x03", b"\x00\x01"],
    ids=["a group too many", "a value in the padding", "a run too long", "cut off", "an empty run"],
)
def test_levels_of_another_form_are_refused(octets: bytes) -> None:
    with pytest.raises(Unsuitable):
        form._runs(octets, 0, width=1, count=3)


def test_lists_that_are_cut_at_other_rows_are_not_rewritten_page_by_page(monkeypatch: pytest.MonkeyPatch) -> None:
    rows, (before, after) = some_rows(), (Keyed(FileKind.ITEMS), Keyed(FileKind.ITEMS))
    old, kept, real = before.apart(before.encode(rows, 3)), without_the_last(12), surgery._data_pages
    images = rows.select(["images"])
    cut = [images.slice(begin, end - begin) for begin, end in [(0, 4), (4, 6), (6, 9), (9, 11)]]
    pages = surgery._encoded_pages(cut, partial(encode_in_clear, kind=FileKind.ITEMS))

    def cut_elsewhere(file: SealedPages, leaf: m.Leaf, *known: Any) -> Iterator[Any]:
        return (each[leaf.path].data for each in pages) if leaf.path[0] == "images" else real(file, leaf, *known)

    monkeypatch.setattr(surgery, "_data_pages", cut_elsewhere)
    new = rewritten(old, before, after, kept)

    assert after.whole(new).equals(rows.filter(pa.array(kept)))
    assert not is_proven(old, new, before, after, kept)
    with pytest.raises(Unsuitable, match="list"):
        page_rows(after.apart(new))


def with_statistics(rows: pa.Table, keyed: Keyed) -> bytes:
    return written_by_arrow(rows, keyed, write_statistics=True, max_rows_per_page=3, write_batch_size=3)


def with_two_row_groups(rows: pa.Table, keyed: Keyed) -> bytes:
    return written_by_arrow(rows, keyed, rows_a_group=6, max_rows_per_page=3, write_batch_size=3)


def with_another_codec(rows: pa.Table, keyed: Keyed) -> bytes:
    return written_by_arrow(rows, keyed, compression="snappy", max_rows_per_page=3, write_batch_size=3)


def of_the_version_before(rows: pa.Table, keyed: Keyed) -> bytes:
    words = list(word_columns(keyed.kind))
    return written_by_arrow(rows, keyed, use_dictionary=words, max_rows_per_page=3, write_batch_size=3)


def with_pages_of_another_version(rows: pa.Table, keyed: Keyed) -> bytes:
    return written_by_arrow(rows, keyed, data_page_version="2.0", max_rows_per_page=3, write_batch_size=3)


def with_dictionaries_that_are_given_up(rows: pa.Table, keyed: Keyed) -> bytes:
    known = {"use_dictionary": True, "dictionary_pagesize_limit": 1}
    return written_by_arrow(rows, keyed, max_rows_per_page=3, write_batch_size=3, **known)


def written_by_arrow(rows: pa.Table, keyed: Keyed, *, rows_a_group: int = 100, **known: Any) -> bytes:
    sink = pa.BufferOutputStream()
    properties = encoding._encryption_properties(keyed.file_id, keyed.kind, keyed.raw)
    options = {"compression": "zstd", "write_statistics": False, "use_dictionary": False} | known
    with pq.ParquetWriter(sink, rows.schema, encryption_properties=properties, store_schema=False, **options) as writer:
        writer.write_table(rows, row_group_size=rows_a_group)
    return bytes(sink.getvalue())


OTHER_FORMS = [
    with_statistics,
    with_two_row_groups,
    with_another_codec,
    of_the_version_before,
    with_pages_of_another_version,
    with_dictionaries_that_are_given_up,
]


@pytest.mark.parametrize("form", OTHER_FORMS, ids=lambda form: form.__name__.replace("_", " "))
def test_a_file_of_another_form_is_not_rewritten_page_by_page(form: Callable[[pa.Table, Keyed], bytes]) -> None:
    before, after = Keyed(FileKind.ITEMS), Keyed(FileKind.ITEMS)
    content = form(some_rows(), before)
    assert before.whole(content).equals(some_rows())

    with pytest.raises(Unsuitable):
        rewritten(before.apart(content), before, after, without_the_last(12))


@given(damaged=st.data())
@settings(quick, max_examples=examples(60))
def test_whatever_the_octets_are_taking_them_apart_ends_in_a_file_or_a_refusal(damaged: st.DataObject) -> None:
    keyed = Keyed(FileKind.REJECTED)
    rows = table_of([Ad(task=f"t{number}") for number in range(6)], kind=FileKind.REJECTED)
    content = bytearray(keyed.encode(rows, 2))
    for _ in range(damaged.draw(st.integers(1, 3))):
        content[damaged.draw(st.integers(0, len(content) - 1))] ^= damaged.draw(st.integers(1, 255))
    cut = damaged.draw(st.sampled_from([0, 0, 1, 9, 200]))

    try:
        keyed.apart(bytes(content[: len(content) - cut]))
    except Unsuitable:
        return


@given(octets=st.binary(max_size=200))
@settings(quick, max_examples=examples(200))
def test_octets_that_are_no_struct_are_refused_and_others_are_written_as_they_were(octets: bytes) -> None:
    try:
        fields, end = decode_struct(octets)
    except Unsuitable:
        return
    again, _ = decode_struct(encode_struct(fields))
    assert again == fields
    assert end <= len(octets)


def test_the_structs_that_arrow_writes_are_written_again_octet_by_octet() -> None:
    keyed = Keyed(FileKind.ITEMS)
    file = keyed.apart(keyed.encode(some_rows(), 3))

    for leaf in file.leaves:
        stored = leaf.sealer.open(memoryview(leaf.chunk[m.CHUNK_METADATA].value), m.Module.COLUMN_METADATA, leaf.number)
        assert encode_struct(leaf.metadata) == stored
        for page in range(leaf.pages):
            assert m.data_header(file.header(leaf, page)).encode() == file.header(leaf, page)


def paged(home: Home, *, page_rows: int = 2) -> EncryptedVault:
    bounds = Bounds(rows=1000, page_rows=page_rows)
    return EncryptedVault(storage_of(home.opened), home.services.keychain, bounds=bounds)


def stocked(vault: EncryptedVault) -> SealedFile:
    (sealed,) = vault.write(some_rows(40), team=ADS, region=Region("eu"), kind=FileKind.ITEMS)
    return sealed


def of(user: str) -> UserRule:
    return UserRule(user_key=UserKey(key_of(user) or b""), before=NOW)


def test_an_erasure_of_few_rows_of_a_large_file_writes_pages_and_ends_as_a_whole_rewrite_does(
    home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    sealed = stocked(paged(home))
    whole = paged(home, page_rows=1000).rewrite(work_on(sealed, of("ann")))
    monkeypatch.delattr(EncryptedVault, "_write_kept")

    by_page = paged(home).rewrite(work_on(sealed, of("ann")))

    by_page.prove()
    assert by_page.after
    assert whole.after
    assert home.vault.read(by_page.after).equals(home.vault.read(whole.after))
    known = {"file_id": "", "digest": "", "size_bytes": 0}
    assert replace(by_page.after.file, **known) == replace(whole.after.file, **known)
    assert replace(by_page, after=None) == replace(whole, after=None)
    assert paged(home).rewrite(work_on(by_page.after, of("ann"))).is_untouched


def test_an_erasure_of_many_rows_of_a_large_file_rewrites_it_whole(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    sealed = stocked(paged(home))
    monkeypatch.delattr(EncryptedVault, "_write_pages")

    rewrite = paged(home).rewrite(work_on(sealed, of("ann"), of("bob")))

    rewrite.prove()
    assert rewrite.erased == 34


def test_an_erasure_of_all_rows_of_a_large_file_writes_nothing(home: Home) -> None:
    sealed = stocked(paged(home))

    rewrite = paged(home).rewrite(work_on(sealed, of("ann"), of("bob"), of("cid")))

    rewrite.prove()
    assert (rewrite.after, rewrite.erased) == (None, 40)


def test_a_large_file_of_another_form_is_rewritten_whole(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    sealed = stocked(paged(home, page_rows=1000))  # one page a column, as a file was written before

    rewrite = paged(home).rewrite(work_on(sealed, of("ann")))

    rewrite.prove()
    assert rewrite.erased == 6


@pytest.mark.parametrize("fault", [keeps_an_erased_row, drops_a_kept_row, copies_every_dictionary])
def test_pages_that_are_written_wrongly_are_unverified(home: Home, fault: Fault) -> None:
    sealed = stocked(paged(home))

    with pytest.MonkeyPatch.context() as patch:
        fault(patch)
        patch.setattr(vault_module, "plan_pages", plan_pages)  # as the fault left it
        rewrite = paged(home).rewrite(work_on(sealed, of("cid")))

    with pytest.raises(Unverified):
        rewrite.prove()


def reversed_titles(pages: list[pa.Table]) -> list[pa.Table]:
    number = pages[0].schema.get_field_index("title")
    return [
        page.set_column(number, page.schema.field(number), pa.array(page["title"].to_pylist()[::-1])) for page in pages
    ]


def test_a_fault_of_decoding_old_pages_is_no_fault_of_the_proof(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    vault, real = paged(home, page_rows=4), vault_module.decode_pages
    monkeypatch.setattr(vault_module, "decode_pages", lambda *known: reversed_titles(real(*known)))

    rewrite = vault.rewrite(work_on(stocked(vault), of("ann")))

    with pytest.raises(Unverified):
        rewrite.prove()


def test_pages_that_do_not_decode_mean_that_the_file_is_rewritten_whole(
    home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    sealed = stocked(paged(home))

    def fails(*_: Any) -> Any:
        raise FileTampered("pages of a file do not decode")

    monkeypatch.setattr(vault_module, "decode_pages", fails)

    rewrite = paged(home).rewrite(work_on(sealed, of("ann")))

    rewrite.prove()
    assert rewrite.erased == 6


def test_pages_that_storage_does_not_keep_bit_by_bit_are_caught_and_deleted(home: Home) -> None:
    sealed = stocked(paged(home))
    folders = storage_of(home.opened, Forgetful)
    folders.octet = lambda size: size // 2  # type: ignore[attr-defined]
    before = home.stored()

    with pytest.raises(FileTampered):
        EncryptedVault(folders, home.services.keychain, bounds=Bounds(rows=1000, page_rows=2)).rewrite(
            work_on(sealed, of("ann"))
        )

    assert home.stored() == before


@given(pages=st.integers(1, 200), touched=st.integers(1, 200))
@settings(quick)
def test_few_pages_are_rewritten_and_many_mean_the_whole_file(pages: int, touched: int) -> None:
    is_by_page = is_cheaper_by_page(touched=touched, pages=pages)

    assert is_by_page or touched > 0.4 * pages
    assert not (is_by_page and touched > pages / 2)
    # One more page never makes pages cheaper.
    assert is_by_page or not is_cheaper_by_page(touched=touched + 1, pages=pages)


def test_the_product_divides_a_file_of_a_team_and_day_and_no_small_one() -> None:
    assert has_pages(Bounds().rows, page_rows=Bounds().page_rows)
    assert not has_pages(2_500, page_rows=Bounds().page_rows)
