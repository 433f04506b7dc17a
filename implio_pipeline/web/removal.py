"""Removing data: first what will go, then a typed confirmation, then exactly that through the guarded door."""

from dataclasses import replace

from starlette.responses import Response

from implio_pipeline.domain.access import Act
from implio_pipeline.domain.audit_log import Deed
from implio_pipeline.domain.errors import PlanChanged, RequestRefused
from implio_pipeline.domain.plan import ErasurePlan
from implio_pipeline.domain.request import RequestDraft, RequestState
from implio_pipeline.domain.scope import ByTeam, ByUser, Scope
from implio_pipeline.domain.words import Channel
from implio_pipeline.flows.accept import Refusal
from implio_pipeline.flows.approve import approvers
from implio_pipeline.flows.gates import allowance_of, identity_of
from implio_pipeline.flows.plan import accept_plan, plan_erasure
from implio_pipeline.web.context import PageContext
from implio_pipeline.web.forms import scope_in, words_in
from implio_pipeline.web.guard import Pages

pages = Pages()
_PLAIN_WORD = "remove"


@pages.get("/teams/{team}/remove", demands=Act.REQUEST_DELETION)
def remove_page(context: PageContext) -> Response:
    """Ask what to remove."""
    return context.page("remove.html", error=None, kind="user")


@pages.post("/teams/{team}/remove/preview", demands=Act.REQUEST_DELETION)
def preview_form(context: PageContext) -> Response:
    """Show what would go; nothing is accepted."""
    try:
        scope = scope_in(context)
        return _preview(context, scope)
    except RequestRefused as error:
        text = f"{error.facts}. {error.remedy}"
        return context.page("remove.html", status=422, error=text, kind=context.text("kind") or "user")


@pages.post("/teams/{team}/remove", demands=Act.REQUEST_DELETION)
def remove_form(context: PageContext) -> Response:
    """Accept what was shown, if it still is what would go."""
    scope = scope_in(context)
    expected = _expected(context, scope)
    if context.text("typed") != expected:
        return _preview(context, scope, status=422, error="What you typed is not what was asked for. Nothing was done.")
    draft = replace(_draft(context, scope), reason=words_in(context, "reason") or None)
    plan = plan_erasure(context.world, draft)  # counted here, so that the audit log believes no form
    try:
        answer = accept_plan(context.world, draft, digest=context.text("digest"))
    except PlanChanged:
        text = "What would be removed has changed since you looked, so nothing was done. This is how it is now."
        return _preview(context, scope, status=409, error=text)
    if isinstance(answer, Refusal):
        raise RequestRefused(answer.reason, remedy=answer.remedy)
    context.note(Deed.ASKED, subject=answer.request_id, count=plan.matched)
    is_waiting = answer.state is RequestState.UNAPPROVED
    return context.back(f"/requests/{answer.request_id}", done="waits" if is_waiting else "asked")


def _preview(context: PageContext, scope: Scope, *, status: int = 200, error: str | None = None) -> Response:
    plan: ErasurePlan = plan_erasure(context.world, _draft(context, scope))
    mine = identity_of(context.world, context.team.team, context.member.name)
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
        expected=_expected(context, scope),
        live_items=context.world.catalog.manifest.items(context.team.team),
        allowance=allowance_of(context.world, context.team.team, mine),
        others=approvers(context.world, context.desk, context.team.team, asked_by=mine),
        without_user=context.world.catalog.manifest.anonymous_items(context.team.team),
    )


def _draft(context: PageContext, scope: Scope) -> RequestDraft:
    return RequestDraft(
        team=context.team.team,
        scope=scope,
        channel=Channel.PAGE,
        received_at=context.now,
        asked_by=context.member.name,
        is_standing=isinstance(scope, ByUser) and context.text("standing") == "yes",
    )


def _expected(context: PageContext, scope: Scope) -> str:
    """Return what must be typed: the user id once more, the team's name, or a plain word."""
    match scope:
        case ByUser(user_id=user_id):
            return user_id
        case ByTeam():
            return context.team.team
        case _:
            return _PLAIN_WORD
