"""The retention policy of a team.

A shorter period also applies to items that are stored already, so the page shows what a change removes before it is
saved, and saves it only if the same number of items would still be removed.
"""

from typing import Any

from starlette.responses import Response

from implio_pipeline.domain.access import Act
from implio_pipeline.domain.audit_log import AuditAction
from implio_pipeline.domain.charts import Chart, age_chart
from implio_pipeline.domain.errors import PolicyInvalid
from implio_pipeline.domain.retention import (
    OUTCOMES,
    REJECTED_DAYS,
    ChangeState,
    PolicyChange,
    RetentionPolicy,
)
from implio_pipeline.flows.deletion.approval import approvers, is_same_person
from implio_pipeline.flows.deletion.policy_changes import (
    affected_items,
    approve_policy,
    change_policy,
    needs_approval,
    refuse_policy,
    waiting_change,
)
from implio_pipeline.flows.deletion.retention import preview_policy
from implio_pipeline.flows.identity import identity_of
from implio_pipeline.web.context import PageContext
from implio_pipeline.web.guard import Pages
from implio_pipeline.web.rendering import sentences

pages = Pages()
_PLAIN_WORD = "remove"


@pages.get("/teams/{team}/retention", demands=Act.SEE_RETENTION)
def _page(context: PageContext, *, status: int = 200, error: str | None = None) -> Response:
    """Show the policy, the items by age, and a policy change that waits for approval."""
    policy = context.team.policy
    return context.page(
        "retention.html",
        status=status,
        error=error,
        policy=policy,
        policy_words=policy.text,
        outcomes=OUTCOMES,
        rejected_days=REJECTED_DAYS,
        going=_going(context, policy),
        by_age=_chart(context, policy),
        **_waiting(context),
    )


@pages.post("/teams/{team}/retention/preview", demands=Act.SET_RETENTION)
def _preview_form(context: PageContext) -> Response:
    """Show what another policy would remove. Nothing is saved."""
    try:
        proposed = _policy_in(context)
    except PolicyInvalid as error:
        return _page(context, status=422, error=sentences(error))
    return _preview(context, proposed)


@pages.post("/teams/{team}/retention", demands=Act.SET_RETENTION)
def _retention_form(context: PageContext) -> Response:
    """Save the policy, if it removes as many items as were shown and confirmed."""
    proposed = _policy_in(context)
    going = _going(context, proposed)
    if going and context.text("typed") != _PLAIN_WORD:
        return _preview(context, proposed, status=422, error="What you typed does not match. Nothing was saved.")
    if str(going) != context.text("going"):
        text = "The number of items has changed since you looked, so nothing was saved. This is the plan now."
        return _preview(context, proposed, status=409, error=text)
    change = change_policy(context.services, context.team.team, policy=proposed, by=context.member.name)
    if change.state is ChangeState.WAITING:
        context.note(AuditAction.ASKED_POLICY, subject=change.change_id, count=change.affected_items)
        return context.redirect_in_team("/retention", done="policy-waits")
    context.note(AuditAction.SET_POLICY, subject=change.change_id, count=change.affected_items)
    return context.redirect_in_team("/retention", done="policy")


@pages.post("/teams/{team}/retention/approve", demands=Act.APPROVE_REQUEST)
def _approve_form(context: PageContext) -> Response:
    """Approve a change that somebody else asked for."""
    change = waiting_change(context.services, context.team.team)
    if change is not None and context.text("typed") != _approval_text(change):
        text = "What you typed does not match. Nothing was approved."
        return _page(context, status=422, error=text)
    decided = approve_policy(context.services, context.team.team, name=context.member.name)
    context.note(AuditAction.APPROVED_POLICY, subject=decided.change_id, count=decided.affected_items)
    return context.redirect_in_team("/retention", done="policy-approved")


@pages.post("/teams/{team}/retention/refuse", demands=Act.APPROVE_REQUEST)
def _refuse_form(context: PageContext) -> Response:
    """Refuse a change, or take back one's own."""
    decided = refuse_policy(context.services, context.team.team, name=context.member.name)
    context.note(AuditAction.REFUSED_POLICY, subject=decided.change_id)
    return context.redirect_in_team("/retention", done="policy-refused")


def _policy_in(context: PageContext) -> RetentionPolicy:
    """Return the retention policy that a form describes. An empty period means "until deleted".

    Raises:
        PolicyInvalid: a period is not a number of whole days, or the policy contradicts itself.
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
        raise PolicyInvalid("a period is a number of whole days")
    return int(text)


def _approval_text(change: PolicyChange) -> str:
    return f"shorten {change.affected_items}"


def _waiting(context: PageContext) -> dict[str, Any]:
    """Return the change that waits for a second person, as that person sees it."""
    change = waiting_change(context.services, context.team.team)
    if change is None or not context.may(Act.APPROVE_REQUEST):
        return {"change": None}
    team = context.team.team
    names = {
        identity_of(context.services.keychain, team, each.name): each.name
        for each in context.accounts.members.all(team)
    }
    return {
        "change": change,
        "change_words": change.policy.text,
        "change_going": _going(context, change.policy),
        "change_by": names.get(change.asked_by, "Somebody at the command line"),
        "change_expected": _approval_text(change),
        "change_is_mine": is_same_person(context.services, team, change.asked_by, name=context.member.name),
        "others": approvers(context.services, context.accounts, team, asked_by=change.asked_by),
    }


def _preview(
    context: PageContext, proposed: RetentionPolicy, *, status: int = 200, error: str | None = None
) -> Response:
    affected = affected_items(context.services, context.team, policy=proposed)
    return context.page(
        "retention_preview.html",
        status=status,
        error=error,
        outcomes=OUTCOMES,
        policy=context.team.policy,
        proposed=proposed,
        before=context.team.policy.text,
        after=proposed.text,
        going=_going(context, proposed),
        needs_approval=needs_approval(context.services, context.team, by=context.member.name, items=affected),
        affected=affected,
        others=approvers(
            context.services,
            context.accounts,
            context.team.team,
            asked_by=identity_of(context.services.keychain, context.team.team, context.member.name),
        ),
        going_anyway=_going(context, context.team.policy),
        expected=_PLAIN_WORD,
        by_age=_chart(context, context.team.policy, proposed),
    )


def _going(context: PageContext, policy: RetentionPolicy) -> int:
    """Return how many items the next run removes under a policy, rejected items included."""
    found = preview_policy(context.services, context.team, policy, today=context.now.date())
    return found.items + found.rejected


def _chart(context: PageContext, policy: RetentionPolicy, proposed: RetentionPolicy | None = None) -> Chart:
    files = context.services.catalog.manifest.files(context.team.team, is_filtered=False)
    return age_chart(files, today=context.now.date(), policy=policy, proposed=proposed)
