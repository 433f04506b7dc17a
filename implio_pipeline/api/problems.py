"""Answers every failure as `application/problem+json`, with a code and a remedy. No value of the call is repeated.

Source: RFC 9457.
"""

from http import HTTPStatus

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

MEDIA_TYPE = "application/problem+json"
_encode = msgspec.json.encode
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
"""The HTTP status of each failure that is not the call's own."""
_REMEDIES: dict[type[ImplioError], str] = {
    ApiKeyRefused: "Send a valid key of the team in one X-Api-Key header; an administrator of the team makes keys.",
    QueueUnknown: "Call GET /v1/queues for the team's queues.",
}
"""Where this edge knows more than the failure's own remedy says."""
_OF_STATUSES = {
    404: "Check the address; /openapi.json describes every call.",
    405: "Use a method that the Allow header names.",
}
_METHODS = ("DELETE", "GET", "HEAD", "PATCH", "POST", "PUT")
_FAILED = "The failure is in the server's log; call again later, or ask who runs the server."


def add_problem_handlers(app: FastAPI) -> None:
    """Make the app answer every failure as a problem."""
    app.add_exception_handler(ImplioError, _known)
    app.add_exception_handler(HTTPException, _of_routing)
    app.add_exception_handler(RequestValidationError, _of_validation)


def problem(error: ImplioError) -> Response:
    """Return the answer to a call that ended with this failure."""
    status = _status_of(error)
    headers = {}
    retry_after = getattr(error, "retry_after_seconds", 1 if status == HTTPStatus.SERVICE_UNAVAILABLE else None)
    if retry_after is not None:
        headers["Retry-After"] = str(retry_after)
    if isinstance(error, CallFailed) and error.is_closing:
        headers["Connection"] = "close"
    if status == HTTPStatus.UNAUTHORIZED:
        headers["WWW-Authenticate"] = "ApiKey"
    if status == HTTPStatus.INTERNAL_SERVER_ERROR:
        return answer(status, code=error.code, detail="the call failed", remedy=_FAILED)
    return answer(status, code=error.code, detail=error.facts, remedy=_remedy_of(error), headers=headers)


def crash() -> Response:
    """Return the answer to a call that ended with an unforeseen failure."""
    return answer(HTTPStatus.INTERNAL_SERVER_ERROR, code="failed", detail="the call failed", remedy=_FAILED)


def answer(status: int, *, code: str, detail: str, remedy: str, headers: dict[str, str] | None = None) -> Response:
    """Return a problem."""
    body = problem_json(status, code=code, detail=detail, remedy=remedy)
    return Response(body, status_code=int(status), media_type=MEDIA_TYPE, headers=headers)


def problem_json(status: int, *, code: str, detail: str, remedy: str) -> bytes:
    """Return the body of a problem."""
    name = f"urn:implio-pipeline:problem:{code}"
    title = HTTPStatus(status).phrase
    return _encode(Problem(type=name, title=title, status=int(status), detail=detail, code=code, remedy=remedy))


def remedy_of(kind: type[ImplioError]) -> str:
    """Return what a caller can do about a kind of failure."""
    return _REMEDIES.get(kind, kind.remedy)


def _remedy_of(error: ImplioError) -> str:
    return error.remedy if "remedy" in vars(error) else remedy_of(type(error))


def _status_of(error: ImplioError) -> int:
    if isinstance(error, CallFailed):
        return error.status
    return next((STATUSES[kind] for kind in type(error).__mro__ if kind in STATUSES), 500)


async def _known(request: Request, error: Exception) -> Response:
    del request
    assert isinstance(error, ImplioError)  # noqa: S101 -- it is registered for nothing else
    return problem(error)


async def _of_routing(request: Request, error: Exception) -> Response:
    """Answer what the router refuses. Its own message may repeat the address, so it is not used."""
    assert isinstance(error, HTTPException)  # noqa: S101
    status = HTTPStatus(error.status_code)
    headers = dict(error.headers or {})
    if status == HTTPStatus.METHOD_NOT_ALLOWED:
        headers["Allow"] = ", ".join(_methods_of(request))  # the router's own names those of one route alone
    return answer(
        status,
        code=status.phrase.lower().replace(" ", "-"),
        detail=status.description.lower() or status.phrase.lower(),
        remedy=_OF_STATUSES.get(status, "Correct the call and send it again."),
        headers=headers,
    )


def _methods_of(request: Request) -> list[str]:
    """Return the methods that the address takes; what is mounted are files."""
    scopes = ((method, {**request.scope, "method": method}) for method in _METHODS)
    routes = [route for route in request.app.router.routes if not isinstance(route, Mount)]
    return [method for method, scope in scopes if any(route.matches(scope)[0] is Match.FULL for route in routes)] or [
        "GET",
        "HEAD",
    ]


async def _of_validation(request: Request, error: Exception) -> Response:
    """Answer parameters that do not fit; only names of ours are repeated."""
    del request
    assert isinstance(error, RequestValidationError)  # noqa: S101
    names = sorted({".".join(str(part) for part in fault["loc"][:2]) for fault in error.errors()})
    return answer(
        400,
        code="parameters-refused",
        detail=f"cannot be used: {', '.join(names)}",
        remedy="Correct the call and send it again; /openapi.json describes every call.",
    )
