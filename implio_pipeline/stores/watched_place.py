"""What a place promises that others put files into, whether it is a folder or a bucket. One suite runs on both.

Rules:

* Nothing in it is trusted. Its names may be names of people, so they are in no log, no error and no table.
* A file is claimed by one process at a time, and removed by the process that has claimed it. A file that arrives under
  the same name meanwhile is another file, and stays.
* What we write there is a report beside the files. It holds positions, codes and facts, never a value.
"""

from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime
from io import BufferedReader
from pathlib import Path
from typing import NoReturn, Protocol, Self

from implio_pipeline.domain.claims import Claim
from implio_pipeline.domain.instants import FIRST_BELIEVED
from implio_pipeline.ports.claims import Claiming

_UNFINISHED = (".part", ".filepart", ".tmp", ".crdownload")
"""Suffixes that programs use while they copy or download a file."""
_OF_SYSTEMS = frozenset({"thumbs.db", "desktop.ini"})
"""Files that file managers leave behind."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ReadyFile:
    """A file that may be claimed."""

    name: str
    group: str = ""
    """In a bucket: the folder it is in, which is a team or somebody who asks."""
    modified_at: datetime
    arrived_at: datetime
    """When it arrived or was last changed, by the clock of the place. `modified_at` may be set by its sender."""
    size_bytes: int
    mark: str
    """Identifies the file until its content changes. It has no personal data."""
    is_left_over: bool = False
    """Whether it was claimed by a process that died."""
    fault: OSError | None = None
    """Why the file could not be examined. Its dates and its size are then unknown."""


@dataclass(frozen=True, kw_only=True, slots=True)
class UnclaimedFile:
    """A file that cannot be opened or claimed. Entering its context raises the reason, so that it fails alone."""

    mark: str
    fault: OSError
    words: str = "that cannot be opened or claimed"

    def __enter__(self) -> NoReturn:
        raise self.fault

    def __exit__(self, *_: object) -> None:
        """Do nothing, since nothing was claimed."""


class TakenFile(Protocol):
    """A file that only this process may use. Leaving its context without `remove` or `move` releases it."""

    size_bytes: int
    modified_at: datetime
    claimed_at: datetime
    mark: str
    owner: str
    """Who put it there."""
    name: str
    """Its name where it was put. Of a file that a dead process had claimed, the name is lost."""
    claimed_name: str
    """A name without personal data."""
    suffix: str
    """The suffix of its name, which says its format."""
    claims: tuple[Claim, ...]
    """The claims on it, which a commit checks; none where a lock of the file is the claim."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.release()

    @property
    def received_at(self) -> datetime:
        """When a request in it was received, the same however often it is claimed."""
        return self.arrived_at()

    def arrived_at(self, *, first_at: datetime = FIRST_BELIEVED) -> datetime:
        """Return the file's own date, or when it was claimed if that date is before `first_at` or in the future."""
        # Archives, copies and devices without a clock give files dates such as 1970 or 1980.
        return self.modified_at if first_at <= self.modified_at < self.claimed_at else self.claimed_at

    def open(self) -> BufferedReader:
        """Return a reader from the start of the file, which has a descriptor. Closing it does not end the claim."""

    def has_changed(self) -> bool:
        """Return whether what was read may be a mixture of old and new content."""

    def report(self, name: str, content: bytes, *, others: Iterable[str] | None = None, below: str = "") -> None:
        """Write a report beside the file, durable on return.

        Args:
            name: Its name. An earlier report of that name is replaced, unless `others` is given.
            content: All of its bytes.
            others: Further names. When given, the report gets the first name that is free.
            below: The folder beside the file that it is in; by default none.
        """

    def remove(self) -> None:
        """Remove the file, with every version of it."""

    def move(self, folder: Path) -> None:
        """Move the file into a folder of this machine, under its claimed name."""

    def release(self) -> None:
        """Leave the file where it was, unchanged, for anybody to claim."""


class WatchedPlace(Protocol):
    """A place that others put files into."""

    def ready(self) -> Iterator[ReadyFile]:
        """Yield the files that can be claimed, those of dead processes first. The place is listed lazily.

        Raises:
            OSError: a folder could not be listed.
            StorageFailed: a bucket could not be listed.
        """

    def claim(self, worker: Claiming, *, but: Collection[str] = ()) -> Iterator[TakenFile | UnclaimedFile]:
        """Claim the ready files, and yield each. Files that another process claims first are left out.

        Args:
            worker: For whom files of a bucket are claimed.
            but: Marks of files that are not claimed. It is read again for each file.
        """

    def passed_over(self) -> Iterator[str]:
        """Yield the names of what is never taken."""

    def count_reports(self, suffix: str) -> int:
        """Return how many reports there are whose names end so."""

    def waiting_since(self, *, but: Collection[str] = ()) -> datetime | None:
        """Return when the oldest file that can be claimed arrived; `None` when nothing waits.

        Args:
            but: Marks of files that do not count.
        """
        return min((ready.arrived_at for ready in self.ready() if ready.mark not in but), default=None)


def is_hidden(name: str) -> bool:
    """Return whether a name is hidden, belongs to an operating system, or marks an incomplete file."""
    # `~$` begins the lock files of an office suite.
    return name.startswith((".", "~$")) or name.lower() in _OF_SYSTEMS or name.lower().endswith(_UNFINISHED)
