"""Delete what killed processes and broken uploads left, when it is old and no longer in use.

Rules:

* Only names that this pipeline makes are deleted, and only in the folders where it makes them.
* No link is followed: others can write to some of these folders.
* A file that a process has open for writing is kept.
"""

import os
import re
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Protocol

from typing_extensions import override

from implio_pipeline.ports.exports import Leftovers
from implio_pipeline.stores.claimed_file import open_plain
from implio_pipeline.stores.durable import OPEN_FOLDER
from implio_pipeline.stores.landing.claimed import REPORTS
from implio_pipeline.stores.objects.objects import Objects

_REPORT = re.compile(r"\.[0-9a-f]{16}\.tmp", re.ASCII)
_ROOT_KEY = re.compile(r"\.[a-z]+\.[0-9]+\.key\.[0-9a-f]{8}\.new", re.ASCII)
_REFUSED = re.compile(r".+\.refused\.json", re.DOTALL)
_REJECTED = re.compile(r"[0-9a-f]{16}\.json", re.ASCII)
_REPORT_KEY = re.compile(rf"[^/]+/({re.escape(REPORTS)}/[0-9a-f]{{16}}\.json|[^/]+\.refused\.json)", re.DOTALL)
_SPILL = re.compile(r"duckdb_temp[\w.-]*", re.ASCII)


class Swept(Protocol):
    """A store that deletes what a crash cut short, or what somebody began to upload and never completed."""

    def sweep(self, *, older_than: datetime) -> int:
        """Delete what was begun before an instant. Returns how many."""


@dataclass(frozen=True, kw_only=True, slots=True)
class LeftoverFolders(Leftovers):
    """The places of a home in which something may be left."""

    home: Path
    landing: Path | None = None
    """The folder of landing files; `None` if they are in a bucket."""
    inbox: Path | None = None
    """The folder of request files; `None` if they are in a bucket."""
    reports: Sequence[Objects] = ()
    """The buckets of landing and request files, in which reports lie."""
    stores: Sequence[Swept] = ()

    @override
    def sweep(self, *, older_than: datetime) -> int:
        swept = sum(_sweep(folder, name, older_than=older_than) for folder, name in self._places())
        return swept + sum(store.sweep(older_than=older_than) for store in self.stores)

    @override
    def expire_reports(self, *, before: datetime) -> int:
        places = [] if self.inbox is None else [(self.inbox, _REFUSED)]
        places += [(team / REPORTS, _REJECTED) for team in _folders(self.landing)]
        expired = sum(_sweep(folder, name, older_than=before) for folder, name in places)
        for objects in self.reports:
            old = [
                each.key for each in objects.listing() if each.written_at < before and _REPORT_KEY.fullmatch(each.key)
            ]
            objects.delete(old)
            expired += len(old)
        return expired

    def _places(self) -> Iterator[tuple[Path, re.Pattern[str]]]:
        for team in _folders(self.landing):
            yield team / REPORTS, _REPORT
        if self.inbox is not None:
            yield self.inbox, _REPORT
        # A root key under its temporary name is unlinked but not overwritten. After a crash it may be a second name of
        # the key in use.
        for region in _folders(self.home / "keys"):
            yield region, _ROOT_KEY
        yield self.home / "tmp", _SPILL


def _folders(folder: Path | None) -> list[Path]:
    if folder is None:
        return []
    with suppress(FileNotFoundError, NotADirectoryError), os.scandir(folder) as entries:
        return [Path(entry.path) for entry in entries if entry.is_dir(follow_symlinks=False)]
    return []


def _sweep(folder: Path, name: re.Pattern[str], *, older_than: datetime) -> int:
    try:
        folder_fd = os.open(folder, OPEN_FOLDER)
    except OSError:  # missing, or a link
        return 0
    try:
        with os.scandir(folder_fd) as entries:
            found = [entry.name for entry in entries if name.fullmatch(entry.name)]
        swept = sum(_unlinked(each, folder_fd, older_than=older_than) for each in found)
        if swept:
            os.fsync(folder_fd)
        return swept
    finally:
        os.close(folder_fd)


def _unlinked(name: str, folder_fd: int, *, older_than: datetime) -> bool:
    file = open_plain(name, folder_fd, now=older_than)  # later dates are cut to the bound: too young
    if file is None:
        return False
    try:
        if file.modified_at >= older_than or file.has_writer():
            return False
    finally:
        os.close(file.fd)
    with suppress(FileNotFoundError):  # its process has just renamed or unlinked it
        os.unlink(name, dir_fd=folder_fd)
        return True
    return False
