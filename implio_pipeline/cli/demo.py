"""`implio demo`: the main job on believable input, told as it goes."""

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import RenderableType
from rich.text import Text

from implio_pipeline.cli import demo_home, demo_steps
from implio_pipeline.cli.demo_steps import Probe, Search
from implio_pipeline.cli.erasing import receipts_table
from implio_pipeline.cli.failures import BadUse, ExitCode
from implio_pipeline.cli.init import daemon_command, webserver_command
from implio_pipeline.cli.session import Session, session_of
from implio_pipeline.cli.status import TeamSums, team_sums
from implio_pipeline.cli.tables import bad, good, many, table
from implio_pipeline.demo.plan import DemoPlan
from implio_pipeline.demo.postings import LEAST_A_DAY
from implio_pipeline.domain.receipt import Receipt, WholeReceipt
from implio_pipeline.domain.sentences import size_text
from implio_pipeline.flows.operations.audit import survivors
from implio_pipeline.ports.ledger import LedgerEntry

if TYPE_CHECKING:
    from implio_pipeline.wiring import OpenHome

_MARKETS = 2


@dataclass(kw_only=True, slots=True)
class Story:
    """The demo as it goes: what was there, what was asked, what is left."""

    session: Session
    home: Path
    started: float = field(default_factory=time.monotonic)
    chapter: int = 0
    seconds: dict[str, float] = field(default_factory=dict)

    def head(self, title: str) -> None:
        """Begin a chapter."""
        self.chapter += 1
        self.show(Text.assemble(f"\n{self.chapter}  ", (title, "bold")))

    def show(self, shown: RenderableType, *, is_copied: bool = False) -> None:
        """Show people something; lines to copy are not broken."""
        if not self.session.is_json:
            self.session.out.print(shown, soft_wrap=is_copied)

    @contextmanager
    def timed(self, name: str, doing: str) -> Iterator[None]:
        """Measure the block, with a sign of life meanwhile."""
        began = time.monotonic()
        with self.session.waiting(doing):
            yield
        self.seconds[name] = round(time.monotonic() - began, 1)


def demo_command(
    context: typer.Context,
    items: Annotated[
        int, typer.Option("--items", metavar="COUNT", help="Items of the two marketplaces together.")
    ] = 20_000,
    days: Annotated[int, typer.Option("--days", metavar="COUNT", min=14, help="Days they were submitted on.")] = 90,
    is_fresh: Annotated[
        bool, typer.Option("--fresh", help="Remove the home that is there, with its keys, and begin anew.")
    ] = False,
) -> None:
    """Run the whole pipeline on realistic items in this home: land, ingest, erase, retain, prove.

    A home that a demo made is made anew; any other is left alone unless you say --fresh.
    """
    session = session_of(context)
    if items < _MARKETS * LEAST_A_DAY * days:
        raise BadUse(f"--items must be at least {_MARKETS * LEAST_A_DAY} a day")
    home = demo_home.prepare(session, is_fresh=is_fresh)
    story = Story(session=session, home=home)
    with demo_home.quiet(), Session(home=home, is_json=session.is_json).open_home() as opened:
        shape = _tell(story, opened, items=items, days=days)
    session.answer(shape, lambda: None)
    if not shape["isProven"]:
        raise typer.Exit(ExitCode.NOT_VERIFIED)


def _tell(story: Story, opened: "OpenHome", *, items: int, days: int) -> dict[str, Any]:
    story.show(Text.assemble(("implio demo", "bold"), (f"  in {story.home}", "dim")))
    plan = _land(story, opened, items=items, days=days)
    _ingest(story)
    probes = demo_steps.probes_of(plan)
    before, had = team_sums(opened), demo_steps.counted(story.home, probes)
    _ask(story, opened, plan)
    _retain(story)
    after, have = team_sums(opened), demo_steps.counted(story.home, probes)
    _compare(story, before, after, probes, had, have)
    entries = sorted(opened.ledger.newest_first(WholeReceipt), key=lambda each: each.sequence)
    story.head("Receipts")
    story.show(receipts_table(entries))
    return _prove(story, opened, probes, have, entries)


def _land(story: Story, opened: "OpenHome", *, items: int, days: int) -> DemoPlan:
    story.head("Three teams send their items")
    with story.timed("land", "Writing landing files"):
        demo_steps.make_teams(opened.services)
        plan = demo_steps.land(
            opened.settings.home / "landing", today=opened.services.clock.now().date(), items=items, days=days
        )
    waiting, gone_wrong = len(plan.files), sum(file.kind.value == "unreadable" for file in plan.files)
    story.show(
        good(f"{many(plan.good, 'item')} of {many(days, 'day')} in {many(waiting, 'file')}: JSON, NDJSON, CSV, gzip")
    )
    story.show(
        Text(
            f"  among them {plan.bad} items that must be rejected, {gone_wrong} files cut short, files sent twice, "
            "and files still being written",
            style="dim",
        )
    )
    return plan


