"""`implio demo`: run the whole pipeline on generated input and prove the result.

The demo works as a customer does: through landing files, request files and Dagster's sensors and schedules. It succeeds
only if the vault holds no item of an erased person, and no byte of the home their user id or e-mail address.
"""

import os
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, redirect_stderr
from dataclasses import dataclass, field
from io import StringIO
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import RenderableType
from rich.text import Text

from implio_pipeline.cli import demo_steps
from implio_pipeline.cli.arguments import WORK
from implio_pipeline.cli.demo_steps import Probe
from implio_pipeline.cli.failures import BadUse, ExitCode
from implio_pipeline.cli.home import dagster_commands
from implio_pipeline.cli.receipts import receipts_table
from implio_pipeline.cli.session import Session, session_of
from implio_pipeline.cli.status import TeamSums, team_sums
from implio_pipeline.cli.tables import bad, good, table, warning
from implio_pipeline.demo.plan import DemoPlan
from implio_pipeline.demo.postings import LEAST_A_DAY
from implio_pipeline.domain.receipt import Receipt, WholeReceipt
from implio_pipeline.domain.sentences import count, size_text
from implio_pipeline.flows.operations.audit import survivors
from implio_pipeline.ports.ledger import LedgerEntry
from implio_pipeline.settings import HOME_VARIABLE

if TYPE_CHECKING:
    from implio_pipeline.wiring import OpenHome

app = typer.Typer()
_MARKETS = 2


@dataclass(kw_only=True, slots=True)
class Story:
    """The number of the current chapter, and how long each step took."""

    session: Session
    home: Path
    tick: Callable[..., int] = demo_steps.tick
    """Does what Dagster's daemon would do now, as `demo_steps.tick` does, and returns the number of runs."""
    outbox: Path | None = None
    """Where landing and request files are written, in `landing` and `inbox`; by default where the home takes them."""
    send: Callable[[], None] = lambda: None
    """Sends what was written into the outbox."""
    probes: tuple[Probe, ...] = ()
    """The people who ask for erasure."""
    started: float = field(default_factory=time.monotonic)
    chapter: int = 0
    seconds: dict[str, float] = field(default_factory=dict)

    @property
    def stays(self) -> bool:
        """Whether the home is left for people to look at, without a daemon on it."""
        return self.tick is demo_steps.tick

    def head(self, title: str) -> None:
        """Begin a chapter."""
        self.chapter += 1
        self.show(Text.assemble(f"\n{self.chapter}  ", (title, "bold")))

    def show(self, shown: RenderableType, *, is_copied: bool = False) -> None:
        """Show something to people; `is_copied` lines are not broken."""
        if not self.session.is_json:
            self.session.out.print(shown, soft_wrap=is_copied)

    @contextmanager
    def timed(self, name: str, doing: str) -> Iterator[None]:
        """Measure the block and show a spinner."""
        began = time.monotonic()
        with self.session.waiting(doing):
            yield
        self.seconds[name] = round(time.monotonic() - began, 1)


@app.command("demo", rich_help_panel=WORK)
def _demo(
    context: typer.Context,
    items: Annotated[
        int, typer.Option("--items", metavar="COUNT", help="How many items the two marketplaces have in total.")
    ] = 20_000,
    days: Annotated[
        int, typer.Option("--days", metavar="COUNT", min=14, help="On how many days they were submitted.")
    ] = 90,
    is_fresh: Annotated[
        bool, typer.Option("--fresh", help="Also replace a home that no demo made. Its keys are destroyed.")
    ] = False,
) -> None:
    """Run the whole pipeline on generated items, with proof.

    Uses the home of `--home`. A home that a demo made is replaced. Any other home stays, unless you give --fresh.
    """
    session = session_of(context)
    if items < _MARKETS * LEAST_A_DAY * days:
        raise BadUse(f"--items must be at least {_MARKETS * LEAST_A_DAY} for each of --days")
    named = session.home or Path(os.environ.get(HOME_VARIABLE) or "data")
    home = demo_steps.prepare_home(session, named, is_fresh=is_fresh)
    story = Story(session=session, home=home)
    with _quiet(), Session(home=home, is_json=session.is_json).open_home() as opened:
        shape = tell(story, opened, items=items, days=days)
    session.answer(shape, lambda: None)
    if not shape["isProven"]:
        raise typer.Exit(ExitCode.NOT_VERIFIED)


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep Dagster's log off the terminal; its event log in the home has all of it."""
    with warnings.catch_warnings(), redirect_stderr(StringIO()):
        warnings.simplefilter("ignore")
        yield


