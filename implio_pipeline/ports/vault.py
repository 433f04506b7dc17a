"""The encrypted files that hold the items."""

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any, Protocol

from implio_pipeline.domain.audit import FileMeasurement
from implio_pipeline.domain.file_changes import AppliedDecisions, FileWork, NamedRule, Rewrite
from implio_pipeline.domain.files import SealedFile, VaultFile
from implio_pipeline.domain.hold import RemainingRows
from implio_pipeline.domain.ids import FileKind, Region, RequestId, TeamId, UserKey
from implio_pipeline.domain.moderation import QueueEntry
from implio_pipeline.domain.scope import Rule
from implio_pipeline.ports.rows import Rows


@dataclass(frozen=True, kw_only=True, slots=True)
class FileLook:
    """What storage shows of a file without its keys."""

    size_bytes: int
    is_encrypted: bool
    """Whether it ends like a Parquet file with an encrypted footer."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Disclosed:
    """The rows of a file that rules cover."""

    rows: Rows
    hidden: int
    """How many covered rows are left out because an open tombstone hides them."""


class Vault(Protocol):
    """The encrypted files. All rows are read and written through it.

    Every method that opens a file raises `FileTampered`, `FileMissing` or `KeyMissing`, as `rewrite` says.
    """

    def parts(self, rows: Rows) -> Iterator[tuple[date, Rows]]:
        """Split rows by day, sort them by user key, and yield the rows of files of bounded size, each with its day.

        Rows are copied when their part is taken.
        """

    def write_part(self, part: Rows, *, day: date, team: TeamId, region: Region, kind: FileKind) -> SealedFile:
        """Write one of the `parts`, durable on return. Several threads may write at once."""

    def rewrite(self, work: FileWork) -> Rewrite:
        """Write a file again without the rows that its rules cover, re-open it, and measure the proof.

        Raises:
            FileTampered: the file differs from its catalog row.
            FileMissing: the file is not in storage.
            KeyMissing: its keys are gone.
            StorageFull: there is no room. The old file stays.
            StorageFailed: the operating system could not read or write. The old file stays.
        """

    def merge(self, files: Sequence[SealedFile]) -> list[SealedFile]:
        """Write the rows of a partition's files into as few files of bounded size as possible, under new keys.

        Raises:
            Unverified: the new files, when read again, do not hold the same rows.
        """

    def has_batch(self, sealed: SealedFile, batch_id: str) -> bool:
        """Tell whether a file of items has a row of this batch.

        Raises:
            FileTampered: the file differs from its catalog row.
            FileMissing: the file is not in storage.
            KeyMissing: its keys are gone.
        """

    def count(self, work: FileWork) -> int:
        """Return how many rows of a file its rules cover. A file that they cover whole is not read."""

    def matched(self, work: FileWork) -> Mapping[RequestId, int]:
        """Return how many rows of a file each rule covers. It is read only if a rule covers a part of it."""

    def newer(self, sealed: SealedFile, named_rules: Sequence[NamedRule]) -> Mapping[RequestId, int]:
        """Return how many rows each rule would cover if they had not been submitted after it ends."""

    def spared(self, work: FileWork) -> list[RemainingRows]:
        """Read a file, and return which rows of each rule are spared by which legal holds."""

    def look(self, file: VaultFile) -> FileLook | None:
        """Return what storage shows of a file without its keys, `None` when it is missing."""

    def join(self, parts: Sequence[Rows]) -> Rows:
        """Return the rows of all parts, in order."""

    def without(self, rows: Rows, rules: Sequence[Rule]) -> Rows:
        """Return the rows that no rule covers."""

    def places(self, rows: Rows, rules: Sequence[Rule], *, but: Sequence[Rule]) -> tuple[int, ...]:
        """Return the positions, from 0, of rows that a rule covers, except those that a rule of `but` covers."""

    def users_in(self, rows: Rows) -> set[UserKey]:
        """Return the user keys of rows."""

    def within(self, rows: Rows, rules: Sequence[Rule]) -> Rows:
        """Return the rows that one of the rules covers."""

    def rows_of(self, rows: Rows, users: Mapping[UserKey, datetime]) -> Mapping[UserKey, int]:
        """Return how many rows each of these users has that were submitted at the user's instant or later."""

    def queue_entries(self, rows: Rows, *, team: TeamId) -> list[QueueEntry]:
        """Return a queue entry for each row without a decision."""

    def reaches(self, named_rules: Sequence[NamedRule]) -> Callable[[VaultFile], tuple[NamedRule, ...]]:
        """Return a function that finds the rules that may cover a row of a file, by ranges and membership filters."""

    def delete(self, *files: VaultFile) -> None:
        """Unlink files. Missing files are ignored. A bucket deletes a thousand in one request.

        Raises:
            StorageFailed: one of them could not be unlinked. Others may be gone.
        """

    def check(self, sealed: SealedFile) -> None:
        """Compare a file in storage with its catalog row and open its footer with its own keys.

        Raises:
            FileTampered: digest, number of rows or keys differ.
            FileMissing: the file is not in storage.
            KeyMissing: its keys cannot be unwrapped.
        """

    def measure(self, sealed: SealedFile, named_rules: Sequence[NamedRule]) -> FileMeasurement:
        """Read a file with the keys of every class, and return what it holds and how many rows each rule covers.

        Raises:
            FileTampered: the file differs from its catalog row.
            FileMissing: the file is not in storage.
            KeyMissing: a key of it cannot be unwrapped, or does not open it.
        """

    def disclosed(self, sealed: SealedFile, rules: Sequence[Rule], *, hidden: Sequence[Rule]) -> Disclosed:
        """Return the rows of a file that one of the rules covers, with all columns, without those that `hidden` covers.

        Raises:
            FileTampered: the file differs from its catalog row.
            FileMissing: the file is not in storage.
            KeyMissing: its keys are gone.
        """

    def apply_decisions(self, sealed: SealedFile, verdicts: Mapping[str, Mapping[str, Any]]) -> AppliedDecisions:
        """Write a file again with the verdicts in its rows, re-open it, and measure the proof.

        Args:
            sealed: A file of items.
            verdicts: The new values of a task's row, by task id and column.

        Raises:
            FileTampered: the file differs from its catalog row.
            FileMissing: the file is not in storage.
            KeyMissing: its keys are gone.
            StorageFull: there is no room. The old file stays.
        """

    def strays(
        self,
        region: Region,
        *,
        unknown: Callable[[Sequence[str]], Collection[str]],
        older_than: datetime | None = None,
    ) -> Iterator[str]:
        """Yield the paths of a region's files that the catalog does not know and that are old enough."""

    def sweep(self, region: Region, *, older_than: datetime) -> int:
        """Delete incomplete uploads to a region's storage that were begun before an instant. Returns how many."""

    def delete_stray(self, region: Region, path: str, *, older_than: datetime) -> bool:
        """Unlink a stray file, unless it is younger and may still be about to be committed."""
