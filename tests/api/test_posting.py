"""`POST /v1/ads`: judged per item, durable and encrypted when answered, and nothing else is kept."""

from datetime import timedelta
from typing import Any

import pytest
from support.home import ADS, CARS, Home

from implio_pipeline.domain.errors import StorageFull
from implio_pipeline.domain.ids import FileKind
from implio_pipeline.domain.moderation import DEFAULT_QUEUE
from implio_pipeline.domain.scope import ByUser
from implio_pipeline.flows.accounts.api_keys import revoke_api_key
from tests.api.conftest import ITEM, Door, Server

BODIES: dict[str, tuple[int, str, bytes]] = {
    "no JSON": (400, "body-refused", b'[{"id": zqzq-secret}]'),
    "cut short": (400, "body-refused", b'[{"id": "zqzq-secret"'),
    "one object": (400, "body-refused", b'{"id": "zqzq-secret"}'),
    "a text": (400, "body-refused", b'"zqzq-secret"'),
    "no UTF-8": (400, "body-refused", b'[{"id": "zqzq-secret\xff"}]'),
    "half a surrogate pair": (400, "body-refused", b'["zqzq-secret\\ud800"]'),
    "nested without end": (400, "body-refused", b"[" * 50_000),
    "empty": (400, "body-refused", b""),
    "more after the end": (400, "body-refused", b'[] "zqzq-secret"'),
    "too many items": (413, "body-too-large", b"[" + b"{}," * 1_000 + b"{}]"),
    "very many empty items": (413, "body-too-large", b"[" + b"1," * 300_000 + b"1]"),
}
KINDS: dict[str, dict[str, str]] = {
    "a form": {"Content-Type": "application/x-www-form-urlencoded"},
    "text": {"Content-Type": "text/plain"},
    "another encoding": {"Content-Type": "application/json; charset=latin-1"},
    "a prefix of the right one": {"Content-Type": "application/json-patch+json"},
    "nothing": {"Content-Type": ""},
    "compressed": {"Content-Type": "application/json", "Content-Encoding": "gzip"},
}


def test_accepted_items_are_live_and_queued_when_the_call_is_answered(ads: Server, home: Home) -> None:
    answer = ads.post(ITEM, ITEM | {"id": "ad-2", "user": None}, ITEM | {"result": {"outcome": "approved"}})

    task_ids = [each["taskId"] for each in answer["accepted"]]
    rows = {row["task_id"]: row for row in home.rows(ADS)}
    assert [each["id"] for each in answer["accepted"]] == ["ad-1", "ad-2", "ad-1"]
    assert answer["rejected"] == []
    assert set(rows) == set(task_ids)
    assert {row["batch_id"] for row in rows.values()} == {answer["batchId"]}
    assert {row["submitted_at"] for row in rows.values()} == {home.clock.now()}
    waiting = home.services.catalog.moderation.entries(ADS)
    assert {entry.task_id for entry in waiting} == set(task_ids[:2])
    assert {entry.queue for entry in waiting} == {DEFAULT_QUEUE}
    assert home.rows(CARS) == []


def test_a_bad_item_is_answered_by_itself_and_not_kept(ads: Server, home: Home) -> None:
    bad = {"id": 7, "content": {"title": "x"}}

    answer = ads.post(bad, ITEM, "zqzq", None)

    assert len(answer["accepted"]) == 1
    assert [each["originalAd"] for each in answer["rejected"]] == [bad, "zqzq", None]
    first = answer["rejected"][0]
    assert first["reason"] == "invalid-item"
    assert first["errors"][0].keys() == {"message", "params", "code", "dataPath", "schemaPath"}
    assert len(home.rows(ADS)) == 1
    assert home.rows(kind=FileKind.REJECTED) == []


def test_a_post_without_a_good_item_writes_nothing(ads: Server, home: Home) -> None:
    assert ads.post() | {"batchId": ""} == {"batchId": "", "accepted": [], "rejected": []}
    assert len(ads.post({})["rejected"]) == 1
    assert home.stored() == []


def test_an_item_cannot_name_its_own_submission_instant(ads: Server, home: Home) -> None:
    answer = ads.post(ITEM | {"submittedAt": "2020-01-01T00:00:00Z"})

    (rejected,) = answer["rejected"]
    assert rejected["errors"][0]["params"] == {"key": "submittedAt"}
    assert rejected["errors"][0]["code"] == 303
    assert home.stored() == []


