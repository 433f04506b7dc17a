"""Rewrites and merges change no row, type, codec or class; Parquet's own metadata is compared before and after."""

import io
import random
import tempfile
import time
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from implio_pipeline import wiring
from implio_pipeline.domain.columns import ColumnType, columns_by_class, columns_of
from implio_pipeline.domain.files import SealedFile
from implio_pipeline.domain.ids import ColumnClass, FileKind
from implio_pipeline.domain.scope import ByUser
from implio_pipeline.flows.deletion.erase import erase
from implio_pipeline.flows.files.compact import compact
from implio_pipeline.flows.files.submit import add_rows
from implio_pipeline.formats.schema import arrow_schema
from implio_pipeline.stores.vault.encoding import _decryption_properties
from reliability import forks
from reliability.homes import ADS, DAYS, USERS, ask, init, opened_at

_TEXTS = ("", " ", "\0", "å", "e\u0301", "\U0001f600", "null", "a" * 5000, "\u202e", None)
_NUMBERS = (0.0, -0.0, 5e-324, 1.7976931348623157e308, 0.1 + 0.2, 2.0**53 + 1, None)
_LISTS = (None, [], [""], [None], ["a", None, ""], ["\0"])


@dataclass(kw_only=True)
class FidelityRow:
    """One line of the table."""

    rounds: int = 0
    files: int = 0
    columns: int = 0
    rows: int = 0
    seconds: float = 0.0
    breaches: list[str] = field(default_factory=list)


def fidelity(*, rounds: int, seed: int = 1) -> FidelityRow:
    began = time.monotonic()
    row = FidelityRow()
    with tempfile.TemporaryDirectory(dir=forks.scratch_root()) as folder:
        for number in range(seed, seed + rounds):
            home = Path(folder) / f"home-{number}"
            ended = forks.run(lambda home=home, number=number: _one(home, random.Random(number)))  # noqa: S311
            row.rounds += 1
            if not ended.is_well:
                row.breaches.append(f"round {number}: {ended.trace}")
                continue
            row.files += ended.answer["files"]
            row.columns += ended.answer["columns"]
            row.rows += ended.answer["rows"]
            row.breaches += [f"round {number}: {each}" for each in ended.answer["breaches"]]
    row.seconds = time.monotonic() - began
    return row


def _one(home: Path, chance: random.Random) -> dict[str, Any]:
    init(home)
    with opened_at(home) as opened:
        team = opened.catalog.teams.get(ADS)
        for part in range(3):
            add_rows(opened, team, [_table(opened, chance, 60, part)])
        before = _rows(opened)
        layout = {_text(each) for each in _layouts(opened)}
        ask(opened, ADS, ByUser(user_id="u3"))
        erase(opened)
        gone = opened.keychain.user_key(ADS, "u3")
        kept = {task: row for task, row in before.items() if row["user_key"] != gone}
        found = _compared("a rewrite", opened, kept, layout)
        compact(opened, rows_per_file=100)
        found += _compared("a merge", opened, kept, layout)
        files = _sealed(opened)
        return {"files": len(files), "columns": len(columns_of(FileKind.ITEMS)), "rows": len(kept), "breaches": found}


def _table(opened: wiring.OpenHome, chance: random.Random, count: int, part: int) -> pa.Table:
    values: dict[str, list[Any]] = {}
    for column in columns_of(FileKind.ITEMS):
        pool: Any = {
            ColumnType.TEXT: _TEXTS, ColumnType.WORD: _TEXTS[:7], ColumnType.TEXTS: _LISTS, ColumnType.NUMBER: _NUMBERS,
        }.get(column.type, (None,))  # fmt: skip
        values[column.name] = [chance.choice(pool) for _ in range(count)]
    users = [chance.choice(USERS) for _ in range(count)]
    key = opened.keychain.user_key_maker(ADS)
    values["user_id"], values["user_key"] = users, [user and key(user) for user in users]
    values["task_id"] = [f"task-{part}-{number}" for number in range(count)]
    values["outcome"] = [chance.choice(("approved", "refused", None)) for _ in range(count)]
    values["submitted_at"] = [
        chance.choice(DAYS[1:]) + timedelta(microseconds=chance.randrange(10**9)) for _ in range(count)
    ]
    schema = arrow_schema(FileKind.ITEMS)
    return pa.table([pa.array(values[each.name], each.type) for each in schema], schema=schema)


