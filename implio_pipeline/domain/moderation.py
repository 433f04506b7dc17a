"""Moderation: who may decide on what waits, what a decision is, and what becomes of it. Pure."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from implio_pipeline.domain.errors import DecisionRefused, QueueInvalid
from implio_pipeline.domain.ids import Outcome, TaskKey, TeamId, UserKey, sensitive

AT_ONCE = 10
"""Entries that a moderator is given at a time."""
LOCK_LASTS = timedelta(minutes=10)
DEFAULT_QUEUE = "Default"
ESCALATED_QUEUE = "Escalated"
STANDING_QUEUES = (DEFAULT_QUEUE, ESCALATED_QUEUE)
"""Queues that every team has."""
_LONGEST_NAME, _LONGEST_TEXT, _MOST_TEXTS = 128, 2_000, 20


@dataclass(frozen=True, kw_only=True, slots=True)
class QueueEntry:
    """An item that waits for a decision; opaque values only."""

    task_id: str
    task_key: TaskKey
    team: TeamId
    queue: str
    user_key: UserKey | None
    submitted_at: datetime
    outcome: str | None


@dataclass(frozen=True, kw_only=True, slots=True)
class Approve:
    """The item may be shown."""

    feedback: tuple[str, ...] = sensitive(default=())
    note: str | None = sensitive(default=None)


@dataclass(frozen=True, kw_only=True, slots=True)
class Refuse:
    """The item may not be shown, for at least one reason."""

    reasons: tuple[str, ...] = sensitive()
    feedback: tuple[str, ...] = sensitive(default=())
    note: str | None = sensitive(default=None)


@dataclass(frozen=True, kw_only=True, slots=True)
class Move:
    """Somebody else shall decide: the item goes to another queue."""

    queue: str
    note: str | None = sensitive(default=None)


Verdict = Approve | Refuse
"""What ends an item's waiting."""
Decision = Verdict | Move


@dataclass(frozen=True, kw_only=True, slots=True)
class Lock:
    """Whom an entry is given to, by keyed pseudonym, and until when."""

    by: str
    until: datetime


@dataclass(frozen=True, kw_only=True, slots=True)
class Decided:
    """A verdict as the catalog keeps it, from the moment it falls until the feed forgets it."""

    team: TeamId
    task_id: str
    task_key: TaskKey
    user_key: UserKey | None
    submitted_at: datetime
    outcome: str | None
    """What the vault says of the item now; rules by outcome go by this until the verdict is settled."""
    decided: Outcome
    decided_at: datetime
    actor: str
    """Keyed pseudonym of who decided."""
    queue: str
    feed_at: int = 0
    """Milliseconds since 1970 at which the feed tells it: grows with every verdict of the team, none has another's."""
    sequence: int = 0
    settled_at: datetime | None = None
    """When the verdict was written into the item's vault file; `None` while it is not."""
    sealed: bytes | None = sensitive(default=None)
    """Reasons, feedback and actor; dropped once settled, since the item has them then."""

    def is_same(self, verdict: Verdict, *, by: str) -> bool:
        """Tell whether the same person said the same before: to decide twice is to decide once."""
        return self.decided is outcome_of(verdict) and self.actor == by


@dataclass(frozen=True, kw_only=True, slots=True)
class Note:
    """What a moderator wrote about an item, for other moderators; erased with it."""

    team: TeamId
    task_id: str
    task_key: TaskKey
    user_key: UserKey | None
    submitted_at: datetime
    outcome: str | None
    written_at: datetime
    sealed: bytes = sensitive()


@dataclass(frozen=True, kw_only=True, slots=True)
class Trace:
    """That the catalog keeps something of an item outside the vault: as much as rules ask for."""

    task_key: TaskKey
    user_key: UserKey | None
    submitted_at: datetime
    outcome: str | None


