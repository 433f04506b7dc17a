"""Moderate: hand out queue entries, ten at a time, and store the decisions on them.

Rules:

* Each entry is locked for one moderator at a time, and decided once. The same verdict of the same moderator again is
  the same verdict, so that a call may be repeated (decision 0032).
* A deletion comes before moderation: the transaction that accepts it removes its items from queues, verdicts and notes.
* Names of moderators, notes and reasons are sealed; locks and verdicts hold a keyed pseudonym.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from implio_pipeline.domain.errors import DecisionRefused, ItemDecided, ItemGone, QueueInvalid
from implio_pipeline.domain.ids import TeamId, sensitive
from implio_pipeline.domain.moderation import (
    ENTRIES_AT_ONCE,
    LOCK_LASTS,
    STANDING_QUEUES,
    Decision,
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
from implio_pipeline.domain.replan import replan, reread
from implio_pipeline.flows.identity import identity_of
from implio_pipeline.ports.keychain import Keychain
from implio_pipeline.ports.services import Services


@dataclass(frozen=True, kw_only=True, slots=True)
class ReadNote:
    """A moderator's note in clear."""

    written_at: datetime
    text: str = sensitive()


def queues_of(services: Services, team: TeamId) -> list[QueueCount]:
    """Return a team's queues with the number of entries in each; built-in queues come first, the others by name.

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
        QueueInvalid: the name is not a valid one.
    """
    name = check_queue_name(queue)
    services.catalog.moderation.add_queue(team, name)
    return name


def remove_queue(services: Services, team: TeamId, queue: str) -> None:
    """Remove an empty queue.

    Raises:
        QueueUnknown: the team has no queue of this name.
        QueueInvalid: the queue is a built-in one, or is not empty.
    """
    if queue in STANDING_QUEUES:
        raise QueueInvalid("every team has this queue")
    services.catalog.moderation.remove_queue(team, queue)


def next_entries(
    services: Services, team: TeamId, queue: str, *, by: str, count: int = ENTRIES_AT_ONCE
) -> list[QueueEntry]:
    """Return the oldest entries that nobody else has locked, and lock them for a moderator.

    Entries that the moderator has locked already are among them, and their locks are extended.

    Args:
        services: What the flow may use.
        team: The team that owns the queue.
        queue: The queue's name.
        by: The moderator's name; only a keyed pseudonym of it is kept.
        count: The most entries to return.

    Raises:
        TeamUnknown: there is no such team.
        QueueUnknown: it has no such queue.
    """
    now = services.clock.now()
    # The lock has a pseudonym, since queue entries are not sealed and a moderator's name is personal.
    lock = Lock(by=identity_of(services.keychain, team, by), until=now + LOCK_LASTS)
    return services.catalog.moderation.lock_oldest(team, queue, lock=lock, now=now, count=count)


def unlock_entries(services: Services, team: TeamId, *, by: str) -> int:
    """Unlock every entry that a moderator has locked, and return their number."""
    return services.catalog.moderation.unlock(team, by=identity_of(services.keychain, team, by))


def decide(
    services: Services, team: TeamId, task_id: str, decision: Decision, *, by: str
) -> StoredVerdict | QueueEntry:
    """Store a decision on one item: a verdict removes the item from its queue, a move puts it into another queue.

    Args:
        services: What the flow may use.
        team: The team that owns the item.
        task_id: The item.
        decision: The verdict, or the move.
        by: The moderator's name; sealed until it is written into the item.

    Returns:
        The verdict, or the earlier one if the same person gave the same before; for a move, the entry in its new queue.

    Raises:
        ItemGone: the item was deleted, or was never in a queue.
        ItemLocked: another moderator has locked it.
        ItemDecided: another verdict was given before.
        DecisionRefused: a reason is missing, or no moderator is named.
        QueueUnknown: the team does not have the queue to move it to.
    """
    moderation = services.catalog.moderation
    # 1. Check the decision, and name the moderator by a pseudonym.
    check_decision(decision)
    actor = by.strip()
    if not actor:
        raise DecisionRefused("the decision names no moderator")
    name = task_id.strip().lower()
    task_key, who = services.identifiers.task_key(name), identity_of(services.keychain, team, actor)
    # 2. An earlier verdict stays. If it is the same, return it, so that a call may be repeated (decision 0032).
    earlier = moderation.decided(team, name, task_key)
    if earlier is not None:
        if not isinstance(decision, Move) and earlier.is_same(decision, by=who):
            return earlier
        raise ItemDecided("the item was decided before")
    # 3. Store note and decision in one transaction. It fails if the entry is gone or locked. They are sealed again if a
    #    rotation has destroyed the key.
    entry, now = moderation.waiting(team, name, task_key), services.clock.now()

    def store() -> StoredVerdict | QueueEntry:
        note = _note(services.keychain, entry, decision, at=now)
        if isinstance(decision, Move):
            return moderation.move(entry, queue=decision.queue, by=who, note=note, at=now)
        return moderation.decide(_verdict(services.keychain, entry, decision, actor, who, now), note=note, at=now)

    try:
        return replan(store, about=f"the keys of team {team}")
    except (ItemGone, ItemDecided):
        # Another call came first. It may be the same moderator, who clicked twice.
        again = moderation.decided(team, name, task_key)
        if not isinstance(decision, Move) and again is not None and again.is_same(decision, by=who):
            return again
        raise


def notes_of(services: Services, team: TeamId, task_id: str) -> list[ReadNote]:
    """Return the notes that moderators wrote about an item, oldest first."""
    name, keychain = task_id.strip().lower(), services.keychain
    task_key = services.identifiers.task_key(name)
    return reread(
        lambda: opened_notes(keychain, services.catalog.moderation.notes(team, name, task_key)),
        about=f"the keys of team {team}",
        again=lambda: keychain.forget(team),
    )


def opened_notes(keychain: Keychain, notes: Sequence[Note]) -> list[ReadNote]:
    """Return notes in clear, in the order given."""
    return [
        ReadNote(
            written_at=note.written_at,
            text=keychain.unseal(note.team, note.sealed, context=seal_context("note", note.task_id)).decode(),
        )
        for note in notes
    ]


def _verdict(
    keychain: Keychain, entry: QueueEntry, verdict: Verdict, actor: str, who: str, now: datetime
) -> StoredVerdict:
    details = VerdictDetails.of(verdict, actor=actor).to_bytes()
    return StoredVerdict(
        team=entry.team,
        task_id=entry.task_id,
        task_key=entry.task_key,
        user_key=entry.user_key,
        submitted_at=entry.submitted_at,
        # The outcome in the vault: rules by outcome use it until the verdict is written there (decision 0030).
        outcome=entry.outcome,
        decided=verdict.outcome,
        decided_at=now,
        actor=who,
        queue=entry.queue,
        sealed=keychain.seal(entry.team, details, context=seal_context("decision", entry.task_id)),
    )


def _note(keychain: Keychain, entry: QueueEntry, decision: Decision, *, at: datetime) -> Note | None:
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
        sealed=keychain.seal(entry.team, decision.note.encode(), context=seal_context("note", entry.task_id)),
    )