def _sealed(opened: wiring.OpenHome) -> list[SealedFile]:
    return opened.catalog.manifest.sealed(list(opened.catalog.manifest.files()))


def _rows(opened: wiring.OpenHome) -> dict[str, dict[str, Any]]:
    return {row["task_id"]: row for sealed in _sealed(opened) for row in opened.vault.read(sealed).to_pylist()}


def _compared(what: str, opened: wiring.OpenHome, kept: dict[str, Any], layout: set[str]) -> list[str]:
    found = []
    after = _rows(opened)
    # Compared as text, because -0.0 equals 0.0 but must not replace it.
    if {task: repr(row) for task, row in after.items()} != {task: repr(row) for task, row in kept.items()}:
        found.append(f"{what} changed a value")
    found += [f"{what} changed the layout: {each}" for each in {_text(each) for each in _layouts(opened)} - layout]
    for sealed in _sealed(opened):
        keys = [key for key in opened.vault.read(sealed)["user_key"].to_pylist() if key is not None]
        if keys != sorted(keys):
            found.append(f"{what} left rows out of the order of user keys")
        found += [f"{what}: {each}" for each in _class_faults(opened, sealed)]
    return found


def _opened(opened: wiring.OpenHome, sealed: SealedFile, classes: set[ColumnClass]) -> pq.ParquetFile:
    path = opened.settings.home / "vault" / sealed.file.region / sealed.file.path
    raw = opened.keychain.file_keys(ADS, sealed.keys)  # type: ignore[attr-defined]
    granted = {each: key for each, key in raw.items() if each in classes}
    properties = _decryption_properties(sealed.file.file_id, granted)
    return pq.ParquetFile(io.BytesIO(path.read_bytes()), decryption_properties=properties)


def _layouts(opened: wiring.OpenHome) -> list[dict[str, Any]]:
    return [_layout(_opened(opened, sealed, set(ColumnClass))) for sealed in _sealed(opened)]


def _layout(file: pq.ParquetFile) -> dict[str, Any]:
    group = file.metadata.row_group(0)
    columns = {}
    for place in range(group.num_columns):
        chunk, leaf = group.column(place), file.schema.column(place)
        has_dictionary = any("DICTIONARY" in each for each in chunk.encodings)
        columns[chunk.path_in_schema] = (
            chunk.compression, chunk.physical_type, str(leaf.logical_type), has_dictionary, chunk.is_stats_set,
            leaf.max_definition_level, leaf.max_repetition_level,
        )  # fmt: skip
    version = (file.metadata.format_version, file.metadata.created_by, file.metadata.num_row_groups)
    return {
        "columns": columns,
        "version": version,
        "schema": str(file.schema_arrow),
        "keys": sorted(file.metadata.metadata or {}),
    }


def _text(layout: dict[str, Any]) -> str:
    return repr(layout)


def _class_faults(opened: wiring.OpenHome, sealed: SealedFile) -> list[str]:
    """Return the columns that open without their class's key, or do not open with it.

    The footer's key is always present.
    """
    found = []
    for column_class, names in columns_by_class(FileKind.ITEMS).items():
        others = set(ColumnClass) - {column_class} if column_class is not ColumnClass.OPERATIONAL else set()
        for name in names if others else ():
            try:
                _opened(opened, sealed, others).read(columns=[name])
                found.append(f"column {name} opens without the {column_class} key")
            except (OSError, PermissionError):
                continue
        _opened(opened, sealed, {column_class, ColumnClass.OPERATIONAL}).read(columns=list(names))
    return found
