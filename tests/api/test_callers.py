"""Who is answered: keys shown once, kept as hashes, expiring, rotating; and how often each may call."""

from datetime import timedelta
from hashlib import sha256
from typing import Any

import pytest
from support.catalogs import octets_of
from support.clock import NOW
from support.home import ADS, CARS, Home

from implio_pipeline.domain.accounts import ApiKeyId, api_key_digest
from implio_pipeline.domain.errors import ApiKeyInvalid, ApiKeyUnknown
from implio_pipeline.flows.accounts.api_keys import add_api_key, revoke_api_key, rotate_api_key
from tests.api.conftest import ITEM, Door, Server

PATHS = [
    ("POST", "/v1/ads"),
    ("GET", "/v1/ads"),
    ("DELETE", "/v1/ads?userId=ann"),
    ("GET", "/v1/deletions"),
    ("GET", "/v1/deletions/x"),
    ("GET", "/v1/deletions/x/receipt"),
]
WRONG = {
    "no key": None,
    "an empty key": "",
    "a key of nobody": "implio_" + "A" * 43,
    "a hash in place of a key": api_key_digest("implio_x"),
    "a very long key": "x" * 10_000,
}


@pytest.mark.parametrize(("method", "path"), PATHS)
@pytest.mark.parametrize("key", WRONG.values(), ids=WRONG)
def test_without_a_valid_key_nothing_is_told(door: Door, method: str, path: str, key: str | None) -> None:
    problem = door.stranger(key).problem(method, path, status=401)

    assert problem["code"] == "api-key-refused"


def test_expired_revoked_and_unknown_keys_are_told_apart_by_nobody(door: Door, home: Home) -> None:
    short = door.server(expires_at=NOW + timedelta(hours=1))
    revoked = door.server()
    assert short("GET", "/v1/deletions").status_code == 200
    revoke_api_key(home.services, ApiKeyId(api_key_digest(revoked.key or "")[:12]))
    home.clock.pass_by(timedelta(hours=1))

    problems = [each.problem("GET", "/v1/deletions", status=401) for each in (short, revoked, door.stranger("x"))]

    assert problems[0] == problems[1] == problems[2]


def test_two_keys_in_one_call_are_no_key(ads: Server, cars: Server) -> None:
    answer = ads("GET", "/v1/deletions", headers=[("X-Api-Key", ads.key or ""), ("X-Api-Key", cars.key or "")])

    assert answer.status_code == 401


@pytest.mark.parametrize("name", ["X_Api_Key", "Api-Key", "Authorization", "X-Api-Key ", "x-api-key-id"])
def test_only_the_header_itself_counts(door: Door, ads: Server, name: str) -> None:
    answer = door.stranger()("GET", "/v1/deletions", headers={name.strip() if name.endswith(" ") else name: ""})

    assert answer.status_code == 401
    assert door.stranger()("GET", f"/v1/deletions?X-Api-Key={ads.key}").status_code == 401


def test_a_key_is_shown_once_and_kept_as_its_hash(home: Home) -> None:
    key, text = add_api_key(home.services, ADS, label="main server", by="Jane")
    home.opened.catalog.close()

    assert len(text) == len("implio_") + 43
    assert key.digest == sha256(text.encode()).hexdigest()
    assert text not in repr(key)
    assert key.digest not in repr(key)
    stored = octets_of(home.path)
    assert key.digest.encode() in stored
    assert text.removeprefix("implio_").encode() not in stored


def test_a_team_may_have_several_keys_and_each_selects_its_team(door: Door, home: Home) -> None:
    first, second, other = door.server(ADS), door.server(ADS), door.server(CARS)

    for server in (first, second, other):
        server.post(ITEM)

    assert len(home.tasks(ADS)) == 2
    assert len(home.tasks(CARS)) == 1


