"""Take requests: files dropped into the inbox go through the one guarded door."""

from dataclasses import dataclass, field

from implio_pipeline.domain.request import Request
from implio_pipeline.flows.accept import accept
from implio_pipeline.ports.inbox import InboxEntry, InboxFile
from implio_pipeline.ports.world import World


@dataclass(kw_only=True, slots=True)
class TakenRequests:
    """What one look into the inbox brought."""

    files: int = 0
    accepted: list[Request] = field(default_factory=list)
    refused: int = 0


def take_requests(world: World) -> TakenRequests:
    """Accept every request of every waiting file; a refused one stops no other.

    A request file is destroyed only after its requests are accepted and in the ledger; when a crash comes
    between, it is read again and the same requests answer.
    """
    taken = TakenRequests()
    for claimed in world.inbox.claim():
        with claimed as file:
            _take(world, file, taken)
    return taken


def _take(world: World, file: InboxFile, taken: TakenRequests) -> None:
    entries = file.entries()
    refused = [entry for entry in entries if entry.draft is None]
    waiting = [(entry.position, entry.draft) for entry in entries if entry.draft is not None]
    for (position, _), answer in zip(waiting, accept(world, [draft for _, draft in waiting]), strict=True):
        if isinstance(answer, Request):
            taken.accepted.append(answer)
        else:
            why = {"code": answer.code, "reason": answer.reason, "remedy": answer.remedy}
            refused.append(InboxEntry(position=position, draft=None, **why))
    file.finish(sorted(refused, key=lambda entry: entry.position))
    taken.files += 1
    taken.refused += len(refused)
