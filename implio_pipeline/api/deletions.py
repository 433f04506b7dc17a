"""Deletion requests: made by `DELETE /v1/ads`, followed at `/v1/deletions`, receipted at the end."""

from collections.abc import AsyncIterator, Callable, Collection
from dataclasses import dataclass
from datetime import timedelta
from threading import Lock
from typing import Annotated

from fastapi import APIRouter, Depends, Request, Response
from msgspec import convert

from implio_pipeline.api.answers import json_answer
from implio_pipeline.api.caller import Caller, who_may
from implio_pipeline.api.failures import BodyRefused, NotThere, ParametersRefused
from implio_pipeline.api.models import DeletionPage, Receipt, deletion_of, status_url
from implio_pipeline.api.openapi import DELETION, DELETIONS, RECEIPT, answers
from implio_pipeline.api.query_string import documented, parameters
from implio_pipeline.domain.access import Act
from implio_pipeline.domain.errors import ImplioError, RequestUnknown
from implio_pipeline.domain.ids import Channel, RequestId
from implio_pipeline.domain.request import OPEN_STATES, RequestDraft, RequestState
from implio_pipeline.domain.request import Request as Deletion
from implio_pipeline.domain.request_fields import request_draft
from implio_pipeline.flows.deletion.accept import accept
from implio_pipeline.flows.deletion.lift import lift
from implio_pipeline.flows.deletion.outcomes import outcome_of, outcomes_of
from implio_pipeline.ports.services import Services
from implio_pipeline.wiring import OpenHome

router = APIRouter(tags=["deletions"])
_NAMES = ("userId", "taskId", "fromDate", "toDate", "standing")
_KIND_NAMES = (("userId",), ("taskId",), ("fromDate", "toDate"))
_KINDS: dict[frozenset[str], str] = {
    frozenset({"userId"}): "user",
    frozenset({"taskId"}): "task",
    frozenset({"fromDate", "toDate"}): "dates",
}
_FIELDS = {"fromDate": "from", "toDate": "to"}
_STATES = (
    "open",
    *(state.value for state in RequestState if state not in (RequestState.RECEIVED, RequestState.REFUSED)),
)
_MOST_ON_A_PAGE, _ON_A_PAGE = 1_000, 100
_same = [Lock() for _ in range(64)]
"""Of calls that ask for the same at once, one goes first; the others find its request."""


@dataclass(frozen=True, kw_only=True, slots=True)
class _Named:
    """A deletion that a call names by its id, and who calls."""

    services: Services
    who: Caller
    deletion: Deletion


def _named(act: Act) -> Callable[..., _Named]:
    """Return what finds the deletion in the path of a call without parameters, for those who may do this act."""

    def named(request: Request, request_id: str, who: Annotated[Caller, Depends(who_may(act))]) -> _Named:
        parameters(request, ())
        opened: OpenHome = request.app.state.opened
        return _Named(services=opened.services, who=who, deletion=_its_own(opened, who, request_id))

    return named


async def _on_the_way(
    request: Request, who: Annotated[Caller, Depends(who_may(Act.REQUEST_DELETION))]
) -> AsyncIterator[Caller]:
    """Hold commits of items back from the moment a deletion's caller is known, not only once a thread takes it up."""
    with request.app.state.opened.services.catalog.hurried():
        yield who


