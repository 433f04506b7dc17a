"""Puts `tests/` on the path, so that every test may import `support`; and the homes that tests copy."""

import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from hypothesis import settings
from support.depth import examples
from support.home import Home, a_home, opened_at

_MEMORY = Path("/dev/shm")  # noqa: S108
_MEMORY_NEEDED = 6 * 2**30
if _MEMORY.is_dir() and shutil.disk_usage(_MEMORY).free > _MEMORY_NEEDED:
    os.environ.setdefault("PYTEST_DEBUG_TEMPROOT", str(_MEMORY))  # `fsync` was most of the time that a home takes
os.environ["IMPLIO_REQUESTS__APPROVALS"] = "none"  # tests of approvals ask for them
os.environ["IMPLIO_CLOCK__BEHIND_MINUTES"] = os.environ["IMPLIO_CLOCK__AHEAD_DAYS"] = (
    "400000"  # tests of clocks set them
)
os.environ["IMPLIO_ACCESS__GRANTS"] = (
    "none"  # tests of grants ask for them; the identity class asks for one all the same
)

settings.register_profile("any machine", deadline=None, max_examples=examples(100))
settings.load_profile("any machine")  # a busy machine may take a second for what takes 10 ms
_LONG = tuple(Path(__file__).parent / folder for folder in ("end_to_end", "reliability"))


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with the files whose tests wait for other processes: at the end, one worker would wait for the other."""
    items.sort(key=lambda item: not any(item.path.is_relative_to(folder) for folder in _LONG))


@pytest.fixture(scope="session")
def scratch() -> Iterator[Path]:
    """A folder in memory where there is one: laws open hundreds of homes, and `fsync` would be most of the time."""
    with tempfile.TemporaryDirectory(dir=_MEMORY if _MEMORY.is_dir() else None) as folder:
        yield Path(folder)


@pytest.fixture(scope="session")
def empty_home(scratch: Path) -> Path:
    """A closed home with the teams `ads` (region eu) and `cars` (region us); tests open copies of it."""
    folder = scratch / "empty-home"
    with a_home(folder):
        pass
    return folder


@pytest.fixture
def home(empty_home: Path, tmp_path: Path) -> Iterator[Home]:
    """An open home of the test's own."""
    shutil.copytree(empty_home, tmp_path / "home")
    with opened_at(tmp_path / "home") as opened_home:
        yield opened_home


@pytest.fixture
def new_home(empty_home: Path, scratch: Path) -> Iterator[Callable[[], Home]]:
    """Open one more home at each call: for laws, which need a new one for every example."""
    with ExitStack() as stack:
        made = 0

        def new() -> Home:
            nonlocal made
            stack.close()
            made += 1
            folder = scratch / f"home-{made}"
            shutil.copytree(empty_home, folder)
            stack.callback(shutil.rmtree, folder)
            return stack.enter_context(opened_at(folder))

        yield new