@dataclass(frozen=True, kw_only=True, slots=True)
class Feed:
    """A page of verdicts in the order they fell."""

    entries: tuple[Decided, ...]
    newest: int
    """Where the next page begins: `feed_at` of the last entry that was looked at."""
    is_more: bool


@dataclass(frozen=True, kw_only=True, slots=True)
class VerdictDetails:
    """The personal part of a verdict."""

    actor: str = sensitive()
    reasons: tuple[str, ...] = sensitive(default=())
    feedback: tuple[str, ...] = sensitive(default=())

    @classmethod
    def of(cls, verdict: Verdict, *, actor: str) -> "VerdictDetails":
        """Return the personal part of a verdict."""
        reasons = verdict.reasons if isinstance(verdict, Refuse) else ()
        return cls(actor=actor, reasons=tuple(reasons), feedback=tuple(verdict.feedback))

    def to_bytes(self) -> bytes:
        """Return the personal part of a verdict as it is sealed."""
        parts = {"actor": self.actor, "reasons": list(self.reasons), "feedback": list(self.feedback)}
        return json.dumps(parts).encode()

    @classmethod
    def from_bytes(cls, text: bytes) -> "VerdictDetails":
        """Return the personal part of a verdict: `words_text` read back."""
        parts = json.loads(text)
        return cls(actor=parts["actor"], reasons=tuple(parts["reasons"]), feedback=tuple(parts["feedback"]))

    def item_columns(self, decided: Outcome) -> Mapping[str, Any]:
        """Return the item's columns that a verdict replaces; feedback stays when the verdict gives none."""
        values: dict[str, Any] = {
            "outcome": decided.value,
            "reasons": list(self.reasons) or None,
            "actor_id": self.actor,
        }
        return values | ({"feedback": list(self.feedback)} if self.feedback else {})


@dataclass(frozen=True, kw_only=True, slots=True)
class QueueCount:
    """A queue and how much waits in it."""

    queue: str
    waiting: int
    is_built_in: bool = field(default=False)


def is_free(lock: Lock | None, *, by: str, now: datetime) -> bool:
    """Tell whether somebody may decide: nobody else is looking at it, or no longer."""
    return lock is None or lock.until <= now or lock.by == by


def outcome_of(verdict: Verdict) -> Outcome:
    """Return the outcome that a verdict gives its item."""
    return Outcome.APPROVED if isinstance(verdict, Approve) else Outcome.REFUSED


def check_decision(decision: Decision) -> None:
    """Let a decision through that can be kept.

    Raises:
        DecisionRefused: a refusal without a reason, an empty text, or more than can be kept.
    """
    texts: list[str] = [] if decision.note is None else [decision.note]
    if not isinstance(decision, Move):
        texts += decision.feedback
    if isinstance(decision, Refuse):
        if not decision.reasons:
            raise DecisionRefused("a refusal needs a reason")
        texts += decision.reasons
    if len(texts) > _MOST_TEXTS or any(not text.strip() or len(text) > _LONGEST_TEXT for text in texts):
        raise DecisionRefused(
            f"reasons, feedback and notes are up to {_MOST_TEXTS} texts of 1 to {_LONGEST_TEXT} letters"
        )


def check_queue_name(name: str) -> str:
    """Return the name of a queue, without outer white space.

    Raises:
        QueueInvalid: it is empty, too long, or cannot be printed.
    """
    stripped = name.strip()
    if not stripped or len(stripped) > _LONGEST_NAME or not stripped.isprintable():
        raise QueueInvalid("the name of a queue is 1 to 128 printable letters")
    return stripped


def next_feed_at(*, now: datetime, newest: int) -> int:
    """Return the instant in milliseconds at which the feed tells a new verdict: later than every one before.

    Source: the order of commits, not of clocks, decides what a reader who asks "since then" has not seen yet.
    """
    return max(int(now.timestamp() * 1000), newest + 1)


def seal_context(kind: str, name: str) -> str:
    """Return what a sealed value of moderation is bound to."""
    return f"{kind} {name}"