def _ingest(story: Story) -> None:
    story.head("Dagster's sensor sees the files; one run for each team ingests them")
    with story.timed("ingest", "Ingesting"):
        runs = demo_steps.tick(story.home)
    story.show(good(f"Encrypted, committed and queued in {story.seconds['ingest']} s ({many(runs, 'run')})"))


def _ask(story: Story, opened: "OpenHome", plan: DemoPlan) -> None:
    story.head("People, a data protection officer and a leaving team ask for erasure")
    with story.timed("erase", "Erasing"):
        files = demo_steps.ask(story.home, plan)
        runs = demo_steps.tick(story.home)
        approved = demo_steps.approve_leaving(opened.services)
        runs += demo_steps.tick(story.home)
    requests = opened.services.catalog.requests.all()
    kinds = ", ".join(sorted({request.kind.value for request in requests}))
    story.show(good(f"{many(len(requests), 'request')} ({kinds}) of {many(files.good, 'file')} carried out"))
    story.show(good(f"{many(approved, 'whole team')} hidden at once, erased after a second person approved"))
    story.show(good(f"{many(files.bad, 'file')} with a wrong request refused, each with its reason beside it"))
    story.show(good(f"Hidden, rewritten, verified, shredded in {story.seconds['erase']} s ({many(runs, 'run')})"))


def _retain(story: Story) -> None:
    story.head("acme shortens its retention; the nightly schedules make it so and take stock")
    with Session(home=story.home, is_json=True).open_home() as opened:
        policy = demo_steps.shorten_retention(opened.services)
        due = demo_steps.overdue(opened.services)
        today = opened.services.clock.now().date()
    with story.timed("retain", "Removing what is overdue"):
        runs = demo_steps.tick(story.home, nightly_on=today)
    story.show(good(f"Items of acme are now {policy.text}"))
    went = f"{many(due.files_whole, 'file')} dropped unread, {due.files_mixed:,} rewritten"
    story.show(good(f"{many(due.items, 'overdue item')} and {due.rejected:,} rejected ones: {went}"))
    story.show(good(f"Done in {story.seconds['retain']} s ({many(runs, 'run')})"))


def _compare(
    story: Story,
    before: Sequence[TeamSums],
    after: Sequence[TeamSums],
    probes: Sequence[Probe],
    had: Sequence[int],
    have: Sequence[int],
) -> None:
    story.head("Before and after")
    rows: list[list[object]] = []
    for old, new in zip(before, after, strict=True):
        rows.append(
            [
                old.team.team,
                _both(old.items, new.items),
                _both(old.files, new.files),
                f"{size_text(old.size_bytes)} → {size_text(new.size_bytes)}",
                _both(old.queue, new.queue),
            ]
        )
    story.show(table(("team", "items", "files", "size", "in queue"), rows))
    story.show(
        table(
            ("who asked to be forgotten", "items before", "items after"),
            ([probe.label, *counts] for probe, *counts in zip(probes, had, have, strict=True)),
        )
    )


def _prove(
    story: Story,
    opened: "OpenHome",
    probes: Sequence[Probe],
    have: Sequence[int],
    entries: Sequence[LedgerEntry[Receipt]],
) -> dict[str, Any]:
    story.head("Proof")
    with story.timed("prove", "Looking for what is left"):
        findings = opened.ledger.check()
        left = survivors(opened.services)
        search = demo_steps.search(story.home, probes)
    total = round(time.monotonic() - story.started, 1)
    _show_proof(story, findings=len(findings), entries=len(entries), left=sum(left.values()), search=search)
    shortest = " with `make ui`, or" if story.home == Path.cwd() / "data" and Path("Makefile").exists() else ""
    story.show(Text(f"\nDone in {total} s. Open Dagster's UI{shortest} with these two commands:", style="bold"))
    story.show(Text(f"  {daemon_command(story.home)}\n  {webserver_command(story.home)}"), is_copied=True)
    story.show(
        Text(f"Look around: implio --home {story.home} status · receipts list · query --team acme …", style="dim")
    )
    return {
        "home": str(story.home),
        "seconds": {**story.seconds, "total": total},
        "receipts": len(entries),
        "ledgerIsHolding": not findings,
        "survivors": sum(left.values()),
        "probeItemsAfter": sum(have),
        "search": {"files": search.files, "bytes": search.size_bytes, "found": search.found},
        "isProven": not (findings or left or search.found or sum(have)),
    }


def _show_proof(story: Story, *, findings: int, entries: int, left: int, search: Search) -> None:
    searched = f"{search.size_bytes:,} bytes of {many(search.files, 'file')}"
    lines = (
        (findings, f"The ledger holds: {many(entries, 'receipt')}, chained and signed", "The ledger does not hold"),
        (
            left,
            "What each request named was looked for again in the vault: 0 survivors",
            f"{left} survivors in the vault",
        ),
        (
            search.found,
            f"User ids and e-mail addresses of the erased: found 0 times in {searched}",
            f"User ids or e-mail addresses of the erased: found {search.found} times",
        ),
    )
    for faults, well, ill in lines:
        story.show(bad(ill) if faults else good(well))


def _both(old: int, new: int) -> str:
    return f"{old:,} → {new:,}"
