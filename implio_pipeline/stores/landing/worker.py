"""A process that parses chunks of landing files."""

from collections.abc import Mapping
from typing import Any

from implio_pipeline.stores.landing.chunk import Chunk, parsed_to_bytes
from implio_pipeline.stores.worker_process import Answer, work


def parse(chunk: Chunk, submission: Mapping[str, Any]) -> Answer:
    """Return the chunk's good and bad items."""
    return (None, *parsed_to_bytes(chunk, submission))


if __name__ == "__main__":
    work(parse)
