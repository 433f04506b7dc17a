"""The encrypted vault: what goes in comes out, a rewrite proves itself, and nothing damaged passes for whole."""

import errno
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from support.changed import changed
from support.clock import NOW
from support.depth import examples
from support.home import ADS, SMALL_FILES, Home, storage_of
from support.items import Ad, is_covered, key_of, table_of, table_of_rows
from support.rules import ads, rules

from implio_pipeline.domain.columns import OTHER_KEYS, ColumnType, columns_of
from implio_pipeline.domain.errors import FileMissing, FileTampered, KeyMissing, StorageFull, Unverified
from implio_pipeline.domain.file_changes import FileWork, NamedRule
from implio_pipeline.domain.files import SealedFile, VaultFile
from implio_pipeline.domain.ids import FileKind, Region, RequestId, UserKey
from implio_pipeline.domain.request import RequestState
from implio_pipeline.domain.scope import ByUser, Rule, TeamRule, UserRule
from implio_pipeline.flows.deletion.erase import erase
from implio_pipeline.stores.vault.cluster import Bounds
from implio_pipeline.stores.vault.encoding import decode
from implio_pipeline.stores.vault.rewrites import rows_between, rows_without
from implio_pipeline.stores.vault.storage import RegionStorage
from implio_pipeline.stores.vault.vault import EncryptedVault

EU = Region("eu")
ANN = UserRule(user_key=UserKey(key_of("ann") or b""), before=NOW)
texts = st.sampled_from(
    ["", " ", "NULL", "null", "\u200b", "é", "e\u0301", "🚲", "'; drop", "\t\r\n", "\ufeff", "a" * 5000]
)
cells: dict[ColumnType, st.SearchStrategy[Any]] = {
    ColumnType.TEXT: st.none() | texts,
    ColumnType.WORD: st.none() | texts,
    ColumnType.TEXTS: st.none() | st.lists(st.none() | texts, max_size=3),
    ColumnType.NUMBER: st.none() | st.floats(allow_nan=False) | st.just(-0.0),
    ColumnType.KEY: st.none() | st.binary(min_size=16, max_size=16),
    ColumnType.INSTANT: st.datetimes(datetime(1970, 1, 1), datetime(2199, 1, 1), timezones=st.just(UTC)),  # noqa: DTZ001
}
any_rows = {
    kind: st.lists(
        st.fixed_dictionaries({column.name: cells[column.type] for column in columns_of(kind)}).map(
            lambda row: row | {"task_id": row["task_id"] or ""} | dict.fromkeys({OTHER_KEYS} & row.keys(), "ab" * 16)
        ),
        min_size=1,
        max_size=5,
    )
    for kind in FileKind
}
quick = settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


def written(home: Home, rows: Sequence[Ad] | pa.Table, kind: FileKind = FileKind.ITEMS) -> SealedFile:
    table = rows if isinstance(rows, pa.Table) else table_of(rows, kind=kind)
    (sealed,) = wide(home).write(table, team=ADS, region=EU, kind=kind)
    return sealed


def wide(home: Home) -> EncryptedVault:
    return EncryptedVault(storage_of(home.opened), home.services.keychain, bounds=Bounds(rows=1000))


def work_on(sealed: SealedFile, *asked: Rule) -> FileWork:
    named_rules = tuple(NamedRule(request_id=RequestId(f"r{number}"), rule=rule) for number, rule in enumerate(asked))
    return FileWork(sealed=sealed, named_rules=named_rules, is_whole=False)


def lies_at(home: Home, file: VaultFile) -> Path:
    return home.path / "vault" / file.region / file.path


@pytest.mark.parametrize("kind", list(FileKind))
@given(data=st.data())
@settings(quick, max_examples=examples(40))
def test_what_is_written_is_read_back_value_by_value(home: Home, kind: FileKind, data: st.DataObject) -> None:
    rows = data.draw(any_rows[kind])

    files = home.vault.write(table_of_rows(rows, kind=kind), team=ADS, region=EU, kind=kind)

    found = [row for sealed in files for row in home.vault.read(sealed).to_pylist()]
    assert sorted(map(repr, found)) == sorted(map(repr, table_of_rows(rows, kind=kind).to_pylist()))
    assert sum(sealed.file.rows for sealed in files) == len(rows)
    for sealed in files:
        home.vault.check(sealed)
        home.vault.delete(sealed.file)
    assert home.stored() == []


