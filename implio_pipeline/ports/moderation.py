"""Moderation: queues, verdicts and notes, and the callbacks (webhooks) that report verdicts and deletions."""

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Protocol

from implio_pipeline.domain.callback import Callback, Delivery, DeliveryResult
from implio_pipeline.domain.ids import TaskKey, TeamId
from implio_pipeline.domain.moderation import Feed, Lock, Note, QueueEntry, RuleFields, StoredVerdict


class Moderation(Protocol):
    """Items that wait for a decision, locks on them, verdicts, notes, and the feed of verdicts."""

    def entries(self, team: TeamId | None = None) -> list[QueueEntry]:
        """Return the waiting items, oldest first."""

    def counts(self) -> Mapping[tuple[str, str], int]:
        """Return how many items wait, by team and queue. An empty queue counts 0."""

    def add_queue(self, team: TeamId, queue: str) -> None:
        """Add a queue. A queue that exists is unchanged.

        Raises:
            TeamUnknown: there is no such team.
        """

    def remove_queue(self, team: TeamId, queue: str) -> None:
        """Remove an empty queue.

        Raises:
            QueueUnknown: there is no such queue.
            QueueInvalid: an item waits in it, or would wait in it if a request were cancelled.
        """

    def lock_oldest(self, team: TeamId, queue: str, *, lock: Lock, now: datetime, count: int) -> list[QueueEntry]:
        """Lock and return the oldest entries of a queue that nobody else has locked. Own locks are renewed.

        Raises:
            TeamUnknown: there is no such team.
            QueueUnknown: the team has no such queue.
        """

    def unlock(self, team: TeamId, *, by: str) -> int:
        """Unlock everything that a person has locked. Returns the number of entries."""

    def waiting(self, team: TeamId, task_id: str, task_key: TaskKey) -> QueueEntry:
        """Return the entry of a task.

        Raises:
            ItemGone: no item of this task waits.
        """

    def decided(self, team: TeamId, task_id: str, task_key: TaskKey) -> StoredVerdict | None:
        """Return the verdict on a task, `None` when there is none or the feed no longer has it."""

    def decide(self, verdict: StoredVerdict, *, note: Note | None, at: datetime) -> StoredVerdict:
        """Store a verdict, take its entry off the queue, and add a delivery for the callback, in one transaction.

        Raises:
            ItemGone: no item of this task waits.
            ItemLocked: another person has locked it.
            ItemDecided: it was decided before.
        """

    def move(self, entry: QueueEntry, *, queue: str, by: str, note: Note | None, at: datetime) -> QueueEntry:
        """Move an entry to another queue and unlock it.

        Raises:
            QueueUnknown: the team has no such queue.
            ItemGone: no item of this task waits.
            ItemLocked: another person has locked it.
        """

    def notes(self, team: TeamId, task_id: str, task_key: TaskKey) -> list[Note]:
        """Return the notes on a task, oldest first."""

    def notes_on(self, team: TeamId, user_key: bytes) -> list[Note]:
        """Return the notes on the items of a user, oldest first."""

    def unsettled(
        self, team: TeamId, *, after: int = 0, now: datetime | None = None, most: int | None = None
    ) -> list[StoredVerdict]:
        """Return verdicts that are not in the vault yet, oldest first.

        Args:
            team: Whose items.
            after: Only verdicts with a higher sequence.
            now: The present: verdicts that are put off until later are left out. All verdicts when `None`.
            most: How many at most.
        """

    def unsettled_teams(self) -> set[TeamId]:
        """Return the teams with verdicts that are not in the vault yet, in one query for all teams."""

    def count_unsettled(self, *, now: datetime | None = None) -> int:
        """Return the number of verdicts that are not in the vault yet; with `now`, without those put off."""

    def unsettled_since(self, *, now: datetime) -> datetime | None:
        """Return the instant of the oldest verdict that is neither in the vault nor put off until later."""

    def put_off(self, team: TeamId, verdicts: Sequence[int], *, until: datetime) -> None:
        """Put verdicts off until an instant, because the file of their items cannot be written now."""

    def feed(self, team: TeamId, *, since: int, most: int) -> Feed:
        """Return the verdicts after a place in the feed (milliseconds since 1970), in their order."""

    def newest(self, team: TeamId) -> int:
        """Return the newest place that a team's feed has used, 0 when it has used none."""

    def forget_settled(self, before: datetime) -> int:
        """Forget verdicts that were written to their items before an instant. Returns the number of verdicts."""

    def traces(self, team: TeamId) -> list[RuleFields]:
        """Return what the catalog keeps about items outside of queues: verdicts, notes and deliveries."""


class Callbacks(Protocol):
    """Callbacks of teams, and the deliveries that are still to be made."""

    def hosts(self, team: TeamId) -> frozenset[str]:
        """Return the hosts that a team's callback may call."""

    def allow(self, team: TeamId, hosts: Iterable[str]) -> None:
        """Allow exactly these hosts for a team's callback. A callback to another host is removed.

        Raises:
            TeamUnknown: there is no such team.
        """

    def get(self, team: TeamId) -> Callback | None:
        """Return a team's callback."""

    def put(self, callback: Callback) -> None:
        """Store a team's callback. It replaces the one before.

        Raises:
            TeamUnknown: there is no such team.
        """

    def remove(self, team: TeamId) -> None:
        """Remove a team's callback, and its deliveries.

        Raises:
            CallbackUnknown: the team has no callback.
        """

    def teams_due(self, *, now: datetime) -> list[TeamId]:
        """Return the teams that have deliveries due, by name."""

    def due(self, team: TeamId, *, now: datetime, most: int) -> list[Delivery]:
        """Return a team's deliveries whose next attempt is due, those that are due longest first."""

    def begin(self, delivery: Delivery, *, until: datetime) -> Delivery | None:
        """Count one more attempt, and keep other processes from beginning one until an instant.

        Returns `None` if the delivery was cancelled, or if another process began the attempt first.
        """

    def done(self, delivery: Delivery) -> None:
        """Forget a delivery that was made, or that is no longer to be made."""

    def put_off(self, delivery: Delivery) -> None:
        """Store when a delivery is tried again and after how many attempts, or that it is given up.

        A cancelled delivery is ignored.
        """

    def all(self, team: TeamId | None = None) -> list[Delivery]:
        """Return every delivery that was not made, oldest first."""

    def forget_given_up(self, before: datetime) -> int:
        """Forget deliveries that were given up before an instant. Returns the number of deliveries."""


class WebhookClient(Protocol):
    """Sends callbacks."""

    def send(self, url: str, body: bytes, headers: Mapping[str, str]) -> DeliveryResult:
        """Post a body and return the outcome. Failures of the receiver are outcomes, not exceptions."""

    def abandon(self) -> None:
        """End running calls at once and send nothing more. Every later call of `send` answers `ABANDONED`."""

    def sign(self, secret: str, body: bytes, *, at: datetime) -> str:
        """Return the value of the signature header: the instant, and HMAC-SHA-256 of instant, full stop and body."""

    def new_secret(self, prefix: str) -> str:
        """Return a new random secret of 256 bits, behind a prefix that says what it is for."""

    def check(self, url: str) -> None:
        """Check that a callback may be sent to a URL, with the addresses that its host name has now.

        Raises:
            CallbackRefused: it may not.
        """
