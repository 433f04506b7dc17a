"""The result callback: where the team is told of decisions and deletions; only to hosts that it was allowed."""

from starlette.responses import Response

from implio_pipeline.api.page.guard import Pages
from implio_pipeline.api.page.visit import Visit
from implio_pipeline.domain.access import Act
from implio_pipeline.domain.callback import CallbackSecrets
from implio_pipeline.domain.errors import ImplioError
from implio_pipeline.domain.trail import Deed
from implio_pipeline.flows.callbacks import remove_callback, set_callback, show_callback

pages = Pages()


@pages.get("/teams/{team}/callbacks", demands=Act.MANAGE_CALLBACKS)
def callback_page(visit: Visit) -> Response:
    """Show where the callback goes, and a form for another address."""
    return _page(visit)


@pages.post("/teams/{team}/callbacks", demands=Act.MANAGE_CALLBACKS)
def callback_form(visit: Visit) -> Response:
    """Set the callback; its secrets are shown this once."""
    try:
        secrets = set_callback(visit.world, visit.house.courier, visit.team.team, visit.text("url"))
    except ImplioError as error:
        return _page(visit, status=422, error=f"{error.facts[:1].upper()}{error.facts[1:]}.")
    visit.note(Deed.CHANGED_CALLBACK)
    return _page(visit, secrets=secrets)


@pages.post("/teams/{team}/callbacks/remove", demands=Act.MANAGE_CALLBACKS)
def remove_form(visit: Visit) -> Response:
    """Remove the callback."""
    remove_callback(visit.world, visit.team.team)
    visit.note(Deed.CHANGED_CALLBACK)
    return visit.back("/callbacks", done="no-callback")


def _page(
    visit: Visit, *, status: int = 200, error: str | None = None, secrets: CallbackSecrets | None = None
) -> Response:
    callback = show_callback(visit.world, visit.team.team)
    return visit.page("callbacks.html", status=status, error=error, callback=callback, secrets=secrets)
