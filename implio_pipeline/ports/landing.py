"""Where landing files are dropped: `landing/<team>/`, in a folder or in a bucket.

Rules, in both worlds:

* A file is taken when it is whole, and by one process at a time. In a folder, a lock of the file and a rename ensure
  that; in a bucket, a claim in the catalog.
* A file lies directly in its team's folder. Hidden names, and those of incomplete files, are never taken.
* A file that is not finished comes back unchanged. A file that arrives under the same name meanwhile is never lost.
"""

from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any, Protocol

from implio_pipeline.domain.claims import Claim
from implio_pipeline.domain.ids import TeamId
from implio_pipeline.ports.claims import Claiming
from implio_pipeline.ports.rows import Rows


@dataclass(frozen=True, kw_only=True, slots=True)
class ParsedRows:
    """A piece of a landing file: valid items and rejected ones."""

    items: Rows
    rejected: Rows
    report: tuple[Mapping[str, Any], ...]
    """An entry for each rejected item, bounded for the whole file: its position and errors, never a value."""
    with_unknown: int = 0
    """Valid items with properties that we do not know. These are kept as they were sent."""


@dataclass(frozen=True, kw_only=True, slots=True)
class LandingRemarks:
    """What the report of a landing file says about items that were not rejected."""

    erased_before: int = 0
    """Items kept out because an accepted request covers them."""
    kept_out: int = 0
    """Items kept out because of a standing deletion of their user."""
    too_old: int = 0
    """Items kept out because they are older than the policy allows."""
    returned_items: int = 0
    """Items taken in of people who were erased before."""
    returned_people: int = 0


class LandingFile(Protocol):
    """A landing file that this process has claimed. No other process takes it."""

    batch_id: str
    """The batch id of its items."""

    @property
    def claims(self) -> tuple[Claim, ...]:
        """The claims on it, which its commit checks. None in a folder, where a lock ends with its process."""

    @property
    def size_bytes(self) -> int:
        """Its size where it was dropped."""

    @property
    def arrived_at(self) -> datetime:
        """When it was last written, by the file's date: the submission instant of its items.

        A date before the earliest possible arrival, or in the future, is replaced by the instant of the claim.
        """

    def digest(self) -> str:
        """Return a digest of its bytes under the team's pseudonym key, hexadecimal."""

    def pieces(self) -> Iterator[ParsedRows]:
        """Yield its items in pieces of bounded size. Every call starts at the beginning.

        Raises:
            LandingInvalid: the file cannot be parsed, or was written to while it was read. Pieces that were yielded
                before must be discarded.
        """

    def finish(self, report: Sequence[Mapping[str, Any]], remarks: LandingRemarks | None = None) -> None:
        """Write a report if there is something to report, then remove (or archive) the plaintext."""

    def set_aside(self, reason: str) -> None:
        """Seal the file, store it outside the landing folder, and write the reason beside it.

        Args:
            reason: A code, or a code and words (`landing-invalid: the column id is missing`), without personal data.
        """

    def release(self) -> None:
        """Return the file to its folder unchanged, so that it is taken again."""


class LandingClaim(AbstractContextManager[LandingFile], Protocol):
    """A claimed landing file. Entering one that cannot be read raises the reason, so that other files go on."""

    @property
    def mark(self) -> str:
        """Identifies the file until its content changes. It holds no personal data."""

    @property
    def words(self) -> str:
        """Describes the file without personal data, such as `12 bytes, of 2026-01-31T00:00:00Z`."""


@dataclass(frozen=True, kw_only=True, slots=True)
class WaitingFiles:
    """The files of one team that are ready to be taken."""

    days: tuple[date, ...]
    """UTC days on which they arrived, the earliest first."""
    files: int
    size_bytes: int
    """Their size where they were dropped, of all together."""


class LandingZone(Protocol):
    """The landing files of all teams. Methods with `but` ignore the files with these marks."""

    def waiting(self, *, but: Collection[str] = ()) -> Mapping[TeamId, WaitingFiles]:
        """Return what is ready to be taken, by team; only teams of which something waits."""

    def has(self, team: TeamId, marks: Collection[str]) -> Collection[str]:
        """Return which of the files with these marks are in the team's folder; all of them if it cannot be listed."""

    def waiting_since(self, *, but: Collection[str] = ()) -> datetime | None:
        """Return when the oldest waiting file arrived, `None` when no file waits."""

    def make_folder(self, team: TeamId) -> None:
        """Make a team's folder if it does not exist."""

    def passed_over(self) -> Iterator[str]:
        """Yield what is never taken: files of another type, not regular, or not in a team's folder."""

    def misnamed(self, teams: Collection[TeamId]) -> Mapping[str, TeamId]:
        """Return folders that differ from a team's name only by case, blanks or Unicode form, with that team."""

    def claim(
        self, team: TeamId, worker: Claiming, *, since: datetime | None = None, but: Collection[str] = ()
    ) -> Iterator[LandingClaim]:
        """Yield a team's waiting files, each claimed. In a folder, those that a killed process claimed come first.

        Args:
            team: Whose files.
            worker: For whom files of a bucket are claimed.
            since: A file that is dated earlier, or before the policy's first instant, arrives when it is claimed.
            but: Marks to leave out. They are looked up when a file is reached, so the caller may add to them.
        """
