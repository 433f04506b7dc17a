"""URLs that may hold passwords: of databases and brokers. A broker may be a list of them, separated by `;` or `,`."""

import re
from urllib.parse import unquote

_PASSWORD = re.compile(r"^([^:/]+://[^:/@]*):[^@]*(?:@[^@/?#]*)*(?=@)")
"""Up to the last `@` before the path: some drivers take a password with an `@` that is not escaped."""
_NEXT_URL = re.compile(r"([;,])(?=[a-zA-Z][\w+.-]*://)")


def first_of(urls: str) -> str:
    """Return the first URL of a list."""
    return _NEXT_URL.split(urls)[0]


def without_passwords(urls: str) -> str:
    """Return one or several URLs without their passwords; a text that is no URL as it is."""
    return "".join(map(_without_password, _NEXT_URL.split(urls))) if "://" in urls else urls


def _without_password(url: str) -> str:
    address, mark, query = _PASSWORD.sub(r"\1", url).partition("?")
    kept = [part for part in query.split("&") if "password" not in unquote(part.partition("=")[0]).lower()]
    return address + (mark + "&".join(kept) if query and kept else "")
