"""What every call passes through: headers, limits, time, the log; and what is answered where there is no route."""

import asyncio
import json
import logging
from typing import Any

import pytest
from fastapi import APIRouter, Response
from support.changed import changed
from support.home import Home

from implio_pipeline.api.app import ROUTERS, create_app
from tests.api.conftest import ITEM, Door, Server

HEADERS = {
    "Content-Security-Policy": "default-src 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Strict-Transport-Security": "max-age=",
    "Cache-Control": "no-store",
}
CALLS: dict[str, tuple[str, str, int]] = {
    "an answer": ("GET", "/v1/health", 200),
    "a refusal": ("GET", "/v1/deletions", 401),
    "no route": ("GET", "/zqzq?zqzq", 404),
    "another method": ("PUT", "/v1/ads", 405),
    "HEAD": ("HEAD", "/v1/health", 405),
    "OPTIONS": ("OPTIONS", "/v1/ads", 405),
    "TRACE": ("TRACE", "/v1/ads", 405),
    "a path upwards": ("GET", "/v1/../etc/zqzq", 404),
    "an encoded path upwards": ("GET", "/v1/deletions/..%2f..%2fzqzq/receipt", 404),
    "a style of another version": ("GET", "/static/0/page.css", 404),
    "a doubled slash": ("GET", "//v1/health", 404),
}


def told(caplog: pytest.LogCaptureFixture) -> list[str]:
    """Return what the app logged; the client of the test logs too."""
    return [record.message for record in caplog.records if record.name.startswith("implio_pipeline")]


@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)
def test_every_answer_is_guarded_and_every_failure_is_a_problem(door: Door, call: tuple[str, str, int]) -> None:
    method, path, status = call

    answer = door.stranger()(method, path)

    assert answer.status_code == status
    for name, begins in HEADERS.items():
        assert answer.headers[name].startswith(begins), name
    if status != 200:
        assert answer.headers["Content-Type"] == "application/problem+json"
        assert "zqzq" not in answer.text
    if status == 405:
        assert answer.headers["Allow"] == ("GET" if path == "/v1/health" else "DELETE, GET, POST")


def test_health_needs_no_key(door: Door) -> None:
    assert door.stranger()("GET", "/v1/health").json() == {"status": "alive"}


def test_a_router_may_set_a_policy_of_its_own(home: Home) -> None:
    page = APIRouter()

    @page.get("/page")
    async def show() -> Any:
        return Response("", headers={"Content-Security-Policy": "default-src 'self'"})

    app = create_app(home.opened, routers=[*ROUTERS, page])

    answer = Server(app=app, key=None)("GET", "/page")

    assert answer.headers["Content-Security-Policy"] == "default-src 'self'"


def test_a_failure_nobody_foresaw_is_a_problem_that_tells_nothing(home: Home, caplog: pytest.LogCaptureFixture) -> None:
    broken = APIRouter()

    @broken.get("/broken/{name}")
    async def fail(name: str) -> None:
        raise ValueError(name)

    app = create_app(home.opened, routers=[broken])
    with caplog.at_level(logging.INFO, logger="implio_pipeline"):
        answer = Door(home=home, app=app).stranger()("GET", "/broken/zqzq")

    problem = answer.json()
    assert (answer.status_code, problem["code"]) == (500, "failed")
    for name, begins in HEADERS.items():
        assert answer.headers[name].startswith(begins), name
    text = "".join(told(caplog))
    assert "zqzq" not in str(problem) + text
    assert "ValueError" in text
    assert "test_passing.py" in text


def test_the_log_has_a_line_for_each_call_and_nothing_personal(
    door: Door, ads: Server, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO, logger="implio_pipeline.access"):
        ads.post(ITEM | {"user": {"id": "zqzq-user"}})
        url = ads.delete("userId=zqzq-user")["statusUrl"]
        ads("GET", url)
        ads("GET", "/zqzq")

    lines = [json.loads(line) for line in told(caplog)]
    assert [(line["method"], line["route"], line["status"]) for line in lines] == [
        ("POST", "/v1/ads", 200),
        ("DELETE", "/v1/ads", 202),
        ("GET", "/v1/deletions/{request_id}", 200),
        ("GET", "-", 404),
    ]
    assert lines[0].keys() == {"at", "call", "method", "route", "status", "ms", "bytes", "key"}
    for secret in ("zqzq", "127.0.0.1", "userId", url.rpartition("/")[2], ads.key or ""):
        assert secret not in "".join(told(caplog))


def test_a_body_that_trickles_in_is_given_up(made: Any) -> None:
    door = made(body_seconds=0.01)
    ads = door.server()

    async def for_ever() -> Any:
        yield b"["
        await asyncio.Event().wait()

    answer = ads("POST", "/v1/ads", content=for_ever(), headers={"Content-Type": "application/json"})

    assert answer.status_code == 408
    assert answer.json()["code"] == "body-too-slow"
    assert answer.headers["Connection"] == "close"


def test_an_answer_that_is_not_ready_in_time_is_given_up(made: Any, home: Home) -> None:
    slow = APIRouter()

    @slow.get("/slow")
    async def wait() -> None:
        await asyncio.Event().wait()

    api = home.opened.settings.api.model_copy(update={"call_seconds": 0.01})
    opened = changed(home.opened, settings=home.opened.settings.model_copy(update={"api": api}))
    answer = Server(app=create_app(opened, routers=[slow]), key=None)("GET", "/slow")

    assert answer.status_code == 503
    assert answer.json()["code"] == "took-too-long"
    assert answer.headers["Retry-After"]


def test_a_server_about_to_stop_commits_what_waits_and_takes_no_more(door: Door, ads: Server, home: Home) -> None:
    ads.post(ITEM)

    door.app.state.intake.close()

    assert ads.problem("POST", "/v1/ads", status=503, json=[ITEM])["code"] == "shutting-down"
    assert len(home.rows()) == 1
