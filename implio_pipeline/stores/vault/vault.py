"""The encrypted vault: writes, rewrites, merges and checks files, each of one team and one day.

Rules:

* A file never changes. Whatever changes rows writes new files under new keys; the catalog then swaps them.
* What replaces a file is read back before it is returned. Its bytes are compared with those that were written, it is
  decrypted with its wrapped keys, and its rows are compared with those that it must hold. The old files are not
  changed.
* An error about a file of the catalog names the file and its day.
"""

import secrets
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import dataclass
from datetime import UTC, date, datetime
from functools import partial
from hashlib import sha256
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from typing_extensions import override

from implio_pipeline.domain.audit import FileMeasurement
from implio_pipeline.domain.chunks import chunks
from implio_pipeline.domain.columns import columns_by_class, columns_of, rule_columns
from implio_pipeline.domain.errors import FileTampered, ImplioError, KeyMissing, Unverified
from implio_pipeline.domain.faults import fault_of
from implio_pipeline.domain.file_changes import AppliedDecisions, FileWork, NamedRule, Rewrite
from implio_pipeline.domain.files import SealedFile, VaultFile
from implio_pipeline.domain.hold import RemainingRows
from implio_pipeline.domain.ids import (
    ColumnClass,
    FileId,
    FileKind,
    Outcome,
    Region,
    RequestId,
    TeamId,
    UserKey,
    sensitive,
)
from implio_pipeline.domain.moderation import DEFAULT_QUEUE, QueueEntry
from implio_pipeline.domain.scope import Coverage, Rule, TaskRule, coverage_of
from implio_pipeline.ports.vault import Disclosed, FileLook, Vault
from implio_pipeline.stores.keys.keychain import TeamKeychain
from implio_pipeline.stores.vault.cluster import Bounds, by_day, cut
from implio_pipeline.stores.vault.describe import describe, measure, users_missed
from implio_pipeline.stores.vault.encoding import (
    ENCRYPTED_MAGIC,
    decode,
    decode_in_clear,
    encode,
    encode_empty_row,
    encode_in_clear,
    key_names,
    named_keys,
    word_columns,
)
from implio_pipeline.stores.vault.filters import Finder
from implio_pipeline.stores.vault.pages.choice import has_pages, is_cheaper_by_page
from implio_pipeline.stores.vault.pages.faults import Unsuitable
from implio_pipeline.stores.vault.pages.form import page_rows
from implio_pipeline.stores.vault.pages.modules import SealedPages, take_apart
from implio_pipeline.stores.vault.pages.proof import is_without_rows
from implio_pipeline.stores.vault.pages.surgery import PagePlan, decode_pages, plan_pages, without_rows
from implio_pipeline.stores.vault.predicate import KEY_TYPE, Mask, Match, match, micros, micros_of, task_keys
from implio_pipeline.stores.vault.rewrites import (
    compare_decided,
    rows_between,
    rows_without,
    with_decisions,
)
from implio_pipeline.stores.vault.storage import RegionStorage


