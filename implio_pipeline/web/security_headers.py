"""Security headers of every answer, of the page and of the API. A route may set its own value."""

import re
from base64 import b64encode
from hashlib import sha256

from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

_PAGE = "form-action 'self'; frame-ancestors 'none'; base-uri 'none'"
_OF_HTML = f"default-src 'none'; style-src 'self'; script-src 'self'; img-src 'self' data:; connect-src 'self'; {_PAGE}"
"""Our own style, script and pictures alone, and nothing inline."""
_OF_ALL_ELSE = "default-src 'none'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'"
_ALWAYS = {
    "Cache-Control": "no-store",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=(), payment=()",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "X-Robots-Tag": "noindex",
}
_OVER_TLS = {"Strict-Transport-Security": "max-age=31536000"}
_STYLE = re.compile(r"<style>(.*?)</style>", re.DOTALL)


class SecurityHeaders:
    """Middleware that adds the headers to every answer of an app."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a call on, and add the headers to its answer."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                is_html = headers.get("Content-Type", "").startswith("text/html")
                headers.setdefault("Content-Security-Policy", _OF_HTML if is_html else _OF_ALL_ELSE)
                for name, value in (_ALWAYS | (_OVER_TLS if scope["scheme"] == "https" else {})).items():
                    headers.setdefault(name, value)
            await send(message)

        await self._app(scope, receive, send_with_headers)


def own_style_policy(html: str) -> str:
    """Return the content security policy of a page with one inline style, which is allowed by its digest."""
    style = _STYLE.search(html)
    digest = b64encode(sha256((style[1] if style else "").encode()).digest()).decode()
    return f"default-src 'none'; style-src 'sha256-{digest}'; {_PAGE}"
