"""The audit trail: who did what, when."""

from starlette.responses import Response

from implio_pipeline.api.page.guard import Pages
from implio_pipeline.api.page.visit import Visit
from implio_pipeline.domain.access import Act

pages = Pages()
_MOST = 200


@pages.get("/teams/{team}/trail", demands=Act.SEE_TRAIL)
def trail_page(visit: Visit) -> Response:
    """Show the newest lines."""
    entries = visit.desk.trail.newest(visit.team.team, most=_MOST)
    return visit.page("trail.html", entries=entries, most=_MOST)
