"""The encrypted files."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Protocol

from implio_pipeline.domain.audit import FileMeasurement
from implio_pipeline.domain.file_changes import FileWork, NamedRule, Rewrite, Settlement
from implio_pipeline.domain.files import SealedFile, VaultFile
from implio_pipeline.domain.hold import Spared
from implio_pipeline.domain.ids import FileKind, Region, RequestId, TeamId, UserKey
from implio_pipeline.domain.moderation import QueueEntry
from implio_pipeline.domain.scope import Rule
from implio_pipeline.ports.rows import Rows


@dataclass(frozen=True, kw_only=True, slots=True)
class FileLook:
    """A file in storage, seen from outside."""

    size_bytes: int
    is_encrypted: bool
    """Whether it ends like Parquet with an encrypted footer."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Disclosed:
    """What a file holds of one person."""

    rows: Rows
    hidden: int
    """Rows of theirs that an open tombstone hides."""


class Vault(Protocol):
    """Encrypted files; everything that reads or writes rows goes through it."""

    def write(self, rows: Rows, *, team: TeamId, region: Region, kind: FileKind) -> list[SealedFile]:
        """Split rows by day, cluster them by user key, and write bounded files, durable on return."""

    def rewrite(self, work: FileWork) -> Rewrite:
        """Write a file again without the rows its rules cover, re-open it, and measure the proof.

        Raises:
            FileTampered: the file is not what its catalog row says.
            FileMissing: the file is not in storage.
            KeyMissing: its keys are gone.
            StorageFull: there is no room; the old file stays.
            StorageFailed: the operating system could not read or write; the old file stays.
        """

    def merge(self, files: Sequence[SealedFile]) -> list[SealedFile]:
        """Write the rows of files of one partition into as few bounded files as they need, under new keys.

        Raises:
            Unverified: the new files, re-read, do not hold the same rows.
        """

    def has_batch(self, sealed: SealedFile, batch_id: str) -> bool:
        """Tell whether a row of a file of items came with this batch.

        Raises:
            FileTampered: the file is not what its catalog row says.
            FileMissing: the file is not in storage.
            KeyMissing: its keys are gone.
        """

    def count(self, work: FileWork) -> int:
        """Return how many rows of a file its rules cover; a whole file is not read."""

    def matched(self, work: FileWork) -> Mapping[RequestId, int]:
        """Return how many rows of a file each rule covers; read only when some rule covers it in part."""

    def newer(self, sealed: SealedFile, named_rules: Sequence[NamedRule]) -> Mapping[RequestId, int]:
        """Return how many rows of each rule's scope were submitted after its rule ends, so that they stay."""

    def spared(self, work: FileWork) -> list[Spared]:
        """Return what a file holds of each rule, by what its holds cover of it; the file is read."""

    def look(self, file: VaultFile) -> FileLook | None:
        """Return what storage says of a file without its keys; `None` when it is not there."""

    def join(self, parts: Sequence[Rows]) -> Rows:
        """Return the rows of all parts, in order."""

    def without(self, rows: Rows, rules: Sequence[Rule]) -> Rows:
        """Return the rows that no rule covers."""

    def places(self, rows: Rows, rules: Sequence[Rule], *, but: Sequence[Rule]) -> tuple[int, ...]:
        """Return the places, from 0, of rows that some rule covers and none of the others does."""

    def users_in(self, rows: Rows) -> set[UserKey]:
        """Return the user keys that rows have."""

    def within(self, rows: Rows, rules: Sequence[Rule]) -> Rows:
        """Return the rows that some rule covers."""

    def rows_of(self, rows: Rows, users: Mapping[UserKey, datetime]) -> Mapping[UserKey, int]:
        """Return how many rows each of these users has that were submitted at their instant or later."""

    def queue_entries(self, rows: Rows, *, team: TeamId) -> list[QueueEntry]:
        """Return an entry for each row that has no decision."""

    def reaches(self, named_rules: Sequence[NamedRule]) -> Callable[[VaultFile], tuple[NamedRule, ...]]:
        """Return a function from a file to the rules that may cover a row of it, by ranges and membership filters."""

    def delete(self, file: VaultFile) -> None:
        """Unlink a file. Missing files are ignored.

        Raises:
            StorageFailed: the operating system could not unlink it.
        """

    def check(self, sealed: SealedFile) -> None:
        """Compare a file in storage with its catalog row and open its footer with its own keys.

        Raises:
            FileTampered: digest, row count or keys differ.
            FileMissing: it is not there.
            KeyMissing: its keys cannot be unwrapped.
        """

    def measure(self, sealed: SealedFile, named_rules: Sequence[NamedRule]) -> FileMeasurement:
        """Read a file and return what it holds, with the rows that each rule covers; keys of every class are used.

        Raises:
            FileTampered: the file is not what its catalog row says.
            FileMissing: it is not there.
            KeyMissing: a key of it does not unwrap, or does not open it.
        """

    def disclosed(self, sealed: SealedFile, rule: Rule, *, hidden: Sequence[Rule]) -> Disclosed:
        """Return the rows of a file that a rule covers, all columns, less those that a hidden rule covers.

        Raises:
            FileTampered: the file is not what its catalog row says.
            FileMissing: it is not there.
            KeyMissing: its keys are gone.
        """

    def apply_decisions(self, sealed: SealedFile, verdicts: Mapping[str, Mapping[str, Any]]) -> Settlement:
        """Write a file again with columns of decided rows replaced, re-open it, and measure the proof.

        Args:
            sealed: A file of items.
            verdicts: The values to be put into a task's row, by task id and column.

        Raises:
            FileTampered: the file is not what its catalog row says.
            FileMissing: the file is not in storage.
            KeyMissing: its keys are gone.
            StorageFull: there is no room; the old file stays.
        """

    def covered(self, sealed: SealedFile, rules: Sequence[Rule], *, hidden: Sequence[Rule]) -> Rows:
        """Return the rows of a file that any rule covers, all columns, less those that a hidden rule covers.

        Raises:
            FileTampered: the file is not what its catalog row says.
            FileMissing: it is not there.
            KeyMissing: its keys are gone.
        """

    def strays(self, region: Region, *, known: frozenset[str], older_than: datetime | None = None) -> Iterator[str]:
        """Yield paths below the region's root that the catalog does not know, of files written before an instant."""

    def delete_stray(self, region: Region, path: str, *, older_than: datetime) -> bool:
        """Unlink a stray file unless it is younger, and so perhaps still being committed."""
