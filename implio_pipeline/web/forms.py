"""Fields of forms that several pages read: a scope, a day, a text."""

from datetime import date, timedelta

from implio_pipeline.domain.errors import RequestRefused
from implio_pipeline.domain.ids import Channel
from implio_pipeline.domain.request import RequestDraft
from implio_pipeline.domain.request_fields import MAX_REASON_CHARACTERS, request_draft
from implio_pipeline.web.context import PageContext


def draft_in(context: PageContext) -> RequestDraft:
    """Return the request that a form describes, by the same rules as every other way of asking.

    Raises:
        RequestRefused: the form names nothing, or a value breaks a rule.
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
            end = last + timedelta(days=1)  # people count the last day, a range of instants ends before it
            fields |= {"from": f"{first.isoformat()}T00:00Z", "to": f"{end.isoformat()}T00:00Z"}
        case "team":
            fields["confirm"] = context.team.team
        case _:
            raise RequestRefused("the form does not say what to remove", remedy="Choose one of the four.")
    return request_draft(fields, channel=Channel.PAGE, received_at=context.now, asked_by=context.member.name)


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
    """Return a free text of the form, cut at its longest length."""
    return context.text(name)[:MAX_REASON_CHARACTERS]
