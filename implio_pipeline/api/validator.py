"""Validate posts in a child process without keys.

A post of 100 items keeps the interpreter busy for some 15 ms (measured). In the server's own process every other call
would wait that long, a deletion too.
"""

import os
from datetime import datetime
from threading import Lock

from implio_pipeline.api.failures import ValidatorGone
from implio_pipeline.api.post_body import ValidatedPost, validate_post
from implio_pipeline.formats.chunk import table_from_bytes, table_to_bytes
from implio_pipeline.formats.worker_process import Answer, WorkerProcess, answer_questions

_NICE = 5
"""The server's own threads come first. The upkeep loop has the same value, so that it merges files as fast as posts
make them."""


class ValidatorProcess:
    """One child process that validates posts, one at a time. It starts at once."""

    def __init__(self) -> None:
        self._process = WorkerProcess("implio_pipeline.api.validator")
        self._asking = Lock()

    def validate(
        self, body: bytes, *, arrived_at: datetime, max_items: int, batch_id: str | None = None
    ) -> ValidatedPost:
        """Validate a post, as `validate_post` does. Concurrent calls take turns.

        Raises:
            ValidatorGone: the process was killed, and so was the one that replaced it.
        """
        with self._asking:
            try:
                rejected, rows, answer = self._process.ask(body, arrived_at, max_items, batch_id)
            except (EOFError, OSError):
                raise ValidatorGone("posts cannot be validated at the moment") from None
        return ValidatedPost(rows=table_from_bytes(rows), rejected=tuple(rejected), answer=bytes(answer))

    def close(self) -> None:
        """End the process."""
        with self._asking:
            self._process.end()


def _validate(body: bytes, arrived_at: datetime, max_items: int, batch_id: str | None) -> Answer:
    """Validate a post in the child: return rejected positions, accepted rows as an Arrow stream, and the answer."""
    found = validate_post(body, arrived_at=arrived_at, max_items=max_items, batch_id=batch_id)
    return found.rejected, table_to_bytes(found.rows), found.answer


if __name__ == "__main__":
    os.nice(_NICE)
    answer_questions(_validate)
