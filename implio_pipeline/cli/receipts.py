"""`implio receipts`: what was erased, and whether the ledger that says so can be trusted.

`verify` needs no home: a ledger and its public key are enough.
"""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Group, RenderableType
from rich.text import Text

from implio_pipeline.cli.arguments import READ, MaybeTeam, write_new
from implio_pipeline.cli.failures import BadUse, ExitCode
from implio_pipeline.cli.session import Session, opened_home, session_of
from implio_pipeline.cli.tables import Fact, bad, facts, good, table, warning
from implio_pipeline.domain.errors import LedgerBroken, RequestUnknown
from implio_pipeline.domain.ids import Region, RequestId, RequestKind
from implio_pipeline.domain.receipt import PartialReceipt, Receipt, WholeReceipt
from implio_pipeline.domain.sentences import count, keys_text, newer_text, not_reachable_text, result_text, size_text
from implio_pipeline.ports.ledger import LedgerEntry
from implio_pipeline.verify import Finding, check_chains, check_folder, check_receipt

if TYPE_CHECKING:
    from implio_pipeline.wiring import OpenHome

_BRIEF_ID = 8
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
            for entry in sorted(entries, key=lambda each: (each.signed_at, each.chain, each.sequence))
            if team is None or entry.statement.team == team
        ]
    session.answer(
        [entry.shape() for entry in found],
        lambda: receipts_table(found) if found else good("No receipts."),
    )


@_receipts.command("show")
def _show(context: typer.Context, request_id: _RequestName) -> None:
    """Show the receipt of a request; --json gives the entry with its proof, for `receipts verify`."""
    with opened_home(context) as (session, opened):
        entry = _entry(opened, RequestId(request_id))
    session.answer(entry.shape(), lambda: receipt_view(entry, opened.settings.ledger_place))


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
        public_key = opened.ledger.public_key(entry.chain)
    page = receipt_page(entry, public_key_pem=public_key, standing_lifted_at=lifted_at)
    write_new(out, page)
    session.answer(
        {"requestId": entry.statement.request_id, "savedTo": out},
        lambda: good(f"Written to {out}. Open it in a browser, or print it."),
    )


@_receipts.command("checkpoint")
def _checkpoint(
    context: typer.Context,
    chain: Annotated[
        str | None,
        typer.Option("--chain", metavar="CHAIN", help="One chain: a region, or home."),
    ] = None,
) -> None:
    """Print a signed head of each chain of the ledger (c2sp.org/tlog-checkpoint).

    Keep it in a place that nobody with write access to this home can change. `implio receipts verify --against FILE`
    then finds a ledger that was cut at its end or written again from the start.
    """
    with opened_home(context) as (session, opened):
        names = opened.ledger.chains() if chain is None else [Region(chain)]
        notes = {name: opened.ledger.checkpoint(name) for name in names}
    text = "\n".join(notes.values())
    sizes = [
        {"chain": name, "batches": int(note.splitlines()[1]), "rootHash": note.splitlines()[2]}
        for name, note in notes.items()
    ]
    session.answer({"checkpoint": text, "chains": sizes}, lambda: Text(text.rstrip("\n")), is_copied=True)


