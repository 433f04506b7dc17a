"""Legal holds: items that a request hides, but that must not be erased yet (GDPR Art. 17(3))."""

from datetime import timedelta

from starlette.responses import Response

from implio_pipeline.domain.access import Act
from implio_pipeline.domain.audit_log import AuditAction
from implio_pipeline.domain.errors import HoldRefused, RequestRefused
from implio_pipeline.domain.hold import HoldId, HoldReason
from implio_pipeline.domain.instants import start_of
from implio_pipeline.domain.scope import kind_of
from implio_pipeline.flows.deletion.legal_holds import HoldDraft, place_hold, release_hold
from implio_pipeline.web.context import PageContext
from implio_pipeline.web.forms import day_in, draft_in, words_in
from implio_pipeline.web.guard import Pages
from implio_pipeline.web.rendering import sentence

pages = Pages()


@pages.get("/teams/{team}/holds", demands=Act.MANAGE_HOLDS)
def _page(context: PageContext, *, status: int = 200, error: str | None = None) -> Response:
    """Show the holds, and a form for a new one."""
    found = context.services.catalog.holds.all(context.team.team)
    shown = [
        (hold, kind_of(hold.rule), hold.until - timedelta(microseconds=1), hold.is_in_force(now=context.now))
        for hold in reversed(found)
    ]
    return context.page("holds.html", status=status, error=error, holds=shown, reasons=list(HoldReason))


@pages.post("/teams/{team}/holds", demands=Act.MANAGE_HOLDS)
def _hold_form(context: PageContext) -> Response:
    """Place a hold."""
    try:
        draft = HoldDraft(
            team=context.team.team,
            scope=draft_in(context).scope,
            until=start_of(day_in(context, "until")) + timedelta(days=1),  # the last day counts
            reason=_reason(context.text("reason")),
            words=words_in(context, "words"),
            holder=context.member.name,
        )
        hold = place_hold(context.services, draft)
    except RequestRefused as error:
        return _page(context, status=422, error=sentence(error))
    context.note(AuditAction.PLACED_HOLD, subject=hold.hold_id)
    return context.redirect_in_team("/holds", done="held")


@pages.post("/teams/{team}/holds/{hold_id}/release", demands=Act.MANAGE_HOLDS)
def _release_form(context: PageContext) -> Response:
    """Release a hold. The next run erases what it kept."""
    hold = context.services.catalog.holds.get(HoldId(context.path_part("hold_id")))
    if hold.team != context.team.team:
        raise HoldRefused("the team has no such hold")
    release_hold(context.services, hold.hold_id)
    context.note(AuditAction.RELEASED_HOLD, subject=hold.hold_id)
    return context.redirect_in_team("/holds", done="released")


def _reason(text: str) -> HoldReason:
    try:
        return HoldReason(text)
    except ValueError:
        raise HoldRefused("the reason is not one of those in the list") from None
