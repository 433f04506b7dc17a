"""Removing data: first what will go, then a typed confirmation, then exactly that through the guarded door."""

from dataclasses import replace

from starlette.responses import Response

from implio_pipeline.api.page.forms import scope_in, words_in
from implio_pipeline.api.page.guard import Pages
from implio_pipeline.api.page.visit import Visit
from implio_pipeline.domain.access import Act
from implio_pipeline.domain.errors import PlanChanged, RequestRefused
from implio_pipeline.domain.plan import ErasurePlan
from implio_pipeline.domain.request import RequestDraft, RequestState
from implio_pipeline.domain.scope import ByTeam, ByUser, Scope
from implio_pipeline.domain.trail import Deed
from implio_pipeline.domain.words import Channel
from implio_pipeline.flows.accept import Refusal
from implio_pipeline.flows.approve import approvers
from implio_pipeline.flows.gates import allowance_of, identity_of
from implio_pipeline.flows.plan import accept_plan, plan_erasure

pages = Pages()
_PLAIN_WORD = "remove"


@pages.get("/teams/{team}/remove", demands=Act.REQUEST_DELETION)
def remove_page(visit: Visit) -> Response:
    """Ask what to remove."""
    return visit.page("remove.html", error=None, kind="user")


@pages.post("/teams/{team}/remove/preview", demands=Act.REQUEST_DELETION)
def preview_form(visit: Visit) -> Response:
    """Show what would go; nothing is accepted."""
    try:
        scope = scope_in(visit)
        return _preview(visit, scope)
    except RequestRefused as error:
        text = f"{error.facts}. {error.remedy}"
        return visit.page("remove.html", status=422, error=text, kind=visit.text("kind") or "user")


@pages.post("/teams/{team}/remove", demands=Act.REQUEST_DELETION)
def remove_form(visit: Visit) -> Response:
    """Accept what was shown, if it still is what would go."""
    scope = scope_in(visit)
    expected = _expected(visit, scope)
    if visit.text("typed") != expected:
        return _preview(visit, scope, status=422, error="What you typed is not what was asked for. Nothing was done.")
    draft = replace(_draft(visit, scope), reason=words_in(visit, "reason") or None)
    plan = plan_erasure(visit.world, draft)  # counted here, so that the trail believes no form
    try:
        answer = accept_plan(visit.world, draft, digest=visit.text("digest"))
    except PlanChanged:
        text = "What would be removed has changed since you looked, so nothing was done. This is how it is now."
        return _preview(visit, scope, status=409, error=text)
    if isinstance(answer, Refusal):
        raise RequestRefused(answer.reason, remedy=answer.remedy)
    visit.note(Deed.ASKED, subject=answer.request_id, count=plan.matched)
    is_waiting = answer.state is RequestState.UNAPPROVED
    return visit.back(f"/requests/{answer.request_id}", done="waits" if is_waiting else "asked")


def _preview(visit: Visit, scope: Scope, *, status: int = 200, error: str | None = None) -> Response:
    plan: ErasurePlan = plan_erasure(visit.world, _draft(visit, scope))
    mine = identity_of(visit.world, visit.team.team, visit.member.name)
    fields = {
        name: visit.text(name) for name in ("kind", "user_id", "task_id", "first_day", "last_day", "reason", "standing")
    }
    return visit.page(
        "preview.html",
        status=status,
        error=error,
        plan=plan,
        fields=fields,
        expected=_expected(visit, scope),
        live_items=visit.world.catalog.manifest.items(visit.team.team),
        allowance=allowance_of(visit.world, visit.team.team, mine),
        others=approvers(visit.world, visit.desk, visit.team.team, asked_by=mine),
        without_user=visit.world.catalog.manifest.anonymous_items(visit.team.team),
    )


def _draft(visit: Visit, scope: Scope) -> RequestDraft:
    return RequestDraft(
        team=visit.team.team,
        scope=scope,
        channel=Channel.PAGE,
        received_at=visit.now,
        asked_by=visit.member.name,
        is_standing=isinstance(scope, ByUser) and visit.text("standing") == "yes",
    )


def _expected(visit: Visit, scope: Scope) -> str:
    """Return what must be typed: the user id once more, the team's name, or a plain word."""
    match scope:
        case ByUser(user_id=user_id):
            return user_id
        case ByTeam():
            return visit.team.team
        case _:
            return _PLAIN_WORD
