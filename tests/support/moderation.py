"""Items that wait for a decision, and moderators who decide."""

from collections.abc import Iterable

from implio_pipeline.domain.ids import TeamId
from implio_pipeline.domain.moderation import DEFAULT_QUEUE, Approve, Decision, Feed, Refuse, StoredVerdict
from implio_pipeline.flows.moderation.decide import decide, next_entries
from implio_pipeline.ports.services import Services
from support.home import ADS, Home
from support.items import Ad

MODERATOR, OTHER = "mia@example.org", "max@example.org"


def keep_waiting(home: Home, *ads: Ad, team: TeamId = ADS) -> None:
    """Put items into the vault. Those without an outcome wait in the default queue."""
    home.keep(*ads, team=team)


def waiting(home: Home, team: TeamId = ADS) -> list[str]:
    """Return the task ids that wait, oldest first."""
    return [entry.task_id for entry in home.services.catalog.moderation.entries(team)]


def feed(services: Services, team: TeamId = ADS, *, since: int = 0, limit: int = 100) -> Feed:
    """Return the verdicts after a position in the feed."""
    return services.catalog.moderation.feed(team, since=since, most=limit)


def given(home: Home, *, by: str = MODERATOR, queue: str = DEFAULT_QUEUE) -> list[str]:
    """Return the task ids that a moderator gets next."""
    return [entry.task_id for entry in next_entries(home.services, ADS, queue, by=by)]


def decided(home: Home, task: str, decision: Decision, *, by: str = MODERATOR) -> StoredVerdict:
    """Decide, and return the verdict."""
    verdict = decide(home.services, ADS, task, decision, by=by)
    assert isinstance(verdict, StoredVerdict)
    return verdict


def decide_all(home: Home, tasks: Iterable[str]) -> None:
    """Approve every second item and refuse the others, each with a note."""
    for number, task in enumerate(tasks):
        verdict = (
            Refuse(reasons=(f"reason {task}",), note=f"note {task}") if number % 2 else Approve(note=f"note {task}")
        )
        decided(home, task, verdict)
