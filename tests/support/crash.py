"""Services that crash at a chosen call, to prove that every flow can be resumed from any point.

`watched` puts a proxy before every port. Each call is two steps: before and after its effect. At the chosen step the
tripwire raises. With `is_fatal` every later call raises too, so that no handler can tidy up, as after `kill -9`.

Calls that only read are no steps unless the test wants them: a crash after one is the same as a crash after the last
write before it, and a crash before a call is the same as one after the previous call. A port method that is not known
here counts as a write.
"""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path
from threading import Lock, current_thread
from typing import Any

from implio_pipeline.domain.errors import Unexpected
from implio_pipeline.flows.work import RENEWING_THREAD
from implio_pipeline.ports.services import Services
from support.catalogs import pass_a_lease
from support.changed import changed
from support.depth import places

_PORTS = ("clock", "identifiers", "keychain", "vault", "catalog", "ledger", "landing", "inbox")
_READS = {
    "clock": {"now"},
    "identifiers": {"request_id", "secret", "task_key", "task_day"},
    "keychain": {
        *("fingerprints", "new_team_keys", "pseudonym", "pseudonym_maker", "seal", "sealer", "unseal"),
        *("user_key", "user_key_maker"),
    },
    "vault": {
        *("check", "count", "disclosed", "has_batch", "join", "look", "matched", "measure", "newer", "places"),
        *("queue_entries", "reaches", "rows_of", "spared", "strays", "users_in", "within", "without"),
    },
    "catalog": {"alterations", "give_way", "hurried", "newest_reading", "urgently"},
    "catalog.teams": {"all", "first_key_at", "get", "keys", "regions", "rotating_since", "seals", "spent"},
    "catalog.manifest": {
        *("anonymous_items", "candidates", "files", "files_to_unlink", "items", "most_files", "most_items"),
        *("newest_item", "of_days", "partitions", "sealed", "teams", "that_may_hold", "unknown"),
    },
    "catalog.requests": {
        *("all", "allowance", "erased_items", "erased_users", "estimated", "get", "keeping_out", "latest"),
        *(
            "lifted_without_ledger",
            "liftings_without_ledger",
            "newest_tombstone",
            "open_tombstones",
            "outcomes",
            "page",
        ),
        *("same_person_as", "tombstones", "tombstones_of", "unapproved", "without_ledger"),
    },
    "catalog.landings": {"all", "erased_people", "has_size", "seen", "seen_post"},
    "catalog.failed_files": {"all"},
    "catalog.claims": {"check", "claimed", "in_hand", "new_holder", "renew"},
    "catalog.holds": {"all", "get", "newest"},
    "catalog.moderation": {
        *("counts", "decided", "entries", "feed", "newest", "notes", "notes_on", "traces", "unsettled"),
        *("unsettled_since", "unsettled_teams", "waiting"),
    },
    "catalog.callbacks": {"all", "due", "get", "hosts", "teams_due"},
    "catalog.policy_changes": {"waiting"},
    "ledger": {"check", "entries", "newest_first", "receipt", "receipts", "size", "tombstones"},
    "landing": {"has", "misnamed", "passed_over", "waiting", "waiting_since"},
    "landing.file": {"digest"},
}
_PARTS = {
    "teams",
    "manifest",
    "requests",
    "landings",
    "failed_files",
    "claims",
    "holds",
    "moderation",
    "callbacks",
    "policy_changes",
}


class Crash(BaseException):
    """The process died."""


class When(Enum):
    """Whether the crash comes before or after the call's effect."""

    BEFORE = "before"
    AFTER = "after"


