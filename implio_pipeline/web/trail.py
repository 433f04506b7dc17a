"""The audit trail: who did what, when."""

from starlette.responses import Response

from implio_pipeline.domain.access import Act
from implio_pipeline.web.context import PageContext
from implio_pipeline.web.guard import Pages

pages = Pages()
_MOST = 200


@pages.get("/teams/{team}/trail", demands=Act.SEE_TRAIL)
def trail_page(context: PageContext) -> Response:
    """Show the newest lines."""
    entries = context.desk.trail.newest(context.team.team, most=_MOST)
    return context.page("trail.html", entries=entries, most=_MOST)