def tell(story: Story, opened: "OpenHome", *, items: int, days: int) -> dict[str, Any]:
    """Run the demo in an open home, and return its result; `isProven` says whether it succeeded."""
    story.show(Text.assemble(("implio demo", "bold"), (f"  in {story.home}" if story.stays else "", "dim")))
    plan = _land(story, opened, items=items, days=days)
    story.head("Dagster's sensor sees the files and starts one run for each team")
    with story.timed("ingest", "Ingesting"):
        runs = story.tick(story.home)
    story.show(good(f"Encrypted, committed and queued in {story.seconds['ingest']} s ({count(runs, 'run')})"))
    probes = story.probes = demo_steps.probes_of(plan)
    before, had = team_sums(opened), demo_steps.counted(story.home, probes)
    _request(story, opened, plan)
    _retain(story, days)
    after, have = team_sums(opened), demo_steps.counted(story.home, probes)
    _compare(story, before, after, probes, had, have)
    entries = sorted(opened.ledger.newest_first(WholeReceipt), key=lambda each: (each.signed_at, each.sequence))
    story.head("Receipts")
    story.show(receipts_table(entries, is_brief=True))
    story.show(Text("  erased: items and rejected items; queue: their entries in moderation queues", style="dim"))
    return _prove(story, opened, probes, have, entries)


def _land(story: Story, opened: "OpenHome", *, items: int, days: int) -> DemoPlan:
    story.head("Three teams send their items")
    with story.timed("land", "Writing landing files"):
        demo_steps.make_teams(opened)
        root = Path(opened.settings.landing_place) if story.outbox is None else story.outbox / "landing"
        plan = demo_steps.land(root, today=opened.clock.now().date(), items=items, days=days)
        story.send()
    files, cut = count(len(plan.files), "file"), sum(file.kind.value == "unreadable" for file in plan.files)
    story.show(good(f"{count(plan.good, 'item')} of {count(days, 'day')} in {files}: JSON, NDJSON, CSV, gzip"))
    story.show(Text(f"  also {plan.bad} invalid items, {cut} files that end too early,", style="dim"))
    story.show(Text("  files that are sent twice and files that are still being written", style="dim"))
    return plan


def _request(story: Story, opened: "OpenHome", plan: DemoPlan) -> None:
    story.head("People, a data protection officer and a leaving team ask for erasure")
    with story.timed("erase", "Erasing"):
        inbox = Path(opened.settings.inbox_place) if story.outbox is None else story.outbox / "inbox"
        files = demo_steps.drop_requests(story.home, inbox, plan)
        story.send()
        runs = story.tick(story.home)
        approved = demo_steps.approve_leaving(opened)
        runs += story.tick(story.home)
    requests = opened.catalog.requests.all()
    kinds = ", ".join(sorted({request.kind.value for request in requests}))
    story.show(good(f"{count(len(requests), 'request')} ({kinds}) carried out; {count(files.good, 'file')} had asked"))
    story.show(good(f"{count(approved, 'whole team')} hidden at once, erased after a second person approved"))
    story.show(good(f"{count(files.bad, 'file')} with an invalid request refused, each with the reason beside it"))
    story.show(good(f"Hidden, rewritten, verified, shredded in {story.seconds['erase']} s ({count(runs, 'run')})"))


