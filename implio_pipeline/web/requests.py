"""Deletion requests: their states, what comes next, approval by a second person, and receipts."""

import json
from typing import Any

from starlette.responses import HTMLResponse, Response

from implio_pipeline.documents.receipt import receipt_page
from implio_pipeline.domain.access import Act
from implio_pipeline.domain.audit_log import AuditAction
from implio_pipeline.domain.errors import ImplioError, KeyMissing, LiftRefused, RequestUnknown
from implio_pipeline.domain.ids import RequestId
from implio_pipeline.domain.plan import approval_text
from implio_pipeline.domain.receipt import Receipt
from implio_pipeline.domain.replan import reread
from implio_pipeline.domain.request import NEEDS_PERSON_STATES, OPEN_STATES, Request, RequestState
from implio_pipeline.flows.deletion.approval import approvable, approve, approve_many, approvers, refuse_same_person
from implio_pipeline.flows.deletion.cancel import cancel
from implio_pipeline.flows.deletion.extend import extend
from implio_pipeline.flows.deletion.lift import lift
from implio_pipeline.flows.deletion.outcomes import outcome_of, outcomes_of
from implio_pipeline.flows.deletion.preview import plan_request
from implio_pipeline.flows.deletion.receipts import keys_state
from implio_pipeline.ports.ledger import LedgerEntry
from implio_pipeline.web.context import PageContext
from implio_pipeline.web.forms import words_in
from implio_pipeline.web.guard import Pages
from implio_pipeline.web.rendering import sentences
from implio_pipeline.web.security_headers import own_style_policy

pages = Pages()
_MOST_DONE = 50
_MOST_DIGITS = 18
_SEALED_NAMES = {"userId": "User id", "taskId": "Task id", "from": "From", "to": "Until"}


@pages.get("/teams/{team}/requests", demands=Act.SEE_REQUESTS)
def _requests_page(context: PageContext, *, status: int = 200, error: str | None = None) -> Response:
    """Show the requests: first those that wait for a person, then other open ones, then those that are done."""
    return context.page("requests.html", status=status, error=error, **_lists(context), **_many(context))


@pages.get("/teams/{team}/requests/progress", demands=Act.SEE_REQUESTS)  # before the route of a request id
def _requests_progress(context: PageContext) -> Response:
    """Show only the lists, for the script that refreshes an open page."""
    return context.fragment("requests_lists.html", **_lists(context))


@pages.get("/teams/{team}/requests/{request_id}", demands=Act.SEE_REQUESTS)
def _page(context: PageContext, *, status: int = 200, error: str | None = None) -> Response:
    """Show one request."""
    request = _request(context)
    return context.page(
        "request.html", status=status, error=error, **_progress(context, request), **_approval(context, request)
    )


@pages.get("/teams/{team}/requests/{request_id}/progress", demands=Act.SEE_REQUESTS)
def _request_progress(context: PageContext) -> Response:
    """Show only the progress of one request, for the script that refreshes an open page."""
    return context.fragment("request_progress.html", **_progress(context, _request(context)))


@pages.post("/teams/{team}/requests/{request_id}/approve", demands=Act.APPROVE_REQUEST)
def _approve_form(context: PageContext) -> Response:
    """Approve a large erasure that somebody else asked for."""
    request = _request(context)
    if request.state is RequestState.UNAPPROVED:
        refuse_same_person(context.services, request.team, asked_by=request.asked_by, name=context.member.name)
        items = plan_request(context.services, request).items
        if context.text("typed") != approval_text(items):
            return _page(context, status=422, error="What you typed does not match. Nothing was approved.")
    approve(context.services, request.request_id, name=context.member.name)
    context.note(AuditAction.APPROVED, subject=request.request_id, count=request.covered_items)
    return context.redirect_in_team(f"/requests/{request.request_id}", done="approved")


@pages.post("/teams/{team}/requests/approve", demands=Act.APPROVE_REQUEST)
def _approve_many_form(context: PageContext) -> Response:
    """Approve all requests that were shown and that this person may approve."""
    newest = context.text("newest")
    last = int(newest) if newest.isascii() and newest.isdigit() and len(newest) < _MOST_DIGITS else 0
    shown = [each for each in _approvable(context) if each.tombstone_sequence <= last]
    if not shown or context.text("typed") != approval_text(sum(each.covered_items for each in shown)):
        text = "What you typed does not match, or other requests wait now. Nothing was approved."
        return _requests_page(context, status=422, error=text)
    for request in approve_many(context.services, shown, name=context.member.name):
        context.note(AuditAction.APPROVED, subject=request.request_id, count=request.covered_items)
    return context.redirect_in_team("/requests", done="approved-many")


@pages.post("/teams/{team}/requests/{request_id}/cancel", demands=Act.CANCEL_REQUEST)
def _cancel_form(context: PageContext) -> Response:
    """Cancel a request before any of it is erased."""
    request = _request(context)
    cancel(context.services, request.request_id)
    context.note(AuditAction.CANCELLED, subject=request.request_id)
    return context.redirect_in_team(f"/requests/{request.request_id}", done="cancelled")


@pages.post("/teams/{team}/requests/{request_id}/lift", demands=Act.LIFT_STANDING)
def _lift_form(context: PageContext) -> Response:
    """Lift a standing deletion: the person's new items are accepted again."""
    request = _request(context)
    try:
        lifted = lift(context.services, request.request_id, name=context.member.name)
    except LiftRefused as error:
        return _page(context, status=409, error=sentences(error))
    for each in lifted:
        context.note(AuditAction.LIFTED, subject=each.request_id)
    return context.redirect_in_team(f"/requests/{request.request_id}", done="lifted")


