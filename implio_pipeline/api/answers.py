"""Answers in JSON."""

from typing import Any

import msgspec
from fastapi import Response

_encode = msgspec.json.encode


def json_answer(value: Any, *, status: int = 200, headers: dict[str, str] | None = None) -> Response:
    """Return a value of JSON's types as an answer that nobody between us and the caller keeps."""
    return raw_answer(_encode(value), status=status, headers=headers)


def raw_answer(body: bytes, *, status: int = 200, headers: dict[str, str] | None = None) -> Response:
    """Return JSON that is encoded already as an answer."""
    return Response(
        body, status_code=status, media_type="application/json", headers={"Cache-Control": "no-store"} | (headers or {})
    )
