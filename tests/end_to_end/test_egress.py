"""Nothing leaves: the whole cycle runs without one word beyond loopback, and the watch that says so sees a planted one.

Two watches: an audit hook in every Python process, which refuses and remembers; and, where the machine permits it, a
network namespace of its own with no way out, whose kernel counts what native code tried.
"""

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import pytest

from implio_pipeline.orchestration.instance_files import dagster_yaml

_EGRESS = Path(__file__).parents[1] / "support" / "egress"
_ROOT = Path(__file__).parents[2]
_SEALED_OFF = ("unshare", "--user", "--map-root-user", "--net")
_MOST_SECONDS = 600


@dataclass(frozen=True, kw_only=True)
class Watched:
    """What a watched process did."""

    exit_code: int
    steps: list[str]
    told: str
    refused: list[str]
    """Audit events that were refused, by any Python process."""
    kernel: dict[str, int] | None
    """What the kernel counted; `None` where it could not be watched."""

    @property
    def words(self) -> list[str]:
        """Everything that was said beyond loopback, or tried."""
        return self.refused + [name for name, count in (self.kernel or {}).items() if count]


@cache
def may_be_sealed_off() -> bool:
    try:
        return subprocess.run([*_SEALED_OFF, "true"], check=False, capture_output=True).returncode == 0
    except FileNotFoundError:
        return False


def watched(folder: Path, *arguments: str) -> Watched:
    found = folder / "found"
    path = os.pathsep.join([str(_EGRESS), str(_ROOT)])
    ours = {"PYTHONPATH": path, "IMPLIO_EGRESS_FOUND": str(found), "IMPLIO_ACCESS__GRANTS": "required"}
    known = {name: value for name, value in os.environ.items() if not name.startswith(("IMPLIO_", "DAGSTER_"))}
    prefix = _SEALED_OFF if may_be_sealed_off() else ()
    done = subprocess.run(
        [
            *(*prefix, sys.executable, "-W", "ignore", str(_EGRESS / "cycle.py"), str(folder / "home"), *arguments),
            *(["--sealed"] if prefix else []),
        ],
        check=False,
        capture_output=True,
        text=True,
        timeout=_MOST_SECONDS,
        env=known | ours,
        cwd=folder,
    )
    *steps, last = done.stdout.splitlines() or [""]
    return Watched(
        exit_code=done.returncode,
        steps=steps,
        told=f"{done.stdout}{done.stderr}"[-4000:],
        refused=found.read_text().splitlines() if found.exists() else [],
        kernel=json.loads(last) if prefix and done.returncode == 0 else None,
    )


def test_the_whole_cycle_speaks_to_nobody(tmp_path: Path) -> None:
    seen = watched(tmp_path)

    assert seen.exit_code == 0, seen.told
    assert seen.words == []
    done = {step.partition(" ")[0] for step in seen.steps}
    assert {
        "init",
        "ingest",
        "query",
        "erase",
        "retention",
        "audit",
        "export",
        "compact",
        "keys",
        "restore",
        "serve",
    } <= done
    (dagster,) = (step for step in seen.steps if step.startswith("dagster"))
    for job in ("ingest_landing", "housekeeping", "self_audit"):
        assert job in dagster


@pytest.mark.parametrize("kind", ["connect", "look up", "send", "a child's connect"])
def test_a_planted_word_is_seen_though_its_error_is_swallowed(kind: str, tmp_path: Path) -> None:
    seen = watched(tmp_path, "--plant", kind)

    assert seen.exit_code == 0, seen.told
    assert seen.refused


def test_the_kernel_sees_what_native_code_tries(tmp_path: Path) -> None:
    if not may_be_sealed_off():
        pytest.skip("this machine permits no network namespace of one's own")

    seen = watched(tmp_path, "--plant", "native code's connect")

    assert seen.refused == []
    assert seen.words == ["without route"]


def test_dagster_s_telemetry_is_off_in_every_home(tmp_path: Path) -> None:
    assert "telemetry:\n  enabled: false" in dagster_yaml(tmp_path)
