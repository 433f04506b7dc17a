"""Upkeep beside the server: it works while its server is there, and no longer."""

import subprocess
import sys
import time
from collections.abc import Callable
from datetime import timedelta

import pytest
from support.clock import NOW
from support.home import ADS, Home
from support.items import Ad

from implio_pipeline.domain.ids import RequestId
from implio_pipeline.domain.request import RequestState
from implio_pipeline.domain.scope import ByUser
from implio_pipeline.flows.deletion.erase import erase
from implio_pipeline.jobs import CARRY_OUT_REQUESTS

LASTS_SECONDS = 300.0


@pytest.fixture
def asked(new_home: Callable[[], Home]) -> tuple[Home, RequestId]:
    """A home of twenty files with one user's items in each, and the request to erase them."""
    home = new_home()
    home.keep(
        *(Ad(task=f"{day}-{user}", user=user, at=NOW - timedelta(days=day)) for day in range(1, 21) for user in "ab")
    )
    (request,) = home.ask(ByUser(user_id="a"))
    return home, request.request_id


def upkeep(home: Home) -> "subprocess.Popen[bytes]":
    said = [sys.executable, "-m", "implio_pipeline.api.upkeep_process", str(home.path), CARRY_OUT_REQUESTS]
    return subprocess.Popen(said, stdin=subprocess.PIPE)


def test_it_erases_while_its_server_is_there(asked: tuple[Home, RequestId]) -> None:
    home, request_id = asked
    with upkeep(home) as child:
        until = time.monotonic() + LASTS_SECONDS
        while home.services.catalog.requests.get(request_id).state is not RequestState.COMPLETED:
            assert time.monotonic() < until
            time.sleep(0.05)
        assert child.poll() is None
        child.communicate(timeout=LASTS_SECONDS)
    assert child.returncode == 0
    assert len(home.rows(ADS)) == 20


def test_it_ends_with_the_file_it_is_at_once_its_server_is_gone(asked: tuple[Home, RequestId]) -> None:
    home, request_id = asked
    with upkeep(home) as child:
        child.communicate(timeout=LASTS_SECONDS)  # nobody held the other end when it began
    assert child.returncode == 0
    assert home.services.catalog.requests.get(request_id).state is RequestState.REWRITING
    assert len(home.rows(ADS)) == 40

    assert erase(home.services).completed == [request_id]
    assert len(home.rows(ADS)) == 20
