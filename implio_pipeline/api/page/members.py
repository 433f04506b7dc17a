"""Members of a team and their roles."""

from starlette.responses import Response

from implio_pipeline.api.page.guard import Pages
from implio_pipeline.api.page.visit import Visit
from implio_pipeline.domain.access import MEMBER_ROLES, Act
from implio_pipeline.domain.errors import ImplioError
from implio_pipeline.domain.member import Member, MemberId, role_of
from implio_pipeline.domain.trail import Deed
from implio_pipeline.flows.members import Inviter, add_member, leave_team, member_of, set_role

pages = Pages()


@pages.get("/teams/{team}/members", demands=Act.MANAGE_MEMBERS)
def members_page(visit: Visit) -> Response:
    """Show who may do what, and a form for somebody new."""
    return _page(visit)


@pages.post("/teams/{team}/members", demands=Act.MANAGE_MEMBERS)
def member_form(visit: Visit) -> Response:
    """Add somebody; a temporary password is shown this once."""
    try:
        member, password = add_member(
            visit.world,
            visit.desk,
            email=visit.text("email"),
            name=visit.text("name"),
            team=visit.team.team,
            role=role_of(visit.text("role")),
            by=Inviter(name=visit.member.name),
        )
    except ImplioError as error:
        return _page(visit, status=422, error=_sentence(error))
    visit.note(Deed.ADDED_MEMBER, subject=member.member_id)
    if password is None:
        return visit.back("/members", done="added")
    return _page(visit, new=member, password=password)


@pages.post("/teams/{team}/members/{member_id}/role", demands=Act.MANAGE_MEMBERS)
def role_form(visit: Visit) -> Response:
    """Change what somebody is."""
    member_id = MemberId(visit.part("member_id"))
    try:
        role, by = role_of(visit.text("role")), Inviter(name=visit.member.name)
        set_role(visit.world, visit.desk, member_id, team=visit.team.team, role=role, by=by)
    except ImplioError as error:
        return _page(visit, status=409, error=_sentence(error))
    visit.note(Deed.SET_ROLE, subject=member_id)
    return visit.back("/members", done="role")


@pages.post("/teams/{team}/members/{member_id}/remove", demands=Act.MANAGE_MEMBERS)
def remove_form(visit: Visit) -> Response:
    """Take somebody out of the team."""
    member_id = MemberId(visit.part("member_id"))
    try:
        member_of(visit.desk, member_id, team=visit.team.team)
        leave_team(visit.world, visit.desk, member_id, team=visit.team.team)
    except ImplioError as error:
        return _page(visit, status=409, error=_sentence(error))
    visit.note(Deed.REMOVED_MEMBER, subject=member_id)
    if member_id == visit.member.member_id:
        return visit.go("/teams")
    return visit.back("/members", done="removed")


def _page(
    visit: Visit,
    *,
    status: int = 200,
    error: str | None = None,
    new: Member | None = None,
    password: str | None = None,
) -> Response:
    return visit.page(
        "members.html",
        status=status,
        error=error,
        members=visit.desk.members.all(visit.team.team),
        roles=MEMBER_ROLES,
        new=new,
        password=password,
    )


def _sentence(error: ImplioError) -> str:
    return f"{error.facts[:1].upper()}{error.facts[1:]}."
