"""The register of columns is what is written, and every leaf of it is encrypted under its class's key."""

import os
from datetime import UTC, datetime

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from implio_pipeline.domain.columns import (
    DECISION_COLUMNS,
    ITEM_COLUMNS,
    REJECTED_COLUMNS,
    RULE_COLUMNS,
    Column,
    ColumnType,
    ErasureRule,
    columns_by_class,
    columns_of,
)
from implio_pipeline.domain.errors import FileTampered, KeyMissing
from implio_pipeline.domain.ids import ColumnClass, FileId, FileKind, Outcome
from implio_pipeline.domain.moderation import VerdictDetails
from implio_pipeline.formats.schema import arrow_schema
from implio_pipeline.stores.vault.encoding import ENCRYPTED_MAGIC, _leaves_by_class, decode, encode

FILE = FileId("f" * 32)
KINDS = list(FileKind)
CLASSES = list(ColumnClass)
TEXT_TYPES = {ColumnType.TEXT, ColumnType.WORD, ColumnType.TEXTS}


def new_keys() -> dict[ColumnClass, bytes]:
    return {column_class: os.urandom(32) for column_class in ColumnClass}


def canary(column: Column) -> str:
    return f"CANARY-{column.name}-{column.column_class}"


def canary_table(kind: FileKind) -> pa.Table:
    values = {
        ColumnType.TEXT: canary,
        ColumnType.WORD: canary,
        ColumnType.TEXTS: lambda column: [canary(column)],
        ColumnType.NUMBER: lambda _: 4.2,
        ColumnType.KEY: lambda _: b"CANARY-KEY-16-by",
        ColumnType.INSTANT: lambda _: datetime(2026, 3, 1, tzinfo=UTC),
    }
    schema = arrow_schema(kind)
    row = {column.name: values[column.type](column) for column in columns_of(kind)}
    return pa.Table.from_pylist([row] * 3, schema=schema)


@pytest.mark.parametrize("column", [*ITEM_COLUMNS, *REJECTED_COLUMNS], ids=lambda column: column.name)
def test_every_column_has_a_class_a_type_and_an_erasure_rule(column: Column) -> None:
    assert column.column_class in ColumnClass
    assert column.type in ColumnType
    assert column.erasure in ErasureRule


def test_what_a_verdict_replaces_says_that_it_is_kept_in_two_places_for_a_while() -> None:
    said = {column.name for column in ITEM_COLUMNS if column.erasure is ErasureRule.WITH_ITEM_AND_VERDICT}

    assert (
        said
        == set(DECISION_COLUMNS)
        == VerdictDetails(actor="mia", feedback=("x",)).item_columns(Outcome.REFUSED).keys()
    )


@pytest.mark.parametrize("kind", KINDS)
def test_the_schema_of_a_file_is_the_register_and_nothing_else(kind: FileKind) -> None:
    names = [column.name for column in columns_of(kind)]

    assert arrow_schema(kind).names == names
    assert len(set(names)) == len(names)
    by_class = columns_by_class(kind)
    assert sorted(name for names in by_class.values() for name in names) == sorted(names)


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_of_file_has_the_columns_that_rules_look_at_in_the_operational_class(kind: FileKind) -> None:
    assert set(RULE_COLUMNS) <= set(columns_by_class(kind)[ColumnClass.OPERATIONAL])


@pytest.mark.parametrize("kind", KINDS)
def test_every_leaf_of_the_parquet_file_has_the_key_of_its_class(kind: FileKind) -> None:
    keys = new_keys()
    content = encode(canary_table(kind), file_id=FILE, kind=kind, raw=keys)
    plain = pa.BufferOutputStream()
    pq.write_table(canary_table(kind), plain)
    leaves = pq.ParquetFile(pa.BufferReader(plain.getvalue())).schema

    found = [leaves.column(number).path for number in range(len(leaves))]

    assert sorted(found) == sorted(leaf for names in _leaves_by_class(kind).values() for leaf in names)
    assert bytes(content[-4:]) == ENCRYPTED_MAGIC


