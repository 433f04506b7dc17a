"""Replace vault files: rewrite, prove, swap in one transaction that destroys the old keys, then unlink.

Rules:

* A new file is committed only after it was read again and proved right (`Rewrite.prove`).
* The transaction that swaps files destroys the keys of the old ones. Without keys the old files are noise, so unlinking
  them may fail and is tried again.
* A fault of one file does not stop the others: the file stays as it is, and its fault is returned.
"""

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import date, datetime

from implio_pipeline.domain.claims import Claim
from implio_pipeline.domain.errors import ImplioError, PlanOutdated, StorageFull
from implio_pipeline.domain.faults import fault_of
from implio_pipeline.domain.file_changes import (
    Change,
    FileOutcome,
    FileWork,
    Rewrite,
)
from implio_pipeline.domain.files import SealedFile, VaultFile
from implio_pipeline.domain.ids import FileId, RequestId, TeamId
from implio_pipeline.domain.replan import discarding
from implio_pipeline.flows.bounded_map import bounded_map
from implio_pipeline.flows.faults import Faults
from implio_pipeline.flows.races import commit_under_newer_tombstones
from implio_pipeline.ports.catalog import Catalog
from implio_pipeline.ports.rows import Progress
from implio_pipeline.ports.services import Services
from implio_pipeline.ports.vault import Vault


@dataclass(kw_only=True, slots=True)
class SwapCounts:
    """What was committed so far."""

    files_rewritten: int = 0
    files_dropped: int = 0
    files_discarded: int = 0
    """Files that were rewritten in vain, because another process changed the same files."""
    items_erased: int = 0
    partitions: set[tuple[TeamId, date]] = field(default_factory=set)
    """Partitions whose files were swapped."""


@dataclass(kw_only=True, slots=True)
class Swapped:
    """What became of some files."""

    planned_at: int
    """The team's newest tombstone at the commit."""
    faulty: list[tuple[FileWork, ImplioError]] = field(default_factory=list)
    """The files that could not be swapped, each with its fault. Every other file is done."""
    clear: list[tuple[FileId, FileWork]] = field(default_factory=list)
    """The live files that are proven to hold no row that their rules erase: new ones, and those left as they were."""


def swap(
    services: Services,
    works: Sequence[FileWork],
    *,
    planned_at: int,
    held_at: int,
    counts: SwapCounts,
    claims: Mapping[FileId, Claim],
    progress: Progress | None = None,
) -> Swapped:
    """Rewrite or drop files of one team, and commit those that proved right in one transaction.

    Args:
        services: What the flow may use.
        works: The files, with the rules that apply to each. They are one commit, so they should be a few hundred at
            most: after a crash, their work is done again.
        planned_at: The team's newest tombstone when the work was planned.
        held_at: The team's newest legal hold when the work was planned.
        counts: Added to by the commit.
        claims: The claims on the files, which the commit hands in, except those of files that could not be swapped. If
            nothing needs a commit, none is handed in.
        progress: Called with the number of files done and the number of all files.

    Raises:
        PlanOutdated: another process changed the same files, or has taken them over. Nothing was committed.
        StorageFull: the disk is full, so that no other file could be written either.
    """
    swapped = Swapped(planned_at=planned_at)
    batch = _Batch(team=works[0].sealed.file.team, planned_at=planned_at, held_at=held_at)
    with discarding(lambda: batch.discard(services.vault, counts)):
        # 1. Rewrite and prove, a few files at a time.
        attempts = bounded_map(lambda work: _attempt(services.vault, work), works, most=services.threads)
        for done, (work, attempt) in enumerate(attempts, start=1):
            if isinstance(attempt, ImplioError):
                swapped.faulty.append((work, attempt))
            else:
                batch.add(work, attempt, claims)
            if progress:
                progress(done, len(works))
        # 2. Commit: swap the files and destroy the old keys.
        batch.commit(services.catalog, counts, at=services.clock.now())
    swapped.planned_at, swapped.clear = batch.planned_at, batch.clear
    return swapped


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
    unlinked = 0
    for page in catalog.manifest.files_to_unlink():
        gone = _unlinked(vault, page, failed)
        catalog.manifest.forget_unlinked(gone)
        unlinked += len(gone)
    if unlinked and is_scrubbed:
        # Deleted rows remain in the database's free pages and its log until they are overwritten.
        catalog.scrub(is_thorough=False)
    return unlinked


def _unlinked(vault: Vault, files: Sequence[VaultFile], failed: Faults) -> list[VaultFile]:
    """Unlink files, and return those that are gone."""
    # 1. Together: in a bucket, each request takes as long as one for a thousand files.
    with suppress(ImplioError, OSError):
        vault.delete(*files)
        return list(files)
    # 2. One of them failed. One after the other, the others go, and the cause is named.
    gone = []
    for file in files:
        with failed.isolate(f"replaced file {file.file_id}", about=file.file_id, day=file.day):
            vault.delete(file)
            gone.append(file)
    return gone


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
    """The files of one commit."""

    team: TeamId
    planned_at: int
    held_at: int
    add_files: list[SealedFile] = field(default_factory=list)
    remove: list[VaultFile] = field(default_factory=list)
    outcomes: list[FileOutcome] = field(default_factory=list)
    claims: list[Claim] = field(default_factory=list)
    clear: list[tuple[FileId, FileWork]] = field(default_factory=list)
    counts: SwapCounts = field(default_factory=SwapCounts)

    def add(self, work: FileWork, rewrite: Rewrite | Mapping[RequestId, int], claims: Mapping[FileId, Claim]) -> None:
        """Add one file's result."""
        file = work.sealed.file
        if file.file_id in claims:
            self.claims.append(claims[file.file_id])
        if not isinstance(rewrite, Rewrite):
            self.counts.files_dropped += 1
            self.counts.items_erased += file.rows
            self.outcomes += work.outcomes(rewrite, after=None, is_read_back=False)
        elif rewrite.is_untouched:
            self.clear.append((file.file_id, work))
            return  # a filter said "maybe" and no row matched: the old file stays
        else:
            self.counts.files_rewritten += 1
            self.counts.items_erased += rewrite.erased
            after = rewrite.after.file if rewrite.after else None
            self.outcomes += work.outcomes(rewrite.matched, after=after, is_read_back=True)
            if rewrite.after:
                self.add_files.append(rewrite.after)
                self.clear.append((rewrite.after.file.file_id, work))
        self.remove.append(file)

    def discard(self, vault: Vault, counts: SwapCounts) -> None:
        """Unlink the new files that were not committed; housekeeping unlinks what remains."""
        counts.files_discarded += len(self.add_files)
        for sealed in self.add_files:
            with suppress(ImplioError):
                vault.delete(sealed.file)

    def commit(self, catalog: Catalog, counts: SwapCounts, *, at: datetime) -> None:
        """Swap the files, destroy the old keys and hand the claims in, in one transaction."""
        if not self.remove:
            return
        change = Change(
            team=self.team,
            planned_at=self.planned_at,
            held_at=self.held_at,
            committed_at=at,
            claims=tuple(self.claims),
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