@router.delete(
    "/v1/ads",
    status_code=202,
    operation_id="deleteAds",
    summary="Hide items at once, and have them erased",
    description=(
        "Takes exactly one kind: `userId`, `taskId`, or `fromDate` with `toDate` (items submitted in `[from, to)`). "
        "When it is answered, the items are hidden from every read and off every queue. The erasure follows; "
        "`statusUrl` tells of it. The same call again within a short window is the same request, unless items that it "
        "covers came in since. A name that nothing has succeeds, and its outcome says that nothing matched."
    ),
    responses=answers(
        {202: DELETION, 204: {"description": "Accepted, where the server is set to answer without a body."}},
        *(400, 401, 403, 413, 429),
    ),
    openapi_extra={
        "parameters": [
            documented("userId", "Every item of one end user.", maxLength=1024),
            documented("taskId", "One submission.", maxLength=1024),
            documented("fromDate", "Like 2026-01-01T00:00Z; a zone is needed."),
            documented("toDate", "Like 2026-02-01T00:00Z; items submitted before it."),
            documented(
                "standing",
                "With `userId`: `true` keeps the user's later items out too, until the deletion is lifted.",
                enum=["true", "false"],
            ),
        ]
    },
)
def delete_ads(request: Request, who: Annotated[Caller, Depends(_on_the_way)]) -> Response:
    """Accept a deletion request of the calling key's team."""
    opened: OpenHome = request.app.state.opened
    _refuse_body(request)
    draft = _draft(request, who)
    window = timedelta(seconds=opened.settings.api.same_request_seconds)
    with opened.services.catalog.urgently(), _same[hash((draft.team, draft.scope)) % len(_same)]:
        (answer,) = accept(opened.services, [draft], same_within=window)
    if isinstance(answer, ImplioError):
        raise answer
    request.app.state.on_deletion()
    headers = {"Location": status_url(answer)}
    if opened.settings.api.deletion_answer == 204:  # noqa: PLR2004
        return Response(status_code=204, headers=headers)
    return json_answer(deletion_of(answer, outcome_of(opened.services, answer)), status=202, headers=headers)


@router.get(
    "/v1/deletions",
    operation_id="listDeletions",
    summary="The team's deletion requests, newest first",
    responses=answers({200: DELETIONS}, 400, 401, 403, 404, 429),
    openapi_extra={
        "parameters": [
            documented("state", "Only those in this state; `open` for all that are not done.", enum=list(_STATES)),
            documented("limit", f"How many; {_ON_A_PAGE} when not given.", pattern="^[1-9][0-9]{0,2}$|^1000$"),
            documented("after", "Those that come after this request's id in the list."),
        ]
    },
)
def list_deletions(request: Request, who: Annotated[Caller, Depends(who_may(Act.SEE_REQUESTS))]) -> Response:
    """Return a page of requests, and the id to give for the next one."""
    opened: OpenHome = request.app.state.opened
    asked = parameters(request, ("state", "limit", "after"))
    limit = _limit(asked.get("limit"))
    after = _its_own(opened, who, asked["after"]).tombstone_sequence if "after" in asked else None
    found = opened.services.catalog.requests.page(
        who.team, states=_states(asked.get("state")), limit=limit, before=after
    )
    deletions = [deletion_of(*each) for each in outcomes_of(opened.services, found)]
    return json_answer(DeletionPage(deletions=deletions, next=found[-1].request_id if len(found) == limit else None))


@router.get(
    "/v1/deletions/{request_id}",
    operation_id="getDeletion",
    summary="Where a deletion request is, and when it is due",
    responses=answers({200: DELETION}, 400, 401, 403, 404, 429),
)
def get_deletion(asked: Annotated[_Named, Depends(_named(Act.SEE_REQUESTS))]) -> Response:
    """Return one request of the team."""
    return json_answer(deletion_of(asked.deletion, outcome_of(asked.services, asked.deletion)))


@router.post(
    "/v1/deletions/{request_id}/lift",
    operation_id="liftDeletion",
    summary="Let a user's new items in again, which a standing deletion kept out",
    description=(
        "Ends what is standing of this deletion, and of every other one of the same user. What was erased stays "
        "erased, and what was kept out is not here: send it again. The signed log says who lifted it, and when."
    ),
    responses=answers({200: DELETION}, 400, 401, 403, 404, 409, 429),
)
def lift_deletion(asked: Annotated[_Named, Depends(_named(Act.LIFT_STANDING))]) -> Response:
    """Lift a standing deletion of the caller's team."""
    lifted = lift(asked.services, asked.deletion.request_id, acts_for=asked.who.acts_for)[0]
    return json_answer(deletion_of(lifted, outcome_of(asked.services, lifted)))


