"""Vault files, as the catalog describes them."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date, datetime

from implio_pipeline.domain.ids import ColumnClass, FileId, FileKind, KeyId, Region, TeamId, UserKey


@dataclass(frozen=True, kw_only=True, slots=True)
class VaultFile:
    """One immutable encrypted Parquet file of one partition, and what is known of it without opening it."""

    file_id: FileId
    team: TeamId
    region: Region
    day: date
    kind: FileKind
    rows: int
    size_bytes: int
    digest: str
    """SHA-256 of the whole encrypted file, hexadecimal."""
    low_key: UserKey | None
    high_key: UserKey | None
    """The smallest and largest user key; `None` if no row has a user."""
    anonymous_rows: int
    """Rows without a user id, which no deletion by user can find."""
    most_of_one_user: int
    """An upper bound for the rows of one user."""
    first_submitted_at: datetime
    last_submitted_at: datetime
    outcomes: Mapping[str, int]
    """Rows by outcome; items without an outcome count as `undecided`."""
    user_filter: bytes = field(repr=False)
    """Membership filter over the user keys. It has false positives and no false negatives."""
    task_filter: bytes = field(repr=False)
    """Membership filter over the task keys, with the same guarantee."""

    @property
    def path(self) -> str:
        """The file's path relative to the vault root of its region."""
        return path_of(self.file_id, self.team, self.day)

    def is_small(self, *, rows_per_file: int) -> bool:
        """Return whether the file has fewer than half of the rows that a file may have."""
        return self.rows * 2 < rows_per_file


def path_of(file_id: FileId, team: TeamId, day: date) -> str:
    """Return a file's path relative to the vault root of its region."""
    return f"team={team}/day={day.isoformat()}/{file_id}.parquet"


@dataclass(frozen=True, kw_only=True, slots=True)
class PartitionSum:
    """Live files of one partition and kind, added up."""

    team: TeamId
    day: date
    kind: FileKind
    files: int
    rows: int
    size_bytes: int


@dataclass(frozen=True, kw_only=True, slots=True)
class FileKey:
    """The key of one column class in one file, wrapped under a team key (RFC 3394)."""

    file_id: FileId
    column_class: ColumnClass
    team_key_id: KeyId
    wrapped: bytes = field(repr=False)


@dataclass(frozen=True, kw_only=True, slots=True)
class SealedFile:
    """A vault file with its wrapped keys, ready to be committed."""

    file: VaultFile
    keys: tuple[FileKey, ...]