class EncryptedVault(Vault):
    """Files of encrypted Parquet in the storage of each region.

    Args:
        storage: The storage of each region.
        keychain: Makes and unwraps the keys of files.
        bounds: The size of the largest file.
        threads: How many files are written at once; compression and encryption release the GIL.
    """

    def __init__(
        self, storage: RegionStorage, keychain: TeamKeychain, *, bounds: Bounds | None = None, threads: int = 2
    ) -> None:
        self._storage = storage
        self._keychain = keychain
        self._bounds = bounds or Bounds()
        self._threads = threads

    def write(self, rows: pa.Table, *, team: TeamId, region: Region, kind: FileKind) -> list[SealedFile]:
        """Write all `parts` of some rows, durable on return. If one cannot be written, none stays."""
        # 1. Write the files in parallel. The first failure cancels those that have not begun.
        with ThreadPoolExecutor(self._threads) as pool:
            write = partial(self.write_part, team=team, region=region, kind=kind)
            running = [pool.submit(write, part, day=day) for day, part in self.parts(rows)]
            wait(running, return_when=FIRST_EXCEPTION)
            for each in running:
                each.cancel()
        # 2. All files or none. The catalog does not list them yet, so those that were written can be deleted.
        faults = [fault for each in running if not each.cancelled() and (fault := each.exception())]
        if faults:
            self._discard(each.result() for each in running if not each.cancelled() and not each.exception())
            raise faults[0]
        return [each.result() for each in running]

    @override
    def parts(self, rows: pa.Table) -> Iterator[tuple[date, pa.Table]]:
        for day, of_day in by_day(rows):
            for part in cut(of_day, self._bounds):
                yield day, part

    @override
    def write_part(self, part: pa.Table, *, day: date, team: TeamId, region: Region, kind: FileKind) -> SealedFile:
        return self._write(part, team=team, region=region, day=day, kind=kind)[0]

    def read(self, sealed: SealedFile, *, columns: list[str] | None = None, is_from_storage: bool = False) -> pa.Table:
        """Return a file's rows.

        Args:
            sealed: The file with its wrapped keys.
            columns: The columns to read, all of granted classes; every column when `None`.
            is_from_storage: Whether a copy of the file on this machine is not good enough.

        Raises:
            FileTampered: the bytes are not those that the catalog lists, or do not decrypt.
            FileMissing: the file is not in storage.
            KeyMissing: the file's keys are gone.
            StorageFailed: the operating system could not read the file.
        """
        with _naming(sealed.file):
            return self._decoded(sealed, self._content(sealed, is_from_storage=is_from_storage), columns)

    @override
    def rewrite(self, work: FileWork) -> Rewrite:
        file = work.sealed.file
        with _naming(file):
            # 1. Read the file, and find the rows to erase. If there are none, because a filter wrongly said yes,
            #    nothing is written. Of a large file, only what rules compare is read at first.
            content = self._content(work.sealed)
            is_large = has_pages(file.rows, page_rows=self._bounds.page_rows)
            rows = self._decoded(work.sealed, content, _compared_columns(work) if is_large else None)
            found = _rows_to_erase(rows, work)
            erased = int(found.mask.sum())
            matched = dict(zip((named.request_id for named in work.named_rules), found.counts, strict=True))
            if not erased:
                return Rewrite(
                    before=file, after=None, is_untouched=True, matched=matched, erased=0, is_same=True, survivors=0
                )
            new = _NewFile(after=None, is_same=erased == file.rows, survivors=0, keys_missed=0)
            if erased < file.rows:
                # 2. Write the other rows under new keys and a new name, and prove from storage that these are they:
                #    page by page if that is cheaper.
                by_page = self._rewrite_pages(work, content, rows, found.mask) if is_large else None
                if by_page is None and is_large:
                    rows = self._decoded(work.sealed, content)
                del content  # a large file takes 100 MB while it is rewritten
                new = by_page or self._rewrite_whole(work, rows, found.mask)
        return Rewrite(
            before=file,
            after=new.after,
            is_untouched=False,
            matched=matched,
            erased=erased,
            is_same=new.is_same,
            survivors=new.survivors,
            keys_missed=new.keys_missed,
        )

    def _rewrite_whole(self, work: FileWork, rows: pa.Table, erased: Mask) -> "_NewFile":
        # 1. Write the rows that are kept, and read the new file from storage.
        after, written = self._write_kept(rows, erased, work.sealed.file)
        again = self._read_back(after, written)
        # 2. Measure the proof, which `Rewrite.prove` judges. The rows to keep are selected again, by other code than
        #    for writing, so that one fault cannot hide in both (decision 0001).
        return _NewFile(
            after=after,
            is_same=again.equals(rows_between(rows, np.flatnonzero(erased))),
            survivors=int(_rows_to_erase(again, work).mask.sum()),
            # A filter that denies a key would hide that person from the next deletion.
            keys_missed=users_missed(after.file, again),
        )

    def _rewrite_pages(self, work: FileWork, content: bytes, rows: pa.Table, erased: Mask) -> "_NewFile | None":
        """Rewrite the pages that hold erased rows, and copy the others; `None` if the file must be rewritten whole.

        Args:
            work: The file and its rules.
            content: The file's octets.
            rows: Its rows, with the columns that rules compare.
            erased: Which rows are erased.
        """
        file = work.sealed.file
        before = _Paged(file, self._keychain.file_keys(file.team, work.sealed.keys))
        # 1. Take the file apart. A file of another form than those that are written now is rewritten whole.
        try:
            old = before.take_apart(content)
            plan = plan_pages(page_rows(old), ~erased)
            if not is_cheaper_by_page(touched=len(plan.touched), pages=len(plan.rows)):
                return None
            touched = decode_pages(old, plan.touched, partial(decode_in_clear, kind=file.kind))
            after, written = self._write_pages(old, plan, touched, before, rows)
        except (
            Unsuitable,
            FileTampered,
            KeyMissing,
        ):  # the whole rewrite tells a damaged file from one of another form
            return None
        # 2. Read the new file from storage, and take it apart with its wrapped keys.
        try:
            stored = self._stored_again(after.file, written)
            behind = _Paged(after.file, self._keychain.file_keys(file.team, after.keys))
            again = self._decoded(after, stored, _compared_columns(work))
        except Exception:
            self._discard_unlisted(after.file)
            raise
        # 3. Measure the proof. What rules compare is decoded by Arrow from the whole file; of the other columns, pages
        #    that were copied are compared octet by octet, and the others row by row.
        numbers = np.flatnonzero(erased)
        is_same = again.equals(rows_between(rows, numbers))
        try:
            is_same = is_same and is_without_rows(
                old,
                behind.take_apart(stored),
                numbers,
                names=key_names(after.file.file_id, file.kind),
                decode_old=before.decode,
                decode_new=behind.decode,
            )
        except (Unsuitable, FileTampered, KeyMissing):
            is_same = False
        return _NewFile(
            after=after,
            is_same=is_same,
            survivors=int(_rows_to_erase(again, work).mask.sum()),
            keys_missed=users_missed(after.file, again),
        )

    @override
    def merge(self, files: Sequence[SealedFile]) -> list[SealedFile]:
        # 1. Write the rows of all files as few larger ones, and read those from storage.
        first = files[0].file
        rows = pa.concat_tables([self.read(sealed) for sealed in files])
        merged = self.write(rows, team=first.team, region=first.region, kind=first.kind)
        parts = [self.read(sealed, is_from_storage=True) for sealed in merged]
        # 2. The new files must hold the same rows, value by value, and their filters must know every user.
        missed = sum(users_missed(sealed.file, part) for sealed, part in zip(merged, parts, strict=True))
        if missed or not pa.concat_tables(parts).equals(pa.concat_tables([part for _, part in by_day(rows)])):
            self._discard(merged)
            raise Unverified(
                f"merging {len(files)} files of team {first.team}, day {first.day}, did not keep their rows",
                about=first.file_id,
            )
        return merged

    @override
    def has_batch(self, sealed: SealedFile, batch_id: str) -> bool:
        batches = self.read(sealed, columns=["batch_id"])["batch_id"]
        return bool(pc.any(pc.equal(batches, batch_id)).as_py())

    @override
    def count(self, work: FileWork) -> int:
        if work.is_whole:
            return work.sealed.file.rows
        return int(_rows_to_erase(self._read_for_rules(work.sealed), work).mask.sum())

    @override
    def matched(self, work: FileWork) -> Mapping[RequestId, int]:
        # A file that every rule covers whole is counted without reading it.
        file = work.sealed.file
        if not work.holds and all(coverage_of(named.rule, file) is Coverage.EVERYTHING for named in work.named_rules):
            return {named.request_id: file.rows for named in work.named_rules}
        counts = _rows_to_erase(self._read_for_rules(work.sealed), work).counts
        return dict(zip((named.request_id for named in work.named_rules), counts, strict=True))

    @override
    def newer(self, sealed: SealedFile, named_rules: Sequence[NamedRule]) -> Mapping[RequestId, int]:
        # The difference between a rule without its end and the rule itself: items that came after the request.
        rows = self._read_for_rules(sealed)
        within = match(rows, [named.rule for named in named_rules]).counts
        in_all = match(rows, [named.endless().rule for named in named_rules]).counts
        names = (named.request_id for named in named_rules)
        return {name: every - some for name, every, some in zip(names, in_all, within, strict=True)}

    @override
    def spared(self, work: FileWork) -> list[RemainingRows]:
        rows = self._read_for_rules(work.sealed)
        by_hold = {hold.hold_id: match(rows, [hold.rule]).mask for hold in work.holds}
        held = match(rows, [hold.rule for hold in work.holds]).mask
        found = []
        for named in work.named_rules:
            theirs = match(rows, [named.rule]).mask
            found.append(
                RemainingRows(
                    request_id=named.request_id,
                    rows=int((theirs & held).sum()),
                    by_hold={hold_id: int((theirs & mask).sum()) for hold_id, mask in by_hold.items()},
                    survivors=int((theirs & ~held).sum()),
                )
            )
        return found

    @override
    def look(self, file: VaultFile) -> FileLook | None:
        with _naming(file):
            found = self._storage.tail(file.region, file.path, size=len(ENCRYPTED_MAGIC))
        if found is None:
            return None
        size_bytes, tail = found
        return FileLook(size_bytes=size_bytes, is_encrypted=tail == ENCRYPTED_MAGIC)

    @override
    def join(self, parts: Sequence[pa.Table]) -> pa.Table:
        return pa.concat_tables(parts)

    @override
    def without(self, rows: pa.Table, rules: Sequence[Rule]) -> pa.Table:
        if not rules or not rows.num_rows:
            return rows
        found = match(rows, rules)
        return rows.filter(pa.array(~found.mask)) if found.mask.any() else rows

    @override
    def places(self, rows: pa.Table, rules: Sequence[Rule], *, but: Sequence[Rule]) -> tuple[int, ...]:
        if not rules or not rows.num_rows:
            return ()
        mask = match(rows, rules).mask
        if but and mask.any():
            mask &= ~match(rows, but).mask
        return tuple(np.flatnonzero(mask).tolist())

    @override
    def users_in(self, rows: pa.Table) -> set[UserKey]:
        return {UserKey(key) for key in pc.unique(rows["user_key"]).to_pylist() if key is not None}

    @override
    def within(self, rows: pa.Table, rules: Sequence[Rule]) -> pa.Table:
        return rows.filter(pa.array(match(rows, rules).mask))

    @override
    def rows_of(self, rows: pa.Table, users: Mapping[UserKey, datetime]) -> Mapping[UserKey, int]:
        if not users:
            return {}
        is_theirs = pc.is_in(rows["user_key"], value_set=pa.array(list(users), KEY_TYPE))
        theirs = rows.select(["user_key", "submitted_at"]).filter(is_theirs)
        pairs = zip(theirs["user_key"].to_pylist(), micros_of(theirs["submitted_at"]).tolist(), strict=True)
        return Counter(UserKey(key) for key, at in pairs if at >= micros(users[key]))

    @override
    def queue_entries(self, rows: pa.Table, *, team: TeamId) -> list[QueueEntry]:
        outcomes = rows["outcome"]
        waits = pc.or_kleene(pc.is_null(outcomes), pc.equal(outcomes, Outcome.NO_DECISION.value))
        waiting = rows.select(["task_id", "user_key", "submitted_at", "outcome"]).filter(waits)
        instants = micros_of(waiting["submitted_at"]).astype("datetime64[us]").tolist()
        return [
            QueueEntry(
                task_id=task_id,
                task_key=key,
                team=team,
                queue=DEFAULT_QUEUE,
                user_key=user_key,
                submitted_at=instant.replace(tzinfo=UTC),
                outcome=outcome,
            )
            for task_id, key, user_key, instant, outcome in zip(
                waiting["task_id"].to_pylist(),
                task_keys(waiting["task_id"]).to_pylist(),
                waiting["user_key"].to_pylist(),
                instants,
                waiting["outcome"].to_pylist(),
                strict=True,
            )
        ]

    @override
    def reaches(self, named_rules: Sequence[NamedRule]) -> Callable[[VaultFile], tuple[NamedRule, ...]]:
        return Finder(named_rules)

    @override
    def delete(self, *files: VaultFile) -> None:
        with _naming(files[0]) if len(files) == 1 else nullcontext():
            for region in {file.region for file in files}:
                theirs = [file for file in files if file.region == region]
                for file in theirs:
                    self._storage.forget(file)
                self._storage.delete(region, *(file.path for file in theirs))

    @override
    def check(self, sealed: SealedFile) -> None:
        # Decrypting one short column opens the footer and proves digest, row count and keys.
        self.read(sealed, columns=["submitted_at"], is_from_storage=True)

    @override
    def measure(self, sealed: SealedFile, named_rules: Sequence[NamedRule]) -> FileMeasurement:
        # At least one column of each class is read, so that a lost or wrong key of any class is found.
        kind = sealed.file.kind
        wanted = {*rule_columns(kind), *(names[-1] for names in columns_by_class(kind).values()), "user_id"}
        columns = [column.name for column in columns_of(kind) if column.name in wanted]
        rows = self.read(sealed, columns=columns, is_from_storage=True)
        return measure(sealed.file, rows, named_rules, user_key=self._keychain.user_key_maker(sealed.file.team))

    @override
    def disclosed(self, sealed: SealedFile, rules: Sequence[Rule], *, hidden: Sequence[Rule]) -> Disclosed:
        rows = self.read(sealed)
        theirs = rows.filter(pa.array(match(rows, rules).mask))
        seen = self.without(theirs, hidden)
        return Disclosed(rows=seen, hidden=theirs.num_rows - seen.num_rows)

    @override
    def apply_decisions(self, sealed: SealedFile, verdicts: Mapping[str, Mapping[str, Any]]) -> AppliedDecisions:
        file = sealed.file
        with _naming(file):
            # 1. Read the file, and write the decisions into its rows.
            rows = self.read(sealed)
            decided, places = with_decisions(rows, verdicts)
            tasks = frozenset(places)
            if not tasks:
                return AppliedDecisions(before=file, after=None, tasks=tasks, is_same=True, is_settled=True)
            # 2. Write all rows under new keys, and read the new file from storage.
            after, written = self._write_like(file, decided)
            again = self._read_back(after, written)
        # 3. Compare: the decided values must be there, and nothing else may have changed.
        is_same, is_settled = compare_decided(rows, again, places, verdicts)
        return AppliedDecisions(before=file, after=after, tasks=tasks, is_same=is_same, is_settled=is_settled)

    @override
    def strays(
        self,
        region: Region,
        *,
        unknown: Callable[[Sequence[str]], Collection[str]],
        older_than: datetime | None = None,
    ) -> Iterator[str]:
        # A part of the listing is compared with the catalog at a time: neither may fit into memory.
        for paths in chunks(self._storage.paths(region)):
            for path in sorted(unknown(paths)):
                written_at = None if older_than is None else self._storage.written_at(region, path)
                if older_than is None or (written_at is not None and written_at < older_than):
                    yield path

    @override
    def sweep(self, region: Region, *, older_than: datetime) -> int:
        return self._storage.sweep(region, older_than=older_than)

    @override
    def delete_stray(self, region: Region, path: str, *, older_than: datetime) -> bool:
        written_at = self._storage.written_at(region, path)
        if written_at is None or written_at >= older_than:
            return False
        self._storage.delete(region, path)
        return True

    def _discard(self, files: Iterable[SealedFile]) -> None:
        for sealed in files:
            self.delete(sealed.file)

    def _decoded(self, sealed: SealedFile, content: bytes, columns: list[str] | None = None) -> pa.Table:
        """Return the rows of a file's bytes, decrypted with its wrapped keys."""
        file = sealed.file
        if not sealed.keys:
            raise KeyMissing(f"the catalog has no keys of file {file.file_id}")
        raw = self._keychain.file_keys(file.team, sealed.keys)
        rows = decode(content, file_id=file.file_id, raw=raw, columns=columns)
        if rows.num_rows != file.rows:
            raise FileTampered(f"file {file.file_id} has {rows.num_rows} rows, not {file.rows}")
        return rows

    def _content(self, sealed: SealedFile, *, is_from_storage: bool = False) -> bytes:
        """Return the octets of a file that the catalog lists.

        Raises:
            FileTampered: storage holds others. They are found before any of it is decrypted.
        """
        file = sealed.file
        content = self._storage.read(file.region, file.path) if is_from_storage else self._storage.read_cached(file)
        if len(content) != file.size_bytes or sha256(content).hexdigest() != file.digest:
            raise FileTampered(
                f"file {file.file_id} of team {file.team}, day {file.day}, is not the one the catalog lists"
            )
        return content

    def _stored_again(self, file: VaultFile, written: memoryview) -> bytes:
        """Return the octets of a new file from storage, and release those that were written: both are large.

        Raises:
            FileTampered: storage holds others than were written.
        """
        content = self._storage.read(file.region, file.path)
        # Comparing bytes is 20 times as fast as computing their digest (measured).
        if not pa.py_buffer(content).equals(pa.py_buffer(written)):
            raise FileTampered(f"file {file.file_id} of team {file.team}, day {file.day}, is not what was written")
        written.release()
        return content

    def _read_back(self, sealed: SealedFile, written: memoryview) -> pa.Table:
        """Read a new file from storage, and return its rows, decrypted with its wrapped keys. If that fails, delete it.

        Raises:
            FileTampered: storage holds other bytes, or they do not decrypt.
        """
        try:
            return self._decoded(sealed, self._stored_again(sealed.file, written))
        except Exception:
            self._discard_unlisted(sealed.file)
            raise

    def _discard_unlisted(self, file: VaultFile) -> None:
        # The catalog does not list the file yet. If it cannot be deleted now, housekeeping deletes it. The caller gets
        # the first failure.
        with suppress(ImplioError):
            self.delete(file)

    def _read_for_rules(self, sealed: SealedFile) -> pa.Table:
        return self.read(sealed, columns=rule_columns(sealed.file.kind))

    def _write_kept(self, rows: pa.Table, erased: Mask, file: VaultFile) -> tuple[SealedFile, memoryview]:
        """Write the rows that the mask does not mark. Tests replace this method to plant faults."""
        return self._write_like(file, rows_without(rows, erased))

    def _write_like(self, file: VaultFile, rows: pa.Table) -> tuple[SealedFile, memoryview]:
        """Write rows of a file as a new file of the same partition.

        The new file keeps the old filter of task ids. It may say yes for an erased task, which is allowed. Hashing the
        ids again would cost a tenth of the rewrite (measured).
        """
        return self._write(
            rows, team=file.team, region=file.region, day=file.day, kind=file.kind, task_filter=file.task_filter
        )

    def _write(
        self,
        rows: pa.Table,
        *,
        team: TeamId,
        region: Region,
        day: date,
        kind: FileKind,
        task_filter: bytes | None = None,
    ) -> tuple[SealedFile, memoryview]:
        """Write one file under new keys, durable on return. Returns the file and its bytes."""
        file_id = FileId(secrets.token_hex(16))
        raw, keys = self._keychain.new_file_keys(team, file_id)
        page_rows = self._bounds.page_rows if has_pages(rows.num_rows, page_rows=self._bounds.page_rows) else None
        content = encode(rows, file_id=file_id, kind=kind, raw=raw, page_rows=page_rows)
        file = describe(
            rows, content, file_id=file_id, team=team, region=region, day=day, kind=kind, task_filter=task_filter
        )
        self._storage.write(region, file.path, content)
        return SealedFile(file=file, keys=keys), content

    def _write_pages(
        self, old: SealedPages, plan: PagePlan, touched: Sequence[pa.Table], before: "_Paged", rows: pa.Table
    ) -> tuple[SealedFile, memoryview]:
        """Write a file again without some rows, page by page. Tests replace this method to plant faults."""
        file = before.file
        file_id = FileId(secrets.token_hex(16))
        raw, keys = self._keychain.new_file_keys(file.team, file_id)
        empty = encode_empty_row(file_id=file_id, kind=file.kind, raw=raw)
        content = without_rows(
            old,
            plan,
            touched,
            skeleton=take_apart(empty, named_keys(file_id, raw).__getitem__),
            decode=before.decode,
            encode=partial(encode_in_clear, kind=file.kind),
        )
        described = describe(
            rows.filter(pa.array(plan.kept)),
            content,
            file_id=file_id,
            team=file.team,
            region=file.region,
            day=file.day,
            kind=file.kind,
            task_filter=file.task_filter,
        )
        self._storage.write(file.region, described.path, content)
        return SealedFile(file=described, keys=keys), content