@pytest.mark.parametrize("kind", KINDS)
def test_neither_a_value_nor_a_column_name_is_found_in_the_bytes(kind: FileKind) -> None:
    content = bytes(encode(canary_table(kind), file_id=FILE, kind=kind, raw=new_keys()))

    assert b"CANARY" not in content
    long_names = [column.name for column in columns_of(kind) if len(column.name) > 4]  # shorter ones occur by chance
    assert [name for name in long_names if name.encode() in content] == []
    assert b"ARROW:schema" not in content


@pytest.mark.parametrize("kind", KINDS)
def test_all_keys_together_open_every_column(kind: FileKind) -> None:
    keys = new_keys()

    content = bytes(encode(canary_table(kind), file_id=FILE, kind=kind, raw=keys))

    assert decode(content, file_id=FILE, raw=keys).equals(canary_table(kind))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("granted", CLASSES)
def test_a_class_opens_its_own_columns_and_no_other(kind: FileKind, granted: ColumnClass) -> None:
    keys = new_keys()
    content = bytes(encode(canary_table(kind), file_id=FILE, kind=kind, raw=keys))
    some = {granted: keys[granted], ColumnClass.OPERATIONAL: keys[ColumnClass.OPERATIONAL]}

    for column in columns_of(kind):
        if column.column_class in some:
            assert decode(content, file_id=FILE, raw=some, columns=[column.name]).num_rows == 3
        else:
            with pytest.raises(KeyMissing):
                decode(content, file_id=FILE, raw=some, columns=[column.name])


def test_without_the_operational_key_not_even_the_footer_opens() -> None:
    keys = new_keys()
    content = bytes(encode(canary_table(FileKind.ITEMS), file_id=FILE, kind=FileKind.ITEMS, raw=keys))
    del keys[ColumnClass.OPERATIONAL]

    with pytest.raises(KeyMissing):
        decode(content, file_id=FILE, raw=keys)


@pytest.mark.parametrize("kind", KINDS)
def test_other_keys_open_nothing(kind: FileKind) -> None:
    content = bytes(encode(canary_table(kind), file_id=FILE, kind=kind, raw=new_keys()))

    with pytest.raises(KeyMissing):
        decode(content, file_id=FILE, raw=new_keys())


def test_no_key_and_no_data_key_is_used_twice() -> None:
    keys = new_keys()

    first, second = (encode(canary_table(FileKind.ITEMS), file_id=FILE, kind=FileKind.ITEMS, raw=keys) for _ in "12")

    assert bytes(first) != bytes(second)


@pytest.mark.parametrize("place", [0, 4, 100, -200, -9, -1])
def test_a_changed_byte_is_noticed_wherever_it_lies(place: int) -> None:
    keys = new_keys()
    content = bytearray(encode(canary_table(FileKind.ITEMS), file_id=FILE, kind=FileKind.ITEMS, raw=keys))
    content[place] ^= 1

    # The first four bytes are a magic number that Arrow does not look at; the file's digest covers them.
    if place != 0:
        with pytest.raises((FileTampered, KeyMissing)):
            decode(bytes(content), file_id=FILE, raw=keys)


OTHER_SCHEMAS = {
    "a column that is not registered": lambda rows: rows.append_column("iban", pa.array(["DE00"] * 3)),
    "a column fewer": lambda rows: rows.drop_columns(["title"]),
    "columns in another order": lambda rows: rows.select(list(reversed(rows.column_names))),
    "a column of another type": lambda rows: rows.set_column(0, "task_id", pa.array([1, 2, 3])),
}


@pytest.mark.parametrize("other", OTHER_SCHEMAS.values(), ids=OTHER_SCHEMAS)
def test_rows_of_another_schema_are_refused_before_anything_is_written(other: object) -> None:
    rows = other(canary_table(FileKind.ITEMS))

    with pytest.raises(ValueError, match="other columns"):
        encode(rows, file_id=FILE, kind=FileKind.ITEMS, raw=new_keys())
