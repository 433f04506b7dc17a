"""Take requests: accept the requests of the files that were dropped into the inbox.

A request file is destroyed only after its requests are accepted and in the ledger. After a crash in between, it is read
again, and `accept` returns the requests that it made before.
"""

from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from implio_pipeline.domain.errors import ImplioError
from implio_pipeline.domain.request import Request, RequestDraft
from implio_pipeline.flows.clock import agreed_now
from implio_pipeline.flows.deletion.accept import accept
from implio_pipeline.flows.work import working
from implio_pipeline.ports.inbox import InboxFile
from implio_pipeline.ports.services import Services


@dataclass(kw_only=True, slots=True)
class TakenRequests:
    """What one pass over the inbox did."""

    files: int = 0
    accepted: list[Request] = field(default_factory=list)
    refused: int = 0
    failed: Counter[str] = field(default_factory=Counter)
    """Files that could not be taken, by code. Each is back in the inbox, and the next pass tries it again."""


def take_requests(services: Services, *, is_enough: Callable[[TakenRequests], bool] = lambda _: False) -> TakenRequests:
    """Accept every request of every waiting file; a refused request or a faulty file does not stop the others.

    Args:
        services: What the flow may use.
        is_enough: Called after each file; when it returns true, the other files wait for the next pass.

    Raises:
        ClockWrong: the clock disagrees with what the home knows; files stay in the inbox.
    """
    agreed_now(services)
    taken = TakenRequests()
    # The outer `_counted` catches a folder that cannot be listed: what was accepted before must still be reported.
    with _counted(taken), working(services, "requests") as worker:
        for claimed in services.inbox.claim(worker):
            with _counted(taken), claimed as file:
                _take(services, file, taken)
            if is_enough(taken):
                break
    return taken


@contextmanager
def _counted(taken: TakenRequests) -> Iterator[None]:
    """Count an exception of the block by a code, without its text: that may quote the file."""
    try:
        yield
    except Exception as error:  # noqa: BLE001 -- a fault of one file must not stop the others
        taken.failed[error.code if isinstance(error, ImplioError) else type(error).__name__] += 1


def _take(services: Services, file: InboxFile, taken: TakenRequests) -> None:
    # 1. Accept the requests of the file at once: one transaction, one entry in the ledger.
    entries = file.entries()
    # A worker that was paused leaves the file to the one that has claimed it since.
    services.catalog.claims.check(file.claims)
    accepted = iter(accept(services, [each.draft for each in entries if isinstance(each.draft, RequestDraft)]))
    answers = [next(accepted) if isinstance(each.draft, RequestDraft) else each.draft for each in entries]
    taken.accepted += [each for each in answers if isinstance(each, Request)]
    # 2. Destroy the file; what was refused, and why, is written beside it.
    refused = [(at.position, why) for at, why in zip(entries, answers, strict=True) if isinstance(why, ImplioError)]
    file.finish(refused)
    taken.files += 1
    taken.refused += len(refused)
