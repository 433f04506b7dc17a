"""Deletion requests: `DELETE /v1/ads` makes one, `/v1/deletions` shows its state and its receipt.

The rules:

* A deletion is hidden before it is answered: from then on no read shows its items.
* A call names exactly one kind of deletion, and nothing that this module does not know. What a lenient reader passes
  over could erase another person's items.
* The same call again within a short time is the same request, so repeating a call that got no answer is safe.
* A request of another team is as unknown as one that never was.
"""

from collections.abc import AsyncIterator, Callable, Collection
from dataclasses import dataclass
from datetime import timedelta
from typing import Annotated

from fastapi import APIRouter, Depends, Request, Response
from msgspec import convert

from implio_pipeline.api.answers import json_answer
from implio_pipeline.api.caller import Caller, who_may
from implio_pipeline.api.failures import BodyRefused, NotThere, ParametersRefused
from implio_pipeline.api.models import DeletionPage, Receipt, deletion_of
from implio_pipeline.api.openapi import json_response, responses
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
_KINDS = {("userId",): "user", ("taskId",): "task", ("fromDate", "toDate"): "dates"}
"""The kinds of deletion by their parameters."""
_PARAMETERS = (*(name for names in _KINDS for name in names), "standing")
_FIELDS = {"fromDate": "from", "toDate": "to"}
"""Parameters that a request's field calls by another name."""
_STATES = (
    "open",
    *(state.value for state in RequestState if state not in (RequestState.RECEIVED, RequestState.REFUSED)),
)
_MOST_ON_A_PAGE, _ON_A_PAGE = 1_000, 100
_DELETION = json_response("The deletion request.", "Deletion")


async def _holding_commits_back(
    request: Request, caller: Annotated[Caller, Depends(who_may(Act.REQUEST_DELETION))]
) -> AsyncIterator[Caller]:
    """Block commits of items as soon as the caller of a deletion is known, before a thread handles the deletion."""
    with request.app.state.opened.catalog.hurried():
        yield caller


@router.delete(
    "/v1/ads",
    status_code=202,
    operation_id="deleteAds",
    summary="Hide items at once, then erase them",
    description=(
        "Takes exactly one kind: `userId`, `taskId`, or `fromDate` with `toDate` (items submitted in `[from, to)`). "
        "When it is answered, the items are hidden from every read and off every queue. The erasure follows; "
        "`statusUrl` shows it. The same call again within a short time is the same request, unless items that it "
        "covers came in since. An id that no item has succeeds, and the outcome says that nothing matched."
    ),
    responses=responses(
        {202: _DELETION, 204: {"description": "Accepted, where the server is set to answer without a body."}},
        *(400, 401, 403, 413, 429),
    ),
    openapi_extra={
        "parameters": [
            documented("userId", "Every item of one end user.", maxLength=1024),
            documented("taskId", "One submission.", maxLength=1024),
            documented("fromDate", "Like 2026-01-01T00:00Z. A zone is required."),
            documented("toDate", "Like 2026-02-01T00:00Z. Items submitted before it are covered."),
            documented(
                "standing",
                "With `userId`: `true` keeps the user's later items out too, until the deletion is lifted.",
                enum=["true", "false"],
            ),
        ]
    },
)
def _delete_ads(request: Request, caller: Annotated[Caller, Depends(_holding_commits_back)]) -> Response:
    """Accept a deletion request of the caller's team."""
    opened: OpenHome = request.app.state.opened
    api = opened.settings.api
    # 1. Read what is asked for.
    if request.headers.get("content-length", "0") != "0" or "transfer-encoding" in request.headers:
        raise BodyRefused("a deletion has no body", remedy="Name what to delete in the query string.")
    asked = parameters(request, _PARAMETERS)
    draft = _draft(opened, asked, caller)
    # 2. Accept it: when this returns, its items are hidden from every read.
    window = timedelta(seconds=api.same_request_seconds)
    with opened.catalog.urgently():
        (accepted,) = accept(opened, [draft], same_within=window)
    if isinstance(accepted, ImplioError):
        raise accepted
    request.app.state.on_deletion()
    # 3. Answer, with the path where it is followed.
    deletion = deletion_of(accepted, outcome_of(opened, accepted))
    headers = {"Location": deletion.status_url}
    if api.deletion_answer == 204:  # noqa: PLR2004
        return Response(status_code=204, headers=headers)
    return json_answer(deletion, status=202, headers=headers)


def _draft(services: Services, asked: dict[str, str], caller: Caller) -> RequestDraft:
    """Return the request that the parameters make.

    Raises:
        ParametersRefused: they name no kind of deletion, or more than one.
        RequestFieldRefused: a value breaks a rule.
    """
    kind = next((kind for names, kind in _KINDS.items() if set(names) == asked.keys() - {"standing"}), None)
    if kind is None:
        raise _not_one_kind(asked)
    if "standing" in asked and kind != "user":
        raise ParametersRefused(
            "only a deletion by userId can be standing", remedy="Leave standing out, or name the user."
        )
    fields = {_FIELDS.get(name, name): value for name, value in asked.items()}
    return request_draft(
        {"team": caller.team, "type": kind, **fields},
        channel=Channel.API,
        received_at=services.clock.now(),
        asked_by=f"api key {caller.key_id}",
        acts_for=caller.acts_for,
    )


