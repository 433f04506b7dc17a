"""`Idempotency-Key`: a post that is sent again within a day is the same post, and nothing is stored twice."""

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import text
from support.home import ADS, CARS, Home

from implio_pipeline.domain.errors import PostInWork, PostsTooMany, StorageFull
from implio_pipeline.domain.intake import PostRecord
from implio_pipeline.domain.scope import ByTeam, ByUser
from implio_pipeline.flows.erase import erase
from implio_pipeline.flows.housekeep import housekeep
from implio_pipeline.stores.catalog.engine import writing
from implio_pipeline.stores.catalog.posts import remember
from tests.api.conftest import ITEM, Door, Server

KEY = {"Idempotency-Key": '"zqzq-key-1"'}
BAD = {"id": 7, "content": {"title": "zqzq-rejected"}}


def _post(server: Server, *items: Any, headers: dict[str, str] = KEY) -> Any:
    return server("POST", "/v1/ads", json=list(items), headers=headers)


def _kept(home: Home) -> list[Any]:
    with writing(home.world.catalog._engine) as connection:
        return list(connection.execute(text("select * from posts")))


def test_the_same_key_and_body_get_the_same_answer_and_nothing_is_stored_twice(ads: Server, home: Home) -> None:
    first = _post(ads, ITEM, BAD, ITEM | {"id": "ad-2"})
    home.clock.pass_by(timedelta(hours=23))

    again = _post(ads, ITEM, BAD, ITEM | {"id": "ad-2"}, headers={"Idempotency-Key": "zqzq-key-1"})

    assert first.status_code == again.status_code == 200
    assert again.content == first.content
    assert {row["task_id"] for row in home.rows(ADS)} == {one["taskId"] for one in first.json()["accepted"]}
    assert len(home.rows(ADS)) == len(home.world.catalog.queues.entries(ADS)) == 2


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
        patched.setattr(type(home.world.catalog.manifest), "commit", full)
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
    assert housekeep(home.world).posts == 1
    assert _kept(home) == []


def test_items_deleted_meanwhile_do_not_come_back_with_the_same_call(ads: Server, home: Home) -> None:
    first = _post(ads, ITEM)
    home.answers(ByUser(user_id="ann"))

    assert _post(ads, ITEM).content == first.content
    assert _post(ads, ITEM).status_code == 200
    erase(home.world)
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

    erase(home.world)

    assert _kept(home) == []


def test_more_keys_than_a_team_may_use_are_refused(home: Home) -> None:
    post = PostRecord(team=ADS, key_digest="a", body_digest="b", batch_id="c", taken_at=home.clock.now())
    with writing(home.world.catalog._engine) as connection:
        remember(connection, [post], most=1)
        with pytest.raises(PostsTooMany):
            remember(connection, [replace(post, key_digest="b")], most=1)
        with pytest.raises(PostInWork):
            remember(connection, [post], most=1)


@pytest.mark.parametrize("key", ["", '""', "x" * 256, "a\x7fb"])
def test_a_key_that_is_none_is_refused(ads: Server, home: Home, key: str) -> None:
    problem = ads.problem("POST", "/v1/ads", status=400, json=[ITEM], headers={"Idempotency-Key": key})

    assert problem["code"] == "parameters-refused"
    assert home.rows(ADS) == []
