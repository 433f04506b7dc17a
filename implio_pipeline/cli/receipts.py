"""`implio receipts`: what was erased, and whether the ledger that says so holds."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Group, RenderableType
from rich.text import Text

from implio_pipeline.cli.arguments import MaybeTeam
from implio_pipeline.cli.erasing import receipt_view, receipts_table
from implio_pipeline.cli.failures import BadUse, ExitCode
from implio_pipeline.cli.session import Session, session_of
from implio_pipeline.cli.tables import bad, good, many, table
from implio_pipeline.domain.errors import LedgerBroken, RequestUnknown
from implio_pipeline.domain.ids import RequestId
from implio_pipeline.domain.receipt import PartialReceipt, Receipt, WholeReceipt
from implio_pipeline.ports.ledger import LedgerEntry
from implio_pipeline.verify import Finding, canonical, check_against, check_ledger

if TYPE_CHECKING:
    from implio_pipeline.wiring import OpenHome

app = typer.Typer(help="What was erased, signed; and whether it holds.", no_args_is_help=True)


@app.command("list")
def list_command(context: typer.Context, team: MaybeTeam = None) -> None:
    """Show receipts, oldest first."""
    session = session_of(context)
    with session.open_home() as opened:
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


@app.command("show")
def show_command(
    context: typer.Context, request_id: Annotated[str, typer.Argument(metavar="REQUEST", help="The request's id.")]
) -> None:
    """Show the receipt of a request; with --json the signed entry, whole."""
    session = session_of(context)
    with session.open_home() as opened:
        entry = _entry(opened, RequestId(request_id))
        ledger_path = str(opened.settings.below(opened.settings.ledger_folder) / "ledger.jsonl")
    session.answer(entry.shape(), lambda: receipt_view(entry, ledger_path))


@app.command("page")
def page_command(
    context: typer.Context,
    request_id: Annotated[str, typer.Argument(metavar="REQUEST", help="The request's id.")],
    out: Annotated[Path, typer.Option("--out", metavar="FILE", help="A new HTML file.")],
) -> None:
    """Write a receipt as a page for the person who asked: plain words, ready to be printed, nothing to load."""
    from implio_pipeline.documents.receipt import receipt_page  # noqa: PLC0415 -- templates, which `--help` need not load

    session = session_of(context)
    with session.open_home() as opened:
        entry = _entry(opened, RequestId(request_id))
        lifted_at = opened.services.catalog.requests.get(RequestId(request_id)).standing_lifted_at
        folder = opened.settings.below(opened.settings.ledger_folder)
    line = canonical({name: value for name, value in entry.shape().items() if name != "digest"})
    page = receipt_page(
        entry,
        signed_line=line,
        public_key_pem=(folder / "public.pem").read_bytes(),
        standing_lifted_at=lifted_at,
    )
    try:
        with out.open("x", encoding="utf-8") as file:
            file.write(page)
    except FileExistsError:
        raise BadUse("--out names a file that exists; it is not written over") from None
    shape = {"requestId": entry.statement.request_id, "savedTo": str(out)}
    session.answer(shape, lambda: good(f"Written to {out}; open it in a browser, or print it"))


@app.command("checkpoint")
def checkpoint_command(context: typer.Context) -> None:
    """Print a signed head of the ledger (c2sp.org/tlog-checkpoint); keep it where nobody of this home can write.

    `implio receipts verify --against FILE` compares the ledger with it later: a ledger that was cut at its end, or
    written anew, cannot pass.
    """
    session = session_of(context)
    with session.open_home() as opened:
        note = opened.ledger.checkpoint()
    _, size, root = note.splitlines()[:3]
    session.answer(
        {"checkpoint": note, "size": int(size), "rootHash": root}, lambda: Text(note.rstrip("\n")), is_copied=True
    )


@app.command("verify")
def verify_command(
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
            help="A checkpoint, or a receipt (`receipts show --json`), that was kept elsewhere: finds a cut or a fork.",
        ),
    ] = None,
) -> None:
    """Check every line of the ledger: its place in the chain, its signature; and that it goes on from what was kept."""
    session = session_of(context)
    kept = None if against is None else _kept(against)
    if ledger is not None:
        _answer(session, *_checked(ledger, kept))
        return
    with session.open_home() as opened:
        folder = opened.settings.below(opened.settings.ledger_folder)
    _answer(session, *_checked(folder, kept))


def _kept(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError):
        raise BadUse("--against names no file that can be read as text") from None


def _entry(opened: "OpenHome", request_id: RequestId) -> LedgerEntry[Receipt]:
    """Return the receipt of a request, or the newest of those that say what a legal hold kept.

    Raises:
        RequestUnknown: the ledger has none.
    """
    entry = opened.ledger.receipt(request_id)
    if entry is None:
        raise RequestUnknown("the ledger has no receipt of this request")
    return entry


def _checked(folder: Path, kept: str | None) -> tuple[Path, int, list[Finding]]:
    log, key = folder / "ledger.jsonl", folder / "public.pem"
    try:
        lines = [line for line in log.read_bytes().splitlines(keepends=True) if line.endswith(b"\n")]
        findings = check_ledger(lines, key.read_bytes())
        if kept is not None:
            findings += check_against(lines, kept, key.read_bytes())
        return log, len(lines), findings
    except FileNotFoundError:
        raise LedgerBroken("the folder has no ledger.jsonl with a public.pem beside it") from None
    except ValueError:
        raise LedgerBroken("public.pem is not a public key") from None


def _answer(session: Session, log: Path, length: int, findings: list[Finding]) -> None:
    shape = {
        "ledger": str(log),
        "entries": length,
        "isHolding": not findings,
        "findings": [{"line": each.line, "problem": each.problem} for each in findings],
    }
    session.answer(shape, lambda: _view(log, length, findings))
    if findings:
        raise typer.Exit(ExitCode.NOT_VERIFIED)


def _view(log: Path, length: int, findings: list[Finding]) -> RenderableType:
    if not findings:
        return good(f"The ledger holds: {many(length, 'line')}, chained and signed ({log})")
    return Group(
        bad(f"The ledger does not hold ({log})"),
        table(("line", "problem"), ([each.line, each.problem] for each in findings)),
    )