@dataclass(kw_only=True)
class Tripwire:
    """Counts the calls and raises at one of them, or at none if `at` is 0."""

    at: int = 0
    is_every_call: bool = False
    """Whether calls that only read are steps too."""
    when: When = When.AFTER
    error: Callable[[], BaseException] = Crash
    is_fatal: bool = True
    calls: list[str] = field(default_factory=list)
    is_tripped: bool = False
    _lock: Any = field(default_factory=Lock)

    def call(self, name: str, act: Callable[[], Any]) -> Any:
        port, _, method = name.rpartition(".")
        with self._lock:
            if self.is_tripped and self.is_fatal:
                if current_thread().name == RENEWING_THREAD:
                    return None  # the thread beside the flow renews nothing more, as when its process is killed
                raise Crash
            if method in _READS.get(port, ()) and not self.is_every_call:
                return act()
            self.calls.append(name)
            is_here = len(self.calls) == self.at
            if is_here and self.when is When.BEFORE:
                self.is_tripped = True
                raise self.error()
        answer = act()
        if is_here:
            self.is_tripped = True
            raise self.error()
        return answer

    @property
    def place(self) -> str:
        return f"{self.when.value} call {self.at}, {self.calls[self.at - 1] if self.is_tripped else 'never reached'}"


def watched(services: Services, tripwire: Tripwire) -> Services:
    """Return the services with every port behind the tripwire."""
    return changed(services, **{name: _Watched(getattr(services, name), name, tripwire) for name in _PORTS})


class _Watched:
    def __init__(self, port: Any, name: str, tripwire: Tripwire) -> None:
        self._port, self._name, self._tripwire = port, name, tripwire

    def __getattr__(self, attribute: str) -> Any:
        value = getattr(self._port, attribute)
        name = f"{self._name}.{attribute}"
        if attribute in _PARTS and self._name == "catalog":
            return _Watched(value, name, self._tripwire)
        if not callable(value):
            return value

        def call(*args: Any, **named: Any) -> Any:
            answer = self._tripwire.call(name, lambda: value(*args, **named))
            return self._claimed(answer) if name == "landing.claim" else answer

        return call

    def _claimed(self, files: Iterator[AbstractContextManager[Any]]) -> Iterator["_Claimed"]:
        for file in files:
            yield _Claimed(file, f"{self._name}.file", self._tripwire)


class _Claimed:
    def __init__(self, file: AbstractContextManager[Any], name: str, tripwire: Tripwire) -> None:
        self._file, self._name, self._tripwire = file, name, tripwire

    def __getattr__(self, attribute: str) -> Any:
        return getattr(self._file, attribute)

    def __enter__(self) -> _Watched:
        return _Watched(self._file.__enter__(), self._name, self._tripwire)

    def __exit__(self, *raised: object) -> None:
        self._file.__exit__(*raised)


def _is_of(tripwire: Tripwire, raised: BaseException) -> bool:
    """Return whether the tripwire raised this, or a flow reports it for one of its units."""
    kind = type(tripwire.error())
    is_named = isinstance(raised, Unexpected) and raised.facts.startswith(f"{kind.__name__} at ")
    return is_named or isinstance(raised, Crash | kind)


def every_place(act: Callable[[Tripwire], None], *, home: Path, most: int = 500, **known: Any) -> Iterator[Tripwire]:
    """Run `act` again and again, each time with the tripwire some calls further, until it is never reached.

    `act` makes new services, puts them behind the given tripwire, and does not catch `Crash`. The tripwire is yielded
    after each crash. The test then resumes the work and checks its law.

    Args:
        act: The flow.
        home: The home that it opens. After each kill a lease passes there.
        most: A bound of the calls.
        known: Of the tripwires.
    """
    for at in places(most):
        tripwire = Tripwire(at=at, **known)
        try:
            act(tripwire)
        except BaseException as raised:
            if not tripwire.is_tripped or not _is_of(tripwire, raised):
                raise
        if not tripwire.is_tripped:
            assert tripwire.calls, "the act never called the world"
            return
        if tripwire.is_fatal:
            pass_a_lease(home)
        yield tripwire
    raise AssertionError(f"still not done after {most} calls")