def test_nothing_and_empty_stay_apart(home: Home) -> None:
    base = {"task_id": "t", "submitted_at": NOW}
    rows = [base | {"title": None, "images": None}, base | {"title": "", "images": []}, base | {"images": [None, ""]}]

    found = home.vault.read(written(home, table_of_rows(rows))).to_pylist()

    assert [(row["title"], row["images"]) for row in found] == [(None, None), ("", []), (None, [None, ""])]


@given(rows=st.lists(ads, min_size=1, max_size=10), asked=st.lists(rules, min_size=1, max_size=4))
@settings(quick, max_examples=examples(60))
def test_a_rewrite_keeps_exactly_what_no_rule_covers_in_its_order(
    home: Home, rows: list[Ad], asked: list[Rule]
) -> None:
    (sealed, *others) = home.vault.write(table_of(rows), team=ADS, region=EU, kind=FileKind.ITEMS)
    before = home.vault.read(sealed).to_pylist()

    rewrite = home.vault.rewrite(work_on(sealed, *asked))

    rewrite.prove()
    after = home.vault.read(rewrite.after).to_pylist() if rewrite.after else before if rewrite.is_untouched else []
    assert after == [row for row in before if not is_covered(row, asked)]
    assert rewrite.erased == len(before) - len(after)
    assert list(rewrite.matched.values()) == [sum(is_covered(row, [rule]) for row in before) for rule in asked]
    if rewrite.after:
        again = home.vault.rewrite(work_on(rewrite.after, *asked))
        assert again.is_untouched
        home.vault.delete(rewrite.after.file)
    for each in (sealed, *others):
        home.vault.delete(each.file)


def test_a_rewritten_file_has_a_new_id_new_bytes_and_new_keys(home: Home) -> None:
    sealed = written(home, [Ad(task="a"), Ad(task="b", user="bob")])

    rewrite = home.vault.rewrite(work_on(sealed, ANN))

    assert rewrite.after is not None
    assert rewrite.after.file.file_id != sealed.file.file_id
    assert rewrite.after.file.digest != sealed.file.digest
    assert {key.wrapped for key in rewrite.after.keys}.isdisjoint(key.wrapped for key in sealed.keys)


def test_the_old_keys_do_not_open_the_new_file_nor_the_new_ones_the_old(home: Home) -> None:
    old = written(home, [Ad(task="a"), Ad(task="b", user="bob")])
    new = home.vault.rewrite(work_on(old, ANN)).after
    assert new is not None

    for one, other in ((old, new), (new, old)):
        raw = home.services.keychain.file_keys(ADS, other.keys)  # type: ignore[attr-defined]
        with pytest.raises(KeyMissing):
            decode(lies_at(home, one.file).read_bytes(), file_id=one.file.file_id, raw=raw)


def test_what_the_catalog_is_told_of_a_rewritten_file_is_what_is_in_it(home: Home) -> None:
    sealed = written(home, [Ad(task="a"), Ad(task="b", user="bob", outcome=None), Ad(task="c", user=None)])

    after = home.vault.rewrite(work_on(sealed, ANN)).after

    assert after is not None
    (known,) = [one.file for one in wide(home).merge([after, after])] or [None]
    assert (after.file.rows, after.file.anonymous_rows) == (2, 1)
    assert after.file.outcomes == {"undecided": 1, "approved": 1}
    assert after.file.low_key == after.file.high_key == key_of("bob")
    assert known.rows == 4


class Faulty(EncryptedVault):
    """A vault whose rewriter does something wrong with the rows to keep."""

    spoil: Callable[[pa.Table, Any], tuple[pa.Table, Any]]

    def _write_kept(self, rows: pa.Table, mask: Any, file: VaultFile) -> tuple[SealedFile, memoryview]:
        return super()._write_kept(*self.spoil(rows, mask), file)


def keeps_a_matching_row(rows: pa.Table, mask: Any) -> tuple[pa.Table, Any]:
    mask = mask.copy()
    mask[mask.argmax()] = False
    return rows, mask


def drops_a_kept_row(rows: pa.Table, mask: Any) -> tuple[pa.Table, Any]:
    mask = mask.copy()
    mask[mask.argmin()] = True
    return rows, mask


