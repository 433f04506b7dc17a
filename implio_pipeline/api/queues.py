"""Moderation queues: list them, take the ten oldest items of one, and decide on them.

The customer's server says which moderator decides (decision 0032).
"""

from typing import Annotated, Any

import msgspec
from fastapi import APIRouter, Depends, Request, Response
from starlette.concurrency import run_in_threadpool

from implio_pipeline.api import models
from implio_pipeline.api.answers import json_answer
from implio_pipeline.api.caller import Caller, who_may
from implio_pipeline.api.failures import BodyRefused
from implio_pipeline.api.openapi import json_body, json_response, responses
from implio_pipeline.api.query_string import parameters
from implio_pipeline.domain.access import Act
from implio_pipeline.domain.ids import TeamId
from implio_pipeline.domain.instants import instant_text
from implio_pipeline.domain.moderation import LOCK_LASTS, Approve, Decision, Move, QueueEntry, Refuse
from implio_pipeline.flows.moderation.decide import decide, next_entries, notes_of, queues_of
from implio_pipeline.flows.moderation.get_items import get_items
from implio_pipeline.formats.ad_shape import ad_shape
from implio_pipeline.formats.repeated_keys import has_repeated_key
from implio_pipeline.ports.services import Services

router = APIRouter(tags=["moderation"])
_decode_next = msgspec.json.Decoder(models.NextAsked).decode
_decode_decision = msgspec.json.Decoder(models.Decision).decode


@router.get(
    "/v1/queues",
    operation_id="listQueues",
    summary="The team's moderation queues, and how many items wait in each",
    description="Returns the two built-in queues and those of the team.",
    responses=responses({200: json_response("The queues, built-in ones first.", "Queues")}, 400, 401, 403, 429),
)
def _get_queues(request: Request, caller: Annotated[Caller, Depends(who_may(Act.SEE_QUEUES))]) -> Response:
    parameters(request, ())
    found = queues_of(request.app.state.opened, caller.team)
    return json_answer(models.Queues(queues=[models.Queue(queue=each.queue, waiting=each.waiting) for each in found]))


@router.post(
    "/v1/queues/{queue}/next",
    operation_id="nextAds",
    summary="The ten oldest items of a queue, for one moderator",
    description=(
        "Locks the items for ten minutes for the named moderator. Items that this moderator has locked already come "
        "again. An item that is deleted leaves at once, locked or not."
    ),
    responses=responses({200: json_response("Locked items.", "NextAds")}, 400, 401, 403, 404, 408, 413, 429),
    openapi_extra=json_body("NextAsked"),
)
async def _post_next(
    request: Request, queue: str, caller: Annotated[Caller, Depends(who_may(Act.DECIDE_ITEMS))]
) -> Response:
    """Return locked items with their content and the notes on them."""
    parameters(request, ())
    asked = _decoded(_decode_next, await request.body())
    return json_answer(await run_in_threadpool(_next, request.app.state.opened, caller.team, queue, asked.moderator))


@router.post(
    "/v1/tasks/{task_id}/decision",
    operation_id="decideAd",
    summary="Approve, refuse or move one item",
    description=(
        "With `outcome` `approved` or `refused` (which needs `reasons`) the item leaves its queue, and polling returns "
        "the decision at once. With `queue` the item waits there instead. The same decision of the same moderator "
        "again changes nothing. The answer is 409 when somebody else looks at the item or has decided, and 410 when "
        "the item is gone."
    ),
    responses=responses(
        {200: json_response("What became of the item.", "Decided")}, 400, 401, 403, 404, 408, 409, 410, 413, 429
    ),
    openapi_extra=json_body("Decision"),
)
async def _post_decision(
    request: Request, task_id: str, caller: Annotated[Caller, Depends(who_may(Act.DECIDE_ITEMS))]
) -> Response:
    """Take a decision, and return what became of the item."""
    parameters(request, ())
    said = _decoded(_decode_decision, await request.body())
    services = request.app.state.opened
    result = await run_in_threadpool(decide, services, caller.team, task_id, _decision(said), by=said.moderator)
    if isinstance(result, QueueEntry):
        return json_answer(models.Decided(task_id=result.task_id, queue=result.queue))
    return json_answer(
        models.Decided(
            task_id=result.task_id,
            outcome=result.decided.value,
            decided_at=instant_text(result.decided_at),
            timestamp=result.feed_at,
        )
    )


def _decoded(decode: Any, body: bytes) -> Any:
    """Decode a body.

    Raises:
        BodyRefused: it does not fit the call. The message does not repeat what it holds.
    """
    if has_repeated_key(body):
        raise BodyRefused("the body has the same key twice", remedy="Keep one of them.")
    try:
        return decode(body)
    except (msgspec.ValidationError, msgspec.DecodeError, UnicodeDecodeError):
        raise BodyRefused("the body is not the JSON object that this call takes") from None


def _decision(said: models.Decision) -> Decision:
    """Return the decision that a body describes.

    Raises:
        BodyRefused: it describes none, or several.
    """
    feedback = tuple(said.feedback or ())
    if said.queue is not None and said.outcome is None and not feedback and not said.reasons:
        return Move(queue=said.queue, note=said.note)
    if said.queue is None and said.outcome == "approved" and not said.reasons:
        return Approve(feedback=feedback, note=said.note)
    if said.queue is None and said.outcome == "refused":
        return Refuse(reasons=tuple(said.reasons or ()), feedback=feedback, note=said.note)
    raise BodyRefused("a decision is `approved`, `refused` with reasons, or another queue")


def _next(services: Services, team: TeamId, queue: str, moderator: str) -> models.NextAds:
    entries = next_entries(services, team, queue, by=moderator)
    items = get_items(services, team, [entry.task_id for entry in entries])
    waiting = [
        models.WaitingAd(
            task_id=entry.task_id,
            queue=entry.queue,
            submitted_at=instant_text(entry.submitted_at),
            ad=ad_shape(items[entry.task_id]),
            notes=[
                models.Note(written_at=instant_text(note.written_at), text=note.text)
                for note in notes_of(services, team, entry.task_id)
            ],
        )
        for entry in entries
        if entry.task_id in items  # the others were deleted since they were locked
    ]
    return models.NextAds(locked_until=instant_text(services.clock.now() + LOCK_LASTS), items=waiting)
