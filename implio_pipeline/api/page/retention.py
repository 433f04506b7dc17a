"""The retention policy: what a change removes is shown before it is saved; lowering a period is retroactive."""

from typing import Any

from starlette.responses import Response

from implio_pipeline.api.page.forms import policy_in
from implio_pipeline.api.page.guard import Pages
from implio_pipeline.api.page.pictures import age_picture
from implio_pipeline.api.page.visit import Visit
from implio_pipeline.domain.access import Act
from implio_pipeline.domain.errors import PolicyInvalid
from implio_pipeline.domain.policy_change import ChangeState, PolicyChange
from implio_pipeline.domain.retention import OUTCOMES, REJECTED_DAYS, RetentionPolicy, policy_text
from implio_pipeline.domain.trail import Deed
from implio_pipeline.flows.approve import approvers, is_same_person
from implio_pipeline.flows.gates import identity_of
from implio_pipeline.flows.policy import (
    affected_items,
    approve_policy,
    change_policy,
    needs_approval,
    refuse_policy,
    waiting_change,
)
from implio_pipeline.flows.retain import preview_policy

pages = Pages()
_PLAIN_WORD = "remove"


@pages.get("/teams/{team}/retention", demands=Act.SEE_RETENTION)
def retention_page(visit: Visit) -> Response:
    """Show the policy over the items by age."""
    return _page(visit, visit.team.policy)


@pages.post("/teams/{team}/retention/preview", demands=Act.SET_RETENTION)
def preview_form(visit: Visit) -> Response:
    """Show what another policy would remove; nothing is saved."""
    try:
        proposed = policy_in(visit)
    except PolicyInvalid as error:
        return _page(visit, visit.team.policy, status=422, error=f"{error.facts}. {error.remedy}")
    return _preview(visit, proposed)


@pages.post("/teams/{team}/retention", demands=Act.SET_RETENTION)
def retention_form(visit: Visit) -> Response:
    """Save the policy, if it removes no more than was shown and that was confirmed."""
    proposed = policy_in(visit)
    going = _going(visit, proposed)
    if going and visit.text("typed") != _PLAIN_WORD:
        return _preview(
            visit, proposed, status=422, error="What you typed is not what was asked for. Nothing was saved."
        )
    if str(going) != visit.text("going"):
        text = "More or fewer items would go than when you looked, so nothing was saved. This is how it is now."
        return _preview(visit, proposed, status=409, error=text)
    change = change_policy(visit.world, visit.team.team, policy=proposed, by=visit.member.name)
    if change.state is ChangeState.WAITING:
        visit.note(Deed.ASKED_POLICY, subject=change.change_id, count=change.affected_items)
        return visit.back("/retention", done="policy-waits")
    visit.note(Deed.SET_POLICY, subject=change.change_id, count=change.affected_items)
    return visit.back("/retention", done="policy")


@pages.post("/teams/{team}/retention/approve", demands=Act.APPROVE_REQUEST)
def approve_form(visit: Visit) -> Response:
    """Put a change in force that somebody else asked for."""
    change = waiting_change(visit.world, visit.team.team)
    if change is not None and visit.text("typed") != _approval_text(change):
        text = "What you typed is not what was asked for. Nothing was approved."
        return _page(visit, visit.team.policy, status=422, error=text)
    decided = approve_policy(visit.world, visit.team.team, name=visit.member.name)
    visit.note(Deed.APPROVED_POLICY, subject=decided.change_id, count=decided.affected_items)
    return visit.back("/retention", done="policy-approved")


@pages.post("/teams/{team}/retention/refuse", demands=Act.APPROVE_REQUEST)
def refuse_form(visit: Visit) -> Response:
    """Refuse a change, or take one's own back."""
    decided = refuse_policy(visit.world, visit.team.team, name=visit.member.name)
    visit.note(Deed.REFUSED_POLICY, subject=decided.change_id)
    return visit.back("/retention", done="policy-refused")


def _approval_text(change: PolicyChange) -> str:
    return f"shorten {change.affected_items}"


def _waiting(visit: Visit) -> dict[str, Any]:
    """Return the change that waits for a second person, as that person sees it."""
    change = waiting_change(visit.world, visit.team.team)
    if change is None or not visit.may(Act.APPROVE_REQUEST):
        return {"change": None}
    team = visit.team.team
    names = {identity_of(visit.world, team, each.name): each.name for each in visit.desk.members.all(team)}
    return {
        "change": change,
        "change_words": policy_text(change.policy),
        "change_going": _going(visit, change.policy),
        "change_by": names.get(change.asked_by, "Somebody at the command line"),
        "change_expected": _approval_text(change),
        "change_is_mine": is_same_person(visit.world, team, change.asked_by, name=visit.member.name),
        "others": approvers(visit.world, visit.desk, team, asked_by=change.asked_by),
    }


def _page(visit: Visit, policy: RetentionPolicy, *, status: int = 200, error: str | None = None) -> Response:
    today = visit.now.date()
    files = list(visit.world.catalog.manifest.files(visit.team.team))
    return visit.page(
        "retention.html",
        status=status,
        error=error,
        policy=policy,
        policy_words=policy_text(policy),
        outcomes=OUTCOMES,
        rejected_days=REJECTED_DAYS,
        going=_going(visit, policy),
        by_age=age_picture(files, today=today, policy=policy),
        **_waiting(visit),
    )


def _preview(visit: Visit, proposed: RetentionPolicy, *, status: int = 200, error: str | None = None) -> Response:
    today = visit.now.date()
    files = list(visit.world.catalog.manifest.files(visit.team.team))
    return visit.page(
        "retention_preview.html",
        status=status,
        error=error,
        outcomes=OUTCOMES,
        policy=visit.team.policy,
        proposed=proposed,
        before=policy_text(visit.team.policy),
        after=policy_text(proposed),
        going=_going(visit, proposed),
        needs_approval=needs_approval(visit.world, visit.team, proposed, by=visit.member.name),
        affected=affected_items(visit.world, visit.team, policy=proposed),
        others=approvers(
            visit.world,
            visit.desk,
            visit.team.team,
            asked_by=identity_of(visit.world, visit.team.team, visit.member.name),
        ),
        going_anyway=_going(visit, visit.team.policy),
        expected=_PLAIN_WORD,
        by_age=age_picture(files, today=today, policy=visit.team.policy, proposed=proposed),
    )


def _going(visit: Visit, policy: RetentionPolicy) -> int:
    """Return how many items the next run removes under a policy, rejected ones too."""
    found = preview_policy(visit.world, visit.team, policy, today=visit.now.date())
    return found.items + found.rejected
