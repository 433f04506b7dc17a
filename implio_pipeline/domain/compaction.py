"""When a partition's files should be merged."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import date

from implio_pipeline.domain.files import VaultFile
from implio_pipeline.domain.ids import FileKind, TeamId

MOST_ROWS = 200_000
"""Rows merged at once: what bounds the memory of a merge."""


@dataclass(frozen=True, kw_only=True, slots=True)
class MergeWork:
    """Files of one partition and kind that should become fewer."""

    team: TeamId
    day: date
    kind: FileKind
    files: tuple[VaultFile, ...]


def merges(files: Iterable[VaultFile], *, rows_per_file: int) -> Iterator[MergeWork]:
    """Yield what to merge: partitions with more files than their rows need, the smallest files first.

    A partition of `MOST_ROWS` rows or fewer is merged whole, so that each person ends up in one file of it.
    """
    partitions: dict[tuple[TeamId, date, FileKind], list[VaultFile]] = {}
    for file in files:
        partitions.setdefault((file.team, file.day, file.kind), []).append(file)
    for (team, day, kind), members in sorted(partitions.items()):
        needed = -(-sum(file.rows for file in members) // rows_per_file)
        if len(members) <= needed + needed // 4:
            continue
        chosen = tuple(_smallest(members))
        if len(chosen) > 1:
            yield MergeWork(team=team, day=day, kind=kind, files=chosen)


def _smallest(files: list[VaultFile]) -> Iterator[VaultFile]:
    rows = 0
    for file in sorted(files, key=lambda file: (file.rows, file.file_id)):
        rows += file.rows
        if rows > MOST_ROWS:
            return
        yield file


def is_small(file: VaultFile, *, rows_per_file: int) -> bool:
    """Tell whether a file has fewer than half of the rows that a file may have."""
    return file.rows * 2 < rows_per_file


def merges_of_small(files: Iterable[VaultFile], *, rows_per_file: int, from_files: int) -> Iterator[MergeWork]:
    """Yield what to merge between two whole compactions: small files alone, where a partition has many of them.

    Each row is rewritten once by it, so that a stream of small commits keeps a bounded number of files at a cost that
    does not grow with the partition; that each person ends up in one file is left to `merges`.
    """
    partitions: dict[tuple[TeamId, date, FileKind], list[VaultFile]] = {}
    for file in files:
        if is_small(file, rows_per_file=rows_per_file):
            partitions.setdefault((file.team, file.day, file.kind), []).append(file)
    for (team, day, kind), members in sorted(partitions.items()):
        if len(members) >= from_files:
            yield MergeWork(team=team, day=day, kind=kind, files=tuple(_smallest(members)))
