"""One step of parsing: the texts of some items and their positions in the file."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa

from implio_pipeline.formats.columns import rejected_table
from implio_pipeline.formats.validate import accept_items


@dataclass(frozen=True, kw_only=True, slots=True)
class Chunk:
    """The unparsed texts of some items. Positions count lines, or elements of the array, from 1."""

    first: int
    body: bytes | list[bytes] = field(repr=False)
    """Whole lines, or one text for each item."""
    positions: Sequence[int] | None = None
    """The position of each text, if the texts are not consecutive."""
    faults: Mapping[int, str] = field(default_factory=dict)
    """Reason codes of texts that are already rejected, by index in `body`."""


def parse_chunk(chunk: Chunk, **submission: Any) -> tuple[pa.Table, pa.Table]:
    """Return the good items of a chunk and its bad ones. `submission` are arguments of `accept_items`."""
    raws, positions = _placed(chunk)
    accepted, rejected = accept_items(raws, known_faults=chunk.faults, **submission)
    places = [chunk.first + one.position if positions is None else positions[one.position] for one in rejected]
    return accepted.rows, rejected_table(rejected, positions=places)


def table_from_bytes(stream: bytes | bytearray | memoryview) -> pa.Table:
    """Return the table that another process has sent, without a copy."""
    with pa.ipc.open_stream(pa.py_buffer(stream)) as reader:
        return reader.read_all()


def _placed(chunk: Chunk) -> tuple[list[bytes], Sequence[int] | None]:
    if isinstance(chunk.body, list):
        return chunk.body, chunk.positions
    lines = chunk.body.split(b"\n")
    if all(lines):
        return lines, None
    kept = [(chunk.first + index, line) for index, line in enumerate(lines) if line and not line.isspace()]
    return [line for _, line in kept], [position for position, _ in kept]


def table_to_bytes(table: pa.Table) -> memoryview:
    """Return a table in Arrow's stream format, with one copy."""
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    return memoryview(sink.getvalue())
