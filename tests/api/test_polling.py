"""`GET /v1/ads`: given items as they are now, and the feed of decisions; what is hidden is absent."""

from collections.abc import Collection, Mapping
from datetime import timedelta
from typing import Any

import pytest
from support.home import ADS, Home

from implio_pipeline.domain.ids import TeamId
from implio_pipeline.flows.moderation.feed import DecisionFeed, PolledDecision, PolledPage
from tests.api.conftest import Server

WHOLE: dict[str, Any] = {
    "id": "ad-1",
    "content": {
        "title": "a bicycle",
        "body": "blue",
        "url": "https://shop.example/1",
        "price": {"amount": 12.5, "currency": "SEK"},
        "type": {"id": "t", "name": "sell"},
        "category": {"id": "c", "name": "bikes"},
        "images": [{"src": "https://images.example/1"}],
        "videos": [],
        "status": "new",
        "createdAt": "2026-01-01",
        "publishedAt": "2026-01-02",
        "languageExpected": "sv",
        "customerSpecific": {"wheels": 2, "rare": True, "note": None},
    },
    "user": {
        "id": "ann",
        "name": "Ann",
        "agent": "a browser",
        "phoneNumbers": ["+46"],
        "emailAddresses": ["ann@example.org"],
        "customerSpecific": {"tier": "gold"},
    },
    "location": {
        "city": "Lund",
        "postalCode": "222",
        "region": "Skåne",
        "countryCode": "SE",
        "ipAddress": "192.0.2.1",
        "customerSpecific": {"zone": 1},
    },
    "customerSpecific": {"batch": "b"},
}
RESULT: dict[str, Any] = {
    "actorId": "a moderator",
    "outcome": "refused",
    "reasons": [{"name": "spam"}],
    "feedback": [{"name": "be kind"}],
    "matchingFilters": ["links"],
}
REFUSED: dict[str, str] = {
    "a timestamp with a sign": "timestamp=-1",
    "a timestamp with a fraction": "timestamp=1.5",
    "digits of another script": "timestamp=%D9%A1",
    "a very long timestamp": "timestamp=1" + "0" * 15,
    "an empty list": "taskIds=",
    "an empty name in a list": "taskIds=a,,b",
    "too many tasks": "taskIds=" + ",".join(f"t{number}" for number in range(101)),
    "a word for a flag": "noAdContent=zqzq",
    "an unknown parameter": "since=zqzq",
    "the same parameter twice": "taskIds=zqzq&taskIds=zqzq",
}


class Feed(DecisionFeed):
    """A feed in the test's hand."""

    def __init__(self) -> None:
        self.decisions: list[PolledDecision] = []

    def after(self, team: TeamId, *, since_ms: int, limit: int) -> PolledPage:
        assert team == ADS
        found = [each for each in self.decisions if each.decided_ms > since_ms]
        newest = found[:limit][-1].decided_ms if found else since_ms
        return PolledPage(decisions=tuple(found[:limit]), newest_ms=newest, has_more=len(found) > limit)

    def of_tasks(self, team: TeamId, task_ids: Collection[str]) -> Mapping[str, PolledDecision]:
        return {each.task_id: each for each in self.decisions if each.task_id in task_ids}

    def tell(self, *task_ids: str) -> None:
        for task_id in task_ids:
            at = 1_000 + len(self.decisions)
            self.decisions.append(
                PolledDecision(task_id=task_id, decided_ms=at, outcome="refused", reasons=("spam",), actor_id="x")
            )


def tasks_of(answer: dict[str, Any]) -> list[str]:
    return [each["taskId"] for each in answer["accepted"]]


def test_an_item_comes_back_as_it_was_posted(ads: Server) -> None:
    (task, plain) = tasks_of(ads.post(WHOLE | {"result": RESULT}, {"id": "ad-2", "content": {}}))

    answer = ads("GET", f"/v1/ads?taskIds={task},{plain}").json()

    whole, bare = answer["ads"]
    assert whole["ad"] == WHOLE
    assert whole["result"] == RESULT
    assert whole["items"][0]["taskId"] == task
    assert whole["items"][0]["id"] == "ad-1"
    assert bare["ad"] == {"id": "ad-2", "content": {}}
    assert bare["result"] is None


def test_the_content_may_be_left_out(ads: Server) -> None:
    (task,) = tasks_of(ads.post(WHOLE))

    said = ("true", "True", "TRUE")  # C# clients write it with a capital
    (found,) = ads("GET", f"/v1/ads?taskIds={task}&noAdContent=true").json()["ads"]
    assert all(
        ads("GET", f"/v1/ads?taskIds={task}&noAdContent={each}").json()["ads"][0].keys() == found.keys()
        for each in said
    )

    assert found.keys() == {"items", "packedAt", "result"}


def test_unknown_hidden_and_other_teams_items_are_absent_alike(ads: Server, cars: Server, home: Home) -> None:
    mine, hidden = tasks_of(ads.post(WHOLE, WHOLE | {"user": {"id": "bob"}}))
    (hers,) = tasks_of(cars.post(WHOLE))
    home.clock.pass_by(timedelta(seconds=1))
    ads.delete("userId=bob")

    answer = ads("GET", f"/v1/ads?taskIds={hers},{hidden},{mine},00000000-0000-7000-8000-000000000000").json()

    assert [each["items"][0]["taskId"] for each in answer["ads"]] == [mine]


def test_a_server_that_polls_is_told_every_decision_once_a_page_at_a_time(made: Any) -> None:
    feed = Feed()
    ads = made(polling=feed).server()
    tasks = tasks_of(ads.post(*[WHOLE | {"id": f"ad-{number}"} for number in range(130)]))
    feed.tell(*tasks)
    told: list[str] = []
    place, has_more = 0, True

    while has_more:
        page = ads("GET", f"/v1/ads?timestamp={place}&noAdContent=true").json()
        told += [each["items"][0]["taskId"] for each in page["ads"]]
        place, has_more = page["pollingInfo"]["newTimestamp"], page["pollingInfo"]["newerAdsExist"]

    assert told == tasks
    assert page["ads"][0]["result"] == {"outcome": "refused", "actorId": "x", "reasons": [{"name": "spam"}]}
    assert ads("GET", f"/v1/ads?timestamp={place}").json()["ads"] == []
    assert ads("GET", f"/v1/ads?timestamp={place}").json()["pollingInfo"]["newTimestamp"] == place


def test_a_decision_on_an_item_that_was_deleted_since_is_not_told(made: Any, home: Home) -> None:
    feed = Feed()
    ads = made(polling=feed).server()
    first, second = tasks_of(ads.post(WHOLE, WHOLE | {"user": {"id": "bob"}}))
    feed.tell(first, second)
    home.clock.pass_by(timedelta(seconds=1))

    ads.delete("userId=ann")

    answer = ads("GET", "/v1/ads?timestamp=0").json()
    assert [each["items"][0]["taskId"] for each in answer["ads"]] == [second]
    assert answer["pollingInfo"]["newTimestamp"] == 1_001


@pytest.mark.parametrize("query", REFUSED.values(), ids=REFUSED)
def test_a_question_that_cannot_be_read_is_refused(ads: Server, query: str) -> None:
    assert "zqzq" not in str(ads.problem("GET", f"/v1/ads?{query}", status=400))
