"""Vault files as the catalog knows them."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date, datetime

from implio_pipeline.domain.ids import ColumnClass, FileId, FileKind, KeyId, Region, TeamId, UserKey


@dataclass(frozen=True, kw_only=True, slots=True)
class VaultFile:
    """One immutable encrypted Parquet file of one partition, and what can be told of it without opening it."""

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
    """The smallest and largest user key; `None` when no row has a user."""
    anonymous_rows: int
    """Rows without a user id, which no deletion by user can reach."""
    most_of_one_user: int
    """No user has more rows than this; a bound, which need not be reached."""
    first_submitted_at: datetime
    last_submitted_at: datetime
    outcomes: Mapping[str, int]
    """Rows by outcome; items without one count as `undecided`."""
    user_filter: bytes = field(repr=False)
    """Membership filter over the user keys: may say yes wrongly, never no."""
    task_filter: bytes = field(repr=False)
    """Membership filter over the task keys."""

    @property
    def path(self) -> str:
        """Return where the file lies below its region's vault root."""
        return f"team={self.team}/day={self.day.isoformat()}/{self.file_id}.parquet"


@dataclass(frozen=True, kw_only=True, slots=True)
class FileKey:
    """One class's key of one file, wrapped under a team key (RFC 3394)."""

    file_id: FileId
    column_class: ColumnClass
    team_key_id: KeyId
    wrapped: bytes = field(repr=False)


@dataclass(frozen=True, kw_only=True, slots=True)
class SealedFile:
    """A vault file together with its wrapped keys, ready to be committed."""

    file: VaultFile
    keys: tuple[FileKey, ...]
