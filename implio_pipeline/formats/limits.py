"""What a landing file may ask of us, and what becomes of it afterwards."""

from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from implio_pipeline.domain.instants import FIRST_BELIEVED

MIB = 1 << 20


@dataclass(frozen=True, kw_only=True, slots=True)
class LandingLimits:
    """Bounds that keep memory and time of a landing file in hand, whatever it holds."""

    max_item_bytes: int = 8 * MIB
    max_unzipped_bytes: int = 64 << 30
    max_gzip_ratio: int = 200
    """Unzipped bytes for each zipped one; looked at beyond `gzip_ratio_from_bytes`."""
    gzip_ratio_from_bytes: int = 64 * MIB
    chunk_bytes: int = MIB
    """What one step of parsing takes at once; larger ones leave the processor's caches."""
    piece_bytes: int = 32 * MIB
    """How many bytes of rows make a piece."""
    parallel_from_bytes: int = 16 * MIB
    """Files of this size and more are parsed by worker processes; starting them costs 0.4 s."""
    worker_processes: int = 2
    max_reported: int = 10_000
    """Entries of the report on a file's rejected items; the rest is counted."""


@dataclass(frozen=True, kw_only=True, slots=True)
class LandingPolicy:
    """How landing files are watched and what becomes of their plaintext."""

    settle_seconds: float = 2.0
    """A file written to more recently may still be growing."""
    first_at: datetime = FIRST_BELIEVED
    """No file arrived before it."""
    archive: Path | None = None
    """Where taken files go; `None` removes them, which is what erasure needs."""
