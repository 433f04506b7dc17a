"""Carrying requests out from the command line, and showing what came of them."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import typer
from rich.console import Group, RenderableType

from implio_pipeline.cli.failures import AttemptFailed, ExitCode
from implio_pipeline.cli.session import Session
from implio_pipeline.cli.tables import bad, facts, good, look, many, second, table
from implio_pipeline.domain.ids import RequestId, RequestKind
from implio_pipeline.domain.instants import instant_text
from implio_pipeline.domain.outcome import RequestOutcome
from implio_pipeline.domain.receipt import Receipt, WholeReceipt
from implio_pipeline.domain.request import WITHHELD_STATES, Request, RequestState
from implio_pipeline.domain.request_view import request_view
from implio_pipeline.domain.sentences import (
    badge,
    newer_text,
    not_reachable_text,
    receipt_text,
    size_text,
    what_comes_next,
    what_is_so,
)
from implio_pipeline.flows.deletion.erase import erase
from implio_pipeline.flows.deletion.outcomes import outcomes_of
from implio_pipeline.ports.ledger import LedgerEntry

if TYPE_CHECKING:
    from implio_pipeline.wiring import OpenHome


_COMMANDS: Mapping[RequestState, str] = {
    RequestState.ACCEPTED: "`implio erase --resume`, or the sensor",
    RequestState.UNAPPROVED: "`implio requests approve ID`",
    RequestState.WAITING: "`implio requests cancel ID` takes it back",
    RequestState.QUARANTINED: "`implio erase --resume`",
    RequestState.UNVERIFIED: "`implio erase --resume`",
}
"""What a reader of a terminal types to go on; `ID` stands for the request's own."""


@dataclass(kw_only=True, slots=True)
class Results:
    """What came of some requests, each with its newest receipt if it has one."""

    requests: list[tuple[Request, RequestOutcome, LedgerEntry[Receipt] | None]] = field(default_factory=list)
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
            facts = f"{facts}; of request {worst.request_id} {worst.fault_text}"
            raise AttemptFailed(facts, code=str(worst.error_code))
        if any(request.state is not RequestState.COMPLETED for request, _, _ in self.requests):
            raise typer.Exit(ExitCode.WAITS)


def carry_out(session: Session, opened: "OpenHome", *, only: Iterable[RequestId], again: bool = False) -> Results:
    """Carry these requests out, with a bar meanwhile, and return what came of each."""
    wanted = list(only)
    if wanted:
        with session.steps("Erasing: files") as progress:
            erase(opened.services, only=wanted, again=again, progress=progress)
    requests = [opened.services.catalog.requests.get(each) for each in wanted]
    receipts = opened.ledger.receipts([request.request_id for request in requests])
    return Results(
        requests=[
            (request, outcome, _newest_receipt(request, receipts.get(request.request_id, [])))
            for request, outcome in outcomes_of(opened.services, requests)
        ],
        ledger_path=str(opened.settings.below(opened.settings.ledger_folder) / "ledger.jsonl"),
    )


def receipt_of(opened: "OpenHome", request: Request) -> LedgerEntry[Receipt] | None:
    """Return the receipt of a request: the whole one, or the newest of those that say what a legal hold kept."""
    return _newest_receipt(request, opened.ledger.receipts({request.request_id}).get(request.request_id, []))


def _newest_receipt(request: Request, entries: Sequence[LedgerEntry[Receipt]]) -> LedgerEntry[Receipt] | None:
    if request.state is RequestState.COMPLETED:
        return next((entry for entry in entries if isinstance(entry.statement, WholeReceipt)), None)
    return entries[-1] if entries and request.state in WITHHELD_STATES else None


def results_shape(results: Results) -> list[dict[str, Any]]:
    """Return each request with its receipt, or null."""
    return [
        {"request": request_view(request, outcome), "receipt": None if entry is None else entry.shape()}
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


def receipts_table(entries: Iterable[LedgerEntry[Receipt]]) -> RenderableType:
    """Return receipts as lines of one table."""
    return table(
        ("request", "team", "kind", "erased", "held back", "queue", "files", "keys", "erased at"),
        (_line(entry.statement) for entry in entries),
        spare=("erased at", "keys", "files", "queue"),
    )


def _line(told: Receipt) -> list[object]:
    outcome, erased = told.outcome, told.erased
    line: list[object] = [told.request_id, told.team, told.kind.value, outcome.erased, outcome.withheld]
    return [*line, erased.queue_entries, erased.files, erased.keys_destroyed, _erased_at(told)]


def receipt_view(entry: LedgerEntry[Receipt], ledger_path: str) -> RenderableType:
    """Return a receipt for people: what is so first, then the figures."""
    told = entry.statement
    kind, outcome, erased, proof = told.kind, told.outcome, told.erased, told.verification
    rejected = f"{many(erased.rejected_items, 'rejected item')} among them" if erased.rejected_items else ""
    lines: list[tuple[str, object] | tuple[str, object, str]] = [
        ("request", told.request_id),
        ("hidden at", second(told.hidden_at), "from every read, from then on"),
        ("checked at", second(told.checked_at), f"due by {told.due_at.date()}"),
        ("matched", outcome.matched, "= erased + held back"),
        ("erased", outcome.erased, rejected),
        ("held back", outcome.withheld, "hidden, until the hold ends" if outcome.withheld else ""),
        ("queue entries", erased.queue_entries, "taken off"),
    ]
    if erased.files:
        read_back = (
            f"{many(proof.files_read_back, 'file')} read back" if proof.files_read_back else "every file went whole"
        )
        unreadable = f"{size_text(erased.bytes_shredded)} unreadable for ever"
        lines += [
            ("files", erased.files, f"{erased.files_rewritten:,} rewritten, {erased.files_dropped:,} dropped"),
            ("keys destroyed", erased.keys_destroyed, unreadable),
            ("survivors", proof.survivors, read_back),
        ]
    if erased.files_rewritten:
        lines.append(("kept rows", proof.rows_read_back, "unchanged, value by value"))
    lines += [("newer", outcome.newer, newer_text(outcome))] if outcome.newer else []
    if kind is RequestKind.USER and outcome.not_reachable is not None:
        lines.append(("not reachable", outcome.not_reachable, not_reachable_text(outcome)))
    holds = told.withheld.holds if told.withheld is not None else ()
    lines += [("hold", hold.hold_id, f"keeps {many(hold.items, 'item')} ({hold.reason})") for hold in holds]
    if told.policy is not None:
        lines.append(("policy", told.policy))
    lines.append(("receipt", f"#{entry.sequence}", f"signed, in {ledger_path}"))
    said = receipt_text(outcome)
    said_first = look(said) if outcome.withheld or outcome.is_nothing_matched else good(said)
    return Group(said_first, facts(f"Receipt: {told.team}, by {kind.value}", lines))


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
        parts.append(f"({_COMMANDS[request.state].replace('ID', request.request_id)})")
    fault = request.fault_text
    if fault:
        parts.append(f"{fault[0].upper()}{fault[1:]}.")
    return " ".join(parts)


def _row(request: Request, outcome: RequestOutcome, entry: LedgerEntry[Receipt] | None) -> list[object]:
    state = badge(request, outcome).text
    head: list[object] = [request.request_id, request.team, request.kind.value, state]
    head += [outcome.erased, outcome.withheld]
    if entry is None:
        return [*head, None, None]
    erased = entry.statement.erased
    return [*head, erased.files, erased.keys_destroyed]


def _erased_at(told: Receipt) -> str:
    return "nothing erased" if told.erased_at is None or not told.outcome.erased else second(told.erased_at)
