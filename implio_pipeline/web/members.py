"""Members of a team, and their roles."""

from starlette.responses import Response

from implio_pipeline.domain.access import MEMBER_ROLES, Act
from implio_pipeline.domain.accounts import Member, MemberId, role_of
from implio_pipeline.domain.audit_log import AuditAction
from implio_pipeline.domain.errors import ImplioError
from implio_pipeline.flows.accounts.members import Inviter, add_member, leave_team, member_of, set_role
from implio_pipeline.web.context import PageContext
from implio_pipeline.web.guard import Pages
from implio_pipeline.web.rendering import sentence

pages = Pages()


@pages.get("/teams/{team}/members", demands=Act.MANAGE_MEMBERS)
def _page(
    context: PageContext,
    *,
    status: int = 200,
    error: str | None = None,
    new: Member | None = None,
    password: str | None = None,
) -> Response:
    """Show the members with their roles, and a form to add one."""
    return context.page(
        "members.html",
        status=status,
        error=error,
        members=context.accounts.members.all(context.team.team),
        roles=MEMBER_ROLES,
        new=new,
        password=password,
    )


@pages.post("/teams/{team}/members", demands=Act.MANAGE_MEMBERS)
def _member_form(context: PageContext) -> Response:
    """Add a member. The temporary password is shown this once."""
    try:
        member, password = add_member(
            context.services,
            context.accounts,
            email=context.text("email"),
            name=context.text("name"),
            team=context.team.team,
            role=role_of(context.text("role")),
            by=Inviter(name=context.member.name),
        )
    except ImplioError as error:
        return _page(context, status=422, error=sentence(error))
    context.note(AuditAction.ADDED_MEMBER, subject=member.member_id)
    if password is None:
        return context.redirect_in_team("/members", done="added")
    return _page(context, new=member, password=password)


@pages.post("/teams/{team}/members/{member_id}/role", demands=Act.MANAGE_MEMBERS)
def _role_form(context: PageContext) -> Response:
    """Change a member's role."""
    member_id = MemberId(context.path_part("member_id"))
    try:
        role, by = role_of(context.text("role")), Inviter(name=context.member.name)
        set_role(context.services, context.accounts, member_id, team=context.team.team, role=role, by=by)
    except ImplioError as error:
        return _page(context, status=409, error=sentence(error))
    context.note(AuditAction.SET_ROLE, subject=member_id)
    return context.redirect_in_team("/members", done="role")


@pages.post("/teams/{team}/members/{member_id}/remove", demands=Act.MANAGE_MEMBERS)
def _remove_form(context: PageContext) -> Response:
    """Remove a member from the team."""
    member_id = MemberId(context.path_part("member_id"))
    try:
        member_of(context.accounts, member_id, team=context.team.team)
        leave_team(context.services, context.accounts, member_id, team=context.team.team)
    except ImplioError as error:
        return _page(context, status=409, error=sentence(error))
    context.note(AuditAction.REMOVED_MEMBER, subject=member_id)
    if member_id == context.member.member_id:
        return context.redirect("/teams")
    return context.redirect_in_team("/members", done="removed")
