"""Limits of a landing file, and the policy for files that are ingested."""

from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from implio_pipeline.domain.instants import FIRST_BELIEVED

MIB = 1 << 20


@dataclass(frozen=True, kw_only=True, slots=True)
class LandingLimits:
    """Limits that bound memory and time, whatever a landing file contains."""

    max_item_bytes: int = 8 * MIB
    max_unzipped_bytes: int = 64 << 30
    max_gzip_ratio: int = 200
    """Unzipped bytes per zipped byte. Checked only beyond `gzip_ratio_from_bytes`."""
    gzip_ratio_from_bytes: int = 64 * MIB
    chunk_bytes: int = MIB
    """Bytes of one step of parsing. A larger step does not fit the caches of the processor."""
    piece_bytes: int = 32 * MIB
    """Bytes of rows in one piece."""
    parallel_from_bytes: int = 16 * MIB
    """Worker processes parse files of this size or more. Starting one costs 0.7 s (decision 0008)."""
    worker_processes: int = 2
    max_reported: int = 10_000
    """Rejected items that the report on a file lists. The others are counted."""


@dataclass(frozen=True, kw_only=True, slots=True)
class LandingPolicy:
    """When landing files are ingested, and what happens to their plaintext then."""

    settle_seconds: float = 2.0
    """A file that was written to more recently may still grow."""
    first_at: datetime = FIRST_BELIEVED
    """No file arrived before this instant."""
    archive: Path | None = None
    """The folder for ingested files. `None` removes them, and only then an erasure is complete."""
