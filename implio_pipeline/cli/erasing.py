"""Carrying requests out from the command line, and showing what came of them."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import typer
from rich.console import Group, RenderableType

from implio_pipeline.cli.failures import AttemptFailed, ExitCode
from implio_pipeline.cli.session import Session
from implio_pipeline.cli.shapes import entry_shape, request_shape
from implio_pipeline.cli.tables import bad, facts, good, look, many, second, size_text, table
from implio_pipeline.domain.days import instant_text
from implio_pipeline.domain.request import Request, RequestState, why
from implio_pipeline.domain.words import RequestId
from implio_pipeline.flows.erase import erase
from implio_pipeline.ports.ledger import LedgerEntry

if TYPE_CHECKING:
    from implio_pipeline.wiring import House


@dataclass(kw_only=True, slots=True)
class Results:
    """What came of some requests, each with its receipt if it is done."""

    requests: list[tuple[Request, LedgerEntry | None]] = field(default_factory=list)
    ledger_path: str = ""

    def __bool__(self) -> bool:
        return bool(self.requests)

    def end(self) -> None:
        """End the command with an exit code that says whether everything is done.

        Raises:
            AttemptFailed: some request failed; its code is the first one's.
        """
        failed = [request for request, _ in self.requests if request.error_code is not None]
        if failed:
            worst = next((each for each in failed if each.state is RequestState.UNVERIFIED), failed[0])
            facts = f"{len(failed)} of {len(self.requests)} requests were not carried out; their items stay hidden"
            raise AttemptFailed(facts, code=str(worst.error_code))
        if any(request.state is not RequestState.COMPLETED for request, _ in self.requests):
            raise typer.Exit(ExitCode.WAITS)


def carry_out(session: Session, house: "House", *, only: Iterable[RequestId], again: bool = False) -> Results:
    """Carry these requests out, with a bar meanwhile, and return what came of each."""
    wanted = list(only)
    if wanted:
        with session.steps("Erasing: files") as progress:
            erase(house.world, only=wanted, again=again, progress=progress)
    requests = [house.world.catalog.requests.get(request_id) for request_id in wanted]
    return Results(
        requests=[(request, house.ledger.receipt(request.request_id)) for request in requests],
        ledger_path=str(house.settings.below(house.settings.ledger_folder) / "ledger.jsonl"),
    )


def results_shape(results: Results) -> list[dict[str, Any]]:
    """Return each request with its receipt, or null."""
    return [
        {"request": request_shape(request), "receipt": None if entry is None else entry_shape(entry)}
        for request, entry in results.requests
    ]


def results_table(results: Results) -> RenderableType:
    """Return one receipt as its own small table, several as lines of one."""
    if len(results.requests) == 1:
        request, entry = results.requests[0]
        return unfinished(request) if entry is None else receipt_view(entry, results.ledger_path)
    rows = [_row(request, entry) for request, entry in results.requests]
    return Group(
        table(("request", "team", "kind", "state", "items", "files", "keys"), rows),
        good(f"Receipts are in {results.ledger_path}"),
    )


def receipts_table(entries: Iterable[LedgerEntry], *, is_wide: bool) -> RenderableType:
    """Return receipts as lines of one table; a wide one also says when."""
    columns = ["request", "team", "kind", "items", "queue", "files", "keys"]
    return table(
        [*columns, "erased at"] if is_wide else columns,
        (
            [
                entry.body["requestId"],
                entry.body["team"],
                entry.body["kind"],
                _items(entry),
                entry.body["erased"]["queueEntries"],
                _files(entry),
                entry.body["erased"]["keysDestroyed"],
                *(
                    [second(entry.body["erasedAt"]) if "erasedAt" in entry.body else "nothing erased"]
                    if is_wide
                    else []
                ),
            ]
            for entry in entries
        ),
    )


def receipt_view(entry: LedgerEntry, ledger_path: str) -> RenderableType:
    """Return a receipt for people."""
    body = entry.body
    erased, proof = body["erased"], body["verification"]
    rejected = f"and {many(erased['rejectedItems'], 'rejected item')}" if erased["rejectedItems"] else ""
    read_back = (
        f"{many(proof['filesReadBack'], 'file')} read back" if proof["filesReadBack"] else "every file went whole"
    )
    lines: list[tuple[str, object] | tuple[str, object, str]] = [
        ("request", body["requestId"]),
        ("hidden at", second(body["hiddenAt"]), "from every read, from then on"),
        ("erased at", second(body.get("erasedAt", body["checkedAt"])), f"due by {str(body['dueAt'])[:10]}"),
        ("items", erased["items"], rejected),
        ("queue entries", erased["queueEntries"]),
        ("files", _files(entry), f"{erased['filesRewritten']:,} rewritten, {erased['filesDropped']:,} dropped"),
        ("keys destroyed", erased["keysDestroyed"], f"{size_text(erased['bytesShredded'])} unreadable for ever"),
        ("survivors", proof["survivors"], read_back if _files(entry) else "there was nothing to erase"),
    ]
    if erased["filesRewritten"]:
        lines.append(("kept rows", proof["rowsReadBack"], "unchanged, value by value"))
    if body["kind"] == "user":
        without = body["notReachable"]["itemsWithoutUserId"]
        lines.append(("not reachable", without, "items of the team that name no user"))
    holds = body.get("withheld", {}).get("holds", [])
    lines += [("withheld", hold["items"], f"by hold {hold['holdId']} ({hold['reason']})") for hold in holds]
    if body["outcome"]["newer"]:
        lines.append(("newer", body["outcome"]["newer"], "of the same scope, submitted after the request: kept"))
    if "policy" in body:
        lines.append(("policy", body["policy"]))
    lines.append(("receipt", f"#{entry.sequence}", f"signed, in {ledger_path}"))
    return facts(f"Erased: {body['team']}, by {body['kind']}", lines)


def unfinished(request: Request) -> RenderableType:
    """Return an open request in two lines."""
    text = f"Request {request.request_id} is {request.state.value}: {why(request)}."
    line = bad(text) if request.error_code else look(text)
    return Group(line, facts("", (("next", next_text(request)), *withheld_lines(request), ("due", request.due_at))))


def withheld_lines(request: Request) -> list[tuple[str, object, str]]:
    """Return what legal holds keep of a request, a line for each."""
    if request.withheld is None:
        return []
    return [("withheld", items, f"by hold {hold_id} ({reason})") for hold_id, reason, items in request.withheld.holds]


def next_text(request: Request) -> str:
    """Return what happens next, with the code of what went wrong before."""
    step = request_shape(request)["nextStep"]
    when = request.next_attempt_at
    if when is not None and request.state not in (RequestState.QUARANTINED, RequestState.UNVERIFIED):
        step = f"{step}; not before {instant_text(when.replace(microsecond=0))}"
    if not request.error_code:
        return str(step)
    over = f" over file {request.error_about}" if request.error_about else ""
    return f"{step} (after {request.error_code}{over})"


def _row(request: Request, entry: LedgerEntry | None) -> list[object]:
    head: list[object] = [request.request_id, request.team, request.kind.value, request.state.value]
    if entry is None:
        return [*head, None, None, None]
    return [*head, _items(entry), _files(entry), entry.body["erased"]["keysDestroyed"]]


def _items(entry: LedgerEntry) -> int:
    return int(entry.body["erased"]["items"])


def _files(entry: LedgerEntry) -> int:
    return int(entry.body["erased"]["filesRewritten"]) + int(entry.body["erased"]["filesDropped"])
