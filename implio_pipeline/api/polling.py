"""`GET /v1/ads`: items decided after a place in the feed, or the present state of given items."""

from collections.abc import Collection, Iterable, Mapping
from typing import Any

from msgspec import UNSET

from implio_pipeline.api.models import Poll, PolledAd, PolledItem, PollingInfo
from implio_pipeline.domain.ids import TeamId
from implio_pipeline.flows.moderation.feed import DecisionFeed, PolledDecision
from implio_pipeline.flows.moderation.get_items import get_items
from implio_pipeline.formats.ad_shape import ad_shape, result_shape
from implio_pipeline.ports.services import Services

ON_A_PAGE = 100
"""Decisions of one answer."""


def poll(services: Services, feed: DecisionFeed, team: TeamId, *, since_ms: int, has_content: bool) -> Poll:
    """Return the items decided after a place in the feed. Hidden and erased items are left out."""
    page = feed.after(team, since_ms=since_ms, limit=ON_A_PAGE)
    decisions = {each.task_id: each for each in page.decisions}
    ads = _ads(services, team, decisions, decisions, has_content=has_content)
    return _answer(ads, newest_ms=page.newest_ms, has_more=page.has_more)


def look(
    services: Services,
    feed: DecisionFeed,
    team: TeamId,
    task_ids: Collection[str],
    *,
    since_ms: int | None,
    has_content: bool,
) -> Poll:
    """Return the present state of given items; with `since_ms`, only of those decided after that place in the feed."""
    decisions = feed.of_tasks(team, task_ids)
    wanted = [
        task_id
        for task_id in task_ids
        if since_ms is None or (task_id in decisions and decisions[task_id].decided_ms > since_ms)
    ]
    newest = max((each.decided_ms for each in decisions.values()), default=since_ms or 0)
    ads = _ads(services, team, wanted, decisions, has_content=has_content)
    return _answer(ads, newest_ms=max(newest, since_ms or 0), has_more=False)


def _ads(
    services: Services,
    team: TeamId,
    task_ids: Iterable[str],
    decisions: Mapping[str, PolledDecision],
    *,
    has_content: bool,
) -> list[PolledAd]:
    names = list(task_ids)
    packed_at = int(services.clock.now().timestamp() * 1000)
    found: dict[str, PolledAd] = {}
    for rows in get_items(services, team, names):
        for row in rows.to_pylist():
            decision = decisions.get(row["task_id"])
            result: Any = result_shape(row) if decision is None else _result(decision)  # may be text of JSON as it came
            found[row["task_id"]] = PolledAd(
                items=[PolledItem(id=row["item_id"], batch_id=row["batch_id"], task_id=row["task_id"])],
                ad=ad_shape(row) if has_content else UNSET,
                packed_at=packed_at,
                result=result,
            )
    return [found[name] for name in (each.strip().lower() for each in names) if name in found]


def _result(decision: PolledDecision) -> dict[str, Any]:
    shape: dict[str, Any] = {"outcome": decision.outcome}
    if decision.actor_id is not None:
        shape["actorId"] = decision.actor_id
    if decision.reasons:
        shape["reasons"] = [{"name": name} for name in decision.reasons]
    if decision.feedback:
        shape["feedback"] = [{"name": name} for name in decision.feedback]
    return shape


def _answer(ads: list[PolledAd], *, newest_ms: int, has_more: bool) -> Poll:
    return Poll(polling_info=PollingInfo(new_timestamp=newest_ms, newer_ads_exist=has_more), ads=ads)
