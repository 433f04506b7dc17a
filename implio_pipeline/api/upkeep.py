"""Upkeep beside the server, in processes of its own.

One merges small files and, when asked for, carries requests out: in the server's own process that would make every
caller wait for the interpreter. It finishes the file it is at when the server ends. The other delivers callbacks, so
that nothing of an erasure waits for a customer's receiver.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

from implio_pipeline.api.child_processes import ChildProcess
from implio_pipeline.domain.compaction import is_small
from implio_pipeline.domain.files import SealedFile

_MERGE, _ERASE = b"m", b"e"


class Wakes(Protocol):
    """Who is told that there may be something to do."""

    def on_files(self, files: Sequence[SealedFile]) -> None:
        """Hear of files that were committed just now."""

    def on_deletion(self) -> None:
        """Hear of a deletion request that was accepted just now."""


class NoUpkeep:
    """Leaves all to Dagster's sensors and schedules."""

    def on_files(self, files: Sequence[SealedFile]) -> None:
        """Do nothing."""

    def on_deletion(self) -> None:
        """Do nothing."""


class Upkeep:
    """The two processes, and when to wake them.

    Args:
        home: The home they work in.
        is_erasing: Whether deletion requests are carried out here.
        rows_per_file: The largest vault file, in rows.
        merge_from_files: Merging begins after so many new small files.
    """

    def __init__(self, home: Path, *, is_erasing: bool, rows_per_file: int, merge_from_files: int) -> None:
        self._is_erasing = is_erasing
        self._rows_per_file = rows_per_file
        self._merge_from_files = merge_from_files
        self._small = 0
        options = ["--erase"] if is_erasing else []
        self._files = ChildProcess("implio_pipeline.api.upkeep_process", str(home), *options)
        self._callbacks = ChildProcess("implio_pipeline.api.delivery_process", str(home))

    def start(self) -> None:
        """Start both, and start them again whenever they end."""
        self._files.start()
        self._callbacks.start()

    def close(self) -> None:
        """Let merging and erasing finish the file they are at, break deliveries off, and wait for both."""
        for child in (self._files, self._callbacks):
            child.end()
        for child in (self._files, self._callbacks):
            child.join()

    def on_files(self, files: Sequence[SealedFile]) -> None:
        """Have files merged once enough small ones have come."""
        self._small += sum(is_small(sealed.file, rows_per_file=self._rows_per_file) for sealed in files)
        if self._small >= self._merge_from_files:
            self._small = 0
            self._files.wake(_MERGE)

    def on_deletion(self) -> None:
        """Have the deletion carried out, if that is done here."""
        if self._is_erasing:
            self._files.wake(_ERASE)
