"""`Idempotency-Key`: a post that is sent again within a day is the same post, and nothing is stored twice."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from hashlib import blake2b, sha256
from typing import Any

import httpx
import pytest
from sqlalchemy import text
from support.home import ADS, CARS, Home
from support.serving import serving

from implio_pipeline.domain.errors import StorageFull
from implio_pipeline.domain.scope import ByTeam, ByUser
from implio_pipeline.flows.deletion.erase import erase
from implio_pipeline.flows.operations.housekeep import housekeep
from implio_pipeline.stores.catalog.engine import writing
from tests.api.conftest import ITEM, Door, Server

KEY = {"Idempotency-Key": '"zqzq-key-1"'}
BAD = {"id": 7, "content": {"title": "zqzq-rejected"}}


def _post(server: Server, *items: Any, headers: dict[str, str] = KEY) -> Any:
    return server("POST", "/v1/ads", json=list(items), headers=headers)


def _kept(home: Home) -> list[Any]:
    with writing(home.services.catalog._engine) as connection:  # type: ignore[attr-defined]
        return list(connection.execute(text("select * from posts")))


def test_the_same_key_and_body_get_the_same_answer_and_nothing_is_stored_twice(ads: Server, home: Home) -> None:
    first = _post(ads, ITEM, BAD, ITEM | {"id": "ad-2"})
    home.clock.pass_by(timedelta(hours=23))

    again = _post(ads, ITEM, BAD, ITEM | {"id": "ad-2"}, headers={"Idempotency-Key": "zqzq-key-1"})

    assert first.status_code == again.status_code == 200
    assert again.content == first.content
    assert {row["task_id"] for row in home.rows(ADS)} == {one["taskId"] for one in first.json()["accepted"]}
    assert len(home.rows(ADS)) == len(home.services.catalog.moderation.entries(ADS)) == 2


def test_a_post_of_rejected_items_alone_is_remembered_too(ads: Server) -> None:
    first, again = _post(ads, BAD), _post(ads, BAD)

    assert again.content == first.content
    assert _post(ads, ITEM).status_code == 422


def test_the_same_key_with_another_body_is_answered_422_and_not_kept(ads: Server, home: Home) -> None:
    _post(ads, ITEM)

    problem = ads.problem("POST", "/v1/ads", status=422, json=[ITEM | {"id": "ad-2"}], headers=KEY)

    assert problem["code"] == "idempotency-key-reused"
    assert len(home.rows(ADS)) == 1


def test_two_posts_with_one_key_at_once_are_stored_once(ads: Server, home: Home) -> None:
    call = ("POST", "/v1/ads", {"json": [ITEM], "headers": KEY})

    answers = ads.at_once(*[call] * 6)

    good = {answer.content for answer in answers if answer.status_code == 200}
    assert len(good) == 1
    assert {answer.status_code for answer in answers} <= {200, 409}
    assert len(home.rows(ADS)) == 1
    assert _post(ads, ITEM).content in good


def test_a_post_that_another_server_took_in_meanwhile_is_answered_409(
    made: Callable[..., Door], home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    _post(made().server(), ITEM)
    monkeypatch.setattr("implio_pipeline.api.ads.known", lambda *_: None)

    problem = made().server().problem("POST", "/v1/ads", status=409, json=[ITEM], headers=KEY)

    assert problem["code"] == "post-in-work"
    assert len(home.rows(ADS)) == 1


def test_a_key_that_is_known_fails_no_other_post_of_its_commit(door: Door, home: Home) -> None:
    ads = door.server()
    _post(ads, ITEM)
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr("implio_pipeline.api.ads.known", lambda *_: None)
        calls = [("POST", "/v1/ads", {"json": [ITEM | {"id": f"n-{one}"}]}) for one in range(4)]

        answers = ads.at_once(("POST", "/v1/ads", {"json": [ITEM], "headers": KEY}), *calls)

    assert [answer.status_code for answer in answers] == [409, 200, 200, 200, 200]
    assert len(home.rows(ADS)) == 5


def test_a_post_that_failed_uses_up_no_key(ads: Server, home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: Any) -> None:
        raise StorageFull("planted")

    with monkeypatch.context() as patched:
        patched.setattr(type(home.services.catalog.manifest), "commit", full)
        assert _post(ads, ITEM).status_code == 507
    assert _kept(home) == []

    assert _post(ads, ITEM | {"id": "corrected"}).status_code == 200
    assert len(home.rows(ADS)) == 1


def test_a_commit_that_breaks_off_keeps_neither_items_nor_key(
    ads: Server, home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    def dead(*_: Any) -> None:
        raise StorageFull("planted")

    with monkeypatch.context() as patched:  # after the key was written, before the transaction ends
        patched.setattr("implio_pipeline.stores.catalog.commit._shred", dead)
        assert _post(ads, ITEM).status_code == 507

    assert (_kept(home), home.rows(ADS)) == ([], [])


def test_a_key_is_remembered_by_another_server_over_the_same_home(made: Callable[..., Door], home: Home) -> None:
    first = _post(made().server(), ITEM)

    assert _post(made().server(), ITEM).content == first.content
    assert len(home.rows(ADS)) == 1


def test_another_team_may_use_the_same_key(ads: Server, cars: Server, home: Home) -> None:
    assert _post(ads, ITEM).json()["batchId"] != _post(cars, ITEM | {"id": "x"}).json()["batchId"]
    assert (len(home.rows(ADS)), len(home.rows(CARS))) == (1, 1)


def test_a_key_is_forgotten_after_a_day(ads: Server, home: Home) -> None:
    first = _post(ads, ITEM)
    home.clock.pass_by(timedelta(days=1))

    again = _post(ads, ITEM)

    assert again.json()["batchId"] != first.json()["batchId"]
    assert len(home.rows(ADS)) == 2
    home.clock.pass_by(timedelta(days=1, seconds=1))
    assert housekeep(home.services).posts == 1
    assert _kept(home) == []


def test_items_deleted_meanwhile_do_not_come_back_with_the_same_call(ads: Server, home: Home) -> None:
    first = _post(ads, ITEM)
    home.answers(ByUser(user_id="ann"))

    assert _post(ads, ITEM).content == first.content
    assert _post(ads, ITEM).status_code == 200
    erase(home.services)
    assert home.rows(ADS) == []


def test_only_keyed_digests_are_kept(ads: Server, cars: Server, home: Home) -> None:
    _post(ads, ITEM, BAD)
    _post(cars, ITEM, BAD)

    mine, theirs = _kept(home)

    assert "zqzq" not in repr((mine, theirs))
    assert set(mine[1:3]).isdisjoint(theirs[1:3])


def test_keys_are_forgotten_when_the_team_is_removed(ads: Server, home: Home) -> None:
    _post(ads, ITEM)
    home.clock.pass_by(timedelta(seconds=1))
    home.answers(ByTeam())

    erase(home.services)

    assert _kept(home) == []


def test_the_day_is_counted_in_the_teams_own_time_not_the_clocks(ads: Server, home: Home) -> None:
    first = _post(ads, ITEM)
    home.clock.pass_by(timedelta(minutes=-2))

    again = _post(ads, ITEM)
    home.clock.pass_by(timedelta(days=1, minutes=1))
    day_after = _post(ads, ITEM)

    assert again.content == first.content
    assert day_after.content == first.content, "the day ends 24 hours after the instant that was handed out"
    assert len(home.rows(ADS)) == 1


def test_what_is_kept_of_an_erased_persons_post_is_forgotten_with_the_day(ads: Server, home: Home) -> None:
    body = ITEM | {"user": {"id": "zqzq-ann", "name": "zqzq-name"}}
    _post(ads, body)
    home.answers(ByUser(user_id="zqzq-ann"))
    erase(home.services)

    (kept,) = _kept(home)
    sent = httpx.Request("POST", "https://api.test", json=[body]).content
    known = {
        digest(text).hexdigest()[:32] for digest in (sha256, blake2b) for text in (sent, b"zqzq-ann", b"zqzq-key-1")
    }

    assert "zqzq" not in repr(kept)
    assert not [each for each in known if each in repr(kept)], (
        "a digest without a key would tell who was erased to whoever guesses"
    )
    home.clock.pass_by(timedelta(days=1, seconds=1))
    housekeep(home.services)
    assert _kept(home) == []


KILLED_BEFORE_IT_ANSWERS = """
import os, signal
from implio_pipeline.api import ads
ads.json_answer = lambda _: os.kill(os.getpid(), signal.SIGKILL)
"""


def test_a_server_killed_between_storing_and_answering_stores_the_call_once(home: Home) -> None:
    headers = KEY | {"Content-Type": "application/json"}
    with serving(home.path, planted=KILLED_BEFORE_IT_ANSWERS) as server, server.client() as client:
        with pytest.raises(httpx.TransportError):
            client.post("/v1/ads", json=[ITEM, BAD], headers=headers)
        stored = {row["task_id"] for row in home.rows(ADS)}
        assert len(stored) == 1

    with serving(home.path) as server, server.client() as client:
        answer = client.post("/v1/ads", json=[ITEM, BAD], headers=headers)

    assert {one["taskId"] for one in answer.json()["accepted"]} == stored
    assert len(answer.json()["rejected"]) == 1
    assert len(home.rows(ADS)) == 1


def test_two_server_processes_that_get_one_call_at_once_store_it_once(home: Home) -> None:
    with serving(home.path) as one, serving(home.path) as two, one.client() as first, two.client() as second:
        clients = [first, second] * 4
        with ThreadPoolExecutor(len(clients)) as threads:
            answers = list(threads.map(lambda each: each.post("/v1/ads", json=[ITEM], headers=KEY), clients))
        later = first.post("/v1/ads", json=[ITEM], headers=KEY)

    assert {answer.status_code for answer in answers} <= {200, 409}
    assert {answer.content for answer in answers if answer.status_code == 200} == {later.content}
    assert len(home.rows(ADS)) == 1


@pytest.mark.parametrize("key", ["", '""', '"  "', "x" * 256, "a\x7fb"])
def test_a_key_that_is_none_is_refused(ads: Server, home: Home, key: str) -> None:
    problem = ads.problem("POST", "/v1/ads", status=400, json=[ITEM], headers={"Idempotency-Key": key})

    assert problem["code"] == "parameters-refused"
    assert home.rows(ADS) == []
