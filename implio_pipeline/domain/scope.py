"""What a request asks to erase, and the rule that is in force once it is accepted.

A scope is the requester's words and holds personal values. A rule says the same in keyed pseudonyms:
it is what tombstones keep, what reads are filtered by, and what finding, rewriting and verifying use.
"""

from dataclasses import dataclass, field
from datetime import UTC, date, datetime

from implio_pipeline.domain.ids import RequestKind, TaskKey, UserKey
from implio_pipeline.domain.sensitive import sensitive


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
    """Every item submitted to the team to date."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Overdue:
    """Every item that the team's retention policy no longer allows."""

    cutoffs: "Cutoffs"


@dataclass(frozen=True, kw_only=True, slots=True)
class Cutoffs:
    """The first UTC day that may still exist, for all items and, stricter, by outcome.

    `None` for `every` means that no item is overdue for its age alone.
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
    """One task; `submitted_on` is read from the task id itself, and not known for a foreign one."""

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
"""A rule that ends here covers an item whenever it was submitted, also one that comes in later."""


@dataclass(frozen=True, kw_only=True, slots=True)
class StandingErasure:
    """What keeps a person's new items out: the lasting part of a request that is standing."""

    request_id: str
    team: str
    user_key: UserKey
    since: datetime
    lifted_at: datetime | None = None
    lifted_by: str | None = None
    """Keyed pseudonym of who lifted it."""

    @property
    def rule(self) -> UserRule:
        """The rule that keeps items out, whatever instant they name."""
        return UserRule(user_key=self.user_key, before=FOR_EVER)


def kind_of(scope: Scope | Rule) -> RequestKind:
    """Return the kind of request a scope or rule belongs to."""
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
