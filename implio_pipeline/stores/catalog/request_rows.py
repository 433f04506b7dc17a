"""Requests as rows. The sealed scope has a table of its own, so that it can be destroyed and its pages overwritten."""

from collections.abc import Sequence
from dataclasses import fields, replace
from operator import attrgetter
from typing import Any

from sqlalchemy import Connection, Row, select

from implio_pipeline.domain.errors import CatalogTampered
from implio_pipeline.domain.request import Request, RequestState
from implio_pipeline.stores.catalog.bulk_insert import bulk_insert
from implio_pipeline.stores.catalog.row_macs import RowMacs
from implio_pipeline.stores.catalog.tables import requests, sealed_scopes

_NAMES = tuple(field.name for field in fields(Request))
_STORED = tuple(name for name in _NAMES if name != "sealed")
_values = attrgetter(*_STORED)
_READ = (*_NAMES, "idempotency", "mac")

REQUESTS = select(*(sealed_scopes.c.sealed if name == "sealed" else requests.c[name] for name in _READ)).outerjoin_from(
    requests, sealed_scopes, sealed_scopes.c.request_id == requests.c.request_id
)
"""Requests with their sealed scopes, where those are not destroyed."""


def request_of(macs: RowMacs, row: Row[Any]) -> Request:
    """Return the request that a row of `REQUESTS` keeps. Further columns of the row are ignored.

    A request whose row was altered is `unverified`: everybody sees it, and nobody carries it out.
    """
    values = dict(zip(_READ, row, strict=False))
    request = Request(**{name: values[name] for name in _NAMES})
    if macs.is_whole(requests, values):
        return request
    return replace(request, state=RequestState.UNVERIFIED, error_code=CatalogTampered.code, next_attempt_at=None)


def row_of_request(request: Request, *, idempotency: str) -> dict[str, Any]:
    """Return the columns of a request, without its sealed scope and its MAC."""
    return dict(zip(_STORED, _values(request), strict=True)) | {"idempotency": idempotency}


def put_scopes(connection: Connection, asked: Sequence[Request]) -> None:
    """Insert the sealed scopes of those requests that have one."""
    rows = [{"request_id": each.request_id, "sealed": each.sealed} for each in asked if each.sealed is not None]
    bulk_insert(connection, sealed_scopes, rows)
