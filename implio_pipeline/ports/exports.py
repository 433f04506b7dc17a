"""Files beside the vault: exports for access requests, files set aside, and what killed processes left."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from pathlib import PurePath
from typing import Any, Protocol

from implio_pipeline.domain.export import ExportRecord, PackedFile
from implio_pipeline.domain.ids import TeamId
from implio_pipeline.ports.rows import Rows


class Exports(Protocol):
    """Where exports are packed, put and remembered until they are purged."""

    def new_id(self) -> str:
        """Return a new opaque id of an export."""

    def fingerprint(self, certificate: bytes, *, at: datetime) -> str:
        """Return the SHA-256 of a recipient's certificate, hexadecimal.

        Raises:
            RecipientInvalid: it is no certificate, not valid at that instant, or its key cannot be used.
        """

    def pack(self, name: str, records: Rows | Sequence[Mapping[str, Any]], *, recipient: bytes | None) -> PackedFile:
        """Return records as one file of JSON Lines, in an envelope when there is a recipient.

        Raises:
            RecipientInvalid: nothing can be encrypted to the certificate.
        """

    def put(self, record: ExportRecord, files: Sequence[PackedFile], *, folder: PurePath | None) -> PurePath:
        """Write an export into a new folder of mode 0700, remembered first, durable on return; return the folder.

        Raises:
            FolderTaken: the folder exists.
        """

    def all(self) -> list[ExportRecord]:
        """Return the records of exports that are not purged yet, oldest first."""

    def is_whole(self, record: ExportRecord) -> bool:
        """Return whether every file of an export in this home was written; of exports elsewhere this is not known."""

    def discard(self, export_id: str) -> None:
        """Unlink an export's files, then forget it; in a folder elsewhere only what is still as it was written.

        Raises:
            FileMissing: there is no such export.
        """


class Leftovers(Protocol):
    """Temporary files that a killed process has left."""

    def sweep(self, *, older_than: datetime) -> int:
        """Unlink those from before an instant that nobody has open for writing; return how many."""

    def expire_reports(self, *, before: datetime) -> int:
        """Unlink reports on refused request files from before an instant; return how many."""


class Origin(StrEnum):
    """What a file was meant to be."""

    LANDING = "landing"
    REQUEST = "request"


@dataclass(frozen=True, kw_only=True, slots=True)
class SetAsideFile:
    """What is known of a sealed file without opening it; no personal data."""

    id: str
    origin: Origin
    team: TeamId | None
    code: str
    reason: str
    size_bytes: int
    created_at: datetime


class SetAsideFiles(Protocol):
    """The sealed files of all teams."""

    def seal_items(self, parts: Iterable[Rows], *, team: TeamId, code: str, reason: str) -> str:
        """Seal rows of items, or of rejected ones, as a landing file, durable on return; return its id.

        Code and reason hold no personal data.
        """

    def discard(self, identifier: str) -> None:
        """Destroy a file's key, then the file; one that is gone already is ignored."""

    def discard_of(self, team: TeamId, *, before: datetime) -> int:
        """Destroy the keys of a team's files that were set aside before an instant, then the files; return how many."""