@dataclass(frozen=True, kw_only=True, slots=True)
class _NewFile:
    """What replaces a file, and what the comparison with it found."""

    after: SealedFile | None
    is_same: bool
    survivors: int
    keys_missed: int


@dataclass(frozen=True, slots=True)
class _Paged:
    """A file that is rewritten page by page, with its raw keys."""

    file: VaultFile
    raw: Mapping[ColumnClass, bytes] = sensitive()

    def take_apart(self, content: bytes) -> SealedPages:
        return take_apart(memoryview(content), named_keys(self.file.file_id, self.raw).__getitem__)

    def decode(self, content: bytes | memoryview, columns: Sequence[str] | None) -> pa.Table:
        """Return columns of octets under the file's keys; words as dictionaries."""
        words = [name for name in word_columns(self.file.kind) if columns is None or name in columns]
        return decode(content, file_id=self.file.file_id, raw=self.raw, columns=columns, dictionaries=words)


@contextmanager
def _naming(file: VaultFile) -> Iterator[None]:
    """Add the file and its day to every error of the block. Errors of the system become errors of the domain."""
    try:
        yield
    except OSError as error:
        fault = fault_of(error)
        where = f"file {file.file_id} of team {file.team}, day {file.day}"
        raise type(fault)(f"{where}: {fault.facts}", about=file.file_id, day=file.day) from error
    except ImplioError as error:
        fault_of(error, about=file.file_id, day=file.day)
        raise


def _compared_columns(work: FileWork) -> list[str]:
    """Return the columns that the rules of some work compare, and that describe a file. Task ids are long."""
    rules = [named.rule for named in work.named_rules] + [hold.rule for hold in work.holds]
    has_tasks = any(isinstance(rule, TaskRule) for rule in rules)
    return [name for name in rule_columns(work.sealed.file.kind) if has_tasks or name != "task_id"]


def _rows_to_erase(rows: pa.Table, work: FileWork) -> Match:
    """Return the rows that the work erases. It is asked before and after the rewrite."""
    return match(rows, [named.rule for named in work.named_rules], [hold.rule for hold in work.holds])
