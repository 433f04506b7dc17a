"""Request files are accepted beside the server too, so that hiding does not wait for Dagster's daemon to start.

A daemon needs half a minute and more from its start to its first tick on a busy machine. The server looks into the
inbox first of all and every few seconds; each file is claimed by whoever comes first.
"""

import json
import logging
from collections.abc import Callable
from threading import Event, Thread

from implio_pipeline.domain.faults import fault_of
from implio_pipeline.flows.deletion.take_requests import TakenRequests, take_requests
from implio_pipeline.ports.services import Services

LOOK_EVERY_SECONDS = 5.0
_LOG = logging.getLogger("implio_pipeline.failures")


class InboxWatch:
    """A thread that accepts what is in the inbox.

    Args:
        services: The home.
        on_deletion: Called when a request was accepted.
        most: Files of one look; the rest waits for the next, so that the server can end meanwhile.
    """

    def __init__(self, services: Services, on_deletion: Callable[[], None], *, most: int = 50) -> None:
        self._world = services
        self._on_deletion = on_deletion
        self._most = most
        self._is_ending = Event()
        self._thread = Thread(target=self._watch, name="inbox", daemon=True)

    def start(self) -> None:
        """Begin with what is there."""
        self._thread.start()

    def close(self) -> None:
        """Finish the file at work."""
        self._is_ending.set()
        self._thread.join()

    def look(self) -> TakenRequests:
        """Accept the requests that are there, some files at most."""
        taken = take_requests(
            self._world, is_enough=lambda taken: taken.files >= self._most or self._is_ending.is_set()
        )
        if taken.accepted:
            self._on_deletion()
        return taken

    def _watch(self) -> None:
        seconds = 0.0
        while not self._is_ending.wait(seconds):
            seconds = LOOK_EVERY_SECONDS
            try:
                taken = self.look()
            except Exception as error:  # noqa: BLE001 -- what waits is looked at again; whatever it is, its code is told
                _LOG.warning(json.dumps({"inbox": _code_of(error)}))
                continue
            if taken.files >= self._most:
                seconds = 0.0


def _code_of(error: Exception) -> str:
    try:
        return fault_of(error).code
    except Exception:  # noqa: BLE001 -- what ends other runs, such as an unreachable catalog, is tried again here
        return type(error).__name__
