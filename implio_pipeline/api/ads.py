"""`POST /v1/ads` stores items. `GET /v1/ads` returns what was decided about them.

A post is answered once its accepted items are durable and encrypted. A poll never returns an item that a deletion
hides.
"""

import asyncio
import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Request, Response
from msgspec import UNSET
from starlette.concurrency import run_in_threadpool

from implio_pipeline.api.answers import json_answer
from implio_pipeline.api.caller import KEY_HEADER, Caller, who_may
from implio_pipeline.api.failures import MediaTypeRefused, ParametersRefused
from implio_pipeline.api.idempotency import PARAMETER, key_of, known, post_of
from implio_pipeline.api.models import Poll, PolledAd, PolledItem, PollingInfo
from implio_pipeline.api.openapi import json_body, json_response, responses
from implio_pipeline.api.post_body import ValidatedPost, answer_of
from implio_pipeline.api.query_string import documented, parameters
from implio_pipeline.domain.access import Act
from implio_pipeline.domain.ids import FileKind, TeamId
from implio_pipeline.domain.intake import PostRecord
from implio_pipeline.flows.accounts.api_keys import authenticate_api_key
from implio_pipeline.flows.files.intake import PartResult
from implio_pipeline.flows.files.submit import Submission, submission_instant
from implio_pipeline.flows.moderation.feed import PolledDecision
from implio_pipeline.flows.moderation.get_items import stored_rows
from implio_pipeline.formats.ad_shape import ad_shape, result_shape
from implio_pipeline.formats.columns import with_user_keys
from implio_pipeline.ports.services import Services
from implio_pipeline.wiring import OpenHome

router = APIRouter(tags=["ads"])
_JSON = re.compile(r'application/json(?:\s*;\s*charset\s*=\s*"?utf-8"?)?', re.ASCII | re.IGNORECASE)
_MOST_TASKS = 100
_DECISIONS_ON_A_PAGE = 100
_TASK = re.compile(r"[A-Za-z0-9_-]{1,64}", re.ASCII)
_INSTANT_DIGITS = 15
_FLAGS = {"true": True, "false": False}


@router.post(
    "/v1/ads",
    operation_id="submitAds",
    summary="Submit items",
    description=(
        "Takes an array and accepts per item. When it is answered, every accepted item is durable, encrypted, and in "
        "the Default queue unless it came with a decision. Rejected items are in the answer only: they are not stored. "
        "The same id again is a revision: each submission gets a new task id. A call that is sent again with the same "
        "`Idempotency-Key` and body within a day is the same submission. The instant of the call is the instant of "
        "submission."
    ),
    responses=responses(
        {200: json_response("The accepted items are durable. The rejected ones are not kept.", "Submission")},
        *(400, 401, 403, 408, 409, 413, 415, 422, 429, 507),
    ),
    openapi_extra={**json_body("Ads"), "parameters": [PARAMETER]},
)
async def _post_ads(request: Request, caller: Annotated[Caller, Depends(who_may(Act.SUBMIT_ITEMS))]) -> Response:
    """Validate the items, store the accepted ones, and answer."""
    state = request.app.state
    opened: OpenHome = state.opened
    # 1. Refuse what can be refused without the body, then read it.
    parameters(request, ())
    kinds, codings = request.headers.getlist("content-type"), request.headers.getlist("content-encoding")
    if len(kinds) != 1 or not _JSON.fullmatch(kinds[0].strip()) or any(coding != "identity" for coding in codings):
        raise MediaTypeRefused("the Content-Type is not plain JSON in UTF-8")
    key = key_of(request)
    sent = await request.body()
    # 2. Take the instant of submission, and with an idempotency key the record of the post.
    arrived_at, post = await run_in_threadpool(_arrived, opened, caller.team, key, sent)
    with state.posts_in_work.marked(post):
        # 3. Validate. A few posts at a time: more would only wait for the validator with their bodies in memory.
        async with state.validating:
            found, before = await run_in_threadpool(
                _validated, request, caller.team, sent, arrived_at=arrived_at, post=post
            )
        # 4. A post that was stored before is not stored again. Its answer is the same, since it was validated with the
        #    instant and batch id of the first time.
        if before is not None:
            return json_answer(answer_of(found, PartResult.of(before), body=sent))
        # 5. Store, together with other posts of the team that came since the last commit.
        stored = PartResult()
        if found.rows.num_rows or post:
            submission = Submission(team=caller.team, arrived_at=arrived_at, rows=found.rows, post=post)
            stored = await asyncio.wrap_future(state.intake.put(submission))
        # 6. Count and answer.
        state.metrics.items.labels("accepted").inc(found.rows.num_rows - len(stored.kept_out))
        state.metrics.items.labels("rejected").inc(len(found.rejected) + len(stored.kept_out))
        return json_answer(answer_of(found, stored, body=sent))


