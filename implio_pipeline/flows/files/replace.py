"""Swap: files are rewritten, proven, and put in the place of the old ones, whose keys go in the same commit.

A file's fault is that file's alone: it stays as it is, its fault is returned, and the other files are swapped.
"""

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import date

from implio_pipeline.domain.errors import ImplioError, PlanOutdated, StorageFull
from implio_pipeline.domain.faults import fault_of
from implio_pipeline.domain.file_changes import (
    Change,
    FileOutcome,
    FileWork,
    Rewrite,
    outcomes_of,
    outcomes_of_drop,
)
from implio_pipeline.domain.files import SealedFile, VaultFile
from implio_pipeline.domain.ids import RequestId, TeamId
from implio_pipeline.domain.replan import discarding
from implio_pipeline.flows.bounded_map import bounded_map
from implio_pipeline.flows.races import commit_under_newer_tombstones
from implio_pipeline.ports.rows import Progress
from implio_pipeline.ports.services import Services

_COMMIT_FILES = 256
"""Files in one commit: a checkpoint that a crash cannot take back."""


@dataclass(kw_only=True, slots=True)
class SwapCounts:
    """What was swapped so far."""

    files_rewritten: int = 0
    files_dropped: int = 0
    items_erased: int = 0
    partitions: set[tuple[TeamId, date]] = field(default_factory=set)
    """Partitions whose files were swapped."""


def swap(
    services: Services,
    works: list[FileWork],
    *,
    planned_at: int,
    held_at: int,
    counts: SwapCounts,
    progress: Progress | None = None,
) -> list[tuple[FileWork, ImplioError]]:
    """Rewrite files of one team, or drop them whole, and commit what proved right, some files at a time.

    Args:
        services: What the flow may touch.
        works: At least one file, with what is to go from each and what stays.
        planned_at: The team's newest tombstone when the work was planned.
        held_at: The team's newest legal hold then.
        counts: Added to with every commit.
        progress: Told of files done and files in all.

    Returns:
        The files that could not be swapped, with what each failed of; every other file is done.

    Raises:
        PlanOutdated: somebody else changed the same files; what was committed before holds.
        StorageFull: there is no room, so that no other file could be written either.
    """
    faulty: list[tuple[FileWork, ImplioError]] = []
    batch = _Batch(team=works[0].sealed.file.team, planned_at=planned_at, held_at=held_at)
    with discarding(lambda: batch.discard(services)):
        # Those that go whole first: to drop a file costs nothing.
        ordered = sorted(works, key=lambda work: not work.is_whole)
        attempts = bounded_map(lambda work: _attempt(services, work), ordered, most=services.threads)
        for done, (work, attempt) in enumerate(attempts, start=1):
            if isinstance(attempt, ImplioError):
                faulty.append((work, attempt))
            else:
                batch.add(work, attempt)
            if progress:
                progress(done, len(works))
            if len(batch.remove) >= _COMMIT_FILES or done == len(works):
                batch.commit(services, counts)
    return faulty


def _attempt(services: Services, work: FileWork) -> Rewrite | Mapping[RequestId, int] | ImplioError:
    """Return a file's proven rewrite, the rows of each request when it goes whole, or what the file failed of."""
    file = work.sealed.file
    try:
        if work.is_whole:
            return services.vault.matched(work)
        rewrite = services.vault.rewrite(work)
        try:
            rewrite.prove()
        except ImplioError:
            if rewrite.after:
                with suppress(ImplioError):  # housekeeping sweeps it
                    services.vault.delete(rewrite.after.file)
            raise
    except (PlanOutdated, StorageFull):
        raise
    except Exception as error:  # noqa: BLE001 -- `fault_of` names it, or raises it again
        return fault_of(error, about=file.file_id, day=file.day)
    return rewrite


@dataclass(kw_only=True, slots=True)
class _Batch:
    """What the next commit will swap."""

    team: TeamId
    planned_at: int
    held_at: int
    add_files: list[SealedFile] = field(default_factory=list)
    remove: list[VaultFile] = field(default_factory=list)
    outcomes: list[FileOutcome] = field(default_factory=list)
    files_rewritten: int = 0
    files_dropped: int = 0
    items_erased: int = 0

    def add(self, work: FileWork, rewrite: Rewrite | Mapping[RequestId, int]) -> None:
        """Take in one file's result."""
        if not isinstance(rewrite, Rewrite):
            self.files_dropped += 1
            self.items_erased += work.sealed.file.rows
            self.outcomes += outcomes_of_drop(work, rewrite)
        elif rewrite.is_untouched:
            return
        else:
            self.files_rewritten += 1
            self.items_erased += rewrite.erased
            self.outcomes += outcomes_of(rewrite, work)
            if rewrite.after:
                self.add_files.append(rewrite.after)
        self.remove.append(work.sealed.file)

    def discard(self, services: Services) -> None:
        """Unlink the new files that were not committed; one that cannot be unlinked is left to housekeeping."""
        for sealed in self.add_files:
            with suppress(ImplioError):
                services.vault.delete(sealed.file)

    def commit(self, services: Services, counts: SwapCounts) -> None:
        """Swap the files and destroy the old keys, in one transaction."""
        if not self.remove:
            return
        change = Change(
            team=self.team,
            planned_at=self.planned_at,
            held_at=self.held_at,
            committed_at=services.clock.now(),
            add=tuple(self.add_files),
            remove=tuple(file.file_id for file in self.remove),
            outcomes=tuple(self.outcomes),
        )
        # Whether a commit that breaks off holds is not known, so its files are not ours to unlink any more.
        staged, self.add_files = self.add_files, []
        try:
            self.planned_at = commit_under_newer_tombstones(services, change)
        except PlanOutdated:
            self.add_files = staged
            raise
        counts.files_rewritten += self.files_rewritten
        counts.files_dropped += self.files_dropped
        counts.items_erased += self.items_erased
        counts.partitions |= {(file.team, file.day) for file in self.remove}
        self.remove, self.outcomes = [], []
        self.files_rewritten = self.files_dropped = self.items_erased = 0
