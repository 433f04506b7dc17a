"""Rows of requests, and of their sealed scopes beside them."""

from collections.abc import Sequence
from dataclasses import fields
from typing import Any

from sqlalchemy import Connection, Row, select

from implio_pipeline.domain.request import Request
from implio_pipeline.stores.catalog.many import insert_many
from implio_pipeline.stores.catalog.tables import requests, sealed_scopes

_NAMES = tuple(field.name for field in fields(Request))
_KEPT = tuple(name for name in _NAMES if name != "sealed")

REQUESTS = select(
    *(sealed_scopes.c.sealed if name == "sealed" else requests.c[name] for name in _NAMES)
).outerjoin_from(requests, sealed_scopes, sealed_scopes.c.request_id == requests.c.request_id)
"""Requests with their sealed scopes, where those are not destroyed."""


def request_of(row: Row[Any]) -> Request:
    """Return the request that a row of `REQUESTS` keeps; columns after its own are passed over."""
    return Request(**dict(zip(_NAMES, row, strict=False)))


def row_of_request(request: Request) -> dict[str, Any]:
    """Return the columns that keep a request; its sealed scope lies in another table."""
    return {name: getattr(request, name) for name in _KEPT}


def put_scopes(connection: Connection, asked: Sequence[Request]) -> None:
    """Insert the sealed scopes of requests that have one."""
    rows = [
        {"request_id": request.request_id, "sealed": request.sealed} for request in asked if request.sealed is not None
    ]
    insert_many(connection, sealed_scopes, rows)
