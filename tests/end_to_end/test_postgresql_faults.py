"""PostgreSQL fails amid the work: restarted, failed over, connections lost at a commit, a process paused in one.

The laws are those of `docs/RELIABILITY.md`: when the flow has run again, nothing is lost, left over or doubled, each
request has one receipt, and a full audit finds nothing.
"""

import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import event, make_url
from support.catalogs import URL_VARIABLE, url_of
from support.changed import changed
from support.clock import NOW, StillClock
from support.cutting_proxy import CuttingProxy, Lost
from support.databases import new_database
from support.depth import few
from support.home import ADS, Home, a_home, opened_at
from support.items import YESTERDAY, Ad
from support.landing import LandedTable
from support.own_postgres import OwnPostgres, Replica, run_on
from support.servers import postgres

from implio_pipeline.domain.errors import CatalogOutdated, CatalogUnavailable, ImplioError
from implio_pipeline.domain.scope import ByUser
from implio_pipeline.flows.deletion.erase import erase
from implio_pipeline.flows.files.compact import compact
from implio_pipeline.flows.files.ingest import ingest
from implio_pipeline.flows.operations.audit import audit
from implio_pipeline.flows.operations.restore import restore
from implio_pipeline.flows.operations.rotate_keys import rotate_keys
from implio_pipeline.settings import SETTINGS_FILE

_ROOT = Path(__file__).parents[2]
_PLACES = 3
"""At how many commits a connection is lost in an ordinary run; in a thorough one at all."""


def fill(home: Home) -> None:
    """Keep items of two people in three files, two of them on one day."""
    home.keep(Ad(task="ann-1"), Ad(task="bob-1", user="bob"))
    home.keep(Ad(task="ann-2"), Ad(task="bob-2", user="bob"))
    home.keep(Ad(task="ann-3", at=YESTERDAY - timedelta(days=1)))


def set_url(folder: Path, url: str) -> None:
    path = folder / SETTINGS_FILE
    path.write_text(path.read_text().replace(url_of(folder / "catalog"), url))


def check_laws(home: Home, *, left: list[str], receipts: int) -> None:
    assert home.tasks() == left
    told = [entry.body["requestId"] for entry in home.receipts()]
    assert len(told) == len(set(told)) == receipts
    assert not home.opened.ledger.check()
    assert audit(home.services, is_full=True).findings == []


@dataclass(frozen=True, kw_only=True)
class Flow:
    """A flow that may be run again, and what must be left after it."""

    run: Callable[[Home], object]
    left: tuple[str, ...] = ("ann-1", "ann-2", "ann-3", "bob-1", "bob-2")
    receipts: int = 0


def ask_and_erase(home: Home) -> None:
    home.answers(ByUser(user_id="ann"))
    erase(home.services)


FLOWS = {
    "ask and erase": Flow(run=ask_and_erase, left=("bob-1", "bob-2"), receipts=1),
    "ingest": Flow(run=lambda home: ingest(home.services), left=("ann-1", "ann-2", "ann-3", "bob-1", "bob-2", "new")),
    "compact": Flow(run=lambda home: compact(home.services, rows_per_file=100)),
    "rotate keys": Flow(run=lambda home: rotate_keys(home.services)),
}


# A connection that is lost at a commit


@pytest.fixture(scope="module")
def stage(scratch: Path) -> Path:
    """A closed home on the session's server."""
    folder = scratch / "postgresql-faults"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(URL_VARIABLE, new_database())
        with a_home(folder) as home:
            fill(home)
    return folder


@pytest.fixture(scope="module")
def proxy() -> Iterator[CuttingProxy]:
    made = CuttingProxy(make_url(postgres()).port or 0)
    yield made
    made.close()


def copied(stage: Path, to: Path, proxy: CuttingProxy) -> Path:
    """Copy the home and its database. The copy reaches its database through the proxy."""
    shutil.copytree(stage, to)
    url = new_database(template=url_of(stage / "catalog"))
    set_url(to, make_url(url).set(port=proxy.port).render_as_string(hide_password=False))
    return to


