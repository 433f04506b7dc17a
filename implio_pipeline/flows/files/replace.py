"""Replace vault files: rewrite, prove, swap in one transaction that destroys the old keys, then unlink.

Rules:

* A new file is committed only after it was read again and proved right (`Rewrite.prove`).
* The transaction that swaps files destroys the keys of the old ones. Without keys the old files are noise, so unlinking
  them may fail and is tried again.
* A fault of one file does not stop the others: the file stays as it is, and its fault is returned.
"""

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import date, datetime

from implio_pipeline.domain.errors import ImplioError, PlanOutdated, StorageFull
from implio_pipeline.domain.faults import fault_of
from implio_pipeline.domain.file_changes import (
    Change,
    FileOutcome,
    FileWork,
    Rewrite,
)
from implio_pipeline.domain.files import SealedFile, VaultFile
from implio_pipeline.domain.ids import RequestId, TeamId
from implio_pipeline.domain.replan import discarding
from implio_pipeline.flows.bounded_map import bounded_map
from implio_pipeline.flows.faults import Faults
from implio_pipeline.flows.races import commit_under_newer_tombstones
from implio_pipeline.ports.catalog import Catalog
from implio_pipeline.ports.rows import Progress
from implio_pipeline.ports.services import Services
from implio_pipeline.ports.vault import Vault

_COMMIT_FILES = 256
"""Files in one commit. After a crash, at most this much work is done again."""


@dataclass(kw_only=True, slots=True)
class SwapCounts:
    """What was committed so far."""

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
    """Rewrite or drop files of one team, and commit those that proved right in batches.

    Args:
        services: What the flow may use.
        works: At least one file, with the rules that apply to it.
        planned_at: The team's newest tombstone when the work was planned.
        held_at: The team's newest legal hold when the work was planned.
        counts: Added to with every commit.
        progress: Called with the number of files done and the number of all files.

    Returns:
        The files that could not be swapped, each with its fault. Every other file is done.

    Raises:
        PlanOutdated: another process changed the same files; earlier commits remain.
        StorageFull: the disk is full, so that no other file could be written either.
    """
    faulty: list[tuple[FileWork, ImplioError]] = []
    batch = _Batch(team=works[0].sealed.file.team, planned_at=planned_at, held_at=held_at)
    with discarding(lambda: batch.discard(services.vault)):
        # 1. Files that are dropped whole come first: they need no reading, so their items are erased soonest.
        ordered = sorted(works, key=lambda work: not work.is_whole)
        # 2. Rewrite and prove, a few files at a time.
        attempts = bounded_map(lambda work: _attempt(services.vault, work), ordered, most=services.threads)
        for done, (work, attempt) in enumerate(attempts, start=1):
            if isinstance(attempt, ImplioError):
                faulty.append((work, attempt))
            else:
                batch.add(work, attempt)
            if progress:
                progress(done, len(works))
            # 3. Commit: swap the files and destroy the old keys.
            if len(batch.remove) >= _COMMIT_FILES or done == len(works):
                batch.commit(services.catalog, counts, at=services.clock.now())
    return faulty


def unlink_replaced(catalog: Catalog, vault: Vault, faults: Faults | None = None, *, is_scrubbed: bool = True) -> int:
    """Unlink the files that commits have replaced, and scrub their keys from the catalog's own files.

    Args:
        catalog: Lists the replaced files.
        vault: Where they are.
        faults: Records each file that cannot be unlinked; it stays listed, without keys, for the next call.
        is_scrubbed: Whether to scrub the catalog when a file was unlinked; that blocks every writer for a moment.

    Returns:
        The number of files unlinked.
    """
    failed = Faults() if faults is None else faults
    gone = []
    for file in catalog.manifest.files_to_unlink():
        with failed.isolate(f"replaced file {file.file_id}", about=file.file_id, day=file.day):
            vault.delete(file)
            gone.append(file)
    if gone:
        catalog.manifest.forget_unlinked(gone)
        if is_scrubbed:
            # Deleted rows remain in the database's free pages and its log until they are overwritten.
            catalog.scrub(is_thorough=False)
    return len(gone)


def _attempt(vault: Vault, work: FileWork) -> Rewrite | Mapping[RequestId, int] | ImplioError:
    """Return the proven rewrite of a file, the rows of each request if the file is dropped whole, or the fault."""
    file = work.sealed.file
    try:
        if work.is_whole:
            return vault.matched(work)
        rewrite = vault.rewrite(work)
        try:
            rewrite.prove()
        except ImplioError:
            if rewrite.after:
                with suppress(ImplioError):  # housekeeping unlinks it as a stray file
                    vault.delete(rewrite.after.file)
            raise
    except (PlanOutdated, StorageFull):
        raise
    except Exception as error:  # noqa: BLE001 -- `fault_of` names it, or raises it again
        return fault_of(error, about=file.file_id, day=file.day)
    return rewrite


@dataclass(kw_only=True, slots=True)
class _Batch:
    """The files of the next commit."""

    team: TeamId
    planned_at: int
    held_at: int
    add_files: list[SealedFile] = field(default_factory=list)
    remove: list[VaultFile] = field(default_factory=list)
    outcomes: list[FileOutcome] = field(default_factory=list)
    counts: SwapCounts = field(default_factory=SwapCounts)

    def add(self, work: FileWork, rewrite: Rewrite | Mapping[RequestId, int]) -> None:
        """Add one file's result."""
        if not isinstance(rewrite, Rewrite):
            self.counts.files_dropped += 1
            self.counts.items_erased += work.sealed.file.rows
            self.outcomes += work.outcomes(rewrite, after=None, is_read_back=False)
        elif rewrite.is_untouched:
            return  # a filter said "maybe" and no row matched: the old file stays
        else:
            self.counts.files_rewritten += 1
            self.counts.items_erased += rewrite.erased
            after = rewrite.after.file if rewrite.after else None
            self.outcomes += work.outcomes(rewrite.matched, after=after, is_read_back=True)
            if rewrite.after:
                self.add_files.append(rewrite.after)
        self.remove.append(work.sealed.file)

    def discard(self, vault: Vault) -> None:
        """Unlink the new files that were not committed; housekeeping unlinks what remains."""
        for sealed in self.add_files:
            with suppress(ImplioError):
                vault.delete(sealed.file)

    def commit(self, catalog: Catalog, counts: SwapCounts, *, at: datetime) -> None:
        """Swap the files and destroy the old keys in one transaction, then start an empty batch."""
        if not self.remove:
            return
        change = Change(
            team=self.team,
            planned_at=self.planned_at,
            held_at=self.held_at,
            committed_at=at,
            add=tuple(self.add_files),
            remove=tuple(file.file_id for file in self.remove),
            outcomes=tuple(self.outcomes),
        )
        # When a commit breaks off, nobody knows whether it took effect: its new files may be live, and must stay.
        staged, self.add_files = self.add_files, []
        try:
            self.planned_at = commit_under_newer_tombstones(catalog, change)
        except PlanOutdated:
            self.add_files = staged  # this error means that nothing was changed
            raise
        counts.files_rewritten += self.counts.files_rewritten
        counts.files_dropped += self.counts.files_dropped
        counts.items_erased += self.counts.items_erased
        counts.partitions |= {(file.team, file.day) for file in self.remove}
        self.remove, self.outcomes, self.counts = [], [], SwapCounts()
