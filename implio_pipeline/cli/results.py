"""Carry out requests for a command, and show the results.

`erase`, `retention run` and `holds release` all erase through `carry_out`, so that they answer in the same JSON and end
with the same exit codes.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer
from rich.console import Group, RenderableType

from implio_pipeline.cli.failures import AttemptFailed, ExitCode
from implio_pipeline.cli.receipts import receipt_view
from implio_pipeline.cli.session import Session
from implio_pipeline.cli.tables import Fact, bad, facts, good, table, warning
from implio_pipeline.domain.ids import RequestId
from implio_pipeline.domain.instants import instant_text
from implio_pipeline.domain.outcome import RequestOutcome
from implio_pipeline.domain.receipt import Receipt, WholeReceipt
from implio_pipeline.domain.request import WITHHELD_STATES, Request, RequestState
from implio_pipeline.domain.request_view import request_view
from implio_pipeline.domain.sentences import badge, what_comes_next, what_is_so
from implio_pipeline.flows.deletion.erase import erase
from implio_pipeline.flows.deletion.outcomes import outcomes_of
from implio_pipeline.ports.ledger import LedgerEntry

if TYPE_CHECKING:
    from implio_pipeline.wiring import OpenHome


_COMMANDS: Mapping[RequestState, str] = {
    RequestState.ACCEPTED: "`implio erase --resume`, or the sensor",
    RequestState.UNAPPROVED: "`implio requests approve ID`",
    RequestState.WAITING: "`implio requests cancel ID` cancels it",
    RequestState.QUARANTINED: "`implio erase --resume`",
    RequestState.UNVERIFIED: "`implio erase --resume`",
}
"""The command that continues a request; `ID` is replaced by its id."""


@dataclass(kw_only=True, slots=True)
class Results:
    """Requests after an attempt, each with its newest receipt if it has one."""

    requests: list[tuple[Request, RequestOutcome, LedgerEntry[Receipt] | None]] = field(default_factory=list)
    ledger_place: Path | str

    def __bool__(self) -> bool:
        return bool(self.requests)

    def end(self) -> None:
        """End the command with an exit code that says whether everything is done.

        Raises:
            AttemptFailed: A request failed. Its code is that of a request that did not verify,
                otherwise that of the first one.
        """
        failed = [request for request, _, _ in self.requests if request.error_code is not None]
        if failed:
            worst = next((each for each in failed if each.state is RequestState.UNVERIFIED), failed[0])
            facts = f"{len(failed)} of {len(self.requests)} requests were not carried out; their items stay hidden"
            facts = f"{facts}; of request {worst.request_id} {worst.fault_text}"
            raise AttemptFailed(facts, code=str(worst.error_code))
        if any(request.state is not RequestState.COMPLETED for request, _, _ in self.requests):
            raise typer.Exit(ExitCode.WAITS)

    def shape(self) -> list[dict[str, Any]]:
        """Return the JSON form: each request with its receipt, or null."""
        return [
            {"request": request_view(request, outcome), "receipt": None if entry is None else entry.shape()}
            for request, outcome, entry in self.requests
        ]

    def view(self) -> RenderableType:
        """Return a single request with its receipt in full, several as one table."""
        if len(self.requests) == 1:
            request, outcome, entry = self.requests[0]
            return unfinished(request, outcome) if entry is None else receipt_view(entry, self.ledger_place)
        rows = [
            [
                request.request_id,
                request.team,
                request.kind,
                badge(request, outcome).text,
                outcome.erased,
                outcome.withheld,
                None if entry is None else entry.statement.erased.files,
                None if entry is None else entry.statement.erased.keys_destroyed,
            ]
            for request, outcome, entry in self.requests
        ]
        columns = ("request", "team", "kind", "state", "erased", "held back", "files", "keys")
        return Group(table(columns, rows, spare=("keys", "files")), good(f"Receipts are in {self.ledger_place}"))


def carry_out(session: Session, opened: "OpenHome", *, only: Iterable[RequestId], again: bool = False) -> Results:
    """Carry out these requests with a progress bar, and return the results."""
    wanted = list(only)
    if wanted:
        with session.steps("Erasing: files") as progress:
            erase(opened, only=wanted, again=again, progress=progress, is_patient=True)
    requests = [opened.catalog.requests.get(each) for each in wanted]
    receipts = opened.ledger.receipts(wanted)
    return Results(
        requests=[
            (request, outcome, newest_receipt(request, receipts.get(request.request_id, [])))
            for request, outcome in outcomes_of(opened, requests)
        ],
        ledger_place=opened.settings.ledger_place,
    )


def newest_receipt(request: Request, entries: Sequence[LedgerEntry[Receipt]]) -> LedgerEntry[Receipt] | None:
    """Return the receipt that belongs to the state of a request.

    A completed request has one whole receipt. While a legal hold keeps items, the newest partial receipt counts.
    """
    if request.state is RequestState.COMPLETED:
        return next((entry for entry in entries if isinstance(entry.statement, WholeReceipt)), None)
    return entries[-1] if entries and request.state in WITHHELD_STATES else None


def unfinished(request: Request, outcome: RequestOutcome) -> RenderableType:
    """Return an open request: its state, and what comes next."""
    text = f"Request {request.request_id}: {what_is_so(request, outcome)}"
    line = bad(text) if request.error_code else warning(text)
    after = next_text(request, outcome)
    return Group(line, facts("", (("next", after), *withheld_lines(request), ("due", request.due_at))))


def withheld_lines(request: Request) -> list[Fact]:
    """Return a line for each legal hold that keeps items of a request."""
    if request.withheld is None or request.state not in WITHHELD_STATES:
        return []
    return [("held back", items, f"by hold {hold_id} ({reason})") for hold_id, reason, items in request.withheld.holds]


def next_text(request: Request, outcome: RequestOutcome) -> str:
    """Return what happens next, when, with which command, and what went wrong before."""
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
