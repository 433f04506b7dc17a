"""Removing data in three steps: ask, show what would be erased, then accept exactly what was shown.

To confirm, the visitor types the user id, the name of the team or a word. A click alone erases nothing.
"""

from starlette.responses import Response

from implio_pipeline.domain.access import Act
from implio_pipeline.domain.audit_log import AuditAction
from implio_pipeline.domain.errors import ImplioError, PlanChanged, RequestRefused
from implio_pipeline.domain.plan import ErasurePlan
from implio_pipeline.domain.request import RequestDraft, RequestState
from implio_pipeline.domain.scope import ByTeam, ByUser
from implio_pipeline.flows.deletion.approval import allowance_of, approvers
from implio_pipeline.flows.deletion.preview import accept_plan, plan_erasure
from implio_pipeline.flows.identity import identity_of
from implio_pipeline.web.context import PageContext
from implio_pipeline.web.forms import draft_in
from implio_pipeline.web.guard import Pages
from implio_pipeline.web.rendering import sentences

pages = Pages()
_PLAIN_WORD = "remove"


@pages.get("/teams/{team}/remove", demands=Act.REQUEST_DELETION)
def _remove_page(context: PageContext, *, status: int = 200, error: str | None = None) -> Response:
    """Ask what to remove."""
    return context.page("remove.html", status=status, error=error, kind=context.text("kind") or "user")


@pages.post("/teams/{team}/remove/preview", demands=Act.REQUEST_DELETION)
def _preview_form(context: PageContext) -> Response:
    """Show what would be erased. Nothing is accepted."""
    try:
        return _preview(context, draft_in(context))
    except RequestRefused as error:
        return _remove_page(context, status=422, error=sentences(error))


@pages.post("/teams/{team}/remove", demands=Act.REQUEST_DELETION)
def _remove_form(context: PageContext) -> Response:
    """Accept the request, if what was shown is still what would be erased."""
    draft = draft_in(context)
    if context.text("typed") != _expected(draft):
        return _preview(context, draft, status=422, error="What you typed does not match. Nothing was done.")
    plan = plan_erasure(context.services, draft)  # counted again: the audit log must not trust a form's number
    try:
        answer = accept_plan(context.services, draft, digest=context.text("digest"))
    except PlanChanged:
        text = "What would be removed has changed since you looked, so nothing was done. This is the plan now."
        return _preview(context, draft, status=409, error=text)
    if isinstance(answer, ImplioError):
        raise answer
    context.note(AuditAction.ASKED, subject=answer.request_id, count=plan.matched)
    is_waiting = answer.state is RequestState.UNAPPROVED
    return context.redirect_in_team(f"/requests/{answer.request_id}", done="waits" if is_waiting else "asked")


def _preview(context: PageContext, draft: RequestDraft, *, status: int = 200, error: str | None = None) -> Response:
    plan: ErasurePlan = plan_erasure(context.services, draft)
    mine = identity_of(context.services.keychain, context.team.team, context.member.name)
    fields = {
        name: context.text(name)
        for name in ("kind", "user_id", "task_id", "first_day", "last_day", "reason", "standing")
    }
    return context.page(
        "preview.html",
        status=status,
        error=error,
        plan=plan,
        fields=fields,
        expected=_expected(draft),
        live_items=context.services.catalog.manifest.items(context.team.team),
        allowance=allowance_of(context.services, context.team.team, mine),
        others=approvers(context.services, context.accounts, context.team.team, asked_by=mine),
        without_user=context.services.catalog.manifest.anonymous_items(context.team.team),
    )


def _expected(draft: RequestDraft) -> str:
    """Return what the visitor types to confirm: the user id again, the team's name, or a plain word."""
    match draft.scope:
        case ByUser(user_id=user_id):
            return user_id
        case ByTeam():
            return draft.team
        case _:
            return _PLAIN_WORD
