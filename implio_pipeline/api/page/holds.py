"""Legal holds: what must be kept for now, though requests hide it."""

from datetime import timedelta

from starlette.responses import Response

from implio_pipeline.api.page.forms import day_in, scope_in, words_in
from implio_pipeline.api.page.guard import Pages
from implio_pipeline.api.page.visit import Visit
from implio_pipeline.domain.access import Act
from implio_pipeline.domain.days import start_of
from implio_pipeline.domain.errors import HoldRefused, RequestRefused
from implio_pipeline.domain.hold import HoldId, HoldReason, is_standing
from implio_pipeline.domain.scope import kind_of
from implio_pipeline.domain.trail import Deed
from implio_pipeline.flows.hold import HoldDraft, place_hold, release_hold

pages = Pages()


@pages.get("/teams/{team}/holds", demands=Act.MANAGE_HOLDS)
def holds_page(visit: Visit) -> Response:
    """Show the holds, and a form for a new one."""
    return _page(visit)


@pages.post("/teams/{team}/holds", demands=Act.MANAGE_HOLDS)
def hold_form(visit: Visit) -> Response:
    """Place a hold."""
    try:
        draft = HoldDraft(
            team=visit.team.team,
            scope=scope_in(visit),
            until=start_of(day_in(visit, "until")) + timedelta(days=1),
            reason=_reason(visit.text("reason")),
            words=words_in(visit, "words"),
            holder=visit.member.name,
        )
        hold = place_hold(visit.world, draft)
    except RequestRefused as error:
        return _page(visit, status=422, error=f"{error.facts[:1].upper()}{error.facts[1:]}.")
    visit.note(Deed.PLACED_HOLD, subject=hold.hold_id)
    return visit.back("/holds", done="held")


@pages.post("/teams/{team}/holds/{hold_id}/release", demands=Act.MANAGE_HOLDS)
def release_form(visit: Visit) -> Response:
    """Release a hold; what it withheld is erased by the next run."""
    hold = visit.world.catalog.holds.get(HoldId(visit.part("hold_id")))
    if hold.team != visit.team.team:
        raise HoldRefused("the team has no such hold")
    release_hold(visit.world, hold.hold_id)
    visit.note(Deed.RELEASED_HOLD, subject=hold.hold_id)
    return visit.back("/holds", done="released")


def _page(visit: Visit, *, status: int = 200, error: str | None = None) -> Response:
    found = visit.world.catalog.holds.all(visit.team.team)
    shown = [
        (hold, kind_of(hold.rule), hold.until - timedelta(microseconds=1), is_standing(hold, now=visit.now))
        for hold in reversed(found)
    ]
    return visit.page("holds.html", status=status, error=error, holds=shown, reasons=list(HoldReason))


def _reason(text: str) -> HoldReason:
    try:
        return HoldReason(text)
    except ValueError:
        raise HoldRefused("there is no such reason") from None
