"""Where a call comes from, behind proxies: `X-Forwarded-For` and `-Proto`, believed from trusted proxies alone.

Each proxy adds the address that it saw at the right. So from the right, every address is true as long as the one that
wrote it is trusted; the first that is not trusted is the caller. What stands to the left of it may be invented.

Source: https://developer.mozilla.org/docs/Web/HTTP/Reference/Headers/X-Forwarded-For, "Selecting an IP address".
"""

import ipaddress
from collections.abc import Sequence

from starlette.types import ASGIApp, Receive, Scope, Send

_Network = ipaddress.IPv4Network | ipaddress.IPv6Network
_Address = ipaddress.IPv4Address | ipaddress.IPv6Address
_FOR, _PROTO = b"x-forwarded-for", b"x-forwarded-proto"
_SCHEMES = {"http", "https"}


class TrustedProxies:
    """Middleware that puts the caller's address and scheme in the place of a trusted proxy's.

    Args:
        app: The app behind it.
        networks: The networks of trusted proxies. With none, every header is ignored.
    """

    def __init__(self, app: ASGIApp, *, networks: Sequence[_Network]) -> None:
        self._app = app
        self._networks = tuple(networks)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a call on, with the address of its caller."""
        if self._networks and scope["type"] == "http":
            scope = self._as_called(scope)
        await self._app(scope, receive, send)

    def _as_called(self, scope: Scope) -> Scope:
        peer = _address((scope.get("client") or ("",))[0])
        if peer is None or not self._is_trusted(peer):
            return scope
        # Several lines of one header are one list (RFC 9110, 5.3).
        told = [each.strip() for each in _values(scope, _FOR) for each in each.split(",")]
        for text in reversed(told):
            if (address := _address(text)) is None:  # a trusted proxy wrote no address: believe nothing further left
                break
            peer = address
            if not self._is_trusted(address):
                break
        schemes = [each.strip().lower() for each in _values(scope, _PROTO) for each in each.split(",")]
        scheme = schemes[-1] if schemes and schemes[-1] in _SCHEMES else scope["scheme"]
        return {**scope, "client": (str(peer), 0), "scheme": scheme}

    def _is_trusted(self, address: _Address) -> bool:
        return any(address in network for network in self._networks)


def _values(scope: Scope, name: bytes) -> list[str]:
    return [value.decode("latin-1") for key, value in scope["headers"] if key == name]


def _address(text: str) -> _Address | None:
    """Return an address, or `None`. IPv4 within IPv6 is IPv4, so that one network covers both."""
    try:
        address = ipaddress.ip_address(text.strip("[]"))
    except ValueError:
        return None
    mapped = getattr(address, "ipv4_mapped", None)
    return mapped or address