@pages.post("/teams/{team}/requests/{request_id}/extend", demands=Act.APPROVE_REQUEST)
def _extend_form(context: PageContext) -> Response:
    """Extend a due date, once, with a reason (GDPR Art. 12(3))."""
    request, days = _request(context), context.text("days")
    try:
        number = int(days) if days.isascii() and days.isdigit() and len(days) < 4 else 0  # noqa: PLR2004
        extend(context.services, request.request_id, days=number, reason=words_in(context, "why"))
    except ImplioError as error:
        return _page(context, status=409, error=sentences(error))
    context.note(AuditAction.EXTENDED, subject=request.request_id, count=number)
    return context.redirect_in_team(f"/requests/{request.request_id}", done="extended")


@pages.get("/teams/{team}/requests/{request_id}/receipt", demands=Act.READ_RECEIPTS)
def _receipt_page(context: PageContext) -> Response:
    """Show the receipt as a page to print. Its inline style is allowed by the style's digest."""
    entry = _receipt(context)
    public_key = context.opened.ledger.public_key(entry.chain)
    lifted_at = _request(context).standing_lifted_at
    text = receipt_page(entry, public_key_pem=public_key, standing_lifted_at=lifted_at)
    context.note(AuditAction.READ_RECEIPT, subject=context.path_part("request_id"))
    return HTMLResponse(text, headers={"Content-Security-Policy": own_style_policy(text)})


@pages.get("/teams/{team}/requests/{request_id}/receipt.json", demands=Act.READ_RECEIPTS)
def _receipt_file(context: PageContext) -> Response:
    """Download the receipt as it was signed."""
    entry = _receipt(context)
    context.note(AuditAction.READ_RECEIPT, subject=context.path_part("request_id"))
    name = f"receipt-{entry.statement.request_id}.json"
    return Response(
        json.dumps(entry.shape(), indent=2, ensure_ascii=False),
        media_type="application/json",
        headers={"Content-Disposition": f'attachment; filename="{name}"'},
    )


def _request(context: PageContext) -> Request:
    """Return the request that the path names.

    Raises:
        RequestUnknown: the team has no such request; another team's is as unknown as one that never was.
    """
    request = context.services.catalog.requests.get(RequestId(context.path_part("request_id")))
    if request.team != context.team.team:
        raise RequestUnknown("the team has no such request")
    return request


def _lists(context: PageContext) -> dict[str, Any]:
    requests, team = context.services.catalog.requests, context.team.team
    open_ones = requests.all(team=team, states=OPEN_STATES)
    closed = [each for each in RequestState if each not in OPEN_STATES]
    done = requests.page(team, states=closed, limit=_MOST_DONE, before=None)
    asking = [each for each in open_ones if each.state in NEEDS_PERSON_STATES]
    going = sorted((each for each in open_ones if each.state not in NEEDS_PERSON_STATES), key=lambda each: each.due_at)
    parts = {"asking": asking, "going": going, "done": done}
    return {name: outcomes_of(context.services, each) for name, each in parts.items()}


def _approvable(context: PageContext) -> list[Request]:
    return (
        approvable(context.services, context.team.team, name=context.member.name)
        if context.may(Act.APPROVE_REQUEST)
        else []
    )


def _many(context: PageContext) -> dict[str, Any]:
    """Return what can be approved together. A single request is approved on its own page."""
    found = _approvable(context)
    return {
        "many": len(found) if len(found) > 1 else 0,
        "many_items": sum(each.covered_items for each in found),
        "many_expected": approval_text(sum(each.covered_items for each in found)),
        "newest": max((each.tombstone_sequence for each in found), default=0),
    }


def _approval(context: PageContext, request: Request) -> dict[str, Any]:
    """Return what the second person sees: what would be erased now, and what to type."""
    if request.state is not RequestState.UNAPPROVED or not context.may(Act.APPROVE_REQUEST):
        return {"plan": None}
    plan = plan_request(context.services, request)
    return {
        "plan": plan,
        "expected": approval_text(plan.items),
        "live_items": context.services.catalog.manifest.items(context.team.team),
        "may_approve": request in _approvable(context),
        "others": approvers(context.services, context.accounts, context.team.team, asked_by=request.asked_by),
    }


def _progress(context: PageContext, request: Request) -> dict[str, Any]:
    return {
        "request": request,
        "outcome": outcome_of(context.services, request),
        "has_receipt": request.has_receipt,
        "keys_state": keys_state(context.services.catalog),
        "named": _sealed_words(context, request) if context.may(Act.APPROVE_REQUEST) else {},
    }


def _receipt(context: PageContext) -> LedgerEntry[Receipt]:
    entry = context.opened.ledger.receipt(_request(context).request_id)
    if entry is None:
        raise RequestUnknown("the request has no receipt yet", remedy="Come back when the items are erased.")
    return entry


def _sealed_words(context: PageContext, request: Request) -> dict[str, str]:
    """Unseal what a request names and who asked, for the approver. Empty once the sealed part is destroyed."""
    if request.sealed is None:
        return {}
    services, team = context.services, request.team

    def read() -> bytes | None:
        # Read again if a rotation has sealed it again since.
        now = services.catalog.requests.get(request.request_id).sealed
        return None if now is None else services.keychain.unseal(team, now, context=request.request_id)

    try:
        text = reread(read, about=f"the keys of team {team}", again=lambda: services.keychain.forget(team))
    except KeyMissing:
        return {}
    if text is None:
        return {}
    parts = json.loads(text)
    scope = json.loads(parts["scope"])
    named = {label: str(scope[name]) for name, label in _SEALED_NAMES.items() if name in scope}
    asked = {"Asked by": parts.get("askedBy"), "Reason": parts.get("reason")}
    return named | {label: str(value) for label, value in asked.items() if value}
