"""What forms say, read into the domain's words."""

from datetime import date, timedelta

from implio_pipeline.domain.errors import PolicyInvalid, RequestRefused
from implio_pipeline.domain.ids import Channel
from implio_pipeline.domain.request import RequestDraft
from implio_pipeline.domain.request_fields import MAX_REASON_CHARACTERS, request_draft
from implio_pipeline.domain.retention import OUTCOMES, RetentionPolicy
from implio_pipeline.web.context import PageContext

MOST_WORDS = MAX_REASON_CHARACTERS


def draft_in(context: PageContext) -> RequestDraft:
    """Return the request that the form for removing makes, read by the rules of every other way of asking.

    Raises:
        RequestRefused: it names nothing, or what cannot be read.
    """
    kind = context.text("kind")
    fields: dict[str, str] = {"team": context.team.team, "type": kind, "reason": context.text("reason")}
    match kind:
        case "user":
            fields |= {"userId": context.text("user_id"), "standing": str(context.text("standing") == "yes")}
        case "task":
            fields["taskId"] = context.text("task_id")
        case "dates":
            first, last = day_in(context, "first_day"), day_in(context, "last_day")
            fields |= {"from": _instant(first), "to": _instant(last + timedelta(days=1))}
        case "team":
            fields["confirm"] = context.team.team
        case _:
            raise RequestRefused("it is not said what to remove", remedy="Choose one of the four.")
    return request_draft(fields, channel=Channel.PAGE, received_at=context.now, asked_by=context.member.name)


def _instant(day: date) -> str:
    return f"{day.isoformat()}T00:00Z"


def day_in(context: PageContext, name: str) -> date:
    """Return a day of the form.

    Raises:
        RequestRefused: the field is not a day.
    """
    try:
        return date.fromisoformat(context.text(name))
    except ValueError:
        raise RequestRefused("a day is missing", remedy="Write days like 2026-01-31.") from None


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
