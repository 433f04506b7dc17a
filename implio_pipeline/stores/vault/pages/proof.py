"""Prove that a vault file is another one without some of its rows, and that it has nothing of these rows.

This module does not use which pages `surgery.py` changed, or the rows that it decoded: it takes the erased rows, both
files and their keys, and finds out which pages were copied. Both share `modules.py`, `form.page_rows` and what was
decrypted of the old file. So Arrow opens both files too, with their key material, and
decodes every page that was changed, before and after.
"""

from collections.abc import Collection, Sequence
from itertools import accumulate, pairwise

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from implio_pipeline.stores.vault.pages import modules as m
from implio_pipeline.stores.vault.pages.form import (
    KeyNames,
    check_dictionary,
    check_page,
    check_structs,
    page_rows,
    shared_rows,
)
from implio_pipeline.stores.vault.pages.modules import Leaf, SealedPages
from implio_pipeline.stores.vault.pages.surgery import Decode, decode_sealed_pages

Numbers = npt.NDArray[np.int64]
"""Row numbers, in ascending order."""


def is_without_rows(
    old: SealedPages,
    new: SealedPages,
    erased: Numbers,
    *,
    names: KeyNames,
    decode_old: Decode,
    decode_new: Decode,
) -> bool:
    """Return whether the new file is the old one without the erased rows, and has no value that only these had.

    Args:
        old: The file that lost rows.
        new: The file that replaces it, as storage has it.
        erased: The numbers of the erased rows in the old file.
        names: The names that our file keys must have in the new file.
        decode_old: Decodes columns under the keys of the old file.
        decode_new: Decodes columns under the keys of the new file.

    Raises:
        Unsuitable: a file has another form, or does not open.
    """
    return _Comparison(old, new, erased, decode_old=decode_old, decode_new=decode_new).is_right(names)


