"""Moderation: queues, decisions on the items in them, and the feed of verdicts.

Rules:
* The first verdict on an item counts. The same verdict by the same person again changes nothing.
* Until a verdict is written into its item's file, the catalog keeps it, and readers see it as a pending decision.
* Reasons, feedback, notes and the name of the moderator are personal: they are sealed, and erased with the item.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from implio_pipeline.domain.errors import DecisionRefused, QueueInvalid
from implio_pipeline.domain.ids import Outcome, TaskKey, TeamId, UserKey, sensitive
from implio_pipeline.domain.scope import Rule, covers

ENTRIES_AT_ONCE = 10
"""How many entries a moderator gets at a time."""
LOCK_LASTS = timedelta(minutes=10)
DEFAULT_QUEUE = "Default"
ESCALATED_QUEUE = "Escalated"
STANDING_QUEUES = (DEFAULT_QUEUE, ESCALATED_QUEUE)
"""The queues that every team has."""
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

    def is_covered_by(self, rule: Rule) -> bool:
        """Return whether a rule covers the item."""
        return _is_covered(self, rule)


@dataclass(frozen=True, kw_only=True, slots=True)
class Approve:
    """The item may be shown."""

    feedback: tuple[str, ...] = sensitive(default=())
    note: str | None = sensitive(default=None)

    @property
    def outcome(self) -> Outcome:
        """The outcome that the verdict gives its item."""
        return Outcome.APPROVED


@dataclass(frozen=True, kw_only=True, slots=True)
class Refuse:
    """The item may not be shown, for at least one reason."""

    reasons: tuple[str, ...] = sensitive()
    feedback: tuple[str, ...] = sensitive(default=())
    note: str | None = sensitive(default=None)

    @property
    def outcome(self) -> Outcome:
        """The outcome that the verdict gives its item."""
        return Outcome.REFUSED


@dataclass(frozen=True, kw_only=True, slots=True)
class Move:
    """The item goes to another queue, for somebody else to decide."""

    queue: str
    note: str | None = sensitive(default=None)


Verdict = Approve | Refuse
"""A decision that ends an item's waiting."""
Decision = Verdict | Move


@dataclass(frozen=True, kw_only=True, slots=True)
class Lock:
    """The person to whom an entry was given, as a keyed pseudonym, and until when."""

    by: str
    until: datetime


@dataclass(frozen=True, kw_only=True, slots=True)
class StoredVerdict:
    """A verdict as the catalog keeps it, until the feed no longer needs it."""

    team: TeamId
    task_id: str
    task_key: TaskKey
    user_key: UserKey | None
    submitted_at: datetime
    outcome: str | None
    """The outcome of the item in the vault. Rules by outcome use this one until the verdict is settled."""
    decided: Outcome
    decided_at: datetime
    actor: str
    """Keyed pseudonym of the person who decided."""
    queue: str
    feed_at: int = 0
    """Position in the feed, in milliseconds since 1970. It grows with every verdict of the team and is unique there."""
    sequence: int = 0
    settled_at: datetime | None = None
    """When the verdict was written into the item's vault file; `None` until then."""
    sealed: bytes | None = sensitive(default=None)
    """Reasons, feedback and actor. Removed once settled, because the item then contains them."""

    def is_same(self, verdict: Verdict, *, by: str) -> bool:
        """Return whether the same person gave the same verdict, so that a repeated call changes nothing."""
        return self.decided is verdict.outcome and self.actor == by


@dataclass(frozen=True, kw_only=True, slots=True)
class Note:
    """A moderator's note on an item, for other moderators; erased with the item."""

    team: TeamId
    task_id: str
    task_key: TaskKey
    user_key: UserKey | None
    submitted_at: datetime
    outcome: str | None
    written_at: datetime
    sealed: bytes = sensitive()


@dataclass(frozen=True, kw_only=True, slots=True)
class RuleFields:
    """What rules compare of an item, for entries that the catalog keeps outside the vault."""

    task_key: TaskKey
    user_key: UserKey | None
    submitted_at: datetime
    outcome: str | None

    def is_covered_by(self, rule: Rule) -> bool:
        """Return whether a rule covers the item."""
        return _is_covered(self, rule)


def _is_covered(item: QueueEntry | RuleFields, rule: Rule) -> bool:
    return covers(
        rule,
        user_key=item.user_key,
        task_key=item.task_key,
        submitted_at=item.submitted_at,
        outcome=item.outcome,
    )


@dataclass(frozen=True, kw_only=True, slots=True)
class Feed:
    """A page of verdicts in the order in which they were made."""

    entries: tuple[StoredVerdict, ...]
    newest: int
    """Where the next page begins: `feed_at` of the last entry that was read."""
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
        """Return the personal part in the form that is sealed."""
        parts = {"actor": self.actor, "reasons": list(self.reasons), "feedback": list(self.feedback)}
        return json.dumps(parts).encode()

    @classmethod
    def from_bytes(cls, text: bytes) -> "VerdictDetails":
        """Decode the sealed form; the inverse of `to_bytes`."""
        parts = json.loads(text)
        return cls(actor=parts["actor"], reasons=tuple(parts["reasons"]), feedback=tuple(parts["feedback"]))

    def item_columns(self, decided: Outcome) -> Mapping[str, Any]:
        """Return the item's columns that the verdict replaces; without feedback the item keeps its own."""
        # Reasons of an earlier decision would contradict the verdict, so they are replaced even by nothing.
        values: dict[str, Any] = {
            "outcome": decided.value,
            "reasons": list(self.reasons) or None,
            "actor_id": self.actor,
        }
        return values | ({"feedback": list(self.feedback)} if self.feedback else {})


@dataclass(frozen=True, kw_only=True, slots=True)
class QueueCount:
    """A queue and the number of items waiting in it."""

    queue: str
    waiting: int
    is_built_in: bool = field(default=False)


def is_free(lock: Lock | None, *, by: str, now: datetime) -> bool:
    """Return whether a person may decide: nobody else holds a lock that is still valid."""
    return lock is None or lock.until <= now or lock.by == by


def check_decision(decision: Decision) -> None:
    """Check that a decision is complete and within the limits.

    Raises:
        DecisionRefused: a refusal has no reason, a text is empty or too long, or there are too many texts.
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
    """Return the name of a queue without outer white space.

    Raises:
        QueueInvalid: the name is empty, too long, or not printable.
    """
    stripped = name.strip()
    if not stripped or len(stripped) > _LONGEST_NAME or not stripped.isprintable():
        raise QueueInvalid("the name of a queue is 1 to 128 printable letters")
    return stripped


def next_feed_at(*, now: datetime, newest: int) -> int:
    """Return the feed position of a new verdict, in milliseconds: later than all positions before it.

    A reader asks for everything after a position. So positions follow the order of commits, not the clock: a verdict
    that is committed later would otherwise be missed.
    """
    # Two verdicts in one millisecond, or a clock that was set back, must not share a position or move backwards.
    return max(int(now.timestamp() * 1000), newest + 1)


def seal_context(kind: str, name: str) -> str:
    """Return the context to which a sealed value of moderation is bound."""
    return f"{kind} {name}"