def _retain(story: Story, days: int) -> None:
    story.head("acme shortens its retention; the nightly schedules apply it")
    with Session(home=story.home, is_json=True).open_home() as opened:
        policy = demo_steps.shorten_retention(opened, days)
        due = demo_steps.overdue(opened)
        today = opened.clock.now().date()
    with story.timed("retain", "Removing overdue items"):
        runs = story.tick(story.home, nightly_on=today)
    story.show(good(f"Items of acme are now {policy.text}"))
    files = f"{count(due.files_whole, 'file')} dropped unread, {due.files_mixed:,} rewritten"
    story.show(good(f"{count(due.items, 'overdue item')} and {due.rejected:,} rejected: {files}"))
    story.show(good(f"Done in {story.seconds['retain']} s ({count(runs, 'run')})"))


def _compare(
    story: Story,
    before: Sequence[TeamSums],
    after: Sequence[TeamSums],
    probes: Sequence[Probe],
    had: Sequence[int],
    have: Sequence[int],
) -> None:
    story.head("Before and after")

    def both(old: object, new: object) -> str:
        return f"{old:,} → {new:,}" if isinstance(old, int) and isinstance(new, int) else f"{old} → {new}"

    story.show(
        table(
            ("team", "items", "files", "size", "in queue"),
            (
                [
                    old.team.team,
                    both(old.items, new.items),
                    both(old.files, new.files),
                    both(size_text(old.size_bytes), size_text(new.size_bytes)),
                    both(old.queue, new.queue),
                ]
                for old, new in zip(before, after, strict=True)
            ),
        )
    )
    story.show(
        table(
            ("person who asked for erasure", "items before", "items after"),
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
    # 1. The ledger verifies, no covered item is left in the vault, and no erased value is left in any file.
    with story.timed("prove", "Searching for what is left"):
        findings = opened.ledger.check()
        left = sum(survivors(opened).values())
        search = demo_steps.search(opened, probes)
    total = round(time.monotonic() - story.started, 1)
    searched = f"{search.size_bytes:,} bytes of {count(search.files, 'file')}"
    if opened.catalog.server() is not None:
        searched += " and of every row in the database"
    for faults, well, ill in (
        (
            len(findings),
            f"The ledger verifies: {count(len(entries), 'receipt')}, chained and signed",
            "The ledger does not verify",
        ),
        (
            left,
            "The vault was searched again for what each request covers: 0 survivors",
            f"{count(left, 'survivor')} in the vault",
        ),
        (
            search.found,
            f"User ids and e-mail addresses of erased people: found 0 times in\n{searched}",
            f"User ids or e-mail addresses of erased people: found {search.found} times",
        ),
    ):
        story.show(bad(ill) if faults else good(well))
    if search.left_out:
        story.show(warning(f"Not searched: {search.left_out}"))
    # 2. What to do next, where a home is left and no daemon runs on it.
    if story.stays:
        _show_next(story, total)
    return {
        "home": story.home,
        "seconds": {**story.seconds, "total": total},
        "receipts": len(entries),
        "ledgerIsHolding": not findings,
        "survivors": left,
        "probeItemsAfter": sum(have),
        "search": {
            "files": search.files,
            "bytes": search.size_bytes,
            "found": search.found,
            "leftOut": search.left_out or None,
        },
        "isProven": not (findings or left or search.found or sum(have)),
    }


def _show_next(story: Story, total: float) -> None:
    by_make = " with `make ui`, or" if story.home == Path.cwd() / "data" and Path("Makefile").exists() else ""
    daemon, webserver = dagster_commands(story.home)
    story.show(Text(f"\nDone in {total} s. Open Dagster's UI{by_make} with these two commands:", style="bold"))
    story.show(Text(f"  {daemon}\n  {webserver}"), is_copied=True)
    story.show(Text("Then look at the home:", style="bold"))
    story.show(Text(f"  implio --home {story.home} status"), is_copied=True)
