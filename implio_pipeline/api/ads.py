"""`POST /v1/ads` takes items in, `GET /v1/ads` tells what became of them."""

import asyncio
import re
from dataclasses import replace
from datetime import datetime
from typing import Annotated

from fastapi import APIRouter, Depends, Request, Response
from starlette.concurrency import run_in_threadpool

from implio_pipeline.api.answers import json_answer, raw_answer
from implio_pipeline.api.batch import Judged, answer_of
from implio_pipeline.api.caller import HEADER, Caller, who_may
from implio_pipeline.api.failures import MediaTypeRefused, ParametersRefused
from implio_pipeline.api.once import PARAMETER, key_of, known, post_of
from implio_pipeline.api.openapi import POLLED, SUBMITTED, answers, body
from implio_pipeline.api.polling import look, poll
from implio_pipeline.api.query_string import documented, parameters
from implio_pipeline.api.validators import Validator
from implio_pipeline.domain.access import Act
from implio_pipeline.domain.ids import FileKind, TeamId
from implio_pipeline.domain.intake import PostRecord
from implio_pipeline.flows.accounts.api_keys import recognise
from implio_pipeline.flows.files.intake import Part
from implio_pipeline.flows.files.submit import Submission, arrival
from implio_pipeline.formats.columns import keyed
from implio_pipeline.ports.services import Services
from implio_pipeline.wiring import OpenHome

router = APIRouter(tags=["ads"])
_JSON = re.compile(r'application/json(?:\s*;\s*charset\s*=\s*"?utf-8"?)?', re.ASCII | re.IGNORECASE)
_MOST_TASKS = 100
_TASK = re.compile(r"[A-Za-z0-9_-]{1,64}", re.ASCII)
_INSTANT_DIGITS = 15
_FLAGS = {"true": True, "false": False}


@router.post(
    "/v1/ads",
    operation_id="submitAds",
    summary="Take items in",
    description=(
        "Takes an array and accepts per item. When it is answered, every accepted item is durable, encrypted, and in "
        "the Default queue unless it came with a decision; rejected ones are in the answer alone. The same id again "
        "is a revision: each submission gets a new task id. A call that is sent again with the same `Idempotency-Key` "
        "and body within a day is the same submission. The instant of the call is the instant of submission."
    ),
    responses=answers({200: SUBMITTED}, 400, 401, 403, 408, 409, 413, 415, 422, 429, 507),
    openapi_extra={**body("Ads"), "parameters": [PARAMETER]},
)
async def post_ads(request: Request, who: Annotated[Caller, Depends(who_may(Act.SUBMIT_ITEMS))]) -> Response:
    """Judge the items, wait until those accepted are durable, and answer."""
    parameters(request, ())
    _check_media_type(request)
    key = key_of(request)
    services: Services = request.app.state.opened.services
    sent = await request.body()
    arrived_at = await run_in_threadpool(arrival, services, who.team)
    if key is None:
        return await _answered(request, who, sent, arrived_at)
    post = await run_in_threadpool(post_of, services, who.team, key=key, body=sent, arrived_at=arrived_at)
    with request.app.state.in_work.taken(post):
        before = await run_in_threadpool(known, services, post)
        return await _answered(request, who, sent, arrived_at, post=post, before=before)


async def _answered(
    request: Request,
    who: Caller,
    sent: bytes,
    arrived_at: datetime,
    *,
    post: PostRecord | None = None,
    before: PostRecord | None = None,
) -> Response:
    """Return the answer to a post; one that was taken in before is judged again and not stored again."""
    state = request.app.state
    opened: OpenHome = state.opened
    same = before or post
    arrived_at = same.taken_at if same else arrived_at
    batch_id = same.batch_id if same else None
    async with state.validating:  # a few at a time: more would only wait for the judge with their bodies in memory
        found = await run_in_threadpool(_judged, state.validator, opened, who.team, sent, arrived_at, batch_id)
    # The key may have been revoked while the body came, which may take half a minute.
    await run_in_threadpool(recognise, opened.services, request.headers[HEADER])
    if before:
        return raw_answer(answer_of(found, Part.of(before), body=sent))
    part = Part()
    if found.rows.num_rows or post:
        submission = Submission(team=who.team, arrived_at=arrived_at, rows=found.rows, post=post)
        part = await asyncio.wrap_future(state.intake.put(submission))
    state.metrics.items.labels("accepted").inc(found.rows.num_rows - len(part.kept_out))
    state.metrics.items.labels("rejected").inc(len(found.rejected) + len(part.kept_out))
    return raw_answer(answer_of(found, part, body=sent))


