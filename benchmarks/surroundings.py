"""Where contestants run: the rivals' environment, the list of contestants, and a description of this machine."""

import json
import os
import platform
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).parent
WORK = HERE / ".work"
RIVALS = WORK / "rivals-venv"
REQUIREMENTS = (
    "duckdb==1.5.5",
    "duckdb-extension-ducklake==1.5.5",
    "duckdb-extension-httpfs==1.5.5",
    "deltalake==1.6.6",
    "pyarrow==26.0.1",
    "pandas==3.1.1",
    "numpy==2.4.6",
    "pytz==2026.6",
)
"""httpfs contains the OpenSSL that DuckDB needs to write encrypted Parquet. DuckDB returns instants with pytz."""
_PACKAGES = ("duckdb", "pyarrow", "pandas", "deltalake", "duckdb-extension-ducklake", "cryptography")


@dataclass(frozen=True, kw_only=True, slots=True)
class Entry:
    """A contestant as the runner knows it."""

    name: str
    module: str
    is_rival: bool = True

    @property
    def python(self) -> Path:
        """The interpreter that it runs under: the rivals' or ours."""
        return RIVALS / "bin" / "python" if self.is_rival else Path(sys.executable)


ROSTER = (
    Entry(name="ours", module="benchmarks.ours", is_rival=False),
    Entry(name="ducklake", module="benchmarks.rival_ducklake"),
    Entry(name="ducklake-unsorted", module="benchmarks.rival_ducklake_unsorted"),
    Entry(name="delta", module="benchmarks.rival_delta"),
    Entry(name="pandas", module="benchmarks.rival_pandas"),
    Entry(name="plain", module="benchmarks.rival_plain"),
)


def present(only: list[str] | None) -> list[Entry]:
    """Return the contestants whose file exists, or the requested ones among them."""
    there = [entry for entry in ROSTER if (HERE / f"{entry.module.split('.')[-1]}.py").exists()]
    return [entry for entry in there if not only or entry.name in only]


def make_rivals() -> None:
    """Make the rivals' environment, unless it exists for these requirements."""
    made = RIVALS / "requirements.txt"
    wanted = "\n".join(REQUIREMENTS) + "\n"
    if made.exists() and made.read_text() == wanted:
        return
    subprocess.run([sys.executable, "-m", "venv", str(RIVALS)], check=True)
    install = ["-m", "pip", "install", "--quiet", "--disable-pip-version-check", *REQUIREMENTS]
    subprocess.run([str(RIVALS / "bin" / "python"), *install], check=True)
    made.write_text(wanted)


def machine() -> dict[str, str]:
    """Describe the machine without naming it."""
    model = "unknown processor"
    information = Path("/proc/cpuinfo")
    if information.exists():
        names = [line.split(":", 1)[1].strip() for line in information.read_text().splitlines() if "model name" in line]
        model = names[0] if names else model
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return {
        "machine": f"{cores} cores ({model}), {memory:.0f} GiB, {platform.system()} {platform.machine()}",
        "Python": platform.python_version(),
        "ours": _versions(Path(sys.executable)),
    }


def rivals() -> str:
    """Name the rivals' libraries and their versions."""
    return _versions(RIVALS / "bin" / "python")


def _versions(python: Path) -> str:
    code = (
        "import importlib.metadata as m, json, sys\n"
        "print(json.dumps({d.metadata['Name'].replace('_', '-'): d.version for d in m.distributions()}))"
    )
    found = json.loads(subprocess.run([str(python), "-c", code], check=True, capture_output=True, text=True).stdout)
    return ", ".join(f"{name} {found[name]}" for name in _PACKAGES if name in found) or "none of the libraries"
