"""Compact: merge the small files of a partition into fewer files, under new keys.

Posts and late landing files leave many small files, and each file costs every query its own keys and catalog row. A
merge changes no row: the new files are read again and compared with the old ones before they are committed.

A merge claims its files first. So it and an erasure do not undo each other, and several workers share the partitions.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta
from itertools import chain

from implio_pipeline.domain.claims import Claim, ClaimKind
from implio_pipeline.domain.errors import FileMissing, KeyMissing, PlanOutdated
from implio_pipeline.domain.file_changes import Change, MergeWork, has_too_many, merges, merges_of_small
from implio_pipeline.domain.files import PartitionSum, SealedFile, VaultFile
from implio_pipeline.domain.replan import replan
from implio_pipeline.flows.clock import agreed_now
from implio_pipeline.flows.faults import Faults, collecting
from implio_pipeline.flows.files.replace import unlink_replaced
from implio_pipeline.flows.races import are_renewed, commit_under_newer_tombstones
from implio_pipeline.flows.work import working
from implio_pipeline.ports.catalog import Manifest
from implio_pipeline.ports.rows import Progress
from implio_pipeline.ports.services import Services
from implio_pipeline.ports.vault import Vault

COMPACTION = "compaction"
"""The name of this work, for `implio status`."""


_SOON_ROWS = 2_500
"""The size of files that are merged during the day."""


@dataclass(kw_only=True, slots=True)
class CompactSummary:
    """What one compaction did, in counts."""

    partitions: int = 0
    files_before: int = 0
    files_after: int = 0
    skipped: int = 0
    """Partitions that another worker has at the moment, or has merged; the next run looks at them again."""


def compact(
    services: Services, *, rows_per_file: int, faults: Faults | None = None, progress: Progress | None = None
) -> CompactSummary:
    """Merge every partition that has more files than its rows need; a partition that fails does not stop the others.

    Args:
        services: What the flow may use.
        rows_per_file: The most rows that a file may have.
        faults: Records each partition that failed and each replaced file that cannot be unlinked; when `None`, the
            first fault is raised at the end.
        progress: Called with the number of partitions done and the number of all partitions.

    Raises:
        ClockWrong: the clock disagrees with what the home knows. Each commit records its day with the team's size.
    """
    agreed_now(services)
    with collecting(faults) as failed:
        manifest = services.catalog.manifest
        files = chain.from_iterable(_files_of(manifest, each) for each in crowded_partitions(manifest, rows_per_file))
        works = list(merges(files, rows_per_file=rows_per_file))
        summary = _merge_each(services, works, failed, progress)
        unlink_replaced(services.catalog, services.vault, failed)
    return summary


def merge_small(
    services: Services, *, rows_per_file: int, from_files: int, progress: Progress | None = None
) -> CompactSummary:
    """Merge the small files of every new partition that has at least `from_files` of them.

    The server runs this while posts come in, so that the number of files stays bounded. It makes files of a moderate
    size, so that a row is merged once or twice until `compact` makes files of the final size in the night. A post
    belongs to the day on which it arrives. So only today and yesterday are looked at; `compact` merges what is older.

    Raises:
        ClockWrong: as for `compact`.
    """
    rows_per_file = min(rows_per_file, _SOON_ROWS)
    since = agreed_now(services).date() - timedelta(days=1)
    manifest = services.catalog.manifest
    crowded = manifest.partitions(since=since, rows_below=-(-rows_per_file // 2), from_files=from_files)
    files = chain.from_iterable(_files_of(manifest, each) for each in crowded)
    works = list(merges_of_small(files, rows_per_file=rows_per_file, from_files=from_files))
    with collecting(None) as failed:
        summary = _merge_each(services, works, failed, progress)
        # No scrub here: under load it blocked all writers for 20 to 30 ms each second (decision 0023). No item went, so
        # the scrub of the next erasure or of the nightly housekeeping is soon enough.
        unlink_replaced(services.catalog, services.vault, failed, is_scrubbed=False)
    return summary


def crowded_partitions(manifest: Manifest, rows_per_file: int) -> Iterator[PartitionSum]:
    """Yield the partitions that have more files than their rows need. Sums tell, so no file's row is read."""
    for each in manifest.partitions(from_files=2, rows_per_file=rows_per_file):
        if has_too_many(each.files, each.rows, rows_per_file=rows_per_file):
            yield each


def _files_of(manifest: Manifest, partition: PartitionSum) -> Iterator[VaultFile]:
    files = manifest.files(partition.team, day=partition.day, is_filtered=False)
    return (file for file in files if file.kind is partition.kind)


def _merge_each(
    services: Services, works: list[MergeWork], faults: Faults, progress: Progress | None
) -> CompactSummary:
    summary = CompactSummary()
    with working(services, COMPACTION) as worker:
        for done, work in enumerate(worker.from_its_place(works), start=1):
            claims = worker.claim(ClaimKind.FILE, [file.file_id for file in work.files], is_whole=True)
            with faults.isolate(f"{work.kind} of team {work.team} on {work.day}", day=work.day):
                try:
                    if not claims or not _merge(services, work, claims, summary):
                        summary.skipped += not claims
                        continue
                    worker.handed_in(claims)
                except (PlanOutdated, FileMissing):
                    summary.skipped += 1
                finally:
                    worker.give_back(claims)
                    if progress:
                        progress(done, len(works))
    return summary


def _merge(services: Services, work: MergeWork, claims: tuple[Claim, ...], summary: CompactSummary) -> bool:
    """Merge claimed files, if that gives fewer files. Returns whether it was committed."""
    sealed: list[SealedFile] = []

    def merge() -> list[SealedFile]:
        nonlocal sealed
        sealed = services.catalog.manifest.sealed(work.files)
        return services.vault.merge(sealed)

    def is_race(error: Exception) -> bool:
        return isinstance(error, KeyMissing) and are_renewed(
            services.catalog.manifest, services.keychain, work.team, sealed
        )

    # 1. Write the new files; again if a rotation renewed the keys while they were read.
    merged = replan(merge, about=f"the keys of files of team {work.team}", is_race=is_race)
    # 2. Commit, unless nothing is gained: rows too large for fewer files would be merged again by every run.
    if len(merged) >= len(work.files):
        _discard(services.vault, merged)
        return False
    change = Change(
        team=work.team,
        planned_at=services.catalog.requests.newest_tombstone(work.team),
        committed_at=services.clock.now(),
        claims=claims,
        add=tuple(merged),
        remove=tuple(file.file_id for file in work.files),
    )
    try:
        commit_under_newer_tombstones(services.catalog, change)
    except PlanOutdated:
        _discard(services.vault, merged)
        raise
    summary.partitions += 1
    summary.files_before += len(work.files)
    summary.files_after += len(merged)
    return True


def _discard(vault: Vault, files: list[SealedFile]) -> None:
    for sealed in files:
        vault.delete(sealed.file)
