"""Which files a rule may touch, decided without opening them."""

from datetime import date, datetime
from enum import Enum

from implio_pipeline.domain.days import day_of
from implio_pipeline.domain.files import VaultFile
from implio_pipeline.domain.ids import UNDECIDED
from implio_pipeline.domain.scope import Cutoffs, DatesRule, OverdueRule, Rule, TaskRule, TeamRule, UserRule


class Reach(Enum):
    """How much of a file a rule covers."""

    NOTHING = "nothing"
    PERHAPS = "perhaps"
    """Some rows may match: the file must be read."""
    EVERYTHING = "everything"
    """Every row matches: the file can go without being read."""


def reach(rule: Rule, file: VaultFile) -> Reach:
    """Return how much of `file` the rule covers, by what its catalog row says.

    Membership filters are not asked here: they live where their bytes can be read.
    """
    if file.first_submitted_at >= rule.before:
        return Reach.NOTHING
    match rule:
        case UserRule(user_key=key):
            if file.low_key is None or file.high_key is None or not file.low_key <= key <= file.high_key:
                return Reach.NOTHING
            return Reach.PERHAPS
        case TaskRule(submitted_on=day):
            return Reach.PERHAPS if day in (None, file.day) else Reach.NOTHING
        case DatesRule(start=start, end=end, before=before):
            return _reach_between(file, start, min(end, before))
        case TeamRule(before=before):
            return Reach.EVERYTHING if file.last_submitted_at < before else Reach.PERHAPS
        case OverdueRule(cutoffs=cutoffs, before=before):
            return _reach_overdue(file, cutoffs, before)


def _reach_between(file: VaultFile, start: datetime, end: datetime) -> Reach:
    if file.last_submitted_at < start or file.first_submitted_at >= end:
        return Reach.NOTHING
    if start <= file.first_submitted_at and file.last_submitted_at < end:
        return Reach.EVERYTHING
    return Reach.PERHAPS


def _reach_overdue(file: VaultFile, cutoffs: Cutoffs, before: datetime) -> Reach:
    gone = sum(count for outcome, count in file.outcomes.items() if is_overdue(file.day, outcome, cutoffs))
    if gone == 0:
        return Reach.NOTHING
    if gone == file.rows and file.last_submitted_at < before:
        return Reach.EVERYTHING
    return Reach.PERHAPS


def is_overdue(submitted_on: date, outcome: str | None, cutoffs: Cutoffs) -> bool:
    """Tell whether an item of that day and outcome must no longer exist."""
    if cutoffs.every is not None and submitted_on < cutoffs.every:
        return True
    return any(
        outcome_or_none(name) == outcome_or_none(outcome) and submitted_on < day for name, day in cutoffs.by_outcome
    )


def outcome_or_none(outcome: str | None) -> str | None:
    """Return the outcome, with the bucket `undecided` read as no outcome."""
    return None if outcome == UNDECIDED else outcome


def covers(rule: Rule, *, user_key: bytes | None, task_key: bytes, submitted_at: datetime, outcome: str | None) -> bool:
    """Tell whether a rule covers one item: the definition every faster form is tested against."""
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