def _not_one_kind(asked: Collection[str]) -> ParametersRefused:
    """Return a refusal of parameters that name no kind of deletion or several, with what to leave out or add."""
    given = [[name for name in names if name in asked] for names in _KINDS]
    some = [names for names in given if names]
    if len(some) > 1:
        choices = ", or ".join(" and ".join(names) for names in some)
        named = ", ".join(name for names in some for name in names)
        return ParametersRefused(
            f"a deletion has exactly one kind, and the call has {len(some)}: {named}",
            remedy=f"Keep only one of these, and leave out the others: {choices}.",
        )
    if some:
        (there,) = some[0]
        other = "toDate" if there == "fromDate" else "fromDate"
        return ParametersRefused(
            f"{there} is given without {other}",
            remedy=f"Add {other}, or leave out {there} and name another kind.",
        )
    return ParametersRefused(
        "a deletion names what to delete", remedy="Give userId, or taskId, or fromDate with toDate."
    )


@dataclass(frozen=True, kw_only=True, slots=True)
class _Named:
    """The deletion that a path names, and who calls."""

    services: Services
    caller: Caller
    deletion: Deletion


def _named(act: Act) -> Callable[..., _Named]:
    """Build a dependency that finds the deletion in the path, for callers who may do `act`."""

    def named(request: Request, request_id: str, caller: Annotated[Caller, Depends(who_may(act))]) -> _Named:
        parameters(request, ())
        services = request.app.state.opened
        return _Named(services=services, caller=caller, deletion=_own_deletion(services, caller, request_id))

    return named


def _own_deletion(services: Services, caller: Caller, request_id: str) -> Deletion:
    try:
        found = services.catalog.requests.get(RequestId(request_id))
    except RequestUnknown:
        found = None
    if found is None or found.team != caller.team:
        raise NotThere("the team has no deletion request of this id")
    return found


@router.get(
    "/v1/deletions",
    operation_id="listDeletions",
    summary="The team's deletion requests, newest first",
    responses=responses(
        {200: json_response("A page of requests, newest first.", "DeletionPage")}, 400, 401, 403, 404, 429
    ),
    openapi_extra={
        "parameters": [
            documented("state", "Only requests in this state; `open` for all that are not done.", enum=list(_STATES)),
            documented("limit", f"How many; {_ON_A_PAGE} when not given.", pattern="^[1-9][0-9]{0,2}$|^1000$"),
            documented("after", "Only requests that come after this request id in the list."),
        ]
    },
)
def _list_deletions(request: Request, caller: Annotated[Caller, Depends(who_may(Act.SEE_REQUESTS))]) -> Response:
    """Return a page of requests, and the id to send as `after` for the next one."""
    services: Services = request.app.state.opened
    asked = parameters(request, ("state", "limit", "after"))
    limit = _limit(asked.get("limit"))
    after = _own_deletion(services, caller, asked["after"]).tombstone_sequence if "after" in asked else None
    found = services.catalog.requests.page(caller.team, states=_states(asked.get("state")), limit=limit, before=after)
    deletions = [deletion_of(*each) for each in outcomes_of(services, found)]
    return json_answer(DeletionPage(deletions=deletions, next=found[-1].request_id if len(found) == limit else None))


@router.get(
    "/v1/deletions/{request_id}",
    operation_id="getDeletion",
    summary="The state of a deletion request, and its due date",
    description="Returns one request of the calling key's team, with what it has erased so far.",
    responses=responses({200: _DELETION}, 400, 401, 403, 404, 429),
)
def _get_deletion(asked: Annotated[_Named, Depends(_named(Act.SEE_REQUESTS))]) -> Response:
    return json_answer(deletion_of(asked.deletion, outcome_of(asked.services, asked.deletion)))


@router.post(
    "/v1/deletions/{request_id}/lift",
    operation_id="liftDeletion",
    summary="Accept a user's new items again, after a standing deletion",
    description=(
        "Ends the standing part of this deletion, and of every other standing deletion of the same user. What was "
        "erased stays erased. What was kept out was not stored: send it again. The signed log says who lifted it, and "
        "when."
    ),
    responses=responses({200: _DELETION}, 400, 401, 403, 404, 409, 429),
)
def _lift_deletion(asked: Annotated[_Named, Depends(_named(Act.LIFT_STANDING))]) -> Response:
    lifted = lift(asked.services, asked.deletion.request_id, acts_for=asked.caller.acts_for)[0]
    return json_answer(deletion_of(lifted, outcome_of(asked.services, lifted)))


@router.get(
    "/v1/deletions/{request_id}/receipt",
    operation_id="getReceipt",
    summary="The signed receipt of a deletion, or of the part that legal holds allowed",
    responses=responses({200: json_response("The signed entry of the ledger.", "Receipt")}, 400, 401, 403, 404, 429),
)
def _get_receipt(asked: Annotated[_Named, Depends(_named(Act.READ_RECEIPTS))]) -> Response:
    """Return the whole ledger entry, so that it can be checked with the ledger's public key."""
    request_id = asked.deletion.request_id
    entries = asked.services.ledger.receipts({request_id}).get(request_id, [])
    if not entries:
        raise NotThere("there is no receipt yet", remedy="Ask for the request's status; it says what comes next.")
    return json_answer(convert(entries[-1].shape(), Receipt))


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
