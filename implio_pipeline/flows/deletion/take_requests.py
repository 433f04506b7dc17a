"""Take requests: files dropped into the inbox go through the one guarded door."""

from collections import Counter
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass, field

from implio_pipeline.domain.errors import ImplioError
from implio_pipeline.domain.request import Request, RequestDraft
from implio_pipeline.flows.clock import agreed_now
from implio_pipeline.flows.deletion.accept import accept
from implio_pipeline.ports.inbox import InboxFile
from implio_pipeline.ports.services import Services


@dataclass(kw_only=True, slots=True)
class TakenRequests:
    """What one look into the inbox brought."""

    files: int = 0
    accepted: list[Request] = field(default_factory=list)
    refused: int = 0
    failed: Counter[str] = field(default_factory=Counter)
    """Files that could not be taken, by code; each was put back and is tried again."""


def take_requests(services: Services, *, is_enough: Callable[[TakenRequests], bool] = lambda _: False) -> TakenRequests:
    """Accept every request of every waiting file; neither a refused request nor a file that fails stops another.

    A request file is destroyed only after its requests are accepted and in the ledger; when a crash comes
    between, it is read again and the same requests answer.

    Args:
        services: The home.
        is_enough: Asked after each file whether to leave the rest for another time.

    Raises:
        ClockWrong: the clock disagrees with what the home knows; files stay in the inbox.
    """
    agreed_now(services)
    taken = TakenRequests()
    try:
        for claimed in services.inbox.claim():
            _take_one(services, claimed, taken)
            if is_enough(taken):
                break
    except Exception as error:  # noqa: BLE001 -- a folder that cannot be listed stops nothing that was accepted before
        taken.failed[_code(error)] += 1
    return taken


def _take_one(services: Services, claimed: AbstractContextManager[InboxFile], taken: TakenRequests) -> None:
    try:
        with claimed as file:
            _take(services, file, taken)
    except Exception as error:  # noqa: BLE001 -- whatever one file raises is that file's alone
        taken.failed[_code(error)] += 1


def _code(error: Exception) -> str:
    """Return a name for a failure without its text, which may quote the file."""
    return error.code if isinstance(error, ImplioError) else type(error).__name__


def _take(services: Services, file: InboxFile, taken: TakenRequests) -> None:
    entries = file.entries()
    drafts = [each.draft for each in entries if isinstance(each.draft, RequestDraft)]
    accepted = iter(accept(services, drafts))
    answers = [next(accepted) if isinstance(each.draft, RequestDraft) else each.draft for each in entries]
    taken.accepted += [each for each in answers if isinstance(each, Request)]
    refused = [(at.position, why) for at, why in zip(entries, answers, strict=True) if isinstance(why, ImplioError)]
    file.finish(refused)
    taken.files += 1
    taken.refused += len(refused)
