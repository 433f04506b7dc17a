"""One style and one script, served by us under names that change with their content."""

from functools import cache
from hashlib import sha256
from importlib.resources import files

from starlette.responses import PlainTextResponse, Response

from implio_pipeline.api.page.guard import Anybody, Pages
from implio_pipeline.api.page.visit import Visit

pages = Pages()
_TYPES = {"page.css": "text/css", "page.js": "text/javascript"}
_A_YEAR = "public, max-age=31536000, immutable"


@cache
def content(name: str) -> tuple[str, bytes]:
    """Return an asset's digest, cut to 16 digits, and its bytes."""
    text = (files("implio_pipeline.api.page") / "static" / name).read_bytes()
    return sha256(text).hexdigest()[:16], text


@pages.get("/static/{digest}/{name}", demands=Anybody.ANYONE)
def asset(visit: Visit) -> Response:
    """Answer with an asset; an outdated name is not found."""
    name = visit.part("name")
    if name not in _TYPES or content(name)[0] != visit.part("digest"):
        return PlainTextResponse("There is no such file.", status_code=404)
    return Response(content(name)[1], media_type=_TYPES[name], headers={"Cache-Control": _A_YEAR})
