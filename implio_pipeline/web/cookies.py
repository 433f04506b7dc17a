"""The two cookies. Both belong to this host alone, and scripts cannot read them."""

from starlette.requests import Request
from starlette.responses import Response

_SESSION, _GUEST = "implio-session", "implio-guest"


def session(request: Request) -> str:
    """Return the name of the session's cookie."""
    return _name(request, _SESSION)


def guest(request: Request) -> str:
    """Return the name of the cookie that binds the sign-in form to a browser."""
    return _name(request, _GUEST)


def put(request: Request, response: Response, name: str, value: str) -> None:
    """Set a cookie that lasts until the browser is closed. Its session may end earlier.

    Under TLS the prefix `__Host-` stops neighbouring hosts and plain HTTP from setting it.
    """
    response.set_cookie(name, value, path="/", secure=_is_tls(request), httponly=True, samesite="strict")


def drop(request: Request, response: Response, name: str) -> None:
    """Delete a cookie."""
    response.delete_cookie(name, path="/", secure=_is_tls(request), httponly=True, samesite="strict")


def _name(request: Request, name: str) -> str:
    return f"__Host-{name}" if _is_tls(request) else name


def _is_tls(request: Request) -> bool:
    return request.url.scheme == "https"
