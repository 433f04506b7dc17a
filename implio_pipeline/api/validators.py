"""Who judges posts: this process, or one beside it.

Judging a post of 100 items keeps the interpreter busy for some 15 ms, for which every other call would wait.
"""

from datetime import datetime
from threading import Lock
from typing import Protocol

from implio_pipeline.api.batch import Judged, judged
from implio_pipeline.api.failures import JudgeGone
from implio_pipeline.formats.chunk import from_bytes
from implio_pipeline.formats.worker_process import WorkerProcess

_GONE = (EOFError, OSError)
_MODULE = "implio_pipeline.api.validator_process"


class Validator(Protocol):
    """Judges one post at a time."""

    def judged(self, body: bytes, *, arrived_at: datetime, max_items: int, batch_id: str | None = None) -> Judged:
        """Return a post judged.

        Raises:
            BodyRefused: the body is no JSON array in UTF-8.
            BodyTooLarge: it has more items than a call may have.
        """

    def close(self) -> None:
        """Release what judging needs."""


class ValidatorHere:
    """The port `Judge` in this process."""

    def judged(self, body: bytes, *, arrived_at: datetime, max_items: int, batch_id: str | None = None) -> Judged:
        """Return a post judged."""
        return judged(body, arrived_at=arrived_at, max_items=max_items, batch_id=batch_id)

    def close(self) -> None:
        """Do nothing."""


class ValidatorBeside:
    """The port `Judge` in a process of its own. It starts at once; a killed one is replaced."""

    def __init__(self) -> None:
        self._process = WorkerProcess(_MODULE)
        self._asking = Lock()

    def judged(self, body: bytes, *, arrived_at: datetime, max_items: int, batch_id: str | None = None) -> Judged:
        """Return a post judged; posts that come together take turns.

        Raises:
            JudgeGone: the process was killed, and so was another.
        """
        with self._asking:
            try:
                told, rows, answer = self._process.ask(body, arrived_at, max_items, batch_id)
            except _GONE:
                try:
                    told, rows, answer = self._another().ask(body, arrived_at, max_items, batch_id)
                except _GONE:  # not judged here: a post that kills its judge would kill the server
                    self._another()
                    raise JudgeGone("posts cannot be judged at the moment") from None
        return Judged(rows=from_bytes(rows), rejected=tuple(told), answer=bytes(answer))

    def close(self) -> None:
        """End the process."""
        with self._asking:
            self._process.end()

    def _another(self) -> WorkerProcess:
        self._process.end()
        self._process = WorkerProcess(_MODULE)
        return self._process
