"""`python -m reliability.child SCENARIO HOME --kill-at N`: one flow on one home, killed at one operation.

It reproduces a single crash by hand. With `--prepare` it makes the home first. Without `--kill-at` it runs to the end
and prints the operations. With `--take-up` it runs the flow again and prints every breach of a law.
"""

import argparse
import json
import sys
from pathlib import Path

from reliability.crash import as_json, die_at, from_json, taken_up
from reliability.scenarios import SCENARIOS, prepare


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m reliability.child", description=__doc__)
    parser.add_argument("scenario", choices=tuple(SCENARIOS))
    parser.add_argument("home", type=Path)
    parser.add_argument("--prepare", action="store_true")
    parser.add_argument("--kill-at", type=int, default=0)
    parser.add_argument("--take-up", action="store_true")
    asked = parser.parse_args()
    beside = asked.home.with_suffix(".expected.json")
    if asked.prepare:
        beside.write_text(json.dumps(as_json(prepare(asked.scenario, asked.home))))
    elif asked.take_up:
        found = taken_up(asked.scenario, asked.home, from_json(json.loads(beside.read_text())))
        print("\n".join(found) or "every law holds")  # noqa: T201
        return 1 if found else 0
    else:
        names = die_at(asked.scenario, asked.home, asked.kill_at)
        print("\n".join(f"{at} {name}" for at, name in enumerate(names, start=1)))  # noqa: T201
    return 0


if __name__ == "__main__":
    sys.exit(main())
