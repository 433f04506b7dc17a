"""Moderation over HTTPS: ten at a time, decided once, polled in order, and gone when deleted."""

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from support.home import CARS

from implio_pipeline.flows.moderation.apply_decisions import apply_decisions

MIA, MAX = "mia@example.org", "max@example.org"


@pytest.fixture
def door(made: Callable[..., Any]) -> Any:
    return made()


def posted(server: Any, count: int = 3) -> list[str]:
    """Post items that wait for a decision, and return their task ids."""
    answer = server.post(
        *(
            {"id": f"ad-{n}", "content": {"title": "a bicycle"}, "user": {"id": ["ann", "bob"][n % 2]}}
            for n in range(count)
        )
    )
    return [each["taskId"] for each in answer["accepted"]]


def given(server: Any, *, by: str = MIA, queue: str = "Default") -> list[dict[str, Any]]:
    answer = server("POST", f"/v1/queues/{queue}/next", json={"moderator": by})
    assert answer.status_code == 200, answer.text
    return answer.json()["items"]


def say(server: Any, task: str, *, by: str = MIA, **said: Any) -> Any:
    return server("POST", f"/v1/tasks/{task}/decision", json={"moderator": by, **said})


def polled(server: Any, since: int = 0) -> dict[str, Any]:
    answer = server("GET", f"/v1/ads?timestamp={since}&noAdContent=true")
    assert answer.status_code == 200, answer.text
    return answer.json()


def test_items_are_given_with_content_and_notes_to_one_moderator_at_a_time(door: Any) -> None:
    server = door.server()
    tasks = posted(server, 12)

    mine, his = given(server), given(server, by=MAX)

    assert sorted(each["taskId"] for each in [*mine, *his]) == sorted(tasks)
    assert (len(mine), len(his)) == (10, 2)
    assert mine[0]["ad"]["content"]["title"] == "a bicycle"
    moved = say(server, mine[0]["taskId"], queue="Escalated", note="looks odd")
    assert moved.json() == {"taskId": mine[0]["taskId"], "queue": "Escalated"}
    (escalated,) = given(server, by=MAX, queue="Escalated")
    assert [note["text"] for note in escalated["notes"]] == ["looks odd"]
    counts = {each["queue"]: each["waiting"] for each in server("GET", "/v1/queues").json()["queues"]}
    assert counts == {"Default": 11, "Escalated": 1}


@pytest.mark.parametrize("is_settled", [False, True])
def test_verdicts_are_polled_in_order_and_the_same_before_and_after_they_are_settled(
    door: Any, is_settled: bool
) -> None:
    server = door.server()
    first, second, third = posted(server)
    assert say(server, second, outcome="refused", reasons=["spam"], feedback=["be kind"]).status_code == 200
    assert say(server, first, outcome="approved").json()["outcome"] == "approved"
    if is_settled:
        apply_decisions(door.home.services)

    page = polled(server)
    chosen = server("GET", f"/v1/ads?taskIds={second},{third}").json()

    assert [(each["items"][0]["taskId"], each["result"]) for each in page["ads"]] == [
        (
            second,
            {"outcome": "refused", "actorId": MIA, "reasons": [{"name": "spam"}], "feedback": [{"name": "be kind"}]},
        ),
        (first, {"outcome": "approved", "actorId": MIA}),
    ]
    assert page["pollingInfo"]["newerAdsExist"] is False
    assert polled(server, page["pollingInfo"]["newTimestamp"])["ads"] == []
    assert [each["result"] and each["result"]["outcome"] for each in chosen["ads"]] == ["refused", None]


def test_a_deleted_item_is_gone_from_queue_decision_and_polling(door: Any) -> None:
    server = door.server()
    first, second, _ = posted(server)
    given(server)
    say(server, first, outcome="approved")
    door.home.clock.pass_by(timedelta(seconds=1))

    server.delete("userId=ann")

    assert polled(server)["ads"] == []
    assert [each["taskId"] for each in given(server)] == [second]
    gone = server.problem(
        "POST", f"/v1/tasks/{first}/decision", status=410, json={"moderator": MIA, "outcome": "approved"}
    )
    assert gone["code"] == "item-gone"


def test_who_comes_second_is_told_so(door: Any) -> None:
    server = door.server()
    first, *_ = posted(server)
    given(server)
    call = ("POST", f"/v1/tasks/{first}/decision")

    assert server.problem(*call, status=409, json={"moderator": MAX, "outcome": "approved"})["code"] == "item-locked"
    once, twice = say(server, first, outcome="approved"), say(server, first, outcome="approved")
    assert once.json() == twice.json()
    decided = server.problem(*call, status=409, json={"moderator": MAX, "outcome": "refused", "reasons": ["no"]})
    assert decided["code"] == "item-decided"


REFUSED: dict[str, dict[str, Any]] = {
    "nobody decides": {"outcome": "approved"},
    "nothing is decided": {"moderator": MIA},
    "two things are decided": {"moderator": MIA, "outcome": "approved", "queue": "Escalated"},
    "a refusal without a reason": {"moderator": MIA, "outcome": "refused"},
    "an outcome that is none": {"moderator": MIA, "outcome": "no decision"},
    "an unknown field": {"moderator": MIA, "outcome": "approved", "canary": 1},
    "a field of another kind": {"moderator": MIA, "outcome": "refused", "reasons": "canary"},
    "an empty name": {"moderator": " ", "outcome": "approved"},
}


@pytest.mark.parametrize("body", REFUSED.values(), ids=REFUSED)
def test_what_is_no_decision_is_refused_without_repeating_it(door: Any, body: dict[str, Any]) -> None:
    server = door.server()
    first, *_ = posted(server)

    problem = server.problem("POST", f"/v1/tasks/{first}/decision", status=400, json=body)

    assert "canary" not in str(problem)
    assert len(given(server)) == 3


def test_no_team_sees_or_decides_on_another_ones_items(door: Any) -> None:
    server, other = door.server(), door.server(CARS)
    first, *_ = posted(server)

    assert given(other) == []
    assert say(other, first, outcome="approved").status_code == 410
    assert other("GET", "/v1/queues").json()["queues"][0]["waiting"] == 0
    server.problem("POST", "/v1/queues/Nowhere/next", status=404, json={"moderator": MIA})
    assert door.stranger()("GET", "/v1/queues").status_code == 401