@pytest.mark.parametrize("lost", Lost)
@pytest.mark.parametrize("flow", FLOWS)
def test_a_connection_that_is_lost_at_any_commit_loses_nothing(
    stage: Path, proxy: CuttingProxy, tmp_path: Path, flow: str, lost: Lost
) -> None:
    told, cut = FLOWS[flow], 0

    def run(at: int) -> None:
        folder = copied(stage, tmp_path / f"home-{at}", proxy)
        with opened_at(folder, threads=1) as home:
            home.landing.land(ADS, LandedTable(name="new", pieces_of_items=[home.table([Ad(task="new", user="bob")])]))
            proxy.begin(at=at, lost=lost)
            with suppress(ImplioError):
                told.run(home)
            nonlocal cut
            cut += proxy.is_cut
            if at:
                proxy.begin(at=0, lost=lost)
                told.run(home)
                check_laws(home, left=list(told.left), receipts=told.receipts)
        shutil.rmtree(folder)

    run(0)
    for at in few(range(1, proxy.commits + 1), _PLACES):
        run(at)
    assert cut >= _PLACES - 1, "the proxy saw no commit"


# A server that ends


@pytest.fixture
def place() -> Iterator[Path]:
    """A folder for the files of servers."""
    # Not below pytest's own temporary root: that is closed to the user who runs PostgreSQL.
    root = Path("/dev/shm") if Path("/dev/shm").is_dir() else Path(tempfile.gettempdir())  # noqa: S108
    folder = Path(tempfile.mkdtemp(prefix="implio-faults-", dir=root))
    folder.chmod(0o777)
    yield folder
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def own(place: Path) -> Iterator[OwnPostgres]:
    server = OwnPostgres(below(place, "primary"))
    yield server
    if server.running.process.poll() is None:
        server.stop(signal.SIGQUIT)


def below(place: Path, name: str) -> Path:
    folder = place / name
    folder.mkdir()
    folder.chmod(0o777)
    return folder


