"""Moderate: give out what waits, ten at a time, take verdicts, and tell of them in the order they fell.

A deletion wins over everything here: what it covers is gone from queues, verdicts and notes in the transaction that
accepts it.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from implio_pipeline.domain.errors import DecisionRefused, ItemDecided, ItemGone, QueueInvalid
from implio_pipeline.domain.ids import TeamId, sensitive
from implio_pipeline.domain.moderation import (
    AT_ONCE,
    LOCK_LASTS,
    STANDING_QUEUES,
    Decision,
    Feed,
    Lock,
    Move,
    Note,
    QueueCount,
    QueueEntry,
    StoredVerdict,
    Verdict,
    VerdictDetails,
    check_decision,
    check_queue_name,
    seal_context,
)
from implio_pipeline.flows.identity import identity_of
from implio_pipeline.ports.services import Services

_MOST_AT_ONCE = 1_000


@dataclass(frozen=True, kw_only=True, slots=True)
class ReadNote:
    """A note, opened."""

    written_at: datetime
    text: str = sensitive()


def queues_of(services: Services, team: TeamId) -> list[QueueCount]:
    """Return a team's queues, the built-in ones first, with how much waits in each.

    Raises:
        TeamUnknown: there is no such team.
    """
    name = services.catalog.teams.get(team).team
    counts = {queue: count for (owner, queue), count in services.catalog.moderation.counts().items() if owner == name}
    order = [*(queue for queue in STANDING_QUEUES if queue in counts), *sorted(set(counts) - set(STANDING_QUEUES))]
    return [QueueCount(queue=queue, waiting=counts[queue], is_built_in=queue in STANDING_QUEUES) for queue in order]


def add_queue(services: Services, team: TeamId, queue: str) -> str:
    """Add a queue, and return its name.

    Raises:
        TeamUnknown: there is no such team.
        QueueInvalid: the name is none.
    """
    name = check_queue_name(queue)
    services.catalog.moderation.add_queue(team, name)
    return name


def remove_queue(services: Services, team: TeamId, queue: str) -> None:
    """Remove an empty queue.

    Raises:
        QueueUnknown: there is none of this name.
        QueueInvalid: it is one that every team has, or something waits in it.
    """
    if queue in STANDING_QUEUES:
        raise QueueInvalid("every team has this queue")
    services.catalog.moderation.remove_queue(team, queue)


def next_entries(services: Services, team: TeamId, queue: str, *, by: str, count: int = AT_ONCE) -> list[QueueEntry]:
    """Return the oldest entries that nobody else is looking at, and lock them for whoever asks.

    What somebody has locked already comes again to them, for a new while.

    Args:
        services: What the flow may touch.
        team: Whose queue.
        queue: Its name.
        by: Who asks; only a keyed pseudonym of it is kept.
        count: How many at most.

    Raises:
        TeamUnknown: there is no such team.
        QueueUnknown: it has no such queue.
    """
    now = services.clock.now()
    lock = Lock(by=identity_of(services.keychain, team, by), until=now + LOCK_LASTS)
    return services.catalog.moderation.lock_oldest(team, queue, lock=lock, now=now, count=count)


def give_back(services: Services, team: TeamId, *, by: str) -> int:
    """Unlock everything that somebody has locked, and return how much it was."""
    return services.catalog.moderation.unlock(team, by=identity_of(services.keychain, team, by))


def decide(
    services: Services, team: TeamId, task_id: str, decision: Decision, *, by: str
) -> StoredVerdict | QueueEntry:
    """Take a decision on one item: a verdict takes it off the queue at once, a move leads it to another.

    Args:
        services: What the flow may touch.
        team: Whose item.
        task_id: The item.
        decision: What is decided.
        by: Who decides; sealed until the item's file has it.

    Returns:
        The verdict, the earlier one if the same person said the same before; or the entry in its new queue.

    Raises:
        ItemGone: the item was deleted meanwhile, or never waited.
        ItemLocked: somebody else is looking at it.
        ItemDecided: another verdict fell before.
        DecisionRefused: it lacks a reason, or nobody answers for it.
        QueueUnknown: the team has no queue to move it to.
    """
    check_decision(decision)
    actor = by.strip()
    if not actor:
        raise DecisionRefused("nobody answers for the decision")
    name = task_id.strip().lower()
    task_key, who = services.identifiers.task_key(name), identity_of(services.keychain, team, actor)
    earlier = services.catalog.moderation.decided(team, name, task_key)
    if earlier is not None:
        if not isinstance(decision, Move) and earlier.is_same(decision, by=who):
            return earlier
        raise ItemDecided("the item was decided before")
    entry = services.catalog.moderation.waiting(team, name, task_key)
    now = services.clock.now()
    note = _note(services, entry, decision, at=now)
    if isinstance(decision, Move):
        return services.catalog.moderation.move(entry, queue=decision.queue, by=who, note=note, at=now)
    try:
        return services.catalog.moderation.decide(
            _verdict(services, entry, decision, actor, who, now), note=note, at=now
        )
    except (ItemGone, ItemDecided):
        # Somebody was faster: perhaps oneself, by pressing twice.
        again = services.catalog.moderation.decided(team, name, task_key)
        if again is not None and again.is_same(decision, by=who):
            return again
        raise


def notes_of(services: Services, team: TeamId, task_id: str) -> list[ReadNote]:
    """Return what moderators wrote about an item, oldest first."""
    name = task_id.strip().lower()
    notes = services.catalog.moderation.notes(team, name, services.identifiers.task_key(name))
    return opened_notes(services, notes)


def opened_notes(services: Services, notes: Sequence[Note]) -> list[ReadNote]:
    """Return notes, opened."""
    return [
        ReadNote(
            written_at=note.written_at,
            text=services.keychain.unseal(note.team, note.sealed, context=seal_context("note", note.task_id)).decode(),
        )
        for note in notes
    ]


def feed(services: Services, team: TeamId, *, since: int = 0, limit: int = 100) -> Feed:
    """Return the verdicts that fell after an instant, in the order they fell.

    Args:
        services: What the flow may touch.
        team: Whose.
        since: Milliseconds since 1970: the `newest` of the page before.
        limit: How many at most.
    """
    return services.catalog.moderation.feed(team, since=since, most=max(1, min(limit, _MOST_AT_ONCE)))


def _verdict(
    services: Services, entry: QueueEntry, verdict: Verdict, actor: str, who: str, now: datetime
) -> StoredVerdict:
    words = VerdictDetails.of(verdict, actor=actor).to_bytes()
    return StoredVerdict(
        team=entry.team,
        task_id=entry.task_id,
        task_key=entry.task_key,
        user_key=entry.user_key,
        submitted_at=entry.submitted_at,
        outcome=entry.outcome,
        decided=verdict.outcome,
        decided_at=now,
        actor=who,
        queue=entry.queue,
        sealed=services.keychain.seal(entry.team, words, context=seal_context("decision", entry.task_id)),
    )


def _note(services: Services, entry: QueueEntry, decision: Decision, *, at: datetime) -> Note | None:
    if decision.note is None:
        return None
    return Note(
        team=entry.team,
        task_id=entry.task_id,
        task_key=entry.task_key,
        user_key=entry.user_key,
        submitted_at=entry.submitted_at,
        outcome=entry.outcome,
        written_at=at,
        sealed=services.keychain.seal(entry.team, decision.note.encode(), context=seal_context("note", entry.task_id)),
    )