def alters_a_cell(rows: pa.Table, mask: Any) -> tuple[pa.Table, Any]:
    titles = pa.array(["altered"] * rows.num_rows)
    return rows.set_column(rows.column_names.index("title"), rows.schema.field("title"), titles), mask


def swaps_two_rows(rows: pa.Table, mask: Any) -> tuple[pa.Table, Any]:
    backwards = list(range(rows.num_rows))[::-1]
    return rows.take(backwards), mask[::-1].copy()


FAULTS = [keeps_a_matching_row, drops_a_kept_row, alters_a_cell, swaps_two_rows]


@pytest.mark.parametrize("fault", FAULTS)
def test_a_rewriter_with_a_fault_is_caught_and_nothing_of_it_is_committed(home: Home, fault: Any) -> None:
    home.keep(Ad(task="a"), Ad(task="b", user="bob"), Ad(task="c", user="cid", title="chair"), Ad(task="d", user="dee"))
    before, files = home.rows(ADS), home.files(ADS)
    (request,) = home.ask(ByUser(user_id="ann"))
    vault = Faulty(storage_of(home.opened), home.services.keychain, bounds=SMALL_FILES)
    vault.spoil = staticmethod(fault)

    summary = erase(changed(home.services, vault=vault))

    assert summary.failed == {request.request_id: Unverified.code}
    assert home.services.catalog.requests.get(request.request_id).state is RequestState.UNVERIFIED
    assert home.files(ADS) == files
    assert home.rows(ADS) == before
    assert home.receipts() == []


class Forgetful(RegionStorage):
    """Storage that keeps one bit of what it is given otherwise; the first octet is not enciphered."""

    octet: Callable[[int], int]

    def write(self, region: Region, path: str, content: bytes | memoryview) -> None:
        held = bytearray(content)
        held[self.octet(len(held))] ^= 1
        super().write(region, path, bytes(held))


