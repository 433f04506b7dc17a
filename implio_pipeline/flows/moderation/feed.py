"""The polling feed: what was decided since, told from the catalog while it is new and from the items afterwards."""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from implio_pipeline.domain.ids import TeamId
from implio_pipeline.domain.moderation import StoredVerdict
from implio_pipeline.flows.moderation.apply_decisions import opened_values
from implio_pipeline.flows.moderation.decide import feed
from implio_pipeline.flows.moderation.get_items import items_of
from implio_pipeline.ports.services import Services


@dataclass(frozen=True, kw_only=True, slots=True)
class PolledDecision:
    """A decision as a polling server is told it."""

    task_id: str
    decided_ms: int
    """Its place in the team's feed: milliseconds since 1970, growing with every decision."""
    outcome: str
    reasons: tuple[str, ...] = field(default=(), repr=False)
    feedback: tuple[str, ...] = field(default=(), repr=False)
    actor_id: str | None = field(default=None, repr=False)


@dataclass(frozen=True, kw_only=True, slots=True)
class PolledPage:
    """Some decisions in the order they fell."""

    decisions: tuple[PolledDecision, ...]
    newest_ms: int
    """What to ask after for the next page."""
    has_more: bool


class DecisionFeed:
    """The feed of decisions, as servers poll it; it tells nothing of items that a tombstone hides.

    Args:
        services: What it may read.
    """

    def __init__(self, services: Services) -> None:
        self._world = services

    def after(self, team: TeamId, *, since_ms: int, limit: int) -> PolledPage:
        """Return the verdicts that fell after a place in the feed, oldest first."""
        page = feed(self._world, team, since=since_ms, limit=limit)
        return PolledPage(decisions=self._told(team, page.entries), newest_ms=page.newest, has_more=page.is_more)

    def of_tasks(self, team: TeamId, task_ids: Collection[str]) -> Mapping[str, PolledDecision]:
        """Return the verdict on each of these tasks that has one in the feed."""
        names = dict.fromkeys(task.strip().lower() for task in task_ids)
        found = (
            self._world.catalog.moderation.decided(team, name, self._world.identifiers.task_key(name)) for name in names
        )
        return {each.task_id: each for each in self._told(team, [one for one in found if one is not None])}

    def _told(self, team: TeamId, verdicts: Iterable[StoredVerdict]) -> tuple[PolledDecision, ...]:
        listed = list(verdicts)
        # What is settled is told by the item itself: the catalog has dropped its words.
        items = items_of(self._world, team, [each.task_id for each in listed if each.settled_at is not None])
        told = []
        for each in listed:
            said = opened_values(self._world.keychain, each) if each.settled_at is None else items.get(each.task_id)
            if said is not None:
                told.append(_decision(each, said))
        return tuple(told)


def _decision(verdict: StoredVerdict, said: Mapping[str, Any]) -> PolledDecision:
    return PolledDecision(
        task_id=verdict.task_id,
        decided_ms=verdict.feed_at,
        outcome=verdict.decided.value,
        reasons=tuple(said.get("reasons") or ()),
        feedback=tuple(said.get("feedback") or ()),
        actor_id=said.get("actor_id"),
    )
