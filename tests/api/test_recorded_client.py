"""Calls as the public C# client makes them (recorded), answered so that it can read them."""

import json
from datetime import timedelta
from typing import Any

import pytest
from support.home import ADS, Home

from implio_pipeline.domain.scope import ByUser
from implio_pipeline.flows.deletion.erase import erase
from tests.api.conftest import ITEM, Server

POSTED = (
    '[{"id":"77","content":{"title":"Saab 96","body":"V4","url":null,"price":{"amount":1250.50,"currency":"SEK"},'
    '"condition":"used","images":[{"src":"https://x.example/1.jpg","caption":"front"}]},'
    '"user":{"id":"u-77","name":"Stina","level":3},"location":null,"customerSpecific":{"dealer":true},'
    '"result":{"actorId":null,"outcome":"refused","reasons":[{"name":"spam","weight":2}],'
    '"feedback":[{"id":"f1","name":"Be kind"}],"confidence":0.90,"matchingFilters":[{"id":"9","name":"iban",'
    '"vote":"refuse","wordHighlighting":{"variableName":"content.body","words":[{"word":"V4","regex":"V4"}]},'
    '"notice":{"text":"look","severity":"high"}}]}}]'
)
"""Its serializer writes null for what is not set; the account has fields that we do not know."""
HEADERS = {"Content-Type": "application/json; charset=utf-8", "Accept": "application/json"}


def _posted(ads: Server) -> dict[str, Any]:
    answer = ads("POST", "/v1/ads", content=POSTED.encode(), headers=HEADERS)
    assert answer.status_code == 200, answer.text
    (accepted,) = answer.json()["accepted"]
    return accepted


def test_a_post_with_fields_that_we_do_not_know_is_accepted_and_they_are_named(ads: Server, home: Home) -> None:
    accepted = _posted(ads)

    assert accepted["id"] == "77"
    assert accepted["unknownProperties"] == ["/content/condition", "/content/images/0/caption", "/user/level"]
    assert len(home.rows(ADS)) == 1
    assert "unknownProperties" not in ads.post(ITEM)["accepted"][0], "nothing is said where nothing is unknown"


@pytest.mark.parametrize("flag", ["False", "True"])
def test_the_result_that_was_posted_is_polled_word_for_word(ads: Server, flag: str) -> None:
    task = _posted(ads)["taskId"]

    answer = ads("GET", f"/v1/ads?taskIds={task}&noAdContent={flag}")

    (found,) = answer.json()["ads"]
    (sent,) = json.loads(POSTED)
    assert found["result"] == sent["result"]
    assert '"confidence":0.90' in answer.text, "not even a digit is another"
    if flag == "True":
        assert found.keys() == {"items", "packedAt", "result"}
    else:
        kept = {name: value for name, value in sent.items() if name != "result" and value is not None}
        kept["content"] = {name: value for name, value in sent["content"].items() if value is not None}
        assert found["ad"] == kept


def test_a_query_shows_the_result_and_the_unknown_properties_as_they_were_sent(ads: Server, home: Home) -> None:
    _posted(ads)

    (row,) = home.rows(ADS)

    assert json.loads(row["result"]) == json.loads(POSTED)[0]["result"]
    assert json.loads(row["unknown_properties"]) == {
        "/content/condition": "used",
        "/content/images/0/caption": "front",
        "/user/level": 3,
    }


def test_what_we_do_not_know_of_a_person_is_erased_with_the_rest(ads: Server, home: Home) -> None:
    _posted(ads)
    home.clock.pass_by(timedelta(seconds=1))

    home.answers(ByUser(user_id="u-77"))
    erase(home.services)

    assert home.rows(ADS) == []