@_receipts.command("verify")
def _verify(
    context: typer.Context,
    ledger: Annotated[
        Path | None,
        typer.Option(
            "--ledger", metavar="FOLDER", help="The folder of a ledger, or of one of its chains; needs no home."
        ),
    ] = None,
    against: Annotated[
        Path | None,
        typer.Option(
            "--against",
            metavar="FILE",
            help="A checkpoint or a receipt (`receipts show --json`) that was kept elsewhere.",
        ),
    ] = None,
    since: Annotated[
        Path | None,
        typer.Option("--since", metavar="FILE", help="Check only what follows this checkpoint."),
    ] = None,
    receipt: Annotated[
        Path | None,
        typer.Option(
            "--receipt",
            metavar="FILE",
            help="Check one receipt (`receipts show --json`) by its own proof.",
        ),
    ] = None,
    public_key: Annotated[
        Path | None,
        typer.Option("--public-key", metavar="FILE", help="The public key of the chain, if you kept it elsewhere."),
    ] = None,
) -> None:
    """Check every batch of the ledger: its entries, its signature, and that it follows the one before.

    With --against also check that the ledger continues what was kept elsewhere: this finds a ledger that was cut at its
    end or replaced. With --receipt and --public-key a single receipt is checked alone.
    """
    session = session_of(context)
    # 1. Read what was given. The check needs no open home.
    kept, begins, single = (None if each is None else _text(each) for each in (against, since, receipt))
    pem = None if public_key is None else _text(public_key).encode()
    if single is not None and pem is not None:
        _answer(session, "the receipt", check_receipt(single, pem), said="The receipt verifies: in a signed batch")
        return
    texts = [each for each in (kept, single) if each is not None]
    # 2. Check the folder that is given, or the ledger of the home: a folder too, or a bucket.
    try:
        if ledger is None:
            with session.open_home() as opened:
                place, sources = opened.settings.ledger_place, opened.ledger_sources
                checks = (
                    check_folder(place, kept=texts, since=begins, public_key_pem=pem)
                    if isinstance(place, Path)
                    else check_chains(sources(), kept=texts, since=begins)
                )
        else:
            place = ledger
            checks = check_folder(ledger, kept=texts, since=begins, public_key_pem=pem)
    except FileNotFoundError:
        raise LedgerBroken("the folder has no chain of batches with a public.pem beside it") from None
    except ValueError as error:
        raise LedgerBroken(f"the ledger cannot be checked: {error}") from None
    # 3. Answer.
    entries, batches = sum(each.entries for each in checks), sum(each.batches for each in checks)
    size = f"{count(entries, 'entry')} in {count(batches, 'signed batch')}"
    chains = [{"chain": each.chain, "batches": each.batches, "entries": each.entries} for each in checks]
    findings = [finding for each in checks for finding in each.findings]
    said = f"The ledger verifies: {size} ({place})"
    _answer(session, str(place), findings, said=said, more={"entries": entries, "chains": chains})


def _answer(
    session: Session, what: str, findings: Sequence[Finding], *, said: str, more: Mapping[str, Any] | None = None
) -> None:
    shape = {
        "ledger": what,
        **(more or {}),
        "isHolding": not findings,
        "findings": [{"chain": each.chain, "batch": each.batch, "problem": each.problem} for each in findings],
    }
    session.answer(
        shape,
        lambda: (
            Group(
                bad(f"Does not verify: {what}"),
                table(("chain", "batch", "problem"), ([each.chain, each.batch, each.problem] for each in findings)),
            )
            if findings
            else good(said)
        ),
    )
    if findings:
        raise typer.Exit(ExitCode.NOT_VERIFIED)


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError):
        raise BadUse("the named file cannot be read as text") from None


def _entry(opened: "OpenHome", request_id: RequestId) -> LedgerEntry[Receipt]:
    """Return the receipt of a request, or its newest partial receipt while a legal hold keeps items.

    Raises:
        RequestUnknown: The ledger has no receipt of the request.
    """
    entry = opened.ledger.receipt(request_id)
    if entry is None:
        raise RequestUnknown("the ledger has no receipt of this request")
    return entry


def receipts_table(entries: Iterable[LedgerEntry[Receipt]], *, is_brief: bool = False) -> RenderableType:
    """Return receipts as one table; if brief, with the beginnings of request ids."""
    receipts = [entry.statement for entry in entries]
    is_held_back = any(each.outcome.withheld for each in receipts)

    def row(receipt: Receipt) -> list[object]:
        outcome, erased = receipt.outcome, receipt.erased
        erased_at = receipt.erased_at if outcome.erased and receipt.erased_at else "nothing erased"
        request_id = receipt.request_id[:_BRIEF_ID] if is_brief else receipt.request_id
        head: list[object] = [request_id, receipt.team, receipt.kind, outcome.erased]
        held_back: list[object] = [outcome.withheld] if is_held_back else []
        return [*head, *held_back, erased.queue_entries, erased.files, erased.keys_destroyed, erased_at]

    held_back = ("held back",) if is_held_back else ()
    return table(
        ("request", "team", "kind", "erased", *held_back, "queue", "files", "keys", "erased at"),
        map(row, receipts),
        spare=("erased at", "keys", "files", "queue"),
    )


def receipt_view(entry: LedgerEntry[Receipt], ledger_place: Path | str) -> RenderableType:
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
                f"keys {receipt.keys_state}",
                erased.keys_destroyed,
                keys_text(receipt.keys_state) or f"{size_text(erased.bytes_shredded)} of old files made unreadable",
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
    where = f"signed, in batch {entry.batch} of chain {entry.chain}, {ledger_place}"
    lines.append(("receipt", f"#{entry.sequence}", where))
    text = result_text(outcome)
    first = warning(text) if outcome.withheld or outcome.is_nothing_matched else good(text)
    return Group(first, facts(f"Receipt: {receipt.team}, by {kind}", lines))
