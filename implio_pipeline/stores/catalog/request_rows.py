"""Rows of requests, and of their sealed scopes beside them."""

from collections.abc import Sequence
from dataclasses import fields, replace
from typing import Any

from sqlalchemy import Connection, Row, select

from implio_pipeline.domain.errors import CatalogTampered
from implio_pipeline.domain.request import Request, RequestState
from implio_pipeline.stores.catalog.bulk_insert import bulk_insert
from implio_pipeline.stores.catalog.row_macs import RowMacs
from implio_pipeline.stores.catalog.tables import requests, sealed_scopes

_NAMES = tuple(field.name for field in fields(Request))
_KEPT = tuple(name for name in _NAMES if name != "sealed")

_READ = (*_NAMES, "idempotency", "mac")
ALTERED = CatalogTampered.code
"""The error code of a request whose row is not as it was written."""

REQUESTS = select(*(sealed_scopes.c.sealed if name == "sealed" else requests.c[name] for name in _READ)).outerjoin_from(
    requests, sealed_scopes, sealed_scopes.c.request_id == requests.c.request_id
)
"""Requests with their sealed scopes, where those are not destroyed."""


def request_of(macs: RowMacs, row: Row[Any]) -> Request:
    """Return the request that a row of `REQUESTS` keeps; columns after its own are passed over.

    One whose row is not as it was written is `unverified`: it is carried out by nobody, and seen by everybody.
    """
    values = dict(zip(_READ, row, strict=False))
    request = Request(**{name: values[name] for name in _NAMES})
    if macs.is_whole(requests, values):
        return request
    return replace(request, state=RequestState.UNVERIFIED, error_code=ALTERED, next_attempt_at=None)


def row_of_request(macs: RowMacs, request: Request, *, idempotency: str) -> dict[str, Any]:
    """Return the columns that keep a request; its sealed scope lies in another table."""
    row = {name: getattr(request, name) for name in _KEPT} | {"idempotency": idempotency}
    return {**row, "mac": macs.mac(requests, row)}


def put_scopes(connection: Connection, asked: Sequence[Request]) -> None:
    """Insert the sealed scopes of requests that have one."""
    rows = [
        {"request_id": request.request_id, "sealed": request.sealed} for request in asked if request.sealed is not None
    ]
    bulk_insert(connection, sealed_scopes, rows)
