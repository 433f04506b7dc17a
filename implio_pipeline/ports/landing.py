"""`landing/<team>/`, watched."""

from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any, Protocol

from implio_pipeline.domain.ids import TeamId
from implio_pipeline.ports.rows import Rows


@dataclass(frozen=True, kw_only=True, slots=True)
class ParsedRows:
    """A piece of a landing file: good items and bad ones."""

    items: Rows
    rejected: Rows
    report: tuple[Mapping[str, Any], ...]
    """An entry for each bad item, up to a bound for the whole file: its position and errors, no value of it."""
    with_unknown: int = 0
    """Good items with properties that nothing says anything about; they are kept as they were sent."""


@dataclass(frozen=True, kw_only=True, slots=True)
class LandingRemarks:
    """What the report of a landing file says beside what was rejected."""

    erased_before: int = 0
    """Items kept out since an accepted request covers them."""
    kept_out: int = 0
    """Items kept out since a standing deletion names their user."""
    too_old: int = 0
    """Items kept out for their age alone."""
    returned_items: int = 0
    """Items taken in of people who were erased before."""
    returned_people: int = 0


class LandingFile(Protocol):
    """A landing file that this process has claimed for itself."""

    batch_id: str
    """The batch id that its items carry."""

    @property
    def size_bytes(self) -> int:
        """Its size as it lies there."""

    @property
    def arrived_at(self) -> datetime:
        """When it was last written, by its own date: the submission instant of its items.

        A date before the earliest possible arrival, or in the future, is not believed: then the instant of the claim
        is used.
        """

    def digest(self) -> str:
        """Return a digest of its bytes under the team's pseudonym key, hexadecimal."""

    def pieces(self) -> Iterator[ParsedRows]:
        """Yield its items in pieces of bounded size; every call starts again. Reports on bad items are bounded.

        Raises:
            LandingInvalid: the file cannot be parsed at all, or was written to meanwhile; pieces yielded before
                then do not count.
        """

    def finish(self, report: Sequence[Mapping[str, Any]], remarks: LandingRemarks | None = None) -> None:
        """Leave a report if anything is to be told; then remove (or archive) the plaintext."""

    def set_aside(self, reason: str) -> None:
        """Seal the file away from the landing folder, with its reason beside it.

        Args:
            reason: A code, or a code and words (`landing-invalid: the column id is missing`); no personal data.
        """

    def release(self) -> None:
        """Put the file back as it was, to be taken again."""


class LandingClaim(AbstractContextManager[LandingFile], Protocol):
    """A landing file, claimed; to enter one that cannot be read raises why, so that each fails alone."""

    @property
    def mark(self) -> str:
        """Names the file until somebody writes to it; nothing personal."""

    @property
    def words(self) -> str:
        """What tells the file from others, such as `12 bytes, of 2026-01-31T00:00:00Z`; nothing personal."""


class LandingZone(Protocol):
    """`landing/<team>/`, watched. What is asked with `but` passes over the files with these marks."""

    def waiting(self, *, but: Collection[str] = ()) -> Mapping[TeamId, list[date]]:
        """Return the days of arrival of the files that are ready to be taken, by team."""

    def has(self, team: TeamId, marks: Collection[str]) -> Collection[str]:
        """Return which of the files, given by their marks, wait in the team's folder; all if it cannot be listed."""

    def waiting_since(self, *, but: Collection[str] = ()) -> datetime | None:
        """Return when the oldest waiting file came, or `None` when nothing waits."""

    def make_folder(self, team: TeamId) -> None:
        """Make the folder that a team's files are put into, if there is none."""

    def passed_over(self) -> Iterator[str]:
        """Yield, below the folder, what is never taken: of another kind, no plain file, in no folder of a team."""

    def misnamed(self, teams: Collection[TeamId]) -> Mapping[str, TeamId]:
        """Return folders that differ from a team's name by case, blanks or Unicode form only, with the team meant."""

    def claim(
        self, team: TeamId, *, since: datetime | None = None, but: Collection[str] = ()
    ) -> Iterator[LandingClaim]:
        """Yield the team's waiting files, each claimed for this process alone; left-over ones first.

        A file that is dated before `since`, or before the policy's first instant, arrived when it is taken up. `but` is
        asked at the moment a file is met.
        """
