"""`implio receipts`: what was erased, and whether the ledger that says so can be trusted.

`verify` needs no home: a ledger and its public key are enough.
"""

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Group, RenderableType
from rich.text import Text

from implio_pipeline.cli.arguments import READ, MaybeTeam, write_new
from implio_pipeline.cli.failures import BadUse, ExitCode
from implio_pipeline.cli.session import opened_home, session_of
from implio_pipeline.cli.tables import Fact, bad, facts, good, table, warning
from implio_pipeline.domain.errors import LedgerBroken, RequestUnknown
from implio_pipeline.domain.ids import RequestId, RequestKind
from implio_pipeline.domain.receipt import PartialReceipt, Receipt, WholeReceipt
from implio_pipeline.domain.sentences import count, newer_text, not_reachable_text, result_text, size_text
from implio_pipeline.ports.ledger import LedgerEntry
from implio_pipeline.verify import canonical, check_against, check_ledger

if TYPE_CHECKING:
    from implio_pipeline.wiring import OpenHome

app = typer.Typer()
_receipts = typer.Typer(help="Signed receipts: what was erased, and their verification.", no_args_is_help=True)
app.add_typer(_receipts, name="receipts", rich_help_panel=READ)
_RequestName = Annotated[str, typer.Argument(metavar="REQUEST", help="The id of the request.")]


@_receipts.command("list")
def _list(context: typer.Context, team: MaybeTeam = None) -> None:
    """Show receipts, the oldest first."""
    with opened_home(context) as (session, opened):
        entries = (*opened.ledger.newest_first(WholeReceipt), *opened.ledger.newest_first(PartialReceipt))
        found = [
            entry
            for entry in sorted(entries, key=lambda each: each.sequence)
            if team is None or entry.statement.team == team
        ]
    session.answer(
        [entry.shape() for entry in found],
        lambda: receipts_table(found) if found else good("No receipts."),
    )


@_receipts.command("show")
def _show(context: typer.Context, request_id: _RequestName) -> None:
    """Show the receipt of a request; --json gives the signed entry."""
    with opened_home(context) as (session, opened):
        entry = _entry(opened, RequestId(request_id))
        path = ledger_folder(opened) / "ledger.jsonl"
    session.answer(entry.shape(), lambda: receipt_view(entry, path))


@_receipts.command("page")
def _page(
    context: typer.Context,
    request_id: _RequestName,
    out: Annotated[Path, typer.Option("--out", metavar="FILE", help="A new HTML file.")],
) -> None:
    """Write a receipt as an HTML page for the person who asked.

    The page uses plain words, can be printed, and loads nothing from the network.
    """
    from implio_pipeline.documents.receipt import receipt_page  # noqa: PLC0415 -- templates, which `--help` need not load

    with opened_home(context) as (session, opened):
        entry = _entry(opened, RequestId(request_id))
        lifted_at = opened.catalog.requests.get(RequestId(request_id)).standing_lifted_at
        public_key = (ledger_folder(opened) / "public.pem").read_bytes()
    # The signature covers the entry without its digest, so this is the line that the page prints.
    line = canonical({name: value for name, value in entry.shape().items() if name != "digest"})
    page = receipt_page(entry, signed_line=line, public_key_pem=public_key, standing_lifted_at=lifted_at)
    write_new(out, page)
    session.answer(
        {"requestId": entry.statement.request_id, "savedTo": out},
        lambda: good(f"Written to {out}. Open it in a browser, or print it."),
    )


@_receipts.command("checkpoint")
def _checkpoint(context: typer.Context) -> None:
    """Print a signed head of the ledger (c2sp.org/tlog-checkpoint).

    Keep it in a place that nobody with write access to this home can change. `implio receipts verify --against FILE`
    then finds a ledger that was cut at its end or written again from the start.
    """
    with opened_home(context) as (session, opened):
        note = opened.ledger.checkpoint()
    _, size, root = note.splitlines()[:3]
    session.answer(
        {"checkpoint": note, "size": int(size), "rootHash": root}, lambda: Text(note.rstrip("\n")), is_copied=True
    )


