"""Loaded by every Python that starts with this folder on its path: no socket may speak beyond loopback.

What tries to is refused and written to the file that IMPLIO_EGRESS_FOUND names, so that swallowing the error hides
nothing. Spawned workers inherit path and file, and so the guard.
"""

import ipaddress
import os
import sys

_FOUND = os.environ["IMPLIO_EGRESS_FOUND"]
_SPEAKS = {
    "socket.connect": 1,
    "socket.sendto": 1,
    "socket.sendmsg": 1,
    "socket.bind": 1,
    "socket.getaddrinfo": 0,
    "socket.gethostbyname": 0,
    "socket.gethostbyaddr": 0,
}
"""Audit events, and which of their arguments is the address or the host."""


def _is_here(target: object) -> bool:
    if target is None or (isinstance(target, str | bytes) and os.fsdecode(target).startswith(("/", "\0"))):
        return True  # a Unix socket, or no address because the socket is connected
    host = target[0] if isinstance(target, tuple) else target
    if host in ("localhost", b"localhost", ""):
        return True
    try:
        return ipaddress.ip_address(os.fsdecode(host)).is_loopback
    except (ValueError, TypeError):
        return False


def _guard(event: str, arguments: tuple) -> None:
    place = _SPEAKS.get(event)
    if place is None or _is_here(arguments[place]):
        return
    handle = os.open(_FOUND, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    os.write(handle, f"{event}\n".encode())
    os.close(handle)
    raise PermissionError(f"{event} beyond loopback")


sys.addaudithook(_guard)
