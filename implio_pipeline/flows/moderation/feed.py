"""The feed of decisions, which customers' servers poll.

The reasons and the author of a pending decision are read from the catalog. When the decision is applied, the catalog
drops them, and they are read from the item. Hidden items are left out in both cases: accepting a deletion removes their
pending decisions, and `get_items` does not return the items.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from implio_pipeline.domain.ids import TeamId
from implio_pipeline.domain.moderation import StoredVerdict
from implio_pipeline.flows.moderation.apply_decisions import opened_values
from implio_pipeline.flows.moderation.get_items import get_items
from implio_pipeline.ports.services import Services

_MOST_AT_ONCE = 1_000


@dataclass(frozen=True, kw_only=True, slots=True)
class PolledDecision:
    """A decision in the feed."""

    task_id: str
    decided_ms: int
    """Its place in the team's feed: milliseconds since 1970, larger than those of all earlier decisions."""
    outcome: str
    reasons: tuple[str, ...] = field(default=(), repr=False)
    feedback: tuple[str, ...] = field(default=(), repr=False)
    actor_id: str | None = field(default=None, repr=False)


@dataclass(frozen=True, kw_only=True, slots=True)
class PolledPage:
    """Some decisions, in the order in which they were given."""

    decisions: tuple[PolledDecision, ...]
    newest_ms: int
    """Where the next page begins: the `since_ms` to ask for."""
    has_more: bool


class DecisionFeed:
    """The feed of decisions of every team.

    Args:
        services: What the feed may use.
    """

    def __init__(self, services: Services) -> None:
        self._services = services

    def after(self, team: TeamId, *, since_ms: int, limit: int) -> PolledPage:
        """Return the decisions after a place in the feed, oldest first; at most 1,000 whatever the limit."""
        most = max(1, min(limit, _MOST_AT_ONCE))
        page = self._services.catalog.moderation.feed(team, since=since_ms, most=most)
        return PolledPage(decisions=self._polled(team, page.entries), newest_ms=page.newest, has_more=page.is_more)

    def of_tasks(self, team: TeamId, task_ids: Collection[str]) -> Mapping[str, PolledDecision]:
        """Return the decisions on these tasks by task id. A task without a decision in the feed is left out."""
        moderation, task_key = self._services.catalog.moderation, self._services.identifiers.task_key
        names = dict.fromkeys(task.strip().lower() for task in task_ids)
        found = (moderation.decided(team, name, task_key(name)) for name in names)
        return {each.task_id: each for each in self._polled(team, [one for one in found if one is not None])}

    def _polled(self, team: TeamId, verdicts: Sequence[StoredVerdict]) -> tuple[PolledDecision, ...]:
        """Return decisions with their reasons; leave out those whose item is hidden or gone."""
        # Only applied decisions need their item: reading a vault file for every pending one would be wasted.
        items = get_items(self._services, team, [each.task_id for each in verdicts if each.settled_at is not None])
        polled = []
        for each in verdicts:
            is_pending = each.settled_at is None
            values = self._opened(each) if is_pending else items.get(each.task_id)
            if values is not None:
                decision = PolledDecision(
                    task_id=each.task_id,
                    decided_ms=each.feed_at,
                    outcome=each.decided.value,
                    reasons=tuple(values.get("reasons") or ()),
                    feedback=tuple(values.get("feedback") or ()),
                    actor_id=values.get("actor_id"),
                )
                polled.append(decision)
        return tuple(polled)

    def _opened(self, verdict: StoredVerdict) -> Mapping[str, Any]:
        return opened_values(self._services.catalog, self._services.keychain, verdict)