def test_each_submission_of_an_item_gets_its_own_task(ads: Server) -> None:
    first, second = ads.post(ITEM), ads.post(ITEM)

    assert first["accepted"][0]["taskId"] != second["accepted"][0]["taskId"]
    assert first["batchId"] != second["batchId"]


@pytest.mark.parametrize("body", BODIES.values(), ids=BODIES)
def test_a_body_that_is_no_array_of_items_is_refused_whole_and_not_repeated(
    ads: Server, home: Home, body: tuple[int, str, bytes]
) -> None:
    status, code, content = body

    problem = ads.problem(
        "POST", "/v1/ads", status=status, content=content, headers={"Content-Type": "application/json"}
    )

    assert problem["code"] == code
    assert "zqzq" not in str(problem)
    assert home.stored() == []


@pytest.mark.parametrize("headers", KINDS.values(), ids=KINDS)
def test_only_plain_json_is_taken(ads: Server, headers: dict[str, str]) -> None:
    assert ads.problem("POST", "/v1/ads", status=415, content=b"[]", headers=headers)["code"] == "media-type-refused"


def test_json_with_its_encoding_named_is_taken(ads: Server) -> None:
    headers = {"Content-Type": "application/json; charset=UTF-8"}

    assert ads("POST", "/v1/ads", content=b"[]", headers=headers).status_code == 200


def test_a_body_above_the_limit_is_refused_by_its_length_and_by_what_comes(made: Any, home: Home) -> None:
    ads = made(max_body_bytes=2_000).server()
    large = b"[" + b" " * 3_000 + b"]"

    async def in_pieces() -> Any:
        for place in range(0, len(large), 500):
            yield large[place : place + 500]

    for content in (large, in_pieces()):
        answer = ads("POST", "/v1/ads", content=content, headers={"Content-Type": "application/json"})

        assert answer.status_code == 413
        assert answer.json()["code"] == "body-too-large"
        assert answer.headers["Connection"] == "close"
    assert home.stored() == []


def test_posts_side_by_side_are_each_answered_with_their_own_items(door: Door, ads: Server, home: Home) -> None:
    cars = door.server(CARS)

    answers = ads.at_once(*[("POST", "/v1/ads", {"json": [ITEM | {"id": f"ad-{n}"}] * 3}) for n in range(12)])
    cars.post(ITEM)

    for number, answer in enumerate(answers):
        assert [each["id"] for each in answer.json()["accepted"]] == [f"ad-{number}"] * 3
    told = {each["taskId"] for answer in answers for each in answer.json()["accepted"]}
    assert set(home.tasks(ADS)) == told
    assert len(told) == 36
    assert len(home.tasks(CARS)) == 1


def test_an_item_whose_user_was_forgotten_after_it_was_posted_is_never_seen(door: Door, home: Home) -> None:
    ads, vault = door.server(), home.services.vault
    write = vault.write_part

    def while_it_is_written(*rows: Any, **known: Any) -> Any:
        home.clock.pass_by(timedelta(seconds=1))
        home.ask(ByUser(user_id="ann"))
        return write(*rows, **known)

    vault.write_part = while_it_is_written  # type: ignore[method-assign]
    answer = ads.post(ITEM, ITEM | {"user": {"id": "bob"}})
    vault.write_part = write  # type: ignore[method-assign]

    assert home.tasks(ADS) == [answer["accepted"][1]["taskId"]]
    assert [entry.task_id for entry in home.services.catalog.moderation.entries(ADS)] == home.tasks(ADS)
    assert len(home.stored()) == 1
    home.clock.pass_by(timedelta(seconds=1))
    ads.post(ITEM)
    assert len(home.tasks(ADS)) == 2


def test_a_full_disk_is_said_and_nothing_is_kept(door: Door, home: Home) -> None:
    ads = door.server()

    def full(*_: Any, **__: Any) -> Any:
        raise StorageFull("no room")

    write, home.services.vault.write_part = home.services.vault.write_part, full  # type: ignore[method-assign]
    problem = ads.problem("POST", "/v1/ads", status=507, json=[ITEM])
    home.services.vault.write_part = write  # type: ignore[method-assign]

    assert problem["code"] == "storage-full"
    assert home.rows(ADS) == []
    assert len(ads.post(ITEM)["accepted"]) == 1


