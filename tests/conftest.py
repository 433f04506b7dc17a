"""Fixtures of all tests, and the homes that tests copy.

Its place puts `tests/` on the path, so that tests can import `support`.
"""

import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from hypothesis import settings
from support.catalogs import ON_POSTGRESQL, copy_home, make_homes_with_databases
from support.depth import SEED, examples
from support.home import SETTINGS_OF_TESTS, Home, a_home, opened_at
from support.servers import S3Server, s3
from support.statements import share_statements
from support.without_home import is_left_out, watch_openings

_MEMORY = Path("/dev/shm")  # noqa: S108
_MEMORY_NEEDED = 6 * 2**30
if _MEMORY.is_dir() and shutil.disk_usage(_MEMORY).free > _MEMORY_NEEDED:
    # `fsync` took most of the time of a home, and of what libraries keep in temporary folders: an instance of Dagster
    # took 2 s on a disk.
    for variable in ("PYTEST_DEBUG_TEMPROOT", "TMPDIR"):
        os.environ.setdefault(variable, str(_MEMORY))
os.environ.update(SETTINGS_OF_TESTS)

make_homes_with_databases()  # with TEST_CATALOG=postgresql
watch_openings()
share_statements()
settings.register_profile("any machine", deadline=None, max_examples=examples(100))
settings.load_profile("any machine")  # on a busy machine 10 ms may become a second
_FLOWS = Path(__file__).parent / "flows"
_LONG = tuple(Path(__file__).parent / folder for folder in ("end_to_end", "reliability"))


def pytest_ignore_collect(collection_path: Path) -> bool | None:
    """With TEST_CATALOG=postgresql, leave out the files whose outcome the database cannot change."""
    return True if ON_POSTGRESQL and is_left_out(collection_path) else None


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Run the files early whose tests wait for other processes. At the end, one worker would wait for the other.

    On PostgreSQL the flows come before them: in `.ci/run` they compute while the run on SQLite waits.
    """
    if ON_POSTGRESQL:
        about_sqlite = [item for item in items if item.get_closest_marker("only_sqlite")]
        items[:] = [item for item in items if item not in about_sqlite]
        config.hook.pytest_deselected(items=about_sqlite)
    early = [_FLOWS, *_LONG] if ON_POSTGRESQL else _LONG
    places = {
        item: next((place for place, each in enumerate(early) if item.path.is_relative_to(each)), len(early))
        for item in items
    }
    items.sort(key=places.__getitem__)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, exitstatus: int) -> None:
    """Tell how to try the same share again."""
    if exitstatus == pytest.ExitCode.TESTS_FAILED:
        terminalreporter.write_line(f"TEST_SEED={SEED} tries the same share of crash points and cases again")


@pytest.fixture(scope="session")
def scratch() -> Iterator[Path]:
    """A folder in memory, if the machine has one.

    Laws open hundreds of homes, and `fsync` would take most of the time.
    """
    with tempfile.TemporaryDirectory(dir=_MEMORY if _MEMORY.is_dir() else None) as folder:
        yield Path(folder)


@pytest.fixture(scope="session")
def empty_home(scratch: Path) -> Path:
    """A closed home with the teams `ads` (region eu) and `cars` (region us). Tests open copies of it."""
    folder = scratch / "empty-home"
    with a_home(folder):
        pass
    return folder


@pytest.fixture
def home(empty_home: Path, tmp_path: Path) -> Iterator[Home]:
    """An open home for one test."""
    copy_home(empty_home, tmp_path / "home")
    with opened_at(tmp_path / "home") as opened_home:
        yield opened_home


@pytest.fixture(scope="session")
def server() -> S3Server:
    """A real S3 server, which all tests of a run share."""
    return s3()


@pytest.fixture(scope="session")
def bucket(server: S3Server) -> str:
    """The name of a bucket. Tests keep apart by prefixes."""
    return server.new_bucket()


@pytest.fixture
def new_home(empty_home: Path, scratch: Path) -> Iterator[Callable[[], Home]]:
    """Open a new home at each call: a law needs one for every example."""
    with ExitStack() as stack:
        made = 0

        def new() -> Home:
            nonlocal made
            stack.close()
            made += 1
            folder = scratch / f"home-{made}"
            copy_home(empty_home, folder)
            stack.callback(shutil.rmtree, folder)
            return stack.enter_context(opened_at(folder))

        yield new
