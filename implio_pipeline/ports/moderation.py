"""Moderation: queues, verdicts, notes, and the callbacks that report them."""

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Protocol

from implio_pipeline.domain.callback import Callback, Delivery, DeliveryResult
from implio_pipeline.domain.ids import TaskKey, TeamId
from implio_pipeline.domain.moderation import Feed, Lock, Note, QueueEntry, StoredVerdict, Trace


class Moderation(Protocol):
    """What waits for a decision, locks on it, verdicts, notes, and the feed of verdicts."""

    def entries(self, team: TeamId | None = None) -> list[QueueEntry]:
        """Return what waits, oldest first."""

    def counts(self) -> Mapping[tuple[str, str], int]:
        """Return how many items wait, by team and queue; an empty queue counts 0."""

    def add_queue(self, team: TeamId, queue: str) -> None:
        """Add a queue. A queue that exists is left as it is.

        Raises:
            TeamUnknown: no such team.
        """

    def remove_queue(self, team: TeamId, queue: str) -> None:
        """Remove an empty queue.

        Raises:
            QueueUnknown: no such queue.
            QueueInvalid: something waits in it, or would when a request is cancelled.
        """

    def lock_oldest(self, team: TeamId, queue: str, *, lock: Lock, now: datetime, count: int) -> list[QueueEntry]:
        """Lock and return the oldest entries of a queue that nobody else has locked; one's own come again.

        Raises:
            TeamUnknown: no such team.
            QueueUnknown: it has no such queue.
        """

    def unlock(self, team: TeamId, *, by: str) -> int:
        """Unlock everything that somebody has locked; return the number of entries."""

    def waiting(self, team: TeamId, task_id: str, task_key: TaskKey) -> QueueEntry:
        """Return the entry of a task.

        Raises:
            ItemGone: nothing waits by this id.
        """

    def decided(self, team: TeamId, task_id: str, task_key: TaskKey) -> StoredVerdict | None:
        """Return the verdict on a task, if there is one that the feed still tells."""

    def decide(self, verdict: StoredVerdict, *, note: Note | None, at: datetime) -> StoredVerdict:
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
    ) -> list[StoredVerdict]:
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
        """Return what the catalog keeps about items beside the queues: verdicts, notes and deliveries in force."""


class Callbacks(Protocol):
    """Result callbacks of teams, and the deliveries that are still to be made."""

    def hosts(self, team: TeamId) -> frozenset[str]:
        """Return the hosts that the team's callback may go to."""

    def allow(self, team: TeamId, hosts: Iterable[str]) -> None:
        """Allow these hosts, and no others, for the team's callback. A callback to another host is removed.

        Raises:
            TeamUnknown: no such team.
        """

    def get(self, team: TeamId) -> Callback | None:
        """Return the team's callback, if it has one."""

    def put(self, callback: Callback) -> None:
        """Give a team its callback, in place of the one it has.

        Raises:
            TeamUnknown: no such team.
        """

    def remove(self, team: TeamId) -> None:
        """Remove the team's callback, and with it what was still to be delivered.

        Raises:
            CallbackUnknown: it has none.
        """

    def teams_due(self, *, now: datetime) -> list[TeamId]:
        """Return the teams that have deliveries due, by name."""

    def due(self, team: TeamId, *, now: datetime, most: int) -> list[Delivery]:
        """Return the team's deliveries whose next attempt is due, the longest due first."""

    def begin(self, delivery: Delivery, *, until: datetime) -> Delivery | None:
        """Count one more attempt and let nobody else begin one until an instant.

        Returns `None` if the delivery was cancelled, or if somebody else began the attempt first.
        """

    def done(self, delivery: Delivery) -> None:
        """Forget a delivery that was made, or that has nothing to say any more."""

    def put_off(self, delivery: Delivery) -> None:
        """Store when a delivery is tried again and after how many attempts, or that it is given up.

        A delivery that was cancelled stays gone.
        """

    def all(self, team: TeamId | None = None) -> list[Delivery]:
        """Return every delivery that was not made, oldest first."""

    def forget_given_up(self, before: datetime) -> int:
        """Forget deliveries that were given up before an instant, and return how many."""


class WebhookClient(Protocol):
    """Who carries callbacks to where they go."""

    def send(self, url: str, body: bytes, headers: Mapping[str, str]) -> DeliveryResult:
        """Post a body and return the outcome. Failures of the other side are outcomes, not exceptions."""

    def abandon(self) -> None:
        """End what is under way at once, and send nothing more: each call of `send` answers `ABANDONED`."""

    def sign(self, secret: str, body: bytes, *, at: datetime) -> str:
        """Return the value of the signature header: instant, and HMAC-SHA-256 of instant, full stop and body."""

    def new_secret(self, prefix: str) -> str:
        """Return a new random secret of 256 bits behind a prefix that says what it is."""

    def check(self, url: str) -> None:
        """Check that a callback may be sent to a URL, as its host name resolves now.

        Raises:
            CallbackRefused: it may not.
        """
