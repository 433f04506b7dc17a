"""What every answer of the page tells the browser to forbid."""

from starlette.responses import Response

_OWN = "form-action 'self'; frame-ancestors 'none'; base-uri 'none'"
POLICY = f"default-src 'none'; style-src 'self'; script-src 'self'; img-src 'self' data:; connect-src 'self'; {_OWN}"
"""Nothing but our own style, script and pictures; nothing inline."""
_HEADERS = {
    "Content-Security-Policy": POLICY,
    "Cache-Control": "no-store",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=(), payment=()",
    "X-Robots-Tag": "noindex",
}


def harden(response: Response) -> Response:
    """Add what is not there yet."""
    for name, value in _HEADERS.items():
        response.headers.setdefault(name, value)
    return response


def style_policy(digest: str) -> str:
    """Return the policy of a page that brings one style of its own, named by its SHA-256 in base 64."""
    return f"default-src 'none'; style-src 'sha256-{digest}'; {_OWN}"
