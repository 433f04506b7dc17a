"""Who has `docs/FORMAT.md` and a home, and nothing of ours, can read the vault, and sees every octet that was altered.

There are two strangers. One is `support.stranger_vault`, which needs no Parquet library. The other is the program in
the document, which uses pyarrow's own decryption. What both need to know has to be in the document.
"""

import ast
import os
import re
import sqlite3
import sys
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import replace
from datetime import timedelta
from itertools import count, pairwise
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from stores.test_vault import any_rows
from support import stranger_vault
from support.catalogs import copy_home, only_sqlite
from support.changed import changed
from support.clock import NOW
from support.depth import examples
from support.home import ADS, Home, opened_at, storage_of
from support.items import YESTERDAY, table_of_rows
from support.stranger_vault import Listed, Module, Opened, VaultRefused, files_in, read_file

from implio_pipeline.domain.columns import columns_of
from implio_pipeline.domain.file_changes import Change
from implio_pipeline.domain.ids import FileKind, Region
from implio_pipeline.domain.scope import ByUser
from implio_pipeline.flows.deletion.erase import erase
from implio_pipeline.stores.vault.cluster import Bounds
from implio_pipeline.stores.vault.vault import EncryptedVault

EU = Region("eu")
FORMAT = Path(__file__).parents[2] / "docs" / "FORMAT.md"
PEOPLE = ("ann", "bob", "cid")
quick = settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
PHYSICAL = {"INT64": (2, 0), "DOUBLE": (5, 0), "BYTE_ARRAY": (6, 0), "FIXED_LEN_BYTE_ARRAY": (7, 16)}
pytestmark = only_sqlite  # the document's programs read the catalog's file
Row = dict[str, Any]
Reader = Callable[[Path, Listed], dict[str, list[Any]]]


def by_hand(home: Path, listed: Listed) -> dict[str, list[Any]]:
    return read_file(home, listed).columns


def by_arrow(home: Path, listed: Listed) -> dict[str, list[Any]]:
    """Read a file with the program in the document, but its last lines, which choose a file and count its rows."""
    (program,) = re.findall(r"```python\n(.*?)```", FORMAT.read_text(), re.DOTALL)
    before, found, _ = program.replace('"data"', repr(str(home))).partition("path = next(")
    assert found
    known: Row = {}
    exec(before, known)  # noqa: S102
    file = known["pq"].ParquetFile(listed.path, decryption_properties=known["properties"])
    with closing(known["db"]):
        return dict(file.read().to_pydict())


STRANGERS: list[Reader] = [by_hand, by_arrow]


def paged(home: Home, page_rows: int) -> EncryptedVault:
    bounds = Bounds(rows=1000, page_rows=page_rows)
    return EncryptedVault(storage_of(home.opened), home.services.keychain, bounds=bounds)


def stored(home: Home, rows: list[Row], *, kind: FileKind = FileKind.ITEMS, page_rows: int = 2) -> None:
    """Write rows of the team into a file."""
    added = tuple(paged(home, page_rows).write(table_of_rows(rows, kind=kind), team=ADS, region=EU, kind=kind))
    newest = home.services.catalog.requests.newest_tombstone(ADS)
    home.services.catalog.manifest.commit(Change(team=ADS, planned_at=newest, committed_at=NOW, add=added))


def erased(home: Home, user: str, *, page_rows: int = 2) -> int:
    """Erase a person's rows from the files."""
    home.ask(ByUser(user_id=user))
    return erase(changed(home.services, vault=paged(home, page_rows))).items_erased