@pytest.fixture
def home(own: OwnPostgres, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A closed home whose database is on the server."""
    with monkeypatch.context() as patch:
        patch.setenv(URL_VARIABLE, own.new_database("catalog"))
        with a_home(tmp_path / "home") as made:
            fill(made)
    return tmp_path / "home"


class AtCommit:
    """Does something once, just before the program sends its `at`-th commit of a transaction that wrote."""

    def __init__(self, home: Home, at: int, act: Callable[[], object]) -> None:
        self._left, self._act = at, act
        self._wrote: set[int] = set()
        self.is_done = False
        engine = home.opened.catalog._engine
        event.listen(engine, "before_cursor_execute", self._executes)
        event.listen(engine, "commit", self._commits)

    def _executes(self, connection: Any, _: Any, statement: str, *__: Any) -> None:
        if statement.startswith(("INSERT", "UPDATE", "DELETE")):
            self._wrote.add(id(connection.connection.dbapi_connection))

    def _commits(self, connection: Any) -> None:
        name = id(connection.connection.dbapi_connection)
        if name in self._wrote:
            self._wrote.discard(name)
            self._left -= 1
            if self._left == 0:
                self.is_done = True
                self._act()


def test_a_server_that_is_restarted_amid_an_erasure_loses_nothing(home: Path, own: OwnPostgres) -> None:
    with opened_at(home, threads=1) as opened:
        opened.answers(ByUser(user_id="ann"))
        amid = AtCommit(opened, 3, own.restart)

        with suppress(ImplioError):
            erase(opened.services)
        erase(opened.services)

        assert amid.is_done
        check_laws(opened, left=["bob-1", "bob-2"], receipts=1)


def test_while_the_server_is_gone_everybody_is_told_so_and_afterwards_the_same_process_goes_on(
    home: Path, own: OwnPostgres
) -> None:
    with opened_at(home, threads=1) as opened:
        own.stop(signal.SIGINT)

        for act in (opened.services.catalog.teams.all, lambda: erase(opened.services)):
            with pytest.raises(CatalogUnavailable):
                act()

        own.start()
        opened.answers(ByUser(user_id="ann"))
        erase(opened.services)
        check_laws(opened, left=["bob-1", "bob-2"], receipts=1)


def both(one: OwnPostgres | Replica, other: OwnPostgres | Replica, database: str) -> str:
    """Return a URL that names two servers, of which the one that takes writes is used."""
    hosts = f"host=127.0.0.1:{one.port}&host=127.0.0.1:{other.port}"
    return f"postgresql+psycopg://postgres@/{database}?{hosts}&target_session_attrs=read-write"


def test_a_replica_that_confirmed_commits_is_promoted_amid_an_erasure_and_nothing_is_lost(
    home: Path, own: OwnPostgres, place: Path
) -> None:
    replica = own.replica(below(place, "replica"))
    run_on(own.url, "ALTER SYSTEM SET synchronous_standby_names = '*'")
    run_on(own.url, "SELECT pg_reload_conf()")
    set_url(home, both(own, replica, "catalog"))

    def fail_over() -> None:
        own.stop(signal.SIGQUIT)
        replica.promote()

    try:
        with opened_at(home, threads=1) as opened:
            (request,) = opened.answers(ByUser(user_id="ann"))
            amid = AtCommit(opened, 3, fail_over)

            with suppress(ImplioError):
                erase(opened.services)
            erase(opened.services)

            assert amid.is_done
            assert opened.services.catalog.requests.get(request.request_id).state.value == "completed"
            check_laws(opened, left=["bob-1", "bob-2"], receipts=1)
    finally:
        replica.stop()


def test_a_promoted_replica_that_lacks_a_deletion_is_refused_until_the_ledger_gave_it_back(
    home: Path, own: OwnPostgres, place: Path
) -> None:
    folder = below(place, "replica")
    own.replica(folder).stop()
    with opened_at(home, threads=1) as opened:
        opened.answers(ByUser(user_id="ann"))
    own.stop(signal.SIGQUIT)
    replica = Replica(own.files, folder / "data", port=own.port)
    try:
        replica.promote()

        with pytest.raises(CatalogOutdated), opened_at(home, at=NOW + timedelta(hours=1)):
            pass
        with opened_at(home, at=NOW + timedelta(hours=1), is_restoring=True, threads=1) as opened:
            summary = restore(opened.services)

            assert len(summary.reinstated) == 1
            assert summary.is_proven
            check_laws(opened, left=["bob-1", "bob-2"], receipts=1)
    finally:
        replica.stop()


# A process that is paused in a commit

_PAUSES_ITSELF = """
import os, signal, sys
from pathlib import Path
from sqlalchemy import event
from implio_pipeline.domain.errors import ImplioError
from implio_pipeline.flows.deletion.erase import erase
from implio_pipeline.wiring import open_home

with open_home(Path(sys.argv[1])) as opened:
    is_replacing = []

    def executes(connection, cursor, statement, *rest):
        if statement.startswith("DELETE FROM file_keys"):
            is_replacing.append(1)

    def commits(connection):
        if is_replacing:
            is_replacing.clear()
            event.remove(engine, "before_cursor_execute", executes)
            os.kill(os.getpid(), signal.SIGSTOP)

    engine = opened.catalog._engine
    event.listen(engine, "before_cursor_execute", executes)
    event.listen(engine, "commit", commits)
    try:
        erase(opened)
    except ImplioError as error:
        print(error.code)
"""


def test_a_process_that_is_paused_in_a_commit_holds_nobody_up_and_commits_nothing_when_it_wakes(
    stage: Path, proxy: CuttingProxy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    proxy.begin(at=0, lost=Lost.ANSWER)
    folder = copied(stage, tmp_path / "home", proxy)
    monkeypatch.setenv("IMPLIO_CATALOG_SERVER__IDLE_SECONDS", "1")
    monkeypatch.setenv("IMPLIO_WORKERS__LEASE_SECONDS", "1")
    with opened_at(folder, threads=1) as home:
        home.answers(ByUser(user_id="ann"))
        command = [sys.executable, "-c", _PAUSES_ITSELF, str(folder)]
        process = subprocess.Popen(command, cwd=_ROOT, stdout=subprocess.PIPE, text=True)
        _, status = os.waitpid(process.pid, os.WUNTRACED)
        assert os.WIFSTOPPED(status), "it ended before it replaced a file"

        # The server ends its transaction, its lease ends, and the work is somebody else's.
        summary = erase(home.services, is_patient=True)

        process.send_signal(signal.SIGCONT)
        said, _ = process.communicate()
        assert len(summary.completed) == 1
        assert "Traceback" not in said
        check_laws(home, left=["bob-1", "bob-2"], receipts=1)


# Clocks


def test_workers_whose_clocks_differ_by_minutes_share_the_work(
    stage: Path, proxy: CuttingProxy, tmp_path: Path
) -> None:
    proxy.begin(at=0, lost=Lost.ANSWER)
    folder = copied(stage, tmp_path / "home", proxy)
    with opened_at(folder, threads=1) as home, ExitStack() as stack:
        home.answers(ByUser(user_id="ann"))
        workers = [
            changed(stack.enter_context(opened_at(folder, threads=1)).services, clock=StillClock(NOW + off), workers=2)
            for off in (timedelta(minutes=-4), timedelta(minutes=4))
        ]

        with ThreadPoolExecutor(2) as pool:
            summaries = list(pool.map(lambda services: erase(services, is_patient=True), workers))

        assert sum(each.files_discarded for each in summaries) == 0
        assert sum(len(each.completed) for each in summaries) == 1
        check_laws(home, left=["bob-1", "bob-2"], receipts=1)
