"""Compact: merge the small files that late arrivals leave, under new keys."""

from collections.abc import Iterable
from dataclasses import dataclass

from implio_pipeline.domain.change import Change
from implio_pipeline.domain.compaction import MergeWork, merges
from implio_pipeline.domain.errors import FileMissing, KeyMissing, PlanOutdated
from implio_pipeline.domain.files import SealedFile
from implio_pipeline.flows.erase import sweep_doomed
from implio_pipeline.flows.renewed import are_renewed
from implio_pipeline.ports import Progress, World

_MOST_TRIES = 5


@dataclass(kw_only=True, slots=True)
class CompactSummary:
    """What one compaction did, in counts."""

    partitions: int = 0
    files_before: int = 0
    files_after: int = 0
    skipped: int = 0
    """Partitions that somebody else was changing; the next run takes them."""


def compact(world: World, *, rows_per_file: int, progress: Progress | None = None) -> CompactSummary:
    """Merge every partition that has more files than its rows need."""
    summary = CompactSummary()
    works = list(merges(world.catalog.manifest.files(), rows_per_file=rows_per_file))
    for done, work in enumerate(works, start=1):
        try:
            _merge(world, work, summary)
        except (PlanOutdated, FileMissing):
            summary.skipped += 1
        if progress:
            progress(done, len(works))
    sweep_doomed(world)
    return summary


def _merge(world: World, work: MergeWork, summary: CompactSummary) -> None:
    planned_at = world.catalog.requests.newest_tombstone(work.team)
    merged = _merged(world, work)
    if len(merged) >= len(work.files):  # rows too large to lie in fewer files; to swap them would go on for ever
        _discard(world, merged)
        return
    change = Change(
        team=work.team,
        planned_at=planned_at,
        committed_at=world.clock.now(),
        add=tuple(merged),
        remove=tuple(file.file_id for file in work.files),
    )
    try:
        world.catalog.manifest.commit(change)
    except PlanOutdated:
        _discard(world, merged)
        raise
    summary.partitions += 1
    summary.files_before += len(work.files)
    summary.files_after += len(merged)


def _merged(world: World, work: MergeWork) -> list[SealedFile]:
    for _ in range(_MOST_TRIES):
        sealed = world.catalog.manifest.sealed(work.files)
        try:
            return world.vault.merge(sealed)
        except KeyMissing:
            if not are_renewed(world, work.team, sealed):
                raise
    raise PlanOutdated("the keys of the files kept being renewed")


def _discard(world: World, files: Iterable[SealedFile]) -> None:
    for sealed in files:
        world.vault.delete(sealed.file)