def _arrived(services: Services, team: TeamId, key: str | None, sent: bytes) -> tuple[datetime, PostRecord | None]:
    arrived_at = submission_instant(services, team)
    return arrived_at, post_of(services, team, key=key, body=sent, arrived_at=arrived_at) if key else None


def _validated(
    request: Request, team: TeamId, sent: bytes, *, arrived_at: datetime, post: PostRecord | None
) -> tuple[ValidatedPost, PostRecord | None]:
    """Return the validated post, and its record if it was stored before."""
    state = request.app.state
    opened: OpenHome = state.opened
    before = None if post is None else known(opened, post)
    same = before or post
    # A deletion that is being accepted must not share its processor with the validator.
    opened.catalog.give_way()
    found = state.validate(
        sent,
        arrived_at=same.taken_at if same else arrived_at,
        max_items=opened.settings.api.max_items,
        batch_id=same.batch_id if same else None,
    )
    # The validator has no key, so the rows get their user keys here.
    rows = with_user_keys(found.rows, FileKind.ITEMS, opened.keychain.user_key_maker(team))
    # Check the API key once more: it may have been revoked while the body arrived, which can take half a minute.
    authenticate_api_key(opened, request.headers[KEY_HEADER])
    return replace(found, rows=rows), before


@router.get(
    "/v1/ads",
    operation_id="pollAds",
    summary="Poll decisions",
    description=(
        "With `timestamp`, returns the decisions that were made after it, a page at a time: ask again with "
        "`newTimestamp`, at once while `newerAdsExist`. With `taskIds`, returns those items as they are now. Items "
        "that a deletion hides are absent."
    ),
    responses=responses({200: json_response("Items with their results.", "Poll")}, 400, 401, 403, 429),
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
                "`true` leaves the items' content out. Upper and lower case are the same.",
                pattern="^(?:[tT][rR][uU][eE]|[fF][aA][lL][sS][eE])$",
            ),
        ]
    },
)
def _get_ads(request: Request, caller: Annotated[Caller, Depends(who_may(Act.POLL_ITEMS))]) -> Response:
    """Return a page of decided items, or the present state of the named items."""
    services, feed = request.app.state.opened, request.app.state.polling
    # 1. Read the parameters.
    asked = parameters(request, ("timestamp", "taskIds", "noAdContent"))
    has_content = not _flag(asked.get("noAdContent", "false"))
    since_ms = None if "timestamp" not in asked else _milliseconds(asked["timestamp"])
    # 2. Find the decisions, and the items to return. With both parameters: those of the named items that were decided
    #    after the timestamp.
    decisions: Mapping[str, PolledDecision]
    if "taskIds" in asked:
        named = _task_ids(asked["taskIds"])
        decisions = feed.of_tasks(caller.team, named)
        newest_ms, has_more = max((each.decided_ms for each in decisions.values()), default=since_ms or 0), False
        newest_ms = max(newest_ms, since_ms or 0)
        wanted = [
            task_id
            for task_id in named
            if since_ms is None or (task_id in decisions and decisions[task_id].decided_ms > since_ms)
        ]
    else:
        page = feed.after(caller.team, since_ms=since_ms or 0, limit=_DECISIONS_ON_A_PAGE)
        newest_ms, has_more = page.newest_ms, page.has_more
        decisions = {each.task_id: each for each in page.decisions}
        wanted = list(decisions)
    # 3. Read the items. What a deletion hides is not found.
    ads = _polled_ads(services, caller.team, wanted, decisions, has_content=has_content)
    info = PollingInfo(new_timestamp=newest_ms, newer_ads_exist=has_more)
    return json_answer(Poll(polling_info=info, ads=ads))


def _polled_ads(
    services: Services,
    team: TeamId,
    task_ids: Sequence[str],
    decisions: Mapping[str, PolledDecision],
    *,
    has_content: bool,
) -> list[PolledAd]:
    packed_at = int(services.clock.now().timestamp() * 1000)
    found: dict[str, PolledAd] = {}
    for rows in stored_rows(services, team, task_ids):
        for row in rows.to_pylist():
            decision = decisions.get(row["task_id"])
            # The result that came with an item is returned as it was sent, which may be any JSON.
            result: Any = result_shape(row) if decision is None else _result(decision)
            found[row["task_id"]] = PolledAd(
                items=[PolledItem(id=row["item_id"], batch_id=row["batch_id"], task_id=row["task_id"])],
                ad=ad_shape(row) if has_content else UNSET,
                packed_at=packed_at,
                result=result,
            )
    return [found[name] for name in (each.strip().lower() for each in task_ids) if name in found]


def _result(decision: PolledDecision) -> dict[str, Any]:
    shape: dict[str, Any] = {"outcome": decision.outcome}
    if decision.actor_id is not None:
        shape["actorId"] = decision.actor_id
    if decision.reasons:
        shape["reasons"] = [{"name": name} for name in decision.reasons]
    if decision.feedback:
        shape["feedback"] = [{"name": name} for name in decision.feedback]
    return shape


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
