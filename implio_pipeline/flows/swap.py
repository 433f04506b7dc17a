"""Swap: files are rewritten, proven, and put in the place of the old ones, whose keys go in the same commit."""

from collections.abc import Iterator
from dataclasses import dataclass, field, replace

from implio_pipeline.domain.change import Change
from implio_pipeline.domain.erasure import FileOutcome, FileWork, Rewrite, outcomes_of, outcomes_of_drop, prove
from implio_pipeline.domain.errors import PlanOutdated
from implio_pipeline.domain.files import SealedFile, VaultFile
from implio_pipeline.domain.words import TeamId
from implio_pipeline.flows.few_at_once import few_at_once
from implio_pipeline.ports.rows import Progress
from implio_pipeline.ports.world import World

_COMMIT_FILES = 256
"""Files in one commit: a checkpoint that a crash cannot take back."""
_MOST_TRIES = 20


@dataclass(kw_only=True, slots=True)
class SwapCounts:
    """What was swapped so far."""

    files_rewritten: int = 0
    files_dropped: int = 0
    items_erased: int = 0


def swap(
    world: World,
    works: list[FileWork],
    *,
    planned_at: int,
    held_at: int,
    counts: SwapCounts,
    progress: Progress | None = None,
) -> None:
    """Rewrite files of one team, or drop them whole, and commit what proved right, some files at a time.

    Args:
        world: What the flow may touch.
        works: At least one file, with what is to go from each and what stays.
        planned_at: The team's newest tombstone when the work was planned.
        held_at: The team's newest legal hold then.
        counts: Added to with every commit.
        progress: Told of files done and files in all.

    Raises:
        PlanOutdated: somebody else changed the same files; what was committed before holds.
        Unverified: a rewrite did not prove right.
    """
    batch = _Batch(team=works[0].sealed.file.team, planned_at=planned_at, held_at=held_at)
    try:
        for done, (work, rewrite) in enumerate(_rewritten(world, works), start=1):
            batch.add(world, work, rewrite)
            if progress:
                progress(done, len(works))
            if len(batch.remove) >= _COMMIT_FILES or done == len(works):
                batch.commit(world, counts)
    except BaseException:
        batch.discard(world)
        raise


def _rewritten(world: World, works: list[FileWork]) -> Iterator[tuple[FileWork, Rewrite | None]]:
    """Yield each work with its proven rewrite (`None` when dropped whole); few are in flight at a time."""
    yield from ((work, None) for work in works if work.is_whole)
    partly = (work for work in works if not work.is_whole)
    for work, rewrite in few_at_once(world.vault.rewrite, partly, most=world.threads):
        prove(rewrite)
        yield work, rewrite


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

    def add(self, world: World, work: FileWork, rewrite: Rewrite | None) -> None:
        """Take in one file's result."""
        if rewrite is None:
            self.files_dropped += 1
            self.items_erased += work.sealed.file.rows
            self.outcomes += outcomes_of_drop(work, world.vault.matched(work))
        elif rewrite.is_untouched:
            return
        else:
            self.files_rewritten += 1
            self.items_erased += rewrite.erased
            self.outcomes += outcomes_of(rewrite, work)
            if rewrite.after:
                self.add_files.append(rewrite.after)
        self.remove.append(work.sealed.file)

    def discard(self, world: World) -> None:
        """Unlink the new files that were not committed."""
        for sealed in self.add_files:
            world.vault.delete(sealed.file)

    def commit(self, world: World, counts: SwapCounts) -> None:
        """Swap the files and destroy the old keys, in one transaction."""
        if not self.remove:
            return
        change = Change(
            team=self.team,
            planned_at=self.planned_at,
            held_at=self.held_at,
            committed_at=world.clock.now(),
            add=tuple(self.add_files),
            remove=tuple(file.file_id for file in self.remove),
            outcomes=tuple(self.outcomes),
        )
        # Whether a commit that breaks off holds is not known, so its files are not ours to unlink any more.
        staged, self.add_files = self.add_files, []
        try:
            self._carry_out(world, change)
        except PlanOutdated:
            self.add_files = staged
            raise
        counts.files_rewritten += self.files_rewritten
        counts.files_dropped += self.files_dropped
        counts.items_erased += self.items_erased
        self.remove, self.outcomes = [], []
        self.files_rewritten = self.files_dropped = self.items_erased = 0

    def _carry_out(self, world: World, change: Change) -> None:
        """Commit; a tombstone that came meanwhile is no reason to rewrite the files again.

        A rewrite only takes rows out of files that must still be live. What a newer tombstone covers is in a live file
        after it as before, and found by the erasure of that tombstone. Without this a stream of requests, each newer
        than the work at hand, would keep an erasure from ever ending.
        """
        for _ in range(_MOST_TRIES):
            try:
                world.catalog.manifest.commit(change)
            except PlanOutdated:
                newest = world.catalog.requests.newest_tombstone(self.team)
                if newest == change.planned_at:
                    raise
                change = replace(change, planned_at=newest)
                self.planned_at = newest
                continue
            return
        raise PlanOutdated("requests kept being accepted")
