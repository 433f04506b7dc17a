"""Moderation queues: what waits, ten at a time, and deciding on it. The customer's server says who decides."""

from typing import Annotated, Any

import msgspec
from fastapi import APIRouter, Depends, Request, Response
from starlette.concurrency import run_in_threadpool

from implio_pipeline.api import models
from implio_pipeline.api.answers import json_answer
from implio_pipeline.api.caller import Caller, who_may
from implio_pipeline.api.failures import BodyRefused
from implio_pipeline.api.openapi import answer, answers, body
from implio_pipeline.api.query_string import parameters
from implio_pipeline.domain.access import Act
from implio_pipeline.domain.ids import TeamId
from implio_pipeline.domain.instants import instant_text
from implio_pipeline.domain.moderation import LOCK_LASTS, Approve, Decision, Move, QueueEntry, Refuse, StoredVerdict
from implio_pipeline.flows.moderation.decide import decide, next_entries, notes_of, queues_of
from implio_pipeline.flows.moderation.get_items import items_of
from implio_pipeline.formats.ad_shape import ad_shape
from implio_pipeline.formats.repeated_keys import has_repeated_key
from implio_pipeline.ports.services import Services

router = APIRouter(tags=["moderation"])


_asked = msgspec.json.Decoder(models.NextAsked).decode
_said = msgspec.json.Decoder(models.Decision).decode


@router.get(
    "/v1/queues",
    operation_id="listQueues",
    summary="The team's moderation queues, and how much waits in each",
    responses=answers({200: answer("The queues, those that every team has first.", "Queues")}, 400, 401, 403, 429),
)
def get_queues(request: Request, who: Annotated[Caller, Depends(who_may(Act.SEE_QUEUES))]) -> Response:
    """Return the queues, those that every team has first."""
    parameters(request, ())
    found = queues_of(request.app.state.opened.services, who.team)
    return json_answer(models.Queues(queues=[models.Queue(queue=each.queue, waiting=each.waiting) for each in found]))


@router.post(
    "/v1/queues/{queue}/next",
    operation_id="nextAds",
    summary="The ten oldest items of a queue, for one moderator",
    description=(
        "Locks the items for ten minutes for the moderator that is named; what they have already comes again. An item "
        "that is deleted leaves at once, locked or not."
    ),
    responses=answers({200: answer("Locked items.", "NextAds")}, 400, 401, 403, 404, 408, 413, 429),
    openapi_extra=body("NextAsked"),
)
async def post_next(
    request: Request, queue: str, who: Annotated[Caller, Depends(who_may(Act.DECIDE_ITEMS))]
) -> Response:
    """Return locked items with their content and the notes on them."""
    parameters(request, ())
    asked = _decoded(_asked, await request.body())
    return json_answer(
        await run_in_threadpool(_next, request.app.state.opened.services, who.team, queue, asked.moderator)
    )


@router.post(
    "/v1/tasks/{task_id}/decision",
    operation_id="decideAd",
    summary="Approve, refuse or move one item",
    description=(
        "With `outcome` `approved` or `refused` (which needs `reasons`) the item leaves its queue, and polling tells "
        "it at once. With `queue` it waits there instead. The same verdict of the same moderator again is the same "
        "verdict; 409 when somebody else looks at the item or has decided, 410 when it is gone."
    ),
    responses=answers(
        {200: answer("What became of the item.", "StoredVerdict")}, 400, 401, 403, 404, 408, 409, 410, 413, 429
    ),
    openapi_extra=body("Decision"),
)
async def post_decision(
    request: Request, task_id: str, who: Annotated[Caller, Depends(who_may(Act.DECIDE_ITEMS))]
) -> Response:
    """Take a decision, and return what became of the item."""
    parameters(request, ())
    said = _decoded(_said, await request.body())
    decision = _decision(said)
    result = await run_in_threadpool(
        decide, request.app.state.opened.services, who.team, task_id, decision, by=said.moderator
    )
    return json_answer(_result(result))


def _decoded(decode: Any, body: bytes) -> Any:
    """Return a body.

    Raises:
        BodyRefused: it is another one; what it holds is not repeated.
    """
    if has_repeated_key(body):
        raise BodyRefused("the body has the same key twice", remedy="Keep one of them.")
    try:
        return decode(body)
    except (msgspec.ValidationError, msgspec.DecodeError, UnicodeDecodeError):
        raise BodyRefused("the body is not the JSON object that this call takes") from None


def _decision(said: models.Decision) -> Decision:
    """Return what was decided.

    Raises:
        BodyRefused: it is not one thing.
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
    items = items_of(services, team, [entry.task_id for entry in entries])
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
        if entry.task_id in items  # deleted since it was given out
    ]
    return models.NextAds(locked_until=instant_text(services.clock.now() + LOCK_LASTS), items=waiting)


def _result(result: StoredVerdict | QueueEntry) -> models.Decided:
    if isinstance(result, QueueEntry):
        return models.Decided(task_id=result.task_id, queue=result.queue)
    return models.Decided(
        task_id=result.task_id,
        outcome=result.decided.value,
        decided_at=instant_text(result.decided_at),
        timestamp=result.feed_at,
    )
