"""Cookies: two, both for this host alone and out of reach of scripts."""

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
    """Set a cookie until the browser is closed; its session ends earlier by itself.

    Under TLS the prefix `__Host-` keeps neighbours and plain HTTP from setting it.
    """
    response.set_cookie(name, value, path="/", secure=_is_tls(request), httponly=True, samesite="strict")


def drop(request: Request, response: Response, name: str) -> None:
    """Take a cookie away."""
    response.delete_cookie(name, path="/", secure=_is_tls(request), httponly=True, samesite="strict")


def _name(request: Request, name: str) -> str:
    return f"__Host-{name}" if _is_tls(request) else name


def _is_tls(request: Request) -> bool:
    return request.url.scheme == "https"
