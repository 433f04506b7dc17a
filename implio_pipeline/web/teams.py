"""The list of teams, a team's storage at a glance, and its audit log."""

from datetime import timedelta

from starlette.responses import Response

from implio_pipeline.domain.access import Act, may
from implio_pipeline.domain.charts import age_chart, day_chart
from implio_pipeline.domain.ids import FileKind
from implio_pipeline.domain.request import OPEN_STATES
from implio_pipeline.domain.sentences import erased_people_text
from implio_pipeline.flows.files.ingest import failed_landings
from implio_pipeline.web.context import PageContext
from implio_pipeline.web.guard import Anybody, Pages

pages = Pages()
_LATELY = timedelta(days=30)
_MOST_ENTRIES = 200


@pages.get("/teams", demands=Anybody.MEMBER)
def _teams_page(context: PageContext) -> Response:
    """Show the member's teams. A single team opens at once."""
    roles = {team: role for team, role in context.member.roles.items() if may(role, Act.SEE_STORAGE)}
    if len(roles) == 1 and len(context.member.roles) == 1:
        return context.redirect(f"/teams/{next(iter(roles))}")
    known = [
        (team, context.member.roles[team.team])
        for team in context.services.catalog.teams.all()
        if team.team in context.member.roles
    ]
    return context.page("teams.html", known=known, openable=roles)


@pages.get("/teams/{team}", demands=Act.SEE_STORAGE)
def _overview_page(context: PageContext) -> Response:
    """Show what the team stores, by day and by age."""
    catalog, team, today = context.services.catalog, context.team, context.now.date()
    files = list(catalog.manifest.files(team.team, is_filtered=False))
    own = [file for file in files if file.kind is FileKind.ITEMS]
    figures = {
        "items": sum(file.rows for file in own),
        "rejected": sum(file.rows for file in files) - sum(file.rows for file in own),
        "without_user": catalog.manifest.anonymous_items(team.team),
        "queued": sum(number for (name, _), number in catalog.moderation.counts().items() if name == team.team),
        "days": len({file.day for file in files}),
        "files": len(files),
        "size_bytes": sum(file.size_bytes for file in files),
    }
    requests = catalog.requests.all(team=team.team, states=OPEN_STATES) if context.may(Act.SEE_REQUESTS) else []
    return context.page(
        "overview.html",
        figures=figures,
        by_day=day_chart(files, today=today),
        by_age=age_chart(files, today=today, policy=team.policy),
        policy=team.policy.text,
        erased_people=erased_people_text(
            catalog.landings.erased_people(team.team, since=today - _LATELY), days=_LATELY.days
        ),
        failed_files=[
            (each.text, each.is_quarantined) for each in failed_landings(context.services, teams=[team.team])
        ],
        open_requests=requests,
        late=sum(each.is_overdue(now=context.now) for each in requests),
        soon=sum(each.is_soon_due(now=context.now) for each in requests),
        processor=context.opened.settings.regions[team.region].processor,
    )


@pages.get("/teams/{team}/audit-log", demands=Act.SEE_AUDIT_LOG)
def _audit_log_page(context: PageContext) -> Response:
    """Show the newest lines of who did what."""
    entries = context.accounts.audit_log.newest(context.team.team, most=_MOST_ENTRIES)
    return context.page("audit_log.html", entries=entries, most=_MOST_ENTRIES)
