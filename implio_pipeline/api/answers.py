"""What the API answers: JSON, or `application/problem+json` with a code and a remedy.

The rules:

* A failure never repeats a value of the call. The value may be personal, and logs and proxies keep what is answered.
* Nobody between the server and the caller may keep an answer.

Source: RFC 9457.
"""

from http import HTTPStatus
from typing import Any

import msgspec
from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.routing import Match, Mount

from implio_pipeline.api.failures import CallFailed
from implio_pipeline.api.models import Problem
from implio_pipeline.domain.errors import (
    AccessDenied,
    ApiKeyRefused,
    ClockWrong,
    ImplioError,
    ItemDecided,
    ItemGone,
    ItemLocked,
    LiftRefused,
    PlanOutdated,
    PostInWork,
    QueueUnknown,
    RequestRefused,
    StorageFull,
)

PROBLEM_TYPE = "application/problem+json"
STATUSES: dict[type[ImplioError], int] = {
    ApiKeyRefused: 401,
    AccessDenied: 403,
    RequestRefused: 400,
    LiftRefused: 409,
    QueueUnknown: 404,
    ItemLocked: 409,
    ItemDecided: 409,
    ItemGone: 410,
    PlanOutdated: 503,
    PostInWork: 409,
    StorageFull: 507,
    ClockWrong: 503,
}
"""The HTTP status of each failure that does not name its own. Every other failure is a 500."""
_REMEDIES: dict[type[ImplioError], str] = {
    ApiKeyRefused: "Send a valid key of the team in one X-Api-Key header; an administrator of the team makes keys.",
    QueueUnknown: "Call GET /v1/queues for the team's queues.",
}
"""Remedies for callers of the API, where the failure's own remedy is meant for somebody else."""
_ROUTING_REMEDIES = {
    404: "Check the address; /openapi.json describes every call.",
    405: "Use a method that the Allow header names.",
}
_METHODS = ("DELETE", "GET", "HEAD", "PATCH", "POST", "PUT")
_SERVER_FAILED = "The failure is in the server's log; call again later, or ask who runs the server."


def json_answer(value: Any, *, status: int = 200, headers: dict[str, str] | None = None) -> Response:
    """Answer with a value as JSON. `msgspec.Raw` is sent as it is."""
    return Response(
        msgspec.json.encode(value),
        status_code=status,
        media_type="application/json",
        headers={"Cache-Control": "no-store"} | (headers or {}),
    )


def problem(error: ImplioError) -> Response:
    """Answer a call that ended with this failure."""
    if isinstance(error, CallFailed):
        status = error.status
    else:
        status = next((STATUSES[kind] for kind in type(error).__mro__ if kind in STATUSES), 500)
    if status == HTTPStatus.INTERNAL_SERVER_ERROR:
        return crash(code=error.code)
    headers = {}
    retry_after = getattr(error, "retry_after_seconds", 1 if status == HTTPStatus.SERVICE_UNAVAILABLE else None)
    if retry_after is not None:
        headers["Retry-After"] = str(retry_after)
    if isinstance(error, CallFailed) and error.is_closing:
        headers["Connection"] = "close"
    if status == HTTPStatus.UNAUTHORIZED:
        headers["WWW-Authenticate"] = "ApiKey"
    remedy = error.remedy if error.has_own_remedy else _REMEDIES.get(type(error), error.remedy)
    return _answer(status, code=error.code, detail=error.facts, remedy=remedy, headers=headers)


def crash(*, code: str = "failed") -> Response:
    """Answer a call that failed unexpectedly. Only the server's log says what failed."""
    return _answer(HTTPStatus.INTERNAL_SERVER_ERROR, code=code, detail="the call failed", remedy=_SERVER_FAILED)


def problem_json(status: int, *, code: str, detail: str, remedy: str) -> bytes:
    """Return the body of a problem."""
    name = f"urn:implio-pipeline:problem:{code}"
    title = HTTPStatus(status).phrase
    return msgspec.json.encode(
        Problem(type=name, title=title, status=int(status), detail=detail, code=code, remedy=remedy)
    )


def remedy_of(kind: type[ImplioError]) -> str:
    """Return what a caller of the API can do about a kind of failure."""
    return _REMEDIES.get(kind, kind.remedy)


def add_problem_handlers(app: FastAPI) -> None:
    """Make the app answer every failure as a problem."""
    app.add_exception_handler(ImplioError, _answer_failure)
    app.add_exception_handler(HTTPException, _answer_routing)
    app.add_exception_handler(RequestValidationError, _answer_parameters)


def _answer(status: int, *, code: str, detail: str, remedy: str, headers: dict[str, str] | None = None) -> Response:
    body = problem_json(status, code=code, detail=detail, remedy=remedy)
    return Response(body, status_code=int(status), media_type=PROBLEM_TYPE, headers=headers)


async def _answer_failure(request: Request, error: Exception) -> Response:
    del request
    assert isinstance(error, ImplioError)  # noqa: S101 -- it is registered for this type alone
    return problem(error)


async def _answer_routing(request: Request, error: Exception) -> Response:
    """Answer what the router refuses. The router's own message may repeat the address, so it is not used."""
    assert isinstance(error, HTTPException)  # noqa: S101
    status = HTTPStatus(error.status_code)
    headers = dict(error.headers or {})
    if status == HTTPStatus.METHOD_NOT_ALLOWED:
        # The router's own header names the methods of one route. Other routes may share the address.
        scopes = ((method, {**request.scope, "method": method}) for method in _METHODS)
        routes = [route for route in request.app.router.routes if not isinstance(route, Mount)]
        found = [method for method, scope in scopes if any(each.matches(scope)[0] is Match.FULL for each in routes)]
        headers["Allow"] = ", ".join(found or ("GET", "HEAD"))  # what is mounted are files
    return _answer(
        status,
        code=status.phrase.lower().replace(" ", "-"),
        detail=status.description.lower() or status.phrase.lower(),
        remedy=_ROUTING_REMEDIES.get(status, "Correct the call and send it again."),
        headers=headers,
    )


async def _answer_parameters(request: Request, error: Exception) -> Response:
    """Answer parameters that the framework refuses. Only the names of parameters that we declared are repeated."""
    del request
    assert isinstance(error, RequestValidationError)  # noqa: S101
    names = sorted({".".join(str(part) for part in fault["loc"][:2]) for fault in error.errors()})
    return _answer(
        400,
        code="parameters-refused",
        detail=f"cannot be used: {', '.join(names)}",
        remedy="Correct the call and send it again; /openapi.json describes every call.",
    )
