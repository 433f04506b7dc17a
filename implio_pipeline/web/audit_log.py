"""The audit log: who did what, when."""

from starlette.responses import Response

from implio_pipeline.domain.access import Act
from implio_pipeline.web.context import PageContext
from implio_pipeline.web.guard import Pages

pages = Pages()
_MOST = 200


@pages.get("/teams/{team}/audit-log", demands=Act.SEE_AUDIT_LOG)
def audit_log_page(context: PageContext) -> Response:
    """Show the newest lines."""
    entries = context.accounts.audit_log.newest(context.team.team, most=_MOST)
    return context.page("audit_log.html", entries=entries, most=_MOST)
