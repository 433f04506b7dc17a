"""What was decided, for those who poll."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Protocol

from implio_pipeline.domain.words import TeamId


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


class Polling(Protocol):
    """The feed of decisions, as servers poll it; it tells nothing of items that a tombstone hides."""

    def after(self, team: TeamId, *, since_ms: int, limit: int) -> PolledPage:
        """Return the decisions that fell after a place in the feed, oldest first."""

    def of_tasks(self, team: TeamId, task_ids: Collection[str]) -> Mapping[str, PolledDecision]:
        """Return the newest decision on each of these tasks that has one outside the vault."""
