"""One style and one script, served by us under names that change with their content."""

from functools import cache
from hashlib import sha256
from importlib.resources import files

from starlette.responses import PlainTextResponse, Response

from implio_pipeline.web.context import PageContext
from implio_pipeline.web.guard import Anybody, Pages

pages = Pages()
_TYPES = {"page.css": "text/css", "page.js": "text/javascript"}
_A_YEAR = "public, max-age=31536000, immutable"


@cache
def content(name: str) -> tuple[str, bytes]:
    """Return an asset's digest, cut to 16 digits, and its bytes."""
    text = (files("implio_pipeline.web") / "static" / name).read_bytes()
    return sha256(text).hexdigest()[:16], text


@pages.get("/static/{digest}/{name}", demands=Anybody.ANYONE)
def asset(context: PageContext) -> Response:
    """Answer with an asset; an outdated name is not found."""
    name = context.part("name")
    if name not in _TYPES or content(name)[0] != context.part("digest"):
        return PlainTextResponse("There is no such file.", status_code=404)
    return Response(content(name)[1], media_type=_TYPES[name], headers={"Cache-Control": _A_YEAR})
