"""`implio queue`, `implio callbacks`, `implio settle`: as a person and as a program meet them."""

import json

import pytest

TEAM = ("--team", "acme")


@pytest.fixture
def waiting(cli) -> list[str]:
    """The task ids that are given to Mia."""
    return [each["taskId"] for each in cli.json("queue", "next", *TEAM, "--by", "mia@example.org")]


def test_queues_are_listed_made_and_removed(cli):
    before = cli.json("queue", "list", *TEAM)
    assert [each["queue"] for each in before] == ["Default", "Escalated"]
    assert before[0]["waiting"] > 0

    assert cli("queue", "add", "Photos", *TEAM).exit_code == 0
    assert "Photos" in cli("queue", "list").stdout
    assert cli("queue", "remove", "Photos", *TEAM).exit_code == 0
    assert cli.error("queue", "remove", "Default", *TEAM, exit_code=3)["code"] == "queue-invalid"
    assert cli.error("queue", "remove", "Photos", *TEAM, exit_code=1)["code"] == "queue-unknown"


def test_ten_are_given_and_a_decision_shows_in_a_query_at_once_and_when_settled(cli, waiting):
    assert len(waiting) == 10
    refused, approved, moved = waiting[:3]

    cli.json(
        "queue", "decide", refused, *TEAM, "--refuse", "spam", "--note", "-", "--by", "mia@example.org", stdin="x\n"
    )
    assert (
        "approved" in cli("queue", "decide", "-", *TEAM, "--approve", "--by", "mia@example.org", stdin=approved).stdout
    )
    assert "Escalated" in cli("queue", "decide", moved, *TEAM, "--move", "Escalated", "--by", "mia@example.org").stdout

    query = f"select outcome from items where task_id in ('{refused}', '{approved}') order by 1"
    before = cli.json("query", query, *TEAM)
    assert "2 verdicts: `implio settle`" in cli("status").stdout
    settled = cli.json("settle")
    assert settled["verdicts"] == 2
    assert "implio settle" not in cli("status").stdout
    assert cli.json("query", query, *TEAM) == before
    assert "refused" in json.dumps(before)
    locked = cli.error("queue", "decide", waiting[3], *TEAM, "--approve", "--by", "max", exit_code=3)
    assert locked["code"] == "item-locked"


def test_a_deleted_item_is_gone_for_who_had_it(cli, waiting):
    assert cli("erase", *TEAM, "--task", waiting[0]).exit_code == 0

    gone = cli.error("queue", "decide", waiting[0], *TEAM, "--approve", "--by", "mia@example.org", exit_code=1)

    assert gone["code"] == "item-gone"


@pytest.mark.parametrize(
    "options",
    [[], ["--approve", "--refuse", "x"], ["--move", "Escalated", "--feedback", "x"], ["--approve", "--note", "-"]],
)
def test_a_decision_is_one_thing(look, options):
    result = look("queue", "decide", "-", *TEAM, *options)

    assert result.exit_code == 2


def test_a_callback_goes_where_it_may_and_its_secrets_are_shown_once(cli, monkeypatch):
    monkeypatch.setenv("IMPLIO_CALLBACKS__HTTP_TO_THIS_MACHINE", "true")
    url = "http://127.0.0.1:9/in"
    assert cli.error("callbacks", "set", *TEAM, "--url", url, exit_code=3)["code"] == "callback-refused"

    made = cli.json("callbacks", "set", *TEAM, "--allow", "127.0.0.1", "--url", "-", stdin=url)
    shown = cli("callbacks", "show", *TEAM)

    assert made["signingSecret"].startswith("whsec_")
    assert "127.0.0.1" in shown.stdout
    assert made["signingSecret"] not in shown.stdout
    assert made["teamKey"] not in shown.stdout
    task = cli.json("queue", "next", *TEAM)[0]["taskId"]
    cli.json("queue", "decide", task, *TEAM, "--approve")
    assert cli.json("callbacks", "deliver")["put_off"] == 1
    assert cli.json("callbacks", "show", *TEAM)["waiting"] == 1
    assert cli("callbacks", "remove", *TEAM).exit_code == 0
    assert cli.error("callbacks", "remove", *TEAM, exit_code=1)["code"] == "callback-unknown"


def test_plain_http_and_private_addresses_are_refused_by_default(cli):
    for url in ("http://127.0.0.1:9/in", "https://127.0.0.1:9/in", "https://10.0.0.1/"):
        host = url.split("/")[2].split(":")[0]
        error = cli.error("callbacks", "set", *TEAM, "--allow", host, "--url", url, exit_code=3)
        assert error["code"] == "callback-refused"
        assert url not in json.dumps(error)
    assert cli("callbacks", "set", *TEAM).exit_code == 2
