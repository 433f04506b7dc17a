"""What settling verdicts does to a vault file, and what proves it."""

from collections.abc import Collection
from dataclasses import dataclass

from implio_pipeline.domain.errors import Unverified
from implio_pipeline.domain.files import SealedFile, VaultFile


@dataclass(frozen=True, kw_only=True, slots=True)
class Settlement:
    """What settling a file did, measured on the new file re-read from storage."""

    before: VaultFile
    after: SealedFile | None
    """`None` when no row of it was decided: the old file stays."""
    tasks: Collection[str]
    """The task ids whose rows were replaced."""
    is_same: bool
    """Whether everything else, re-read, is as it was, value by value."""
    is_settled: bool
    """Whether the decided rows, re-read, have what was decided."""


def prove_settlement(settlement: Settlement) -> None:
    """Let a settlement through only when the new file was re-read and proved right.

    Raises:
        Unverified: a row is missing, altered or not settled.
    """
    name = settlement.before.file_id
    if settlement.after is None:
        return
    if settlement.after.file.rows != settlement.before.rows or not settlement.is_same:
        raise Unverified(f"settling file {name} changed more than what was decided")
    if not settlement.is_settled:
        raise Unverified(f"settling file {name} did not store what was decided")
