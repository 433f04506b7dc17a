"""The jobs beside the server, in processes of their own.

What only a server can do is always done here: the small files that its posts make are merged, woken by the posts. All
other jobs of the table (`jobs.py`) are Dagster's; where none runs, `--jobs` has them looked at here.

Jobs share a process where one would undo or repeat another's work. Others have a process of their own, so that nothing
of an erasure waits for the nightly audit or for a customer's receiver. None runs in the server's process: it would make
every caller wait for the interpreter.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

from implio_pipeline.api.child_processes import ChildProcess
from implio_pipeline.domain.file_changes import is_small
from implio_pipeline.domain.files import SealedFile
from implio_pipeline.jobs import CARRY_OUT_REQUESTS, JOBS, MERGE_SMALL_FILES, Every, Job, job_of

_LOOK = b"!"
_MODULE = "implio_pipeline.api.upkeep_process"


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
    """The processes, and when to wake the first of them.

    Args:
        home: The home they work in.
        is_alone: Whether every job is done here, since no Dagster runs.
        rows_per_file: The largest vault file, in rows.
        merge_from_files: Merging begins after so many new small files.
    """

    def __init__(self, home: Path, *, is_alone: bool, rows_per_file: int, merge_from_files: int) -> None:
        self._is_alone = is_alone
        self._rows_per_file = rows_per_file
        self._merge_from_files = merge_from_files
        self._small = 0
        self._children = [
            ChildProcess(_MODULE, str(home), *names) for names in (lanes() if is_alone else ((MERGE_SMALL_FILES,),))
        ]

    def start(self) -> None:
        """Start all, and start each again whenever it ends."""
        for child in self._children:
            child.start()

    def close(self) -> None:
        """Let each finish the file it is at, break deliveries off, and wait for all."""
        for child in self._children:
            child.end()
        for child in self._children:
            child.join()

    def on_files(self, files: Sequence[SealedFile]) -> None:
        """Have files merged once enough small ones have come."""
        self._small += sum(is_small(sealed.file, rows_per_file=self._rows_per_file) for sealed in files)
        if self._small >= self._merge_from_files:
            self._small = 0
            self._children[0].wake(_LOOK)

    def on_deletion(self) -> None:
        """Have the deletion carried out, if that is done here."""
        if self._is_alone:
            self._children[0].wake(_LOOK)


def lanes() -> tuple[tuple[str, ...], ...]:
    """Return the names of the jobs that share a process; the first merges and erases.

    Files are merged before an erasure, since that costs by the file: otherwise files would come faster than it ends.
    """
    erasing = job_of(CARRY_OUT_REQUESTS).pool

    def lane(job: Job) -> int:
        if not job.is_on_files:
            return 2
        return 0 if isinstance(job.wakes, Every) or job.pool == erasing else 1

    names = [tuple(job.name for job in JOBS if lane(job) == number) for number in range(3)]
    return (MERGE_SMALL_FILES, *names[0]), *names[1:]
