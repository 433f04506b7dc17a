"""`DELETE /v1/ads` and what follows it: one kind, hidden when answered, the team's own, receipted."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any
from urllib.parse import quote

import pytest
from support.catalogs import octets_of
from support.clock import NOW
from support.home import ADS, CARS, Home
from support.items import YESTERDAY, Ad

from implio_pipeline.flows.deletion.erase import erase
from implio_pipeline.verify import check_receipt
from tests.api.conftest import ITEM, Door, Server

REFUSED: dict[str, tuple[str, str]] = {
    "no kind": ("", "parameters-refused"),
    "two kinds": ("userId=zqzq&taskId=zqzq", "parameters-refused"),
    "a user and dates": ("userId=zqzq&fromDate=2026-01-01T00:00Z&toDate=2026-02-01T00:00Z", "parameters-refused"),
    "half a range": ("fromDate=2026-01-01T00:00Z", "parameters-refused"),
    "the other half": ("toDate=2026-01-01T00:00Z", "parameters-refused"),
    "the same user twice": ("userId=zqzq&userId=zqzq", "parameters-refused"),
    "two users": ("userId=zqzq&userId=qqq", "parameters-refused"),
    "the same name in another case": ("userid=zqzq", "parameters-refused"),
    "an unknown parameter beside": ("userId=zqzq&dryRun=true", "parameters-refused"),
    "an empty user": ("userId=", "parameters-refused"),
    "a blank user": ("userId=%20%20", "parameters-refused"),
    "an empty task": ("taskId=", "parameters-refused"),
    "an empty date": ("fromDate=&toDate=2026-01-01T00:00Z", "parameters-refused"),
    "a user that is no UTF-8": ("userId=zqzq%ff", "parameters-refused"),
    "a NUL": ("userId=zqzq%00", "bad-text"),
    "a very long user": ("userId=" + "z" * 1025, "id-too-long"),
    "a date without a zone": ("fromDate=2026-01-01T00:00&toDate=2026-02-01T00:00Z", "zoneless-date"),
    "a plus in a date": ("fromDate=2026-01-01T00:00+01:00&toDate=2026-02-01T00:00Z", "parameters-refused"),
    "a plus in a user": ("userId=zqzq+ads@mail.example", "parameters-refused"),
    "a plus in a task": ("taskId=zqzq+1", "parameters-refused"),
    "a user that a program had not": ("userId=undefined", "placeholder-id"),
    "an object that became text": ("userId=[object%20Object]", "placeholder-id"),
    "a user that a spreadsheet rounded": ("userId=1.23457E%2B15", "rounded-id"),
    "an ad's own id for a task": ("taskId=zqzq-1", "no-task-id"),
    "dates exchanged": ("fromDate=2026-02-01T00:00Z&toDate=2026-01-01T00:00Z", "dates-inverted"),
    "an empty range": ("fromDate=2026-01-01T00:00Z&toDate=2026-01-01T00:00Z", "dates-inverted"),
    "a submission that is to be standing": (
        "taskId=0198c5d0-0000-7000-8000-000000000000&standing=true",
        "parameters-refused",
    ),
    "a standing that is no flag": ("userId=zqzq&standing=perhaps", "bad-flag"),
    "standing and nothing else": ("standing=true", "parameters-refused"),
    "no date": ("fromDate=zqzq&toDate=2026-01-01T00:00Z", "bad-date"),
    "a year beyond all": ("fromDate=0001-01-01T00:00Z&toDate=2026-01-01T00:00Z", "year-out-of-range"),
}


def test_a_plus_is_refused_with_both_ways_to_write_what_was_meant(ads: Server) -> None:
    problem = ads.problem("DELETE", "/v1/ads?userId=ann+ads@mail.example", status=400)

    assert "%2B" in problem["remedy"]
    assert "%20" in problem["remedy"]


USERS = ["ann", "åke", "a\u030ake", "用户", "a b", "a+b", "a&b=c", "a/b?c#d", "100%", "💥", "x;y", "'; drop table"]


@pytest.mark.parametrize("case", REFUSED.values(), ids=REFUSED)
def test_a_call_that_names_not_exactly_one_kind_is_refused_without_its_values(
    ads: Server, home: Home, case: tuple[str, str]
) -> None:
    query, code = case

    problem = ads.problem("DELETE", f"/v1/ads?{query}", status=400)

    assert problem["code"] == code
    assert "zqzq" not in str(problem)
    assert home.rules() == []


LEFT_OUT = {
    "two users": ("userId=a&userId=b", "Leave out all but one userId."),
    "two of each": ("userId=a&userId=b&taskId=c&taskId=d", "Leave out all but one userId and taskId."),
    "an empty task beside a user": ("userId=a&taskId=", "Leave out taskId, or give a value."),
    "two kinds": ("userId=a&taskId=b", "leave out the others: userId, or taskId."),
    "three kinds": ("userId=a&taskId=b&fromDate=c&toDate=d", "the others: userId, or taskId, or fromDate and toDate."),
    "half a range beside a user": ("userId=a&fromDate=b", "leave out the others: userId, or fromDate."),
    "half a range": ("fromDate=a", "Add toDate, or leave out fromDate"),
    "the other half": ("toDate=a", "Add fromDate, or leave out toDate"),
    "small letters": ("userid=a&Taskid=b", "Write userId and taskId exactly so"),
    "an unknown name": ("userId=a&dryRun=true", "Leave out every parameter but: userId, taskId,"),
    "nothing": ("", "Give userId, or taskId, or fromDate with toDate."),
    "standing alone": ("standing=true", "Give userId, or taskId, or fromDate with toDate."),
}


@pytest.mark.parametrize(("query", "remedy"), LEFT_OUT.values(), ids=LEFT_OUT)
def test_a_remedy_names_what_to_leave_out_or_add(ads: Server, query: str, remedy: str) -> None:
    problem = ads.problem("DELETE", f"/v1/ads?{query}", status=400)

    assert remedy in problem["remedy"]
    assert "dryRun" not in str(problem)


def test_a_body_is_refused_since_it_might_be_meant_as_a_narrower_question(ads: Server, home: Home) -> None:
    problem = ads.problem("DELETE", "/v1/ads?userId=ann", status=400, content=b'{"taskId": "x"}')

    assert problem["code"] == "body-refused"
    assert home.rules() == []


@pytest.mark.parametrize("user", USERS)
def test_any_user_id_that_was_posted_can_be_deleted(ads: Server, home: Home, user: str) -> None:
    ads.post(ITEM | {"user": {"id": user}}, ITEM | {"user": {"id": "somebody else"}})
    home.clock.pass_by(timedelta(seconds=1))

    request = ads.delete(f"userId={quote(user, safe='')}")
    erase(home.services)

    assert request["queueEntriesRemoved"] == 1
    assert [row["user_id"] for row in home.rows(ADS)] == ["somebody else"]


def test_commits_are_held_back_for_a_known_caller_until_it_is_answered_and_for_nobody_else(
    door: Door, ads: Server, home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    catalog, seen = home.services.catalog, list[str]()

    @contextmanager
    def hurried() -> Iterator[None]:
        seen.append("held back")
        try:
            yield
        finally:
            seen.append("let go")

    monkeypatch.setattr(catalog, "hurried", hurried)
    monkeypatch.setattr(home.services.ledger, "append", lambda *_: seen.append("in the ledger"))

    door.stranger().problem("DELETE", "/v1/ads?userId=ann", status=401)
    ads("GET", "/v1/deletions")
    others = list(seen)
    ads.problem("DELETE", "/v1/ads?userId=", status=400)
    ads.delete("userId=ann")

    assert others == []
    assert seen == ["held back", "let go", "held back", "in the ledger", "let go"]


def test_items_are_hidden_and_dequeued_when_the_call_is_answered(ads: Server, home: Home) -> None:
    (task,) = [each["taskId"] for each in ads.post(ITEM)["accepted"]]
    home.clock.pass_by(timedelta(seconds=1))

    answer = ads("DELETE", f"/v1/ads?taskId={task}")

    body = answer.json()
    assert answer.status_code == 202
    assert answer.headers["Location"] == body["statusUrl"] == f"/v1/deletions/{body['requestId']}"
    assert body["state"] == "accepted"
    assert body["kind"] == "task"
    assert body["dueAt"] > body["receivedAt"]
    assert ads("GET", f"/v1/ads?taskIds={task}").json()["ads"] == []
    assert home.services.catalog.moderation.entries(ADS) == []
    assert len(home.tasks(ADS)) == 1


@pytest.mark.parametrize(
    ("start", "end", "left"),
    [
        ("2026-02-28T12:00Z", "2026-02-28T12:00:00.000001Z", []),
        ("2026-02-28T13:00%2B01:00", "2026-03-01T00:00Z", []),
        ("2026-02-28T12:00:00.000001Z", "2026-03-01T00:00Z", ["t"]),
        ("2026-02-01T00:00Z", "2026-02-28T12:00Z", ["t"]),
    ],
)
def test_dates_are_half_open_and_know_zones_and_fractions(
    ads: Server, home: Home, start: str, end: str, left: list[str]
) -> None:
    home.keep(Ad(task="t", at=YESTERDAY))

    ads.delete(f"fromDate={start}&toDate={end}")
    erase(home.services)

    assert home.tasks(ADS) == left


def test_nothing_to_erase_is_a_success_with_nothing_erased(ads: Server, home: Home) -> None:
    request = ads.delete("userId=nobody")
    erase(home.services)

    receipt = ads("GET", f"/v1/deletions/{request['requestId']}/receipt").json()
    assert receipt["body"]["erased"]["items"] == 0


def test_a_retry_is_the_same_request_and_a_later_one_is_not(ads: Server, home: Home) -> None:
    home.keep(Ad(task="t"))
    first = ads.delete("userId=ann")
    home.clock.pass_by(timedelta(seconds=59))

    again = ads.delete("userId=ann")
    other = ads.delete("userId=bob")
    home.clock.pass_by(timedelta(seconds=2))
    later = ads.delete("userId=ann")

    assert again == first
    assert len({first["requestId"], other["requestId"], later["requestId"]}) == 3


def test_retries_side_by_side_are_one_request(ads: Server, home: Home) -> None:
    answers = ads.at_once(*[("DELETE", "/v1/ads?userId=ann", {})] * 8)

    assert len({answer.json()["requestId"] for answer in answers}) == 1
    assert len(home.rules()) == 1


def test_items_that_came_in_since_make_the_same_call_a_new_request(ads: Server, home: Home) -> None:
    first = ads.delete("userId=ann")
    home.clock.pass_by(timedelta(seconds=1))
    (task,) = [each["taskId"] for each in ads.post(ITEM)["accepted"]]
    home.clock.pass_by(timedelta(seconds=1))

    second = ads.delete("userId=ann")

    assert second["requestId"] != first["requestId"]
    assert ads("GET", f"/v1/ads?taskIds={task}").json()["ads"] == []


def test_the_answer_may_be_set_to_have_no_body(made: Any) -> None:
    answer = made(deletion_answer=204).server()("DELETE", "/v1/ads?userId=ann")

    assert answer.status_code == 204
    assert answer.content == b""
    assert answer.headers["Location"].startswith("/v1/deletions/")


def test_a_request_is_followed_until_its_signed_receipt(ads: Server, home: Home) -> None:
    ads.post(ITEM)
    home.clock.pass_by(timedelta(seconds=1))
    request = ads.delete("userId=ann")
    url = request["statusUrl"]
    assert ads("GET", url).json() == request
    assert ads.problem("GET", f"{url}/receipt", status=404)["code"] == "not-found"

    erase(home.services)

    done = ads("GET", url).json()
    assert done["state"] == "completed"
    entry = ads("GET", done["receiptUrl"]).json()
    assert entry["body"]["requestId"] == request["requestId"]
    assert entry["body"]["erased"]["items"] == 1
    assert check_receipt(json.dumps(entry), (home.path / "ledger" / "eu" / "public.pem").read_bytes()) == []


def test_requests_are_listed_newest_first_in_pages_and_by_status(ads: Server, home: Home) -> None:
    made = [ads.delete(f"userId=u{number}")["requestId"] for number in range(5)]
    erase(home.services, only=made[:2])

    first = ads("GET", "/v1/deletions?limit=2").json()
    second = ads("GET", f"/v1/deletions?limit=3&after={first['next']}").json()
    waiting = ads("GET", "/v1/deletions?state=open").json()["deletions"]
    done = ads("GET", "/v1/deletions?state=completed").json()["deletions"]

    listed = [each["requestId"] for page in (first, second) for each in page["deletions"]]
    assert listed == made[::-1]
    assert [each["requestId"] for each in waiting] == made[:1:-1]
    assert [each["requestId"] for each in done] == made[1::-1]
    for query in ("status=zqzq", "limit=0", "limit=1001", "limit=x", "limit=", "after="):
        assert "zqzq" not in str(ads.problem("GET", f"/v1/deletions?{query}", status=400))


def test_another_team_sees_nothing_of_it_not_even_that_it_exists(ads: Server, cars: Server, home: Home) -> None:
    home.keep(Ad(task="hers", user="ann"), team=CARS)
    request = ads.delete("userId=ann")
    erase(home.services)

    unknown = cars.problem("GET", "/v1/deletions/0123456789abcdef0123456789abcdef", status=404)
    for path in (request["statusUrl"], f"{request['statusUrl']}/receipt"):
        assert cars.problem("GET", path, status=404) == unknown
    assert cars.problem("GET", f"/v1/deletions?after={request['requestId']}", status=404) == unknown
    assert cars("GET", "/v1/deletions").json()["deletions"] == []
    assert home.tasks(CARS) == ["hers"]


def test_an_id_with_nul_is_as_unknown_as_any_other(ads: Server) -> None:
    item = {"id": "a", "content": {"title": "t"}, "user": {"id": "ann\0"}}

    for path in ("/v1/deletions/a%00", "/v1/deletions/%00/receipt", "/v1/deletions?after=a%00"):
        ads.problem("GET", path, status=404)
    ads.problem("POST", "/v1/deletions/a%00/lift", status=404)
    ads.problem("POST", "/v1/queues/waiting%00/next", status=404, json={"moderator": "Mia"})
    ads.problem("POST", "/v1/tasks/a%00/decision", status=410, json={"moderator": "Mia", "outcome": "approved"})
    answer = ads("POST", "/v1/ads", json=[item])
    assert answer.json()["rejected"]


def test_who_asked_is_kept_only_as_a_pseudonym(door: Door, home: Home) -> None:
    request = door.server().delete("userId=zqzq-ann")

    kept = home.services.catalog.requests.get(request["requestId"])
    assert kept.asked_by is not None
    assert kept.channel.value == "api"
    assert kept.received_at == NOW
    assert b"zqzq" not in octets_of(home.path)


@pytest.mark.parametrize(
    ("query", "left_out"),
    [
        ("userId=", "Leave out userId"),
        ("userId=ann&taskId=", "Leave out taskId"),
        ("userId=&taskId=&fromDate=&toDate=", "Leave out userId and taskId and fromDate and toDate"),
        ("userId=ann&taskId=b", "leave out the others: userId, or taskId."),
    ],
)
def test_an_empty_or_mixed_deletion_deletes_nothing_and_the_remedy_says_what_to_leave_out(
    ads: Server, home: Home, query: str, left_out: str
) -> None:
    ads.post(ITEM)

    problem = ads.problem("DELETE", f"/v1/ads?{query}", status=400)

    assert left_out in problem["remedy"]
    assert home.services.catalog.requests.all() == []
    assert len(home.rows(ADS)) == 1


@pytest.mark.parametrize("method", ["GET", "DELETE", "POST"])
def test_a_path_with_a_stroke_too_many_is_not_found_and_never_redirected(ads: Server, method: str) -> None:
    for path in ("/v1/ads/", "/v1/deletions/", "/v1/ads//"):
        answer = ads(method, f"{path}?userId=zqzq-ann", headers={"Host": "zqzq.example.com"})

        assert answer.status_code == 404
        assert "Location" not in answer.headers
        assert "zqzq" not in answer.text


def test_a_standing_deletion_is_lifted_by_a_call_and_once(ads: Server, cars: Server, home: Home) -> None:
    asked = ads.delete("userId=ann&standing=true")
    path = f"{asked['statusUrl']}/lift"
    assert (asked["isStanding"], asked["standingLiftedAt"]) == (True, None)

    assert cars.problem("POST", path, status=404)["code"] == "not-found"
    lifted = ads("POST", path).json()
    home.clock.pass_by(timedelta(minutes=1))

    assert lifted["standingLiftedAt"] is not None
    assert ads.problem("POST", path, status=409)["code"] == "lift-refused"
    assert "keptOut" not in ads.post(ITEM)


def test_the_same_person_again_but_standing_is_a_request_of_its_own(ads: Server) -> None:
    plain, standing, again = (ads.delete(f"userId=ann{rest}") for rest in ("", "&standing=true", "&standing=TRUE"))

    assert plain["requestId"] != standing["requestId"] == again["requestId"]
    assert ads.delete("userId=ann")["requestId"] == standing["requestId"]
