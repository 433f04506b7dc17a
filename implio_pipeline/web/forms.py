"""What forms say, read into the domain's words."""

from collections.abc import Callable
from datetime import date, timedelta

from implio_pipeline.domain.altered_ids import task_id_fault, user_id_fault
from implio_pipeline.domain.days import start_of
from implio_pipeline.domain.errors import PolicyInvalid, RequestRefused
from implio_pipeline.domain.retention import OUTCOMES, RetentionPolicy
from implio_pipeline.domain.scope import ByDates, ByTask, ByTeam, ByUser, Scope
from implio_pipeline.stores.inbox.words import reason_of, remedy_of
from implio_pipeline.web.context import PageContext

MOST_ID, MOST_WORDS = 1_000, 2_000


def scope_in(context: PageContext) -> Scope:
    """Return what a form names.

    Raises:
        RequestRefused: it names nothing, or what cannot be read.
    """
    match context.text("kind"):
        case "user":
            return ByUser(user_id=_identifier(context, "user_id", "The user id", user_id_fault))
        case "task":
            return ByTask(task_id=_identifier(context, "task_id", "The task id", task_id_fault))
        case "dates":
            first, last = day_in(context, "first_day"), day_in(context, "last_day")
            if last < first:
                raise RequestRefused("The last day is before the first", remedy="Swap them.")
            return ByDates(start=start_of(first), end=start_of(last + timedelta(days=1)))
        case "team":
            return ByTeam()
        case _:
            raise RequestRefused("It is not said what to remove", remedy="Choose one of the four.")


def day_in(context: PageContext, name: str) -> date:
    """Return a day of the form.

    Raises:
        RequestRefused: it is none.
    """
    try:
        return date.fromisoformat(context.text(name))
    except ValueError:
        raise RequestRefused("A day is missing", remedy="Write days like 2026-01-31.") from None


def words_in(context: PageContext, name: str) -> str:
    """Return a free text of the form, within bounds."""
    return context.text(name)[:MOST_WORDS]


def policy_in(context: PageContext) -> RetentionPolicy:
    """Return the retention policy that a form names; an empty period is "until deleted".

    Raises:
        PolicyInvalid: it cannot be followed.
    """
    own = {outcome: _days(context.text(f"days_{outcome.replace(' ', '_')}")) for outcome in OUTCOMES}
    return RetentionPolicy(
        keep_days=_days(context.text("keep_days")),
        by_outcome={outcome: days for outcome, days in own.items() if days is not None},
    )


def _days(text: str) -> int | None:
    if not text:
        return None
    if not text.isascii() or not text.isdigit() or len(text) > len("36500"):
        raise PolicyInvalid("a period is whole days")
    return int(text)


def _identifier(context: PageContext, name: str, what: str, fault_of: Callable[[str], str | None]) -> str:
    value = _named(context, name, what)
    fault = fault_of(value)
    if fault is not None:
        raise RequestRefused(reason_of(fault).rstrip("."), remedy=remedy_of(fault))
    return value


def _named(context: PageContext, name: str, what: str) -> str:
    value = context.text(name)
    if not value or len(value) > MOST_ID:
        raise RequestRefused(f"{what} is missing or too long", remedy="Paste it as your own system writes it.")
    return value
