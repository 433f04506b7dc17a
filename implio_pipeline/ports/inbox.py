"""Where request files are dropped: `requests/inbox/`, or a bucket with a folder for each who may ask.

A file is taken when it is whole, and by one process at a time, as a landing file is (`landing.py`).
"""

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import datetime
from pathlib import PurePath
from typing import Protocol

from implio_pipeline.domain.claims import Claim
from implio_pipeline.domain.errors import ImplioError
from implio_pipeline.domain.request import RequestDraft
from implio_pipeline.ports.claims import Claiming


@dataclass(frozen=True, kw_only=True, slots=True)
class InboxEntry:
    """One request in a request file."""

    position: int
    """The number of its line or element, from 1; 0 for the whole file."""
    draft: RequestDraft | ImplioError
    """The request, or the reason why it is refused."""


class InboxFile(Protocol):
    """A request file that this process has claimed. No other process takes it."""

    @property
    def claims(self) -> tuple[Claim, ...]:
        """The claims on it. None in a folder, where a lock ends with its process."""

    def entries(self) -> list[InboxEntry]:
        """Return its requests in order. A file that cannot be parsed is one refused entry at position 0.

        A request was received when the file was last written, by its date there. Who asks is the file's owner; in a
        bucket, whoever may write below that folder.
        """

    def finish(self, refused: Sequence[tuple[int, ImplioError]]) -> None:
        """Destroy the request file. If something was refused, write a report beside it, by position.

        A file that could not be parsed is sealed and set aside first, and the report names its id.
        """


class Inbox(Protocol):
    """The request files that wait."""

    def waiting(self) -> list[PurePath]:
        """Return files that are ready to be taken. Their number is bounded, since a folder may hold millions."""

    def waiting_since(self) -> datetime | None:
        """Return when the oldest waiting file arrived, `None` when no file waits."""

    def passed_over(self) -> Iterator[str]:
        """Yield the names of files that are never taken: of another type, or not a regular file."""

    def refusals(self) -> int:
        """Return the number of reports on refused requests that nobody has removed."""

    def claim(self, worker: Claiming) -> Iterator[AbstractContextManager[InboxFile]]:
        """Yield the waiting files, each claimed. In a folder, those that a killed process claimed come first.

        Args:
            worker: For whom files of a bucket are claimed.
        """
