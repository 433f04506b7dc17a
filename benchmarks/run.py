"""Run every contestant over the same lakes, in turns, and write one table: `python -m benchmarks.run`."""

import argparse
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from benchmarks import queries, table
from benchmarks.surroundings import HERE, RIVALS, WORK, Entry, machine, make_rivals, present, rivals

ROOT = HERE.parent
RECORDS = WORK / "records.json"
ERASURES = ("few", "many", "thousand")
LAKES, COPIES, USERS = WORK / "lakes", WORK / "copies", WORK / "users.json"


class Runner:
    """Runs contestants' commands in turns and keeps a record of each."""

    def __init__(self, contestants: list[Entry], threads: int) -> None:
        self.contestants = contestants
        self.threads = threads
        self.records: list[table.Record] = []
        self.command_line = f"python -m benchmarks.run {' '.join(sys.argv[1:])}".strip()
        self.began_on = f"{datetime.now(UTC):%Y-%m-%d}"

    def command(self, one: Entry, command: str, lake: Path, **options: object) -> dict[str, Any]:
        """Run one command of one contestant in a process of its own and return its figures."""
        said = [str(one.python), "-m", one.module, command, "--lake", str(lake), "--threads", str(self.threads)]
        for name, value in options.items():
            said += [f"--{name}", str(value)]
        os.sync()  # no contestant pays for unwritten pages of another
        done = subprocess.run(said, cwd=ROOT, capture_output=True, text=True, check=False)
        if done.returncode:
            print(done.stderr, file=sys.stderr)
            return {"failed": done.returncode}
        return json.loads(done.stdout.strip().splitlines()[-1])

    def keep(self, one: Entry, items: int, scenario: str, figures: dict[str, Any], wrong: str | None = None) -> None:
        """Record a run and print it."""
        if figures.get("unsupported"):
            return
        wrong = wrong or ("failed" if "failed" in figures else None)
        self.records.append(
            {"contestant": one.name, "items": items, "scenario": scenario, "figures": figures, "wrong": wrong}
        )
        kept = {"command": self.command_line, "date": self.began_on, "records": self.records}
        RECORDS.write_text(json.dumps(kept, indent=1))
        took = figures.get("wall_s", 0)
        print(f"{items:>9,}  {scenario:14} {one.name:9} {took:8.2f} s  {wrong or ''}", flush=True)

    def turns(self, repeat: int) -> list[Entry]:
        """Return the contestants, starting with a different one each time."""
        shift = repeat % len(self.contestants)
        return self.contestants[shift:] + self.contestants[:shift]

    def ingest(self, source: dict[str, Any], repeats: int) -> None:
        """Make the lakes. The last one of each contestant is kept."""
        for scenario, folder, count in (("ingest-ndjson", "ndjson", "ndjson_items"), ("ingest", "arrow", "items")):
            for repeat in range(repeats):
                for one in self.turns(repeat):
                    lake = LAKES / one.name
                    shutil.rmtree(lake, ignore_errors=True)
                    figures = self.command(one, scenario, lake, input=source["path"] / folder)
                    self.keep(one, source["items"], scenario, figures | {"items": source[count]})

    def query(self, source: dict[str, Any], repeats: int) -> None:
        """Run the same queries on every contestant. A different answer is an error."""
        probe = source["teams"]["alder"]["many"][0]
        answers: dict[str, str] | None = None
        for repeat in range(repeats):
            for one in self.turns(repeat):
                lake = LAKES / one.name
                figures = self.command(one, "query", lake)
                answers = answers or figures.get("answers")
                wrong = None if figures.get("answers", answers) == answers else "answers differ"
                self.keep(one, source["items"], "query", figures, wrong)
                USERS.write_text(json.dumps(probe["users"]))
                figures = self.command(one, "query-user", lake, team="alder", users=USERS)
                wrong = None if figures.get("items", probe["items"]) == probe["items"] else "count differs"
                self.keep(one, source["items"], "query-user", figures, wrong)

    def query_waiting(self, source: dict[str, Any], repeats: int) -> None:
        """Run scans with and without waiting deletions, on a fresh copy of each lake that can hide items."""
        team = min(source["teams"])
        for repeat in range(repeats):
            for one in self.turns(repeat):
                copy = COPIES / one.name
                shutil.rmtree(copy, ignore_errors=True)
                shutil.copytree(LAKES / one.name, copy)
                figures = self.command(one, "query-waiting", LAKES / one.name, copy=copy, team=team)
                self.keep(one, source["items"], "query-waiting", figures)
                shutil.rmtree(copy)

    def erase(self, source: dict[str, Any], repeats: int) -> None:
        """Erase from a fresh copy of each lake.

        Every repeat uses another team's users, who have the same numbers of items.
        """
        for repeat in range(repeats):
            for one in self.turns(repeat):
                copy = COPIES / one.name
                shutil.rmtree(copy, ignore_errors=True)
                shutil.copytree(LAKES / one.name, copy)
                for scenario, figures, wrong in self._destroy(one, source, repeat, copy):
                    self.keep(one, source["items"], scenario, figures, wrong)
                shutil.rmtree(copy)

    def _destroy(
        self, one: Entry, source: dict[str, Any], repeat: int, lake: Path
    ) -> Iterator[tuple[str, dict[str, Any], str | None]]:
        team = sorted(source["teams"])[repeat % len(source["teams"])]
        left = source["items"]
        for scenario in ERASURES:
            probe = source["teams"][team][scenario][0]
            USERS.write_text(json.dumps(probe["users"]))
            figures = self.command(one, "erase", lake, team=team, users=USERS)
            if figures.get("unsupported"):
                return
            left -= probe["items"]
            found = self.command(one, "verify", lake, team=team, users=USERS)
            expected = {"items": left, "seen": 0, "survivors": 0, "unreferenced": 0}
            more = {"named": found.get("named"), "team_items": source["items"] // len(source["teams"])}
            yield scenario, figures | more, _difference(found, expected)
        before = self.command(one, "verify", lake, team=team, day=source["days"][5])
        figures = self.command(one, "drop-day", lake, team=team, day=source["days"][5])
        found = self.command(one, "verify", lake, team=team, day=source["days"][5])
        expected = {"items": left - before.get("day_items", 0), "day_items": 0, "unreferenced": 0}
        yield "drop-day", figures, _difference(found, expected)


def _difference(found: dict[str, Any], expected: dict[str, int]) -> str | None:
    different = [
        f"{name} {found.get(name)} instead of {value}" for name, value in expected.items() if found.get(name) != value
    ]
    return "; ".join(different) or None


def make_input(items: int) -> dict[str, Any]:
    """Make the input for a number of items, unless it exists, and return its manifest with its path."""
    path = WORK / "input" / str(items)
    said = [str(RIVALS / "bin" / "python"), "-m", "benchmarks.lake", str(path), "--items", str(items)]
    subprocess.run(said, cwd=ROOT, check=True)
    return json.loads((path / "manifest.json").read_text()) | {"path": path}


def report(runner: Runner, source: dict[str, Any], sizes: list[int]) -> str:
    """Return the text of RESULTS.md."""
    names = [one.name for one in runner.contestants]
    facts = [f"- {name}: {value}" for name, value in (*machine().items(), ("rivals", rivals()))]
    wrong = [
        f"- {r['contestant']}, {r['scenario']}, {r['items']:,} items: {r['wrong']}"
        for r in runner.records
        if r["wrong"]
    ]
    raw, teams = source["arrow_bytes"] / source["items"], len(source["teams"])
    parts = [
        "# Results",
        f"Made by `{runner.command_line}` on {runner.began_on}; `README.md` says what is measured and how.",
        "\n".join(facts),
        f"{source['items']:,} items of {raw:,.0f} bytes each as Arrow, {teams} teams x {len(source['days'])} days.",
        table.render(runner.records, names, source["items"], queries.ALL),
    ]
    if len(sizes) > 1:
        parts += ["## Growth with the lake", table.render_growth(runner.records, names, sizes)]
    parts += ["## Checks", "\n".join(wrong) or "Every run removed exactly the expected items, and left nothing behind."]
    return "\n\n".join(parts) + "\n"


def main() -> int:
    """Make inputs, run contestants, write the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--items", type=int, default=3_600_000)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--ingest-repeats", type=int, help="as --repeats if not given")
    parser.add_argument("--smaller", type=float, nargs="*", default=[0.1, 0.3], help="smaller lakes, for growth")
    parser.add_argument("--only", nargs="+", help="contestants")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument(
        "--again", action="store_true", help="only write the table again, from the records of the last run"
    )
    parser.add_argument("--results", type=Path, default=HERE / "RESULTS.md")
    asked = parser.parse_args()
    WORK.mkdir(exist_ok=True)
    make_rivals()
    runner = Runner(present(asked.only), asked.threads)
    if asked.again:
        kept = json.loads(RECORDS.read_text())
        runner.records, runner.command_line, runner.began_on = kept["records"], kept["command"], kept["date"]
    sizes = []
    for share in [*sorted(asked.smaller), 1.0]:
        source = make_input(round(asked.items * share))
        sizes.append(source["items"])
        if asked.again:
            continue
        is_full = share == 1.0
        runner.ingest(source, (asked.ingest_repeats or asked.repeats) if is_full else 1)
        if is_full:
            runner.query(source, asked.repeats)
            runner.query_waiting(source, asked.repeats)
        runner.erase(source, asked.repeats)
        shutil.rmtree(LAKES, ignore_errors=True)
    text = report(runner, source, sizes)
    asked.results.write_text(text)
    print(text)
    return 1 if any(record["wrong"] for record in runner.records) else 0


if __name__ == "__main__":
    sys.exit(main())
