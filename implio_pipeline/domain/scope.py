"""Scopes, rules, and which items they cover.

* A *scope* is what a person asks for. It contains personal values.
* A *rule* says the same with keyed pseudonyms, up to an instant. Tombstones keep rules. Reads are filtered by them, and
  an erasure uses the same rule to find, to rewrite and to verify.
* `covers` defines what a rule covers. `coverage_of` and all faster forms are tested against it.
"""

from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from enum import Enum

from implio_pipeline.domain.files import VaultFile
from implio_pipeline.domain.ids import UNDECIDED, RequestKind, TaskKey, UserKey, sensitive
from implio_pipeline.domain.instants import day_of


@dataclass(frozen=True, kw_only=True, slots=True)
class ByUser:
    """Every item of one end user."""

    user_id: str = sensitive()


@dataclass(frozen=True, kw_only=True, slots=True)
class ByTask:
    """One submission."""

    task_id: str = sensitive()


@dataclass(frozen=True, kw_only=True, slots=True)
class ByDates:
    """Every item submitted in `[start, end)`."""

    start: datetime
    end: datetime


@dataclass(frozen=True, kw_only=True, slots=True)
class ByTeam:
    """Every item submitted to the team so far."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Overdue:
    """Every item that the team's retention policy no longer allows."""

    cutoffs: "Cutoffs"


@dataclass(frozen=True, kw_only=True, slots=True)
class Cutoffs:
    """The first UTC day that may still exist: `every` for all items, `by_outcome` for outcomes with a shorter period.

    `None` for `every` means that no item is overdue because of its age alone.
    """

    every: date | None
    by_outcome: tuple[tuple[str, date], ...] = ()


Scope = ByUser | ByTask | ByDates | ByTeam | Overdue


@dataclass(frozen=True, kw_only=True, slots=True)
class UserRule:
    """Items of one pseudonym submitted before an instant."""

    user_key: UserKey
    before: datetime


@dataclass(frozen=True, kw_only=True, slots=True)
class TaskRule:
    """One task. `submitted_on` is read from the task id; `None` if the id is not one of ours."""

    task_key: TaskKey
    before: datetime
    submitted_on: date | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class DatesRule:
    """Items submitted in `[start, end)` and before an instant."""

    start: datetime
    end: datetime
    before: datetime


@dataclass(frozen=True, kw_only=True, slots=True)
class TeamRule:
    """Items submitted before an instant."""

    before: datetime


@dataclass(frozen=True, kw_only=True, slots=True)
class OverdueRule:
    """Items of a day before their cut-off."""

    cutoffs: Cutoffs
    before: datetime


Rule = UserRule | TaskRule | DatesRule | TeamRule | OverdueRule


@dataclass(frozen=True, kw_only=True, slots=True)
class Tombstone:
    """The rule of an accepted request."""

    sequence: int
    request_id: str
    team: str
    rule: Rule
    is_erased: bool = field(default=False)


FOR_EVER = datetime(9999, 1, 1, tzinfo=UTC)
"""The end of a rule without an end: it covers an item whenever it was submitted, also in the future."""


@dataclass(frozen=True, kw_only=True, slots=True)
class StandingErasure:
    """The lasting part of a standing deletion: it keeps a person's new items out."""

    request_id: str
    team: str
    user_key: UserKey
    since: datetime
    lifted_at: datetime | None = None
    lifted_by: str | None = None
    """Keyed pseudonym of the person who lifted it."""

    @property
    def rule(self) -> UserRule:
        """The rule that keeps items out, for any instant of submission."""
        return UserRule(user_key=self.user_key, before=FOR_EVER)


def kind_of(scope: Scope | Rule) -> RequestKind:
    """Return the kind of request that a scope or rule belongs to."""
    match scope:
        case ByUser() | UserRule():
            return RequestKind.USER
        case ByTask() | TaskRule():
            return RequestKind.TASK
        case ByDates() | DatesRule():
            return RequestKind.DATES
        case ByTeam() | TeamRule():
            return RequestKind.TEAM
        case Overdue() | OverdueRule():
            return RequestKind.RETENTION


class Coverage(Enum):
    """How much of a file a rule covers."""

    NOTHING = "nothing"
    PERHAPS = "perhaps"
    """Some rows may match: the file must be read."""
    EVERYTHING = "everything"
    """Every row matches: the file can be dropped without being read."""


def coverage_of(rule: Rule, file: VaultFile) -> Coverage:
    """Return how much of a file the rule covers, as far as its catalog row says.

    Membership filters are not used here; the store that can read them does that.
    """
    # Everything in the file came in after the rule's end.
    if file.first_submitted_at >= rule.before:
        return Coverage.NOTHING
    match rule:
        case UserRule(user_key=key):
            # Files are sorted by user key: outside the range there is no row of this user.
            if file.low_key is None or file.high_key is None or not file.low_key <= key <= file.high_key:
                return Coverage.NOTHING
            return Coverage.PERHAPS
        case TaskRule(submitted_on=day):
            return Coverage.PERHAPS if day in (None, file.day) else Coverage.NOTHING
        case DatesRule(start=start, end=end, before=before):
            return _coverage_between(file, start, min(end, before))
        case TeamRule(before=before):
            return Coverage.EVERYTHING if file.last_submitted_at < before else Coverage.PERHAPS
        case OverdueRule(cutoffs=cutoffs, before=before):
            return _coverage_overdue(file, cutoffs, before)


def _coverage_between(file: VaultFile, start: datetime, end: datetime) -> Coverage:
    if file.last_submitted_at < start or file.first_submitted_at >= end:
        return Coverage.NOTHING
    if start <= file.first_submitted_at and file.last_submitted_at < end:
        return Coverage.EVERYTHING
    return Coverage.PERHAPS


def _coverage_overdue(file: VaultFile, cutoffs: Cutoffs, before: datetime) -> Coverage:
    gone = sum(count for outcome, count in file.outcomes.items() if is_overdue(file.day, outcome, cutoffs))
    if gone == 0:
        return Coverage.NOTHING
    # Dropping a file whole saves reading it. It must be certain, so every row must be older than the rule's end.
    if gone == file.rows and file.last_submitted_at < before:
        return Coverage.EVERYTHING
    return Coverage.PERHAPS


def is_overdue(submitted_on: date, outcome: str | None, cutoffs: Cutoffs) -> bool:
    """Return whether an item with this day and outcome must no longer exist."""
    if cutoffs.every is not None and submitted_on < cutoffs.every:
        return True
    return any(
        outcome_or_none(name) == outcome_or_none(outcome) and submitted_on < day for name, day in cutoffs.by_outcome
    )


def outcome_or_none(outcome: str | None) -> str | None:
    """Return the outcome; `None` for `undecided`."""
    return None if outcome == UNDECIDED else outcome


def covers(rule: Rule, *, user_key: bytes | None, task_key: bytes, submitted_at: datetime, outcome: str | None) -> bool:
    """Return whether a rule covers an item. All faster forms are tested against this definition."""
    if submitted_at >= rule.before:
        return False
    match rule:
        case UserRule(user_key=key):
            return user_key == key
        case TaskRule(task_key=key, submitted_on=day):
            return task_key == key and day in (None, day_of(submitted_at))
        case DatesRule(start=start, end=end):
            return start <= submitted_at < end
        case TeamRule():
            return True
        case OverdueRule(cutoffs=cutoffs):
            return is_overdue(day_of(submitted_at), outcome, cutoffs)
