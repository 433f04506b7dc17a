"""What the tests' own servers promise: shared within a session, and gone with it."""

import os
import subprocess
import sys
import time
from pathlib import Path

from sqlalchemy import create_engine, text
from sqlalchemy.exc import OperationalError
from sqlalchemy.pool import NullPool
from support.databases import a_database
from support.servers import SESSION_VARIABLE

SESSION = """
import sys, time
from support.servers import postgres
print(postgres(), flush=True)
time.sleep(600)
"""


def answers(url: str) -> bool:
    try:
        with create_engine(url, poolclass=NullPool).connect() as connection:
            return connection.scalar(text("SELECT 1")) == 1
    except OperationalError:
        return False


def test_a_server_ends_with_a_session_that_was_killed_and_leaves_no_files() -> None:
    ours = ("PYTEST_XDIST", SESSION_VARIABLE)
    environment = {name: value for name, value in os.environ.items() if not name.startswith(ours)}
    session = subprocess.Popen(
        [sys.executable, "-c", SESSION], cwd=Path(__file__).parent, stdout=subprocess.PIPE, text=True, env=environment
    )
    assert session.stdout is not None
    url = session.stdout.readline().strip()
    assert answers(url)

    session.kill()
    session.wait()

    ends = time.monotonic() + 300
    while answers(url) or list(Path("/dev/shm").glob(f"implio-servers-*-{session.pid}")):  # noqa: S108
        assert time.monotonic() < ends, "the server outlived its session"
        time.sleep(0.1)
    session.stdout.close()


def test_each_database_is_a_catalog_of_its_own() -> None:
    with a_database() as one, a_database() as other:
        for url in (one, other):
            with create_engine(url, poolclass=NullPool).begin() as connection:
                assert connection.scalar(text("SELECT count(*) FROM teams")) == 0
                connection.execute(text("CREATE TABLE mine (n int)"))
