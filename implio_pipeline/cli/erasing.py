"""Carrying requests out from the command line, and showing what came of them."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import typer
from rich.console import Group, RenderableType

from implio_pipeline.cli.failures import AttemptFailed, ExitCode
from implio_pipeline.cli.session import Session
from implio_pipeline.cli.shapes import entry_shape, request_shape
from implio_pipeline.cli.tables import bad, facts, good, look, many, second, size_text, table
from implio_pipeline.domain.days import instant_text
from implio_pipeline.domain.outcome import RequestOutcome, outcome_in
from implio_pipeline.domain.request import WITHHELD_STATES, Request, RequestState, fault_text
from implio_pipeline.domain.sentences import (
    badge,
    newer_text,
    not_reachable_text,
    receipt_text,
    what_comes_next,
    what_is_so,
)
from implio_pipeline.domain.words import RequestId, RequestKind
from implio_pipeline.flows.erase import erase
from implio_pipeline.flows.outcomes import outcomes_of
from implio_pipeline.ports.ledger import LedgerEntry

if TYPE_CHECKING:
    from implio_pipeline.wiring import House


_COMMANDS: Mapping[RequestState, str] = {
    RequestState.ACCEPTED: "`implio erase --resume`, or the sensor",
    RequestState.UNAPPROVED: "`implio requests approve`",
    RequestState.WAITING: "`implio requests cancel` takes it back",
    RequestState.QUARANTINED: "`implio erase --resume`",
    RequestState.UNVERIFIED: "`implio erase --resume`",
}
"""What a reader of a terminal types to go on."""


@dataclass(kw_only=True, slots=True)
class Results:
    """What came of some requests, each with its newest receipt if it has one."""

    requests: list[tuple[Request, RequestOutcome, LedgerEntry | None]] = field(default_factory=list)
    ledger_path: str = ""

    def __bool__(self) -> bool:
        return bool(self.requests)

    def end(self) -> None:
        """End the command with an exit code that says whether everything is done.

        Raises:
            AttemptFailed: some request failed; its code is the first one's.
        """
        failed = [request for request, _, _ in self.requests if request.error_code is not None]
        if failed:
            worst = next((each for each in failed if each.state is RequestState.UNVERIFIED), failed[0])
            facts = f"{len(failed)} of {len(self.requests)} requests were not carried out; their items stay hidden"
            facts = f"{facts}; of request {worst.request_id} {fault_text(worst)}"
            raise AttemptFailed(facts, code=str(worst.error_code))
        if any(request.state is not RequestState.COMPLETED for request, _, _ in self.requests):
            raise typer.Exit(ExitCode.WAITS)


def carry_out(session: Session, house: "House", *, only: Iterable[RequestId], again: bool = False) -> Results:
    """Carry these requests out, with a bar meanwhile, and return what came of each."""
    wanted = list(only)
    if wanted:
        with session.steps("Erasing: files") as progress:
            erase(house.world, only=wanted, again=again, progress=progress)
    requests = [house.world.catalog.requests.get(each) for each in wanted]
    receipts = house.ledger.receipts([request.request_id for request in requests])
    return Results(
        requests=[
            (request, outcome, _newest_receipt(request, receipts.get(request.request_id, [])))
            for request, outcome in outcomes_of(house.world, requests)
        ],
        ledger_path=str(house.settings.below(house.settings.ledger_folder) / "ledger.jsonl"),
    )


def receipt_of(house: "House", request: Request) -> LedgerEntry | None:
    """Return the receipt of a request: the whole one, or the newest of those that say what a legal hold kept."""
    return _newest_receipt(request, house.ledger.receipts({request.request_id}).get(request.request_id, []))


def _newest_receipt(request: Request, entries: Sequence[LedgerEntry]) -> LedgerEntry | None:
    if request.state is RequestState.COMPLETED:
        return next((entry for entry in entries if entry.kind == "receipt"), None)
    return entries[-1] if entries and request.state in WITHHELD_STATES else None


def results_shape(results: Results) -> list[dict[str, Any]]:
    """Return each request with its receipt, or null."""
    return [
        {"request": request_shape(request, outcome), "receipt": None if entry is None else entry_shape(entry)}
        for request, outcome, entry in results.requests
    ]


def results_table(results: Results) -> RenderableType:
    """Return one receipt as its own small table, several as lines of one."""
    if len(results.requests) == 1:
        request, outcome, entry = results.requests[0]
        return unfinished(request, outcome) if entry is None else receipt_view(entry, results.ledger_path)
    rows = [_row(*each) for each in results.requests]
    return Group(
        table(
            ("request", "team", "kind", "state", "erased", "held back", "files", "keys"), rows, spare=("keys", "files")
        ),
        good(f"Receipts are in {results.ledger_path}"),
    )


def receipts_table(entries: Iterable[LedgerEntry]) -> RenderableType:
    """Return receipts as lines of one table."""
    return table(
        ("request", "team", "kind", "erased", "held back", "queue", "files", "keys", "erased at"),
        (
            [
                entry.body["requestId"],
                entry.body["team"],
                entry.body["kind"],
                outcome_in(entry.body["outcome"]).erased,
                outcome_in(entry.body["outcome"]).withheld,
                entry.body["erased"]["queueEntries"],
                _files(entry),
                entry.body["erased"]["keysDestroyed"],
                _erased_at(entry),
            ]
            for entry in entries
        ),
        spare=("erased at", "keys", "files", "queue"),
    )


def receipt_view(entry: LedgerEntry, ledger_path: str) -> RenderableType:
    """Return a receipt for people: what is so first, then the figures."""
    body = entry.body
    kind, outcome = RequestKind(body["kind"]), outcome_in(body["outcome"])
    erased, proof = body["erased"], body["verification"]
    rejected = f"{many(erased['rejectedItems'], 'rejected item')} among them" if erased["rejectedItems"] else ""
    lines: list[tuple[str, object] | tuple[str, object, str]] = [
        ("request", body["requestId"]),
        ("hidden at", second(body["hiddenAt"]), "from every read, from then on"),
        ("checked at", second(body["checkedAt"]), f"due by {str(body['dueAt'])[:10]}"),
        ("matched", outcome.matched, "= erased + held back"),
        ("erased", outcome.erased, rejected),
        ("held back", outcome.withheld, "hidden, until the hold ends" if outcome.withheld else ""),
        ("queue entries", erased["queueEntries"], "taken off"),
    ]
    if _files(entry):
        read_back = (
            f"{many(proof['filesReadBack'], 'file')} read back" if proof["filesReadBack"] else "every file went whole"
        )
        unreadable = f"{size_text(erased['bytesShredded'])} unreadable for ever"
        lines += [
            ("files", _files(entry), f"{erased['filesRewritten']:,} rewritten, {erased['filesDropped']:,} dropped"),
            ("keys destroyed", erased["keysDestroyed"], unreadable),
            ("survivors", proof["survivors"], read_back),
        ]
    if erased["filesRewritten"]:
        lines.append(("kept rows", proof["rowsReadBack"], "unchanged, value by value"))
    lines += [("newer", outcome.newer, newer_text(outcome))] if outcome.newer else []
    if kind is RequestKind.USER and outcome.not_reachable is not None:
        lines.append(("not reachable", outcome.not_reachable, not_reachable_text(outcome)))
    holds = body.get("withheld", {}).get("holds", [])
    lines += [("hold", hold["holdId"], f"keeps {many(hold['items'], 'item')} ({hold['reason']})") for hold in holds]
    if "policy" in body:
        lines.append(("policy", body["policy"]))
    lines.append(("receipt", f"#{entry.sequence}", f"signed, in {ledger_path}"))
    said = receipt_text(outcome)
    said_first = look(said) if outcome.withheld or outcome.is_nothing_matched else good(said)
    return Group(said_first, facts(f"Receipt: {body['team']}, by {kind.value}", lines))


def unfinished(request: Request, outcome: RequestOutcome) -> RenderableType:
    """Return an open request: what is so, and what comes next."""
    text = f"Request {request.request_id}: {what_is_so(request, outcome)}"
    line = bad(text) if request.error_code else look(text)
    after = next_text(request, outcome)
    return Group(line, facts("", (("next", after), *withheld_lines(request), ("due", request.due_at))))


def withheld_lines(request: Request) -> list[tuple[str, object, str]]:
    """Return what legal holds keep of a request, a line for each."""
    if request.withheld is None or request.state not in WITHHELD_STATES:
        return []
    return [("held back", items, f"by hold {hold_id} ({reason})") for hold_id, reason, items in request.withheld.holds]


def next_text(request: Request, outcome: RequestOutcome) -> str:
    """Return what happens next: when, with which command, and after what went wrong."""
    parts = [what_comes_next(request, outcome)]
    when = request.next_attempt_at
    if when is not None and request.state not in (RequestState.QUARANTINED, RequestState.UNVERIFIED):
        parts.append(f"Not before {instant_text(when.replace(microsecond=0))}.")
    if request.state in _COMMANDS:
        parts.append(f"({_COMMANDS[request.state]})")
    fault = fault_text(request)
    if fault:
        parts.append(f"{fault[0].upper()}{fault[1:]}.")
    return " ".join(parts)


def _row(request: Request, outcome: RequestOutcome, entry: LedgerEntry | None) -> list[object]:
    state = badge(request, outcome).text
    head: list[object] = [request.request_id, request.team, request.kind.value, state]
    head += [outcome.erased, outcome.withheld]
    return [*head, None, None] if entry is None else [*head, _files(entry), entry.body["erased"]["keysDestroyed"]]


def _erased_at(entry: LedgerEntry) -> str:
    outcome = outcome_in(entry.body["outcome"])
    return second(entry.body["erasedAt"]) if outcome.is_anything_erased else "nothing erased"


def _files(entry: LedgerEntry) -> int:
    return int(entry.body["erased"]["filesRewritten"]) + int(entry.body["erased"]["filesDropped"])
