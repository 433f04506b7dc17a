"""Result callbacks, and who carries them."""

from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Protocol

from implio_pipeline.domain.callback import Answer, Callback, Delivery
from implio_pipeline.domain.words import TeamId


class Callbacks(Protocol):
    """Result callbacks of teams, and the deliveries that are still to be made."""

    def hosts(self, team: TeamId) -> frozenset[str]:
        """Return the hosts that the team's callback may go to."""

    def allow(self, team: TeamId, hosts: Iterable[str]) -> None:
        """Let the team's callback go to these hosts and no others; one that goes elsewhere is removed.

        Raises:
            TeamUnknown: there is no such team.
        """

    def get(self, team: TeamId) -> Callback | None:
        """Return the team's callback, if it has one."""

    def put(self, callback: Callback) -> None:
        """Give a team its callback, in place of the one it has.

        Raises:
            TeamUnknown: there is no such team.
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

        Returns `None` when the delivery was cancelled meanwhile, or somebody else began it.
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


class Courier(Protocol):
    """Who carries callbacks to where they go."""

    def send(self, url: str, body: bytes, headers: Mapping[str, str]) -> Answer:
        """Post a body and return what came of it; never raises for what the other side does."""

    def abandon(self) -> None:
        """End what is under way at once, and send nothing more: each call of `send` answers `ABANDONED`."""

    def sign(self, secret: str, body: bytes, *, at: datetime) -> str:
        """Return the value of the signature header: instant, and HMAC-SHA-256 of instant, full stop and body."""

    def new_secret(self, prefix: str) -> str:
        """Return a new random secret of 256 bits behind a prefix that says what it is."""

    def check(self, url: str) -> None:
        """Let a URL through that a callback may be sent to, as its host's name resolves now.

        Raises:
            CallbackRefused: it may not.
        """
