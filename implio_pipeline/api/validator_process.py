"""The process that judges posts beside the server."""

import os
from datetime import datetime

from implio_pipeline.api.batch import judged
from implio_pipeline.formats.chunk import to_bytes
from implio_pipeline.formats.worker_process import Answer, work

_NICE = 5
"""The server's own threads come first; upkeep is as nice, so that files are merged as fast as posts make them."""


def validate(body: bytes, arrived_at: datetime, max_items: int, batch_id: str | None) -> Answer:
    """Return the places of rejected items, the accepted ones in Arrow's stream format, and the answer."""
    found = judged(body, arrived_at=arrived_at, max_items=max_items, batch_id=batch_id)
    return found.rejected, to_bytes(found.rows), found.answer


if __name__ == "__main__":
    os.nice(_NICE)
    work(validate)
