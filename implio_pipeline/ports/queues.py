"""Moderation queues, verdicts and notes."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Protocol

from implio_pipeline.domain.intake import QueueEntry
from implio_pipeline.domain.moderation import Decided, Feed, Lock, Note, Trace
from implio_pipeline.domain.words import TaskKey, TeamId


class Moderation(Protocol):
    """What waits for a decision, locks on it, verdicts, notes, and the feed of verdicts."""

    def entries(self, team: TeamId | None = None) -> list[QueueEntry]:
        """Return what waits, oldest first."""

    def counts(self) -> Mapping[tuple[str, str], int]:
        """Return how many items wait, by team and queue; an empty queue counts 0."""

    def add_queue(self, team: TeamId, queue: str) -> None:
        """Add a queue; one that is there already is no error.

        Raises:
            TeamUnknown: there is no such team.
        """

    def remove_queue(self, team: TeamId, queue: str) -> None:
        """Remove an empty queue.

        Raises:
            QueueUnknown: there is none.
            QueueInvalid: something waits in it, or would when a request is cancelled.
        """

    def lock_oldest(self, team: TeamId, queue: str, *, lock: Lock, now: datetime, count: int) -> list[QueueEntry]:
        """Lock and return the oldest entries of a queue that nobody else has locked; one's own come again.

        Raises:
            TeamUnknown: there is no such team.
            QueueUnknown: it has no such queue.
        """

    def unlock(self, team: TeamId, *, by: str) -> int:
        """Give back everything that somebody has locked, and return how much it was."""

    def waiting(self, team: TeamId, task_id: str, task_key: TaskKey) -> QueueEntry:
        """Return the entry of a task.

        Raises:
            ItemGone: nothing waits by this id.
        """

    def decided(self, team: TeamId, task_id: str, task_key: TaskKey) -> Decided | None:
        """Return the verdict on a task, if there is one that the feed still tells."""

    def decide(self, verdict: Decided, *, note: Note | None, at: datetime) -> Decided:
        """Store a verdict, take its entry off the queue, and tell the team's callback, in one transaction.

        Raises:
            ItemGone: nothing waits by this id.
            ItemLocked: somebody else has locked it.
            ItemDecided: it was decided before.
        """

    def move(self, entry: QueueEntry, *, queue: str, by: str, note: Note | None, at: datetime) -> QueueEntry:
        """Put an entry into another queue, free for whoever looks there.

        Raises:
            QueueUnknown: the team has no such queue.
            ItemGone: nothing waits by this id.
            ItemLocked: somebody else has locked it.
        """

    def notes(self, team: TeamId, task_id: str, task_key: TaskKey) -> list[Note]:
        """Return the notes on a task, oldest first."""

    def notes_on(self, team: TeamId, user_key: bytes) -> list[Note]:
        """Return the notes on the items of a user, oldest first."""

    def unsettled(
        self, team: TeamId, *, after: int = 0, now: datetime | None = None, most: int | None = None
    ) -> list[Decided]:
        """Return verdicts that are not in the vault yet, oldest first; with `now`, none that is put off until later.

        Args:
            team: Whose items.
            after: Only verdicts with a higher sequence.
            now: The present; all verdicts when `None`.
            most: So many at once.
        """

    def unsettled_teams(self) -> set[TeamId]:
        """Return the teams with verdicts that are not in the vault yet; one query, however many teams."""

    def unsettled_since(self, *, now: datetime) -> datetime | None:
        """Return when the oldest verdict fell that is not in the vault yet and is not put off until later."""

    def put_off(self, team: TeamId, verdicts: Sequence[int], *, until: datetime) -> None:
        """Leave verdicts alone until an instant: the file of their items cannot be settled now."""

    def feed(self, team: TeamId, *, since: int, most: int) -> Feed:
        """Return the verdicts after an instant in milliseconds, in the order they fell."""

    def newest(self, team: TeamId) -> int:
        """Return the newest instant that the team's feed ever told, 0 when it told none."""

    def forget_settled(self, before: datetime) -> int:
        """Forget verdicts that were settled before an instant, and return how many; their items have them."""

    def traces(self, team: TeamId) -> list[Trace]:
        """Return that of items which is kept in the catalog beside the queues and was not withdrawn."""