def test_nothing_of_a_post_is_on_disk_in_clear(ads: Server, home: Home) -> None:
    canaries = ("zqzq-user-1", "zqzq-title", "zqzq@example.org", "zqzq-item")
    ads.post(
        {
            "id": canaries[3],
            "content": {"title": canaries[1]},
            "user": {"id": canaries[0], "emailAddresses": [canaries[2]]},
        }
    )

    for path in home.path.rglob("*"):
        if path.is_file():
            content = path.read_bytes()
            assert not [canary for canary in canaries if canary.encode() in content], path


@pytest.mark.parametrize(
    "item",
    [
        '{"id": "ad-1", "id": "ad-2", "content": {}}',
        '{"id": "ad-1", "content": {}, "user": {"id": "ann", "\\u0069d": "bob"}}',
        '{"id": "ad-1", "content": {}, "customerSpecific": {"a": 1, "a": 1}}',
    ],
)
def test_an_item_with_a_key_twice_is_rejected_by_itself(ads: Server, home: Home, item: str) -> None:
    good = '{"id": "ad-3", "content": {}, "user": {"id": "ann"}}'

    body = f"[{item}, {good}]"
    answer = ads("POST", "/v1/ads", content=body, headers={"Content-Type": "application/json"}).json()

    (rejected,) = answer["rejected"]
    assert (rejected["reason"], [each["message"] for each in rejected["errors"]]) == (
        "repeated-key",
        ["has the same key twice"],
    )
    assert [row["item_id"] for row in home.rows(ADS)] == ["ad-3"]


def test_a_post_whose_key_is_revoked_while_it_comes_is_refused_and_not_kept(
    ads: Server, door: Door, home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = door.app.state.validate

    def revoking(*given: Any, **known: Any) -> Any:
        for key in home.services.catalog.api_keys.all(ADS):
            revoke_api_key(home.services, key.key_id)
        return real(*given, **known)

    monkeypatch.setattr(door.app.state, "validate", revoking)

    assert ads.problem("POST", "/v1/ads", status=401, json=[ITEM])["code"] == "api-key-refused"
    assert home.stored() == []


def test_an_item_of_a_person_whose_deletion_is_standing_is_answered_as_kept_out_and_not_stored(
    ads: Server, home: Home
) -> None:
    ads.delete("userId=bob&standing=true")
    bobs = ITEM | {"id": "ad-2", "user": {"id": "bob"}}
    home.clock.pass_by(timedelta(minutes=1))

    answer = ads.post({"id": 7}, ITEM, bobs, ITEM | {"id": "ad-3"})

    assert [each["id"] for each in answer["accepted"]] == ["ad-1", "ad-3"]
    assert [(each["originalAd"], each["reason"]) for each in answer["rejected"][1:]] == [(bobs, "kept-out")]
    assert answer["keptOut"] == 1
    assert {row["task_id"] for row in home.rows(ADS)} == {each["taskId"] for each in answer["accepted"]}


def test_a_post_of_nothing_but_kept_out_items_stores_nothing(ads: Server, home: Home) -> None:
    ads.delete("userId=bob&standing=true")
    home.clock.pass_by(timedelta(minutes=1))

    answer = ads.post(ITEM | {"user": {"id": "bob"}})

    assert (answer["accepted"], answer["keptOut"]) == ([], 1)
    assert home.rows(ADS) == []


def test_a_post_of_a_person_who_was_erased_before_is_taken_in_and_told(ads: Server, home: Home) -> None:
    ads.delete("userId=bob")
    home.clock.pass_by(timedelta(minutes=1))

    answer = ads.post(ITEM, ITEM | {"id": "ad-2", "user": {"id": "bob"}})

    assert (len(answer["accepted"]), answer["returned"], "keptOut" in answer) == (2, 1, False)


def test_a_post_that_is_sent_again_says_again_what_was_kept_out(ads: Server, home: Home) -> None:
    ads.delete("userId=bob&standing=true")
    home.clock.pass_by(timedelta(minutes=1))
    body = {"json": [ITEM, ITEM | {"id": "ad-2", "user": {"id": "bob"}}], "headers": {"Idempotency-Key": "k"}}

    first, again = (ads("POST", "/v1/ads", **body).json() for _ in range(2))

    assert again == first
    assert first["keptOut"] == 1
    assert len(home.rows(ADS)) == 1
