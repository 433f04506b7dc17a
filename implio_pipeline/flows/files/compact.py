"""Compact: merge the small files that late arrivals leave, under new keys."""

from collections.abc import Iterable
from dataclasses import dataclass

from implio_pipeline.domain.errors import FileMissing, KeyMissing, PlanOutdated
from implio_pipeline.domain.file_changes import Change, MergeWork, merges, merges_of_small
from implio_pipeline.domain.files import SealedFile
from implio_pipeline.domain.replan import replan
from implio_pipeline.flows.alone import Faults, gathered
from implio_pipeline.flows.clock import agreed_now
from implio_pipeline.flows.files.sweep import sweep_doomed, unlink_doomed
from implio_pipeline.flows.races import are_renewed, commit_under_newer_tombstones
from implio_pipeline.ports.rows import Progress
from implio_pipeline.ports.services import Services


@dataclass(kw_only=True, slots=True)
class CompactSummary:
    """What one compaction did, in counts."""

    partitions: int = 0
    files_before: int = 0
    files_after: int = 0
    skipped: int = 0
    """Partitions that somebody else was changing; the next run takes them."""


def compact(
    services: Services, *, rows_per_file: int, faults: Faults | None = None, progress: Progress | None = None
) -> CompactSummary:
    """Merge every partition that has more files than its rows need; one that fails stops no other.

    `faults` is told of each partition that failed and each replaced file that cannot be unlinked; when `None`, the
    first is raised at the end.

    Raises:
        ClockWrong: the clock disagrees with what the home knows; how large a team is, is noted by day.
    """
    agreed_now(services)
    with gathered(faults) as failed:
        works = list(merges(services.catalog.manifest.files(), rows_per_file=rows_per_file))
        summary = _carry_out(services, works, failed, progress)
        sweep_doomed(services, failed)
    return summary


def merge_small(
    services: Services, *, rows_per_file: int, from_files: int, progress: Progress | None = None
) -> CompactSummary:
    """Merge the small files of every partition that has many: what keeps their number bounded while items stream in.

    The catalog is not scrubbed after each of these, some in a second under load, since every writer would wait: what an
    erasure or the nightly housekeeping does. Items that a deletion covers are in what was merged, to be erased there.

    Raises:
        ClockWrong: as for `compact`.
    """
    agreed_now(services)
    files = services.catalog.manifest.files(is_filtered=False)
    works = list(merges_of_small(files, rows_per_file=rows_per_file, from_files=from_files))
    with gathered(None) as failed:
        summary = _carry_out(services, works, failed, progress)
        unlink_doomed(services, failed)
    return summary


def _carry_out(services: Services, works: list[MergeWork], faults: Faults, progress: Progress | None) -> CompactSummary:
    summary = CompactSummary()
    for done, work in enumerate(works, start=1):
        with faults.alone(f"{work.kind} of team {work.team} on {work.day}", day=work.day):
            try:
                _merge(services, work, summary)
            except (PlanOutdated, FileMissing):
                summary.skipped += 1
        if progress:
            progress(done, len(works))
    return summary


def _merge(services: Services, work: MergeWork, summary: CompactSummary) -> None:
    merged = _merged(services, work)
    if len(merged) >= len(work.files):  # rows too large to lie in fewer files; to swap them would go on for ever
        _discard(services, merged)
        return
    try:
        _commit(services, work, merged)
    except PlanOutdated:
        _discard(services, merged)
        raise
    summary.partitions += 1
    summary.files_before += len(work.files)
    summary.files_after += len(merged)


def _merged(services: Services, work: MergeWork) -> list[SealedFile]:
    sealed: list[SealedFile] = []

    def merge() -> list[SealedFile]:
        nonlocal sealed
        sealed = services.catalog.manifest.sealed(work.files)
        return services.vault.merge(sealed)

    def is_race(error: Exception) -> bool:
        return isinstance(error, KeyMissing) and are_renewed(services, work.team, sealed)

    return replan(merge, about=f"the keys of files of team {work.team}", is_race=is_race)


def _commit(services: Services, work: MergeWork, merged: list[SealedFile]) -> None:
    change = Change(
        team=work.team,
        planned_at=services.catalog.requests.newest_tombstone(work.team),
        committed_at=services.clock.now(),
        add=tuple(merged),
        remove=tuple(file.file_id for file in work.files),
    )
    commit_under_newer_tombstones(services, change)


def _discard(services: Services, files: Iterable[SealedFile]) -> None:
    for sealed in files:
        services.vault.delete(sealed.file)