@_receipts.command("verify")
def _verify(
    context: typer.Context,
    ledger: Annotated[
        Path | None,
        typer.Option("--ledger", metavar="FOLDER", help="A folder with ledger.jsonl and public.pem; needs no home."),
    ] = None,
    against: Annotated[
        Path | None,
        typer.Option(
            "--against",
            metavar="FILE",
            help="A checkpoint or a receipt (`receipts show --json`) that was kept elsewhere.",
        ),
    ] = None,
) -> None:
    """Check the chain and the signature of every ledger line.

    With --against also check that the ledger continues what was kept elsewhere: this finds a ledger that was cut at its
    end or replaced.
    """
    session = session_of(context)
    # 1. Read what to compare with, and find the ledger. The check needs no open home.
    try:
        kept = None if against is None else against.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError):
        raise BadUse("the file that --against names cannot be read as text") from None
    if ledger is None:
        with session.open_home() as opened:
            ledger = ledger_folder(opened)
    log = ledger / "ledger.jsonl"
    # 2. Check. A last line without a line break is an entry that is still being written.
    try:
        lines = [line for line in log.read_bytes().splitlines(keepends=True) if line.endswith(b"\n")]
        public_key = (ledger / "public.pem").read_bytes()
        findings = check_ledger(lines, public_key)
        if kept is not None:
            findings += check_against(lines, kept, public_key)
    except FileNotFoundError:
        raise LedgerBroken("the folder has no ledger.jsonl with a public.pem beside it") from None
    except ValueError:
        raise LedgerBroken("public.pem is not a public key") from None
    # 3. Answer.
    shape = {
        "ledger": log,
        "entries": len(lines),
        "isHolding": not findings,
        "findings": [{"line": each.line, "problem": each.problem} for each in findings],
    }
    session.answer(
        shape,
        lambda: (
            Group(
                bad(f"The ledger does not verify ({log})"),
                table(("line", "problem"), ([each.line, each.problem] for each in findings)),
            )
            if findings
            else good(f"The ledger verifies: {count(len(lines), 'line')}, chained and signed ({log})")
        ),
    )
    if findings:
        raise typer.Exit(ExitCode.NOT_VERIFIED)


def _entry(opened: "OpenHome", request_id: RequestId) -> LedgerEntry[Receipt]:
    """Return the receipt of a request, or its newest partial receipt while a legal hold keeps items.

    Raises:
        RequestUnknown: The ledger has no receipt of the request.
    """
    entry = opened.ledger.receipt(request_id)
    if entry is None:
        raise RequestUnknown("the ledger has no receipt of this request")
    return entry


def ledger_folder(opened: "OpenHome") -> Path:
    """Return the folder with `ledger.jsonl` and `public.pem`."""
    return opened.settings.below(opened.settings.ledger_folder)


def receipts_table(entries: Iterable[LedgerEntry[Receipt]]) -> RenderableType:
    """Return receipts as one table."""

    def row(receipt: Receipt) -> list[object]:
        outcome, erased = receipt.outcome, receipt.erased
        erased_at = receipt.erased_at if outcome.erased and receipt.erased_at else "nothing erased"
        head: list[object] = [receipt.request_id, receipt.team, receipt.kind, outcome.erased, outcome.withheld]
        return [*head, erased.queue_entries, erased.files, erased.keys_destroyed, erased_at]

    return table(
        ("request", "team", "kind", "erased", "held back", "queue", "files", "keys", "erased at"),
        (row(entry.statement) for entry in entries),
        spare=("erased at", "keys", "files", "queue"),
    )


def receipt_view(entry: LedgerEntry[Receipt], ledger_path: Path) -> RenderableType:
    """Return one receipt for people: the result first, then the figures."""
    receipt = entry.statement
    kind, outcome, erased, proof = receipt.kind, receipt.outcome, receipt.erased, receipt.verification
    # 1. When, and how many items.
    rejected = f"{count(erased.rejected_items, 'rejected item')} among them" if erased.rejected_items else ""
    lines: list[Fact] = [
        ("request", receipt.request_id),
        ("hidden at", receipt.hidden_at, "from every read, from then on"),
        ("checked at", receipt.checked_at, f"due by {receipt.due_at.date()}"),
        ("matched", outcome.matched, "= erased + held back"),
        ("erased", outcome.erased, rejected),
        ("held back", outcome.withheld, "hidden until the hold ends" if outcome.withheld else ""),
        ("queue entries", erased.queue_entries, "removed"),
    ]
    # 2. How it was proven.
    if erased.files:
        read_back = (
            f"{count(proof.files_read_back, 'file')} read back" if proof.files_read_back else "files dropped whole"
        )
        lines += [
            ("files", erased.files, f"{erased.files_rewritten:,} rewritten, {erased.files_dropped:,} dropped"),
            (
                "keys destroyed",
                erased.keys_destroyed,
                f"{size_text(erased.bytes_shredded)} of old files made unreadable",
            ),
            ("survivors", proof.survivors, read_back),
        ]
    if erased.files_rewritten:
        lines.append(("kept rows", proof.rows_read_back, "unchanged, compared value by value"))
    # 3. What the request did not reach, and why.
    if outcome.newer:
        lines.append(("newer", outcome.newer, newer_text(outcome)))
    if kind is RequestKind.USER and outcome.not_reachable is not None:
        lines.append(("not reachable", outcome.not_reachable, not_reachable_text(outcome)))
    holds = receipt.withheld.holds if receipt.withheld is not None else ()
    lines += [("hold", hold.hold_id, f"keeps {count(hold.items, 'item')} ({hold.reason})") for hold in holds]
    if receipt.policy is not None:
        lines.append(("policy", receipt.policy))
    lines.append(("receipt", f"#{entry.sequence}", f"signed, in {ledger_path}"))
    text = result_text(outcome)
    first = warning(text) if outcome.withheld or outcome.is_nothing_matched else good(text)
    return Group(first, facts(f"Receipt: {receipt.team}, by {kind}", lines))