@pytest.mark.parametrize("octet", [lambda _: 0, lambda size: size // 2], ids=["first", "middle"])
def test_a_rewrite_that_storage_does_not_keep_bit_by_bit_is_caught(home: Home, octet: Callable[[int], int]) -> None:
    home.keep(Ad(task="a"), Ad(task="b", user="bob"))
    (request,) = home.ask(ByUser(user_id="ann"))
    files = home.files(ADS)
    folders = storage_of(home.opened, Forgetful)
    folders.octet = octet  # type: ignore[attr-defined]
    vault = EncryptedVault(folders, home.services.keychain, bounds=SMALL_FILES)

    summary = erase(changed(home.services, vault=vault))

    assert summary.failed == {request.request_id: FileTampered.code}
    assert home.files(ADS) == files
    assert home.receipts() == []


@given(erased=st.lists(st.booleans(), min_size=1, max_size=60).filter(lambda erased: not all(erased)))
@example(erased=[False, True] * 16)
@example(erased=[False, True] * 17)
def test_what_is_written_of_a_file_and_what_it_is_compared_with_are_the_rows_that_stay(erased: list[bool]) -> None:
    places = range(len(erased))
    rows = pa.table({"place": places, "text": [str(place) * (place % 3) or None for place in places]})
    mask = np.array(erased)

    stay = rows.filter(pa.array(~mask))

    assert rows_without(rows, mask).equals(stay)
    assert rows_between(rows, np.flatnonzero(mask)).equals(stay)


def test_a_merge_that_loses_a_row_is_unverified_and_leaves_nothing_behind(
    home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = written(home, [Ad(task="a")]), written(home, [Ad(task="b")])
    stored, write = home.stored(), EncryptedVault.write
    monkeypatch.setattr(EncryptedVault, "write", lambda vault, rows, **known: write(vault, rows.slice(1), **known))

    with pytest.raises(Unverified):
        home.vault.merge([first, second])

    assert home.stored() == stored


def cut_short(path: Path, _: Path) -> None:
    path.write_bytes(path.read_bytes()[:-7])


def one_bit_changed(path: Path, _: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def swapped_for_another(path: Path, other: Path) -> None:
    path.write_bytes(other.read_bytes())


def emptied(path: Path, _: Path) -> None:
    path.write_bytes(b"")


@pytest.mark.parametrize("damage", [cut_short, one_bit_changed, swapped_for_another, emptied])
def test_a_damaged_file_is_named_and_refused(home: Home, damage: Callable[[Path, Path], None]) -> None:
    one, other = written(home, [Ad(task="a")]), written(home, [Ad(task="a")])
    damage(lies_at(home, one.file), lies_at(home, other.file))

    for act in (home.vault.read, home.vault.check, lambda sealed: home.vault.rewrite(work_on(sealed, ANN))):
        with pytest.raises(FileTampered, match=one.file.file_id):
            act(one)


def test_a_catalog_row_that_says_other_rows_is_refused(home: Home) -> None:
    sealed = written(home, [Ad(task="a")])

    with pytest.raises(FileTampered, match=sealed.file.file_id):
        home.vault.check(replace(sealed, file=replace(sealed.file, rows=2)))


def test_a_file_that_is_not_there_is_missing(home: Home) -> None:
    sealed = written(home, [Ad(task="a")])
    home.vault.delete(sealed.file)

    with pytest.raises(FileMissing, match=sealed.file.file_id):
        home.vault.read(sealed)
    assert home.vault.look(sealed.file) is None
    home.vault.delete(sealed.file)


def test_a_file_whose_keys_were_wrapped_for_another_does_not_open(home: Home) -> None:
    one, other = written(home, [Ad(task="a")]), written(home, [Ad(task="a")])

    with pytest.raises(KeyMissing):
        home.vault.read(SealedFile(file=one.file, keys=other.keys))


@pytest.fixture
def full_after(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[int], None]]:
    write = os.write

    def fill(files: int) -> None:
        left = [files]

        def write_some(handle: int, content: bytes) -> int:
            if left[0] <= 0:
                write(handle, bytes(content)[:10])
                raise OSError(errno.ENOSPC, "No space left on device")
            left[0] -= 1
            return write(handle, content)

        monkeypatch.setattr("implio_pipeline.stores.objects.folder.os.write", write_some)

    yield fill
    monkeypatch.undo()


@pytest.mark.parametrize("files_before", [0, 1, 3])
def test_a_full_disk_leaves_nothing_behind(home: Home, full_after: Callable[[int], None], files_before: int) -> None:
    rows = table_of([Ad(task=str(number), user=str(number)) for number in range(40)])
    full_after(files_before)

    with pytest.raises(StorageFull):
        home.vault.write(rows, team=ADS, region=EU, kind=FileKind.ITEMS)

    assert home.stored() == []


def test_a_full_disk_during_a_rewrite_leaves_the_old_file_as_it_was(
    home: Home, full_after: Callable[[int], None]
) -> None:
    sealed = written(home, [Ad(task="a"), Ad(task="b", user="bob")])
    full_after(0)

    with pytest.raises(StorageFull):
        home.vault.rewrite(work_on(sealed, ANN))

    assert home.stored() == [lies_at(home, sealed.file)]
    home.vault.check(sealed)


def test_a_folder_deleted_while_a_file_is_written_into_it_is_made_again(
    home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = written(home, [Ad(task="a")])
    open_file, deleted = os.open, []

    def delete_then_open(path: Any, flags: int, *rest: int) -> int:
        if flags & os.O_CREAT and not deleted:
            deleted.append(path)
            home.vault.delete(first.file)
        return open_file(path, flags, *rest)

    monkeypatch.setattr("implio_pipeline.stores.objects.folder.os.open", delete_then_open)
    second = written(home, [Ad(task="b")])
    monkeypatch.undo()

    home.vault.check(second)
    assert len(home.stored()) == len(deleted) == 1


def test_files_lie_readable_for_their_owner_alone_and_look_encrypted(home: Home) -> None:
    sealed = written(home, [Ad(task="a")])

    assert lies_at(home, sealed.file).stat().st_mode & 0o077 == 0
    look = home.vault.look(sealed.file)
    assert look is not None
    assert look.is_encrypted
    assert look.size_bytes == sealed.file.size_bytes


def test_counting_reads_no_more_than_it_must(home: Home) -> None:
    sealed = written(home, [Ad(task="a"), Ad(task="b", user="bob"), Ad(task="c", user="bob")])
    bob = UserRule(user_key=UserKey(key_of("bob") or b""), before=NOW)
    everything = work_on(sealed, TeamRule(before=NOW + timedelta(days=1)))

    assert home.vault.count(work_on(sealed, bob)) == 2
    home.vault.delete(sealed.file)
    assert home.vault.count(replace(everything, is_whole=True)) == 3
