"""`python -m reliability crash|races|renewals|fuzz|million|fidelity [--rounds N] [--seed N]` prints table rows."""

import os

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # the parent forks, so it must have one thread

import argparse
import sys
from collections.abc import Callable, Iterator

from support.catalogs import make_homes_with_databases

from reliability.crash import crash
from reliability.fidelity import fidelity
from reliability.fuzzed import fuzzed
from reliability.hostile import a_million, cases, readers
from reliability.races import races
from reliability.renewals import FLOWS, renewals
from reliability.scenarios import SCENARIOS

Row = tuple[str, list[str]]


def main() -> int:
    make_homes_with_databases()  # with TEST_CATALOG=postgresql
    parser = argparse.ArgumentParser(prog="python -m reliability", description=__doc__)
    parser.add_argument("what", choices=tuple(RUNS))
    parser.add_argument("--rounds", type=int, help="operations killed a flow, rounds, files or homes; crash: 0 for all")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--random", type=int, default=30, help="crash: kills at random instants")
    parser.add_argument("--lanes", type=int, default=2, help="crash: flows killed side by side")
    parser.add_argument("--only", choices=tuple(SCENARIOS), help="crash: this flow alone")
    asked = parser.parse_args()
    faults = 0
    what = {
        "crash": _crash,
        "races": _races,
        "renewals": _renewals,
        "fuzz": _fuzz,
        "million": _million,
        "fidelity": _fidelity,
    }
    for line, breaches in what[asked.what](asked):
        print(f"{line} {len(breaches) or 'nothing'} |", flush=True)  # noqa: T201
        for breach in breaches[:10]:
            print(f"  {breach}", file=sys.stderr, flush=True)  # noqa: T201
        faults += len(breaches)
    return 1 if faults else 0


def _crash(asked: argparse.Namespace) -> Iterator[Row]:
    most = 150 if asked.rounds is None else asked.rounds or None
    for name in [asked.only] if asked.only else SCENARIOS:
        row = crash(name, most=most, random_kills=asked.random, lanes=asked.lanes, seed=asked.seed)
        words = f"{name}: {SCENARIOS[name].words}"
        counts = f"{row.kills} of {row.operations} operations, {row.random_kills} random instants"
        yield f"| {words} | {counts} | {row.seconds:.0f} s | {row.litter} left litter;", row.breaches


def _races(asked: argparse.Namespace) -> Iterator[Row]:
    row = races(rounds=asked.rounds or 20, seed=asked.seed)
    counts = f"{row.rounds} rounds of {row.processes} processes, {row.steps.total()} steps, {row.items:,} items"
    counts += f", {row.cancelled} requests cancelled, {row.held} items held to the end"
    yield f"| races | {counts} | {row.seconds:.0f} s | {row.conflicts} steps gave way;", row.breaches


def _renewals(asked: argparse.Namespace) -> Iterator[Row]:
    del asked
    for name in FLOWS:
        row = renewals(name)
        yield f"| {name} | before each of {row.calls} calls | {row.seconds:.0f} s |", row.breaches


def _fuzz(asked: argparse.Namespace) -> Iterator[Row]:
    made = fuzzed(examples=asked.rounds or 20_000)
    for row in (readers(runs=asked.rounds or 20_000, seed=asked.seed), *made, *cases()):
        peak = f"{row.peak_bytes / (1 << 20):.0f} MiB at most"
        yield f"| {row.what} | {row.runs:,} | {row.slowest_seconds:.1f} s at most | {peak};", row.breaches


def _million(asked: argparse.Namespace) -> Iterator[Row]:
    del asked
    for row in a_million():
        peak = f"{row.peak_bytes / (1 << 20):.0f} MiB at most"
        yield f"| {row.what} | {row.runs:,} | {row.slowest_seconds:.1f} s | {peak};", row.breaches


def _fidelity(asked: argparse.Namespace) -> Iterator[Row]:
    row = fidelity(rounds=asked.rounds or 20, seed=asked.seed)
    counts = f"{row.rounds} homes, {row.rows:,} kept rows, {row.columns // max(1, row.rounds)} columns"
    yield f"| rewrites and merges | {counts} | {row.seconds:.0f} s |", row.breaches


RUNS: dict[str, Callable[[argparse.Namespace], Iterator[Row]]] = {
    "crash": _crash,
    "races": _races,
    "renewals": _renewals,
    "fuzz": _fuzz,
    "million": _million,
    "fidelity": _fidelity,
}


if __name__ == "__main__":
    sys.exit(main())
