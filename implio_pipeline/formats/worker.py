"""A process that parses chunks or spans of landing files (`python -m implio_pipeline.formats.worker`)."""

from collections.abc import Mapping
from typing import Any

from implio_pipeline.formats.chunk import Chunk, parse_chunk, table_to_bytes
from implio_pipeline.formats.spans import Span, lines_in
from implio_pipeline.formats.worker_process import Answer, answer_questions


def _parse(part: Chunk | Span, submission: Mapping[str, Any], file: int = -1) -> Answer:
    """Return the number of lines of a span, and the good and bad items of a part in Arrow's stream format.

    The positions of bad items count from the first line of the span. A span needs the descriptor of its file.
    """
    lines = 0
    if isinstance(part, Span):
        body = lines_in(file, part, max_line=submission["max_item_bytes"])
        lines = 0 if body is None else body.count(b"\n") + 1
        part = Chunk(first=1, body=body or b"")
    items, rejected = parse_chunk(part, **submission)
    return lines, table_to_bytes(items), table_to_bytes(rejected)


if __name__ == "__main__":
    answer_questions(_parse)