@router.get(
    "/v1/deletions/{request_id}/receipt",
    operation_id="getReceipt",
    summary="The signed receipt of a deletion, or of what of it a legal hold allowed",
    responses=answers({200: RECEIPT}, 400, 401, 403, 404, 429),
)
def get_receipt(asked: Annotated[_Named, Depends(_named(Act.READ_RECEIPTS))]) -> Response:
    """Return the ledger's entry whole, so that it can be checked with the ledger's public key."""
    request_id = asked.deletion.request_id
    entries = asked.services.ledger.receipts({request_id}).get(request_id, [])
    if not entries:
        raise NotThere("there is no receipt yet", remedy="Ask for the request's status; it says what comes next.")
    return json_answer(convert(entries[-1].shape(), Receipt))


def _refuse_body(request: Request) -> None:
    length = request.headers.get("content-length", "0")
    if length != "0" or "transfer-encoding" in request.headers:
        raise BodyRefused("a deletion has no body", remedy="Name what to delete in the query string.")


def _draft(request: Request, who: Caller) -> RequestDraft:
    """Return the request that a query string makes.

    Raises:
        ParametersRefused: it names no kind, or more than one.
        RequestFieldRefused: a value will not do.
    """
    asked = parameters(request, _NAMES)
    kind = _KINDS.get(frozenset(asked) - {"standing"})
    if kind is None:
        raise _no_kind(asked)
    if "standing" in asked and kind != "user":
        raise ParametersRefused(
            "only a deletion by userId can be standing", remedy="Leave standing out, or name the user."
        )
    fields = {_FIELDS.get(name, name): value for name, value in asked.items()}
    return request_draft(
        {"team": who.team, "type": kind, **fields},
        channel=Channel.API,
        received_at=request.app.state.opened.services.clock.now(),
        asked_by=f"api key {who.key_id}",
        acts_for=who.acts_for,
    )


def _no_kind(asked: Collection[str]) -> ParametersRefused:
    """Return why a call names no kind of deletion, or more than one, and what to leave out or add."""
    given = [[name for name in names if name in asked] for names in _KIND_NAMES]
    some = [names for names in given if names]
    if len(some) > 1:
        choices = ", or ".join(" and ".join(names) for names in some)
        named = ", ".join(name for names in some for name in names)
        return ParametersRefused(
            f"a deletion has exactly one kind, and the call has {len(some)}: {named}",
            remedy=f"Keep only one of these, and leave out the others: {choices}.",
        )
    if some:
        (there,), (other,) = some, [name for name in _KIND_NAMES[-1] if name not in asked]
        return ParametersRefused(
            f"{there[0]} is given without {other}",
            remedy=f"Add {other}, or leave out {there[0]} and name another kind.",
        )
    return ParametersRefused(
        "a deletion names what to delete", remedy="Give userId, or taskId, or fromDate with toDate."
    )


def _its_own(opened: OpenHome, who: Caller, request_id: str) -> Deletion:
    """Return a request of the caller's team; another team's is as unknown as one that never was."""
    try:
        found = opened.services.catalog.requests.get(RequestId(request_id))
    except RequestUnknown:
        found = None
    if found is None or found.team != who.team:
        raise NotThere("the team has no deletion request of this id")
    return found


def _states(state: str | None) -> list[RequestState] | None:
    if state is None:
        return None
    if state not in _STATES:
        raise ParametersRefused(
            f"state is one of: {', '.join(_STATES)}", remedy="Give one of them, or leave out state for all."
        )
    return list(OPEN_STATES) if state == "open" else [RequestState(state)]


def _limit(text: str | None) -> int:
    if text is None:
        return _ON_A_PAGE
    if not (text.isascii() and text.isdigit() and len(text) <= 4 and 1 <= int(text) <= _MOST_ON_A_PAGE):  # noqa: PLR2004
        raise ParametersRefused(
            f"limit is a whole number from 1 to {_MOST_ON_A_PAGE}",
            remedy=f"Give such a number, or leave out limit for {_ON_A_PAGE}.",
        )
    return int(text)