def test_after_a_rotation_both_keys_are_accepted_until_the_grace_is_over(door: Door, home: Home) -> None:
    old = door.server()
    key, text = rotate_api_key(
        home.services, ApiKeyId(api_key_digest(old.key or "")[:12]), grace=timedelta(hours=1), by="Jane"
    )
    new = door.stranger(text)

    assert key.label == "test"
    assert {each("GET", "/v1/deletions").status_code for each in (old, new)} == {200}
    home.clock.pass_by(timedelta(hours=1))
    assert old("GET", "/v1/deletions").status_code == 401
    assert new("GET", "/v1/deletions").status_code == 200
    with pytest.raises(ApiKeyInvalid):
        rotate_api_key(home.services, ApiKeyId(api_key_digest(old.key or "")[:12]), grace=timedelta(), by="Jane")


def test_a_grace_never_makes_a_key_last_longer(home: Home) -> None:
    key, _ = add_api_key(home.services, ADS, label="short", by="Jane", expires_at=NOW + timedelta(minutes=5))

    rotate_api_key(home.services, key.key_id, grace=timedelta(days=1), by="Jane")

    assert home.services.catalog.api_keys.get(key.key_id).expires_at == NOW + timedelta(minutes=5)


def test_the_last_use_is_written_at_most_once_a_minute(door: Door, home: Home) -> None:
    ads = door.server()
    key_id = ApiKeyId(api_key_digest(ads.key or "")[:12])
    used = [home.services.catalog.api_keys.get(key_id).last_used_at]
    for seconds in (0, 59, 1):
        home.clock.pass_by(timedelta(seconds=seconds))
        ads("GET", "/v1/deletions")
        used.append(home.services.catalog.api_keys.get(key_id).last_used_at)

    assert used == [None, NOW, NOW, NOW + timedelta(seconds=60)]


@pytest.mark.parametrize("label", ["", " x", "a@b", "x" * 49, "a\nb", "é"])
def test_a_label_holds_plain_words_alone(home: Home, label: str) -> None:
    with pytest.raises(ApiKeyInvalid):
        add_api_key(home.services, ADS, label=label, by="Jane")


def test_a_key_that_is_not_there_is_said_so(home: Home) -> None:
    with pytest.raises(ApiKeyUnknown):
        revoke_api_key(home.services, ApiKeyId("zqzq"))
    with pytest.raises(ApiKeyInvalid):
        add_api_key(home.services, ADS, label="late", by="Jane", expires_at=NOW)


def test_a_key_that_calls_too_often_is_told_when_to_come_back(made: Any) -> None:
    now = [0.0]
    door = made(key_calls_per_second=2, seconds=lambda: now[0])
    ads, other = door.server(), door.server()
    for _ in range(4):
        assert ads("GET", "/v1/deletions").status_code == 200

    answer = ads("GET", "/v1/deletions")

    assert answer.status_code == 429
    assert answer.json()["code"] == "too-many-calls"
    assert answer.headers["Retry-After"] == "1"
    assert other("GET", "/v1/deletions").status_code == 200
    now[0] = 1.0
    assert [ads("GET", "/v1/deletions").status_code for _ in range(3)] == [200, 200, 429]


def test_an_address_that_calls_too_often_is_stopped_before_its_key_is_looked_at(made: Any) -> None:
    door = made(address_calls_per_second=1, seconds=lambda: 0.0)

    statuses = [door.stranger("x")("GET", "/v1/deletions").status_code for _ in range(4)]

    assert statuses == [401, 401, 429, 429]


def test_metrics_are_for_this_machine_and_for_keys(door: Door, ads: Server) -> None:
    ads.post(ITEM, {})
    near = door.stranger()("GET", "/metrics")
    proxied = door.stranger()("GET", "/metrics", headers={"X-Forwarded-For": "127.0.0.1"})
    keyed = ads("GET", "/metrics", headers={"X-Forwarded-For": "192.0.2.1"})

    assert near.status_code == keyed.status_code == 200
    assert proxied.status_code == 401
    assert 'implio_calls_total{method="POST",route="/v1/ads",status="200"} 1.0' in near.text
    assert 'implio_items_total{verdict="rejected"} 1.0' in near.text
    assert ADS not in near.text.replace("/v1/ads", "")
