"""Files outside the vault: exports for access requests, files set aside, and files that killed processes left."""

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
    """Packs exports, writes them, and remembers them until they are purged."""

    def new_id(self) -> str:
        """Return a new opaque id of an export."""

    def fingerprint(self, certificate: bytes, *, at: datetime) -> str:
        """Return the SHA-256 of a recipient's certificate, hexadecimal.

        Raises:
            ExportRefused: it is not a certificate, is not valid at that instant, or has a key that cannot be used.
        """

    def pack(self, name: str, records: Rows | Sequence[Mapping[str, Any]], *, recipient: bytes | None) -> PackedFile:
        """Return records as one file of JSON Lines, encrypted when there is a recipient.

        Raises:
            ExportRefused: nothing can be encrypted to the certificate.
        """

    def put(self, record: ExportRecord, files: Sequence[PackedFile], *, folder: PurePath | None) -> str:
        """Write an export into a new folder, durable on return. Returns the folder's path, or its address in a bucket.

        The export is remembered before its first file is written, so that no file of it can be left behind.

        Raises:
            ExportRefused: the folder exists.
        """

    def all(self) -> list[ExportRecord]:
        """Return the records of exports that are not purged yet, oldest first."""

    def is_whole(self, record: ExportRecord) -> bool:
        """Tell whether every file of an export in this home was written. Of exports elsewhere this is not known."""

    def discard(self, export_id: str) -> None:
        """Unlink an export's files, then forget it. In a folder elsewhere only unchanged files are unlinked.

        Raises:
            FileMissing: there is no such export.
        """


class Leftovers(Protocol):
    """Temporary files that killed processes left."""

    def sweep(self, *, older_than: datetime) -> int:
        """Unlink files from before an instant that no process has open for writing. Returns the number of files."""

    def expire_reports(self, *, before: datetime) -> int:
        """Unlink reports on refused request files from before an instant. Returns the number of reports."""


class Origin(StrEnum):
    """What a file was before it was set aside."""

    LANDING = "landing"
    REQUEST = "request"


@dataclass(frozen=True, kw_only=True, slots=True)
class SetAsideFile:
    """What is known of a sealed file without opening it. It holds no personal data."""

    id: str
    origin: Origin
    team: TeamId | None
    code: str
    reason: str
    size_bytes: int
    created_at: datetime


class SetAsideFiles(Protocol):
    """The files set aside of all teams, each sealed with a key of its own."""

    def seal_items(self, parts: Iterable[Rows], *, team: TeamId, code: str, reason: str) -> str:
        """Seal rows of items or of rejected items as a landing file, durable on return. Returns its id.

        Code and reason must not hold personal data.
        """

    def discard(self, identifier: str) -> None:
        """Destroy a file's key, then the file. A missing file is ignored."""

    def discard_of(self, team: TeamId, *, before: datetime) -> int:
        """Destroy the keys of a team's files set aside before an instant, then the files. Returns how many."""