class _Comparison:
    def __init__(
        self,
        old: SealedPages,
        new: SealedPages,
        erased: Numbers,
        *,
        decode_old: Decode,
        decode_new: Decode,
    ) -> None:
        self._old, self._new = old, new
        self._decode_old, self._decode_new = decode_old, decode_new
        self._old_rows, self._new_rows = page_rows(old), shared_rows(new)
        self._erased = erased
        # The erased rows of each page, counted from its first.
        self._erased_of = [
            erased[np.searchsorted(erased, begin) : np.searchsorted(erased, end)] - begin
            for begin, end in pairwise(accumulate(self._old_rows, initial=0))
        ]
        numbers = [page for page, rows in enumerate(self._erased_of) if len(rows)]
        # Arrow decodes them as they are stored, not as surgery did: one fault must not hide in both (decision 0001).
        touched = decode_sealed_pages(old, self._old_rows, numbers, decode_old)
        self._touched = dict(zip(numbers, touched, strict=True))
        # Old and new numbers of pages of which rows are left.
        left = [page for page, count in enumerate(self._old_rows) if len(self._erased_of[page]) < count]
        self._pairs = list(zip(left, range(len(left)), strict=True))
        self._copied = [(before, after) for before, after in self._pairs if before not in self._touched]
        self._changed = [(before, after) for before, after in self._pairs if before in self._touched]

    def is_right(self, names: KeyNames) -> bool:
        # 1. Same columns in the same order, as many pages as must be left, and as many rows in each. The structs say
        #    nothing else than what follows from that. All keys and nonces are new.
        if not self._has_same_form(names) or not self._is_under_new_keys():
            return False
        # 2. Copied pages are equal octet by octet. A column with a copied page that differs was encoded again: all its
        #    rows are compared.
        pairs = zip(self._old.leaves, self._new.leaves, strict=True)
        leaves_encoded_again = [after for before, after in pairs if not self._is_copied(before, after)]
        encoded_again = [leaf.path[0] for leaf in leaves_encoded_again]
        if encoded_again and not self._has_same_rows(encoded_again):
            return False
        # 3. Changed pages have the rows that must be left.
        numbers = [after for _, after in self._changed]
        changed = decode_sealed_pages(self._new, self._new_rows, numbers, self._decode_new)
        for page, (before, _) in zip(changed, self._changed, strict=True):
            expected = _between(self._touched[before], self._erased_of[before])
            if not page.drop_columns(encoded_again).equals(expected.drop_columns(encoded_again)):
                return False
        # 4. Nothing follows the last value of a page or of a dictionary.
        for page, number in zip(changed, numbers, strict=True):
            for leaf in (each for each in self._new.leaves if each.path[0] not in encoded_again):
                check_page(self._new, leaf, number, page[leaf.path[0]])
        self._check_whole_columns(leaves_encoded_again)
        # 5. No dictionary has a value that only erased rows had.
        return not any(self._keeps_a_value(leaf.path[0], changed) for leaf in self._new.leaves if leaf.has_dictionary)

    def _has_same_form(self, names: KeyNames) -> bool:
        check_structs(self._new, names)
        return (
            [leaf.path for leaf in self._old.leaves] == [leaf.path for leaf in self._new.leaves]
            and self._old.footer[m.FILE_SCHEMA] == self._new.footer[m.FILE_SCHEMA]
            and self._new_rows == [self._old_rows[before] - len(self._erased_of[before]) for before, _ in self._pairs]
        )

    def _is_under_new_keys(self) -> bool:
        """Return whether the new file has no key of the old one, and no nonce is used twice in it, or in both."""
        nonces, used = self._new.nonces(), set(self._old.nonces())
        return (
            self._new.unique != self._old.unique
            and _keys_of(self._new).isdisjoint(_keys_of(self._old))
            and len(used.union(nonces)) == len(nonces) + len(used)
        )

    def _check_whole_columns(self, leaves: Sequence[Leaf]) -> None:
        """Check all pages of columns that were encoded again."""
        if not leaves:
            return
        rows = self._decode_new(self._new.octets, [leaf.path[0] for leaf in leaves])
        for leaf in leaves:
            check_dictionary(self._new, leaf)
            for page, (begin, end) in enumerate(pairwise(accumulate(self._new_rows, initial=0))):
                check_page(self._new, leaf, page, rows[leaf.path[0]].slice(begin, end - begin))

    def _is_copied(self, before: Leaf, after: Leaf) -> bool:
        if before.has_dictionary is not after.has_dictionary:
            return False
        if before.has_dictionary and self._old.dictionary(before) != self._new.dictionary(after):
            return False
        return all(
            self._old.header(before, page) == self._new.header(after, number)
            and self._old.body(before, page) == self._new.body(after, number)
            for page, number in self._copied
        )

    def _has_same_rows(self, names: Sequence[str]) -> bool:
        before = _dense(self._decode_old(self._old.octets, names))
        after = _dense(self._decode_new(self._new.octets, names))
        return bool(after.equals(_between(before, self._erased)))

    def _keeps_a_value(self, name: str, changed: Sequence[pa.Table]) -> bool:
        # 1. A value that a kept row of the changed pages has may stay. This is so for nearly all.
        suspected = set[str | None]()
        for page, rows in self._touched.items():
            suspected |= set(rows[name].take(pa.array(self._erased_of[page])).to_pylist())
        suspected.discard(None)
        for rows in changed:
            if suspected:
                suspected -= set(_found(rows[name], suspected))
        if not suspected:
            return False
        # 2. For the other values, look at the whole column and at the dictionary.
        column = self._decode_new(self._new.octets, [name])[name]
        suspected -= set(_found(column, suspected))
        return any(value in suspected for chunk in column.chunks for value in chunk.dictionary.to_pylist())


def _keys_of(file: SealedPages) -> set[bytes]:
    return {file.key, *(leaf.key for leaf in file.leaves)}


def _found(column: pa.ChunkedArray, values: Collection[str | None]) -> list[str]:
    """Return those of some values that a column of words has."""
    wanted = pa.array(list(values), pa.string())
    found: list[str] = column.filter(pc.is_in(column, value_set=wanted)).unique().to_pylist()
    return found


def _between(rows: pa.Table, erased: Numbers) -> pa.Table:
    """Return all rows except those with these numbers, as slices."""
    edges = pairwise([-1, *erased.tolist(), rows.num_rows])
    return pa.concat_tables([rows.slice(begin + 1, end - begin - 1) for begin, end in edges if end > begin + 1])


def _dense(rows: pa.Table) -> pa.Table:
    """Return rows without dictionaries."""
    fields = [
        pa.field(field.name, field.type.value_type) if pa.types.is_dictionary(field.type) else field
        for field in rows.schema
    ]
    return rows.cast(pa.schema(fields))
