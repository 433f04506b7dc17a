"""`requests/inbox/`, watched."""

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import datetime
from pathlib import PurePath
from typing import Protocol

from implio_pipeline.domain.errors import ImplioError
from implio_pipeline.domain.request import RequestDraft


@dataclass(frozen=True, kw_only=True, slots=True)
class InboxEntry:
    """One request of a request file."""

    position: int
    """Its line or its element, from 1; 0 for the whole file."""
    draft: RequestDraft | ImplioError
    """The request, or why it is refused."""


class InboxFile(Protocol):
    """A request file that this process has claimed for itself."""

    def entries(self) -> list[InboxEntry]:
        """Return its requests in order; a file that cannot be parsed is one refused entry at position 0.

        They were received when the file was last written, by its own date, and never later than now. Its owner asks.
        """

    def finish(self, refused: Sequence[tuple[int, ImplioError]]) -> None:
        """Destroy the request file; leave a file beside it that says what was refused and why, by position.

        A file that could not be parsed at all is sealed away first, and the file beside it names its set-aside id.
        """


class Inbox(Protocol):
    """`requests/inbox/`, watched."""

    def waiting(self) -> list[PurePath]:
        """Return the files that are ready to be taken: a bounded number, since a folder may hold millions."""

    def waiting_since(self) -> datetime | None:
        """Return when the oldest waiting file came, or `None` when nothing waits."""

    def passed_over(self) -> Iterator[str]:
        """Yield the names of what lies there and is never taken: of another kind, or no plain file."""

    def refusals(self) -> int:
        """Return the number of files about refused requests that nobody has removed yet."""

    def claim(self) -> Iterator[AbstractContextManager[InboxFile]]:
        """Yield the waiting files, each claimed for this process alone; left-over ones first."""
