"""The retention policy: what a change removes is shown before it is saved; lowering a period is retroactive."""

from starlette.responses import Response

from implio_pipeline.api.page.forms import policy_in
from implio_pipeline.api.page.guard import Pages
from implio_pipeline.api.page.pictures import age_picture
from implio_pipeline.api.page.visit import Visit
from implio_pipeline.domain.access import Act
from implio_pipeline.domain.errors import PolicyInvalid
from implio_pipeline.domain.retention import OUTCOMES, RetentionPolicy, policy_text
from implio_pipeline.domain.trail import Deed
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
    visit.world.catalog.teams.set_policy(visit.team.team, proposed)
    visit.note(Deed.SET_POLICY, count=going)
    return visit.back("/retention", done="policy")


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
        going=_going(visit, policy),
        by_age=age_picture(files, today=today, policy=policy),
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
        going_anyway=_going(visit, visit.team.policy),
        expected=_PLAIN_WORD,
        by_age=age_picture(files, today=today, policy=visit.team.policy, proposed=proposed),
    )


def _going(visit: Visit, policy: RetentionPolicy) -> int:
    """Return how many items the next run removes under a policy, rejected ones too."""
    found = preview_policy(visit.world, visit.team, policy, today=visit.now.date())
    return found.items + found.rejected
