"""Result callbacks: where the team's servers are told of decisions and deletions."""

from starlette.responses import Response

from implio_pipeline.api.page.guard import Pages
from implio_pipeline.api.page.visit import Visit
from implio_pipeline.domain.access import Act
from implio_pipeline.domain.callback import CallbackSecrets
from implio_pipeline.domain.errors import ImplioError
from implio_pipeline.domain.trail import Deed
from implio_pipeline.flows.callbacks import allow_hosts, remove_callback, set_callback, show_callback

pages = Pages()


@pages.get("/teams/{team}/callbacks", demands=Act.MANAGE_CALLBACKS)
def callbacks_page(visit: Visit) -> Response:
    """Show where the team is told, and how its deliveries stand."""
    return _page(visit)


@pages.post("/teams/{team}/callbacks/hosts", demands=Act.MANAGE_CALLBACKS)
def hosts_form(visit: Visit) -> Response:
    """Let the callback go to these hosts and no others."""
    try:
        allow_hosts(visit.world, visit.team.team, visit.text("hosts").split())
    except ImplioError as error:
        return _page(visit, status=422, error=_sentence(error))
    visit.note(Deed.CHANGED_CALLBACK)
    return visit.back("/callbacks", done="hosts")


@pages.post("/teams/{team}/callbacks", demands=Act.MANAGE_CALLBACKS)
def callback_form(visit: Visit) -> Response:
    """Tell the team at this address; its secrets are shown this once."""
    try:
        made = set_callback(visit.world, visit.house.courier, visit.team.team, visit.text("url"))
    except ImplioError as error:
        return _page(visit, status=422, error=_sentence(error))
    visit.note(Deed.CHANGED_CALLBACK)
    return _page(visit, made=made)


@pages.post("/teams/{team}/callbacks/remove", demands=Act.MANAGE_CALLBACKS)
def remove_form(visit: Visit) -> Response:
    """Tell the team nothing any more."""
    remove_callback(visit.world, visit.team.team)
    visit.note(Deed.CHANGED_CALLBACK)
    return visit.back("/callbacks", done="untold")


def _page(
    visit: Visit, *, status: int = 200, error: str | None = None, made: CallbackSecrets | None = None
) -> Response:
    view = show_callback(visit.world, visit.team.team)
    return visit.page("callbacks.html", status=status, error=error, view=view, made=made)


def _sentence(error: ImplioError) -> str:
    return f"{error.facts[:1].upper()}{error.facts[1:]}."