@router.get(
    "/v1/ads",
    operation_id="pollAds",
    summary="What was decided",
    description=(
        "With `timestamp` the decisions that fell after it, a page at a time: ask again with `newTimestamp`, at once "
        "while `newerAdsExist`. With `taskIds` those items as they are now. Items that a deletion hides are absent."
    ),
    responses=answers({200: POLLED}, 400, 401, 403, 429),
    openapi_extra={
        "parameters": [
            documented("timestamp", "Milliseconds since 1970; 0 when not given.", pattern="^[0-9]{1,15}$"),
            documented(
                "taskIds",
                f"At most {_MOST_TASKS} task ids, with commas between them.",
                pattern=r"^[A-Za-z0-9_-]{1,64}(,[A-Za-z0-9_-]{1,64}){0,99}$",
            ),
            documented(
                "noAdContent",
                "`true` leaves the items' content out; capital letters do not matter.",
                pattern="^(?:[tT][rR][uU][eE]|[fF][aA][lL][sS][eE])$",
            ),
        ]
    },
)
def get_ads(request: Request, who: Annotated[Caller, Depends(who_may(Act.POLL_ITEMS))]) -> Response:
    """Return decided items, or given ones."""
    asked = parameters(request, ("timestamp", "taskIds", "noAdContent"))
    state = request.app.state
    services, polling = state.opened.services, state.polling
    has_content = not _flag(asked.get("noAdContent", "false"))
    since_ms = None if "timestamp" not in asked else _milliseconds(asked["timestamp"])
    if "taskIds" not in asked:
        return json_answer(poll(services, polling, who.team, since_ms=since_ms or 0, has_content=has_content))
    task_ids = _task_ids(asked["taskIds"])
    return json_answer(look(services, polling, who.team, task_ids, since_ms=since_ms, has_content=has_content))


def _judged(
    validator: Validator, opened: OpenHome, team: TeamId, body: bytes, arrived_at: datetime, batch_id: str | None
) -> Judged:
    """Return a post judged, its accepted items with their user keys: the judge has none of the team's keys."""
    opened.services.catalog.give_way()  # to a deletion: it would have to share a processor
    found = validator.judged(body, arrived_at=arrived_at, max_items=opened.settings.api.max_items, batch_id=batch_id)
    return replace(found, rows=keyed(found.rows, FileKind.ITEMS, opened.services.keychain.user_key_maker(team)))


def _check_media_type(request: Request) -> None:
    kinds, codings = request.headers.getlist("content-type"), request.headers.getlist("content-encoding")
    if len(kinds) != 1 or not _JSON.fullmatch(kinds[0].strip()) or any(coding != "identity" for coding in codings):
        raise MediaTypeRefused("the body is not said to be plain JSON in UTF-8")


def _milliseconds(text: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) <= _INSTANT_DIGITS):
        raise ParametersRefused(
            "timestamp is milliseconds since 1970",
            remedy="Give the newTimestamp of the last answer, in digits, or leave out timestamp.",
        )
    return int(text)


def _task_ids(text: str) -> list[str]:
    names = text.split(",")
    if len(names) > _MOST_TASKS or not all(map(_TASK.fullmatch, names)):
        raise ParametersRefused(
            f"taskIds are at most {_MOST_TASKS} task ids with commas between them",
            remedy=f"Give at most {_MOST_TASKS} task ids, with a comma and no blank between two.",
        )
    return list(dict.fromkeys(names))


def _flag(text: str) -> bool:
    if text.lower() not in _FLAGS:
        raise ParametersRefused("noAdContent is true or false", remedy="Give one of them, or leave out noAdContent.")
    return _FLAGS[text.lower()]