def row_of(home: Home, number: int, user: str | None, kind: FileKind) -> Row:
    row = {"task_id": f"t{number:03}", "submitted_at": YESTERDAY, "outcome": "approved"}
    row |= {"user_key": None if user is None else home.user_key(user)}
    if kind is FileKind.REJECTED:
        return row | {"position": float(number), "reason": "invalid-item", "errors": "", "original_ad": f"{{{number}"}
    lists: list[list[str | None] | None] = [None, [], [None], [""], ["a", None, "b"], [f"{number}.png"] * 9]
    row |= {"user_id": user, "title": None if number % 3 else f"title {number}", "body": ["", None, "🚲"][number % 3]}
    row |= {"city": ["Lund", "", None, f"only {number}"][number % 4], "price_amount": [0.0, -0.0, None][number % 3]}
    return row | {"images": lists[number % 6], "reasons": lists[number // 2 % 6], "country_code": "SE"}


def some_rows(home: Home, size: int, kind: FileKind = FileKind.ITEMS) -> list[Row]:
    """Return rows of which few are Ann's, and some nobody's."""
    users = [*["ann"] * (size // 8), *[None] * (size // 8)]
    return [row_of(home, number, (users + ["bob", "cid"] * size)[number], kind) for number in range(size)]


def plain(columns: dict[str, list[Any]]) -> dict[str, str]:
    """Return columns as text: -0.0 equals 0.0, but must not replace it."""
    return {
        name: repr([getattr(cell, "isoformat", lambda cell=cell: cell)() for cell in cells])
        for name, cells in columns.items()
    }


def read_by_us(home: Home, file_id: str) -> pa.Table:
    (sealed,) = home.services.catalog.manifest.sealed([file for file in home.files() if file.file_id == file_id])
    return home.vault.read(sealed)


def is_read_alike(home: Home, *, but: frozenset[str] = frozenset(), strangers: list[Reader] = STRANGERS) -> bool:
    """Tell whether strangers read in every file what we read, but in those that are named."""
    listed = [each for each in files_in(home.path) if each.file_id not in but]
    assert {each.file_id for each in listed} == {file.file_id for file in home.files()} - but
    for each in listed:
        ours = plain(read_by_us(home, each.file_id).to_pydict())
        for reader in strangers:
            assert plain(reader(home.path, each)) == ours
    return bool(listed)


def only_file(home: Home) -> Opened:
    (listed,) = files_in(home.path)
    return read_file(home.path, listed)


def test_the_stranger_uses_nothing_of_ours_and_no_parquet_library() -> None:
    tree = ast.parse(Path(stranger_vault.__file__).read_text(encoding="utf-8"))

    froms = [each for each in ast.walk(tree) if isinstance(each, ast.ImportFrom)]
    named = {f"{each.module}.{name.name}" for each in froms for name in each.names}
    named |= {name.name for each in ast.walk(tree) if isinstance(each, ast.Import) for name in each.names}

    others = {name for name in named if name.partition(".")[0] not in sys.stdlib_module_names | {"cryptography"}}
    assert others == {"pyarrow.decompress"}


@pytest.mark.parametrize("kind", list(FileKind))
def test_a_small_file_of_one_page_a_column_is_read(home: Home, kind: FileKind) -> None:
    stored(home, some_rows(home, 7, kind), kind=kind)

    assert is_read_alike(home)
    assert set(map(len, only_file(home).pages.values())) == {1}


@pytest.mark.parametrize("kind", list(FileKind))
def test_a_file_of_several_pages_is_read(home: Home, kind: FileKind) -> None:
    stored(home, some_rows(home, 41, kind), kind=kind, page_rows=4)

    assert is_read_alike(home)
    opened = only_file(home)
    assert {tuple(counts) for counts in opened.pages.values()} == {(4,) * 10 + (1,)}
    assert "outcome" in opened.with_dictionary
    assert "task_id" not in opened.with_dictionary


@pytest.mark.parametrize("kind", list(FileKind))
def test_a_file_that_lost_rows_page_by_page_is_read(
    home: Home, kind: FileKind, monkeypatch: pytest.MonkeyPatch
) -> None:
    stored(home, some_rows(home, 40, kind), kind=kind, page_rows=4)
    monkeypatch.delattr(EncryptedVault, "_write_kept")

    erased(home, "ann", page_rows=4)

    assert is_read_alike(home)
    opened = only_file(home)
    assert opened.rows == 35
    assert len({tuple(counts) for counts in opened.pages.values()}) == 1
    assert sum(len(set(counts)) for counts in opened.pages.values()) > len(opened.pages)


@pytest.mark.parametrize("kind", list(FileKind))
def test_a_file_that_was_written_again_whole_is_read(
    home: Home, kind: FileKind, monkeypatch: pytest.MonkeyPatch
) -> None:
    stored(home, some_rows(home, 40, kind), kind=kind, page_rows=1000)
    monkeypatch.delattr(EncryptedVault, "_write_pages")

    erased(home, "ann", page_rows=4)

    assert is_read_alike(home)
    assert only_file(home).rows == 35


def test_huge_texts_are_read(home: Home) -> None:
    rows = some_rows(home, 12)
    rows[5] |= {"body": "é" * 3_000_000, "images": ["x" * 100_000] * 30, "city": "y" * 3_000_000}
    stored(home, rows)

    assert is_read_alike(home)


_numbers = count()


@pytest.mark.parametrize("kind", list(FileKind))
@given(data=st.data(), page_rows=st.integers(1, 4), is_by_page=st.booleans())
@settings(quick, max_examples=examples(15))
def test_whatever_the_rows_are_they_are_read_before_and_after_an_erasure(
    home: Home, kind: FileKind, data: st.DataObject, page_rows: int, is_by_page: bool
) -> None:
    example = next(_numbers)
    drawn = [row for _ in range(4) for row in data.draw(any_rows[kind])]
    keys = [home.user_key(f"{user} {example}") for user in PEOPLE]
    rows = [
        row
        | {"task_id": f"t{number} {row['task_id']}", "user_key": data.draw(st.sampled_from([*keys, None]))}
        | {"submitted_at": YESTERDAY + timedelta(microseconds=row["submitted_at"].microsecond)}
        for number, row in enumerate(drawn)
    ]
    before = frozenset(file.file_id for file in home.files())

    stored(home, rows, kind=kind, page_rows=page_rows if is_by_page else 1000)
    assert is_read_alike(home, but=before)
    assert erased(home, f"ann {example}", page_rows=page_rows) == sum(row["user_key"] == keys[0] for row in rows)

    assert is_read_alike(home, but=before) or not [row for row in rows if row["user_key"] != keys[0]]


@pytest.mark.parametrize("kind", list(FileKind))
def test_every_column_has_a_key_of_its_own_that_the_key_of_its_class_opens(home: Home, kind: FileKind) -> None:
    stored(home, some_rows(home, 12, kind), kind=kind)

    opened = only_file(home)

    assert opened.classes == {column.name: column.column_class.value for column in columns_of(kind)}
    keys = {module.name.rpartition(" ")[2]: module.key for module in opened.modules}
    assert len(set(keys.values())) == len(opened.classes) + 1  # and the footer's


@pytest.mark.parametrize("kind", list(FileKind))
def test_columns_have_the_types_and_dictionaries_that_the_document_names(home: Home, kind: FileKind) -> None:
    stored(home, some_rows(home, 7, kind), kind=kind)
    section = FORMAT.read_text().partition("### Types of the columns\n")[2].partition("\n### ")[0]
    table, _, words = section.partition("These columns have a dictionary")
    lines = [line.split(" | ") for line in table.splitlines() if line.startswith("| `")]
    typed = {name: type_ for names, type_ in lines for name in re.findall(r"`(\w+)`", names)}

    opened = only_file(home)

    for name, leaf in opened.types.items():
        type_ = typed.get(name, "`BYTE_ARRAY`, `STRING`")
        assert (leaf.physical, leaf.octets) == next(each for word, each in PHYSICAL.items() if f"`{word}`" in type_)
        assert leaf.is_text == ("`STRING`" in type_)
        assert leaf.is_instant == ("`TIMESTAMP`" in type_)
        assert (leaf.most_repeated, leaf.most_defined) == ((1, 3) if "`LIST`" in type_ else (0, 1))
    assert opened.with_dictionary == set(re.findall(r"`(\w+)`", words)) & opened.types.keys()


# What was altered is refused.


@pytest.fixture(scope="module")
def paged_file(empty_home: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, Listed, Opened]]:
    folder = tmp_path_factory.mktemp("strange") / "home"
    copy_home(empty_home, folder)
    with opened_at(folder) as home:
        stored(home, some_rows(home, 12), page_rows=2)
        (listed,) = files_in(folder)
        yield folder, listed, read_file(folder, listed)


def test_modules_follow_each_other_without_a_gap(paged_file: tuple[Path, Listed, Opened]) -> None:
    *modules, footer = paged_file[2].modules

    assert modules[0].start == 4
    assert all(one.end == other.start for one, other in pairwise(modules))
    assert footer.end == paged_file[1].path.stat().st_size - 8


@given(data=st.data())
@settings(quick, max_examples=examples(120))
def test_a_flipped_octet_in_a_module_is_refused(paged_file: tuple[Path, Listed, Opened], data: st.DataObject) -> None:
    home, listed, opened = paged_file
    module = data.draw(st.sampled_from(opened.modules))
    altered = bytearray(listed.path.read_bytes())
    altered[data.draw(st.integers(module.start, module.end - 1))] ^= data.draw(st.integers(1, 255))

    with pytest.raises(VaultRefused):
        read_file(home, listed, bytes(altered))


@given(data=st.data())
@settings(quick, max_examples=examples(60))
def test_a_flipped_octet_between_the_modules_is_refused(
    paged_file: tuple[Path, Listed, Opened], data: st.DataObject
) -> None:
    home, listed, opened = paged_file
    altered = bytearray(listed.path.read_bytes())
    last, footer = opened.modules[-2:]
    clear = [*range(4), *range(last.end, footer.start), *range(footer.end, len(altered))]
    altered[data.draw(st.sampled_from(clear))] ^= data.draw(st.integers(1, 255))

    with pytest.raises(VaultRefused):
        read_file(home, listed, bytes(altered))


def test_metadata_of_a_column_that_the_owner_of_the_footers_key_altered_are_refused(
    paged_file: tuple[Path, Listed, Opened],
) -> None:
    home, listed, opened = paged_file
    content, footer = listed.path.read_bytes(), opened.modules[-1]
    module = content[footer.start + 4 : footer.end]
    clear = AESGCM(footer.key).decrypt(module[:12], module[12:], footer.additional)
    material = clear.index(f"{listed.file_id}/identity".encode())
    sealed = clear.index(b'"}', material) + 30  # within the metadata, which follow the key material

    def written(octets: bytes) -> bytes:
        nonce = os.urandom(12)
        return (
            content[: footer.start + 4]
            + nonce
            + AESGCM(footer.key).encrypt(nonce, octets, footer.additional)
            + content[footer.end :]
        )

    assert read_file(home, listed, written(clear)) == opened
    with pytest.raises(VaultRefused, match="another key, for another place"):
        read_file(home, listed, written(clear[:sealed] + bytes([clear[sealed] ^ 1]) + clear[sealed + 1 :]))


def _first_pages(opened: Opened, column: int) -> list[tuple[Module, Module]]:
    """Return headers and pages of a column."""
    named = [module for module in opened.modules if re.fullmatch(rf".*page \d+ of column {column}", module.name)]
    return list(zip(named[::2], named[1::2], strict=True))


def test_pages_that_changed_places_are_refused(paged_file: tuple[Path, Listed, Opened]) -> None:
    home, listed, opened = paged_file
    content = listed.path.read_bytes()
    for column in range(len(opened.columns)):
        first, second, *_ = [content[header.start : page.end] for header, page in _first_pages(opened, column)]
        start = content.index(first)
        swapped = content[:start] + second + first + content[start + len(first) + len(second) :]

        with pytest.raises(VaultRefused):
            read_file(home, listed, swapped)


def test_a_file_in_the_place_of_another_is_refused(home: Home) -> None:
    stored(home, some_rows(home, 7))
    stored(home, some_rows(home, 7))
    one, other = files_in(home.path)

    with pytest.raises(VaultRefused, match="the key is of another file"):
        read_file(home.path, one, other.path.read_bytes())
    with pytest.raises(VaultRefused, match="another size or digest"):
        read_file(home.path, replace(one, path=other.path))


@pytest.mark.parametrize("change", ["digest = '0' || digest", "rows = rows + 1", "low_key = high_key"])
def test_an_altered_row_of_the_catalog_is_refused(home: Home, change: str) -> None:
    stored(home, some_rows(home, 7))
    with closing(sqlite3.connect(home.path / "catalog/catalog.db")) as catalog, catalog:
        catalog.execute(f"update vault_files set {change}")

    with pytest.raises(VaultRefused, match="a row of the catalog was altered"):
        files_in(home.path)


def test_a_file_of_nobodys_rows_is_listed(home: Home) -> None:
    stored(home, [row_of(home, 1, None, FileKind.ITEMS)])

    assert is_read_alike(home)


def test_an_erased_file_does_not_open_with_what_the_home_still_holds(home: Home) -> None:
    stored(home, some_rows(home, 40), page_rows=4)
    (before,) = files_in(home.path)
    content = before.path.read_bytes()

    erased(home, "ann", page_rows=4)

    with pytest.raises(VaultRefused, match="no such key"):
        read_file(home.path, before, content)
