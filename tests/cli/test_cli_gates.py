"""Holds, approvals, cancellations and extensions from the command line and through the inbox, with approvals on."""

import json
import os
from pathlib import Path

import pytest

REASON = "canary-reason-of-a-claim"
HOLDER = "canary-holder-counsel"
UNTIL = "2999-12-31"


@pytest.fixture(autouse=True)
def _approvals_are_on(monkeypatch):
    monkeypatch.setenv("IMPLIO_REQUESTS__APPROVALS", "second-person")
    monkeypatch.setenv("IMPLIO_REQUESTS__CAP_FROM_ITEMS", "0")
    monkeypatch.setenv("IMPLIO_LANDING__SETTLE_SECONDS", "0")


def items_of(cli, team="acme"):
    return cli.json("query", "--team", team, "select count(*) as items from items")["rows"][0]["items"]


def everything_of(cli, *arguments, exit_code=5):
    """Ask for everything of a team, and return the request."""
    return cli.json("erase", "--team", "acme", "--all", "--yes", "acme", *arguments, exit_code=exit_code)["request"]


def hold_on(cli, user_id):
    return cli.json(
        "holds", "add", "--team", "acme", "--user", "-", "--reason", REASON, "--holder", HOLDER, "--until", UNTIL,
        stdin=f"{user_id}\n",
    )  # fmt: skip


def erasing(request):
    """Return what a second person types."""
    return f"erase {request['items']}"


def raise_cap(cli, *limits):
    """Raise acme's cap to 100 %, which takes two people."""
    asked = cli.json("team", "set", "acme", "--cap-percent", "100", *limits, "--as", "Ann", exit_code=5)
    text = f"shorten {asked['waitingChange']['items']}"
    cli.json("retention", "approve", "--team", "acme", "--as", "Bob", "--confirm", text)


def bytes_below(home: Path) -> bytes:
    return b"".join(path.read_bytes() for path in home.rglob("*") if path.is_file())


def test_a_team_is_removed_only_when_a_second_person_approves(cli):
    asked = everything_of(cli, "--as", "Ann")

    assert (asked["state"], asked["isApproved"]) == ("unapproved", False)
    assert "A second person approves it" in asked["next"]
    assert items_of(cli) == 0  # hidden, not erased
    assert cli.json("erase", "--resume", exit_code=5)[0]["request"]["state"] == "unapproved"
    refused = cli.error("requests", "approve", asked["requestId"], "--as", " ann ", exit_code=3)
    assert refused["code"] == "approval-refused"
    assert "second person" in refused["message"]

    approved = cli.json("requests", "approve", asked["requestId"], "--as", "Bob", "--confirm", erasing(asked))

    assert (approved["state"], approved["isApproved"]) == ("accepted", True)
    (done,) = cli.json("erase", "--resume")
    assert done["request"]["state"] == "completed"
    assert done["receipt"]["body"]["erased"]["items"] > 0
    again = cli.error("requests", "approve", asked["requestId"], "--as", "Bob", exit_code=3)
    assert again["code"] == "approval-refused"


def test_a_share_above_the_cap_waits_and_one_below_it_does_not(cli, plan):
    cli.json("team", "set", "acme", "--cap-percent", "1")
    above = cli.json("erase", "--team", "acme", "--user", plan.team("acme").busy.user_id, exit_code=5)
    raise_cap(cli)

    below = cli.json("erase", "--team", "acme", "--user", "nobody-of-that-name")

    assert above["request"]["state"] == "unapproved"
    assert below["request"]["state"] == "completed"


def test_a_request_file_that_asks_for_a_team_waits_for_any_named_person(cli):
    inbox = cli.home / "requests" / "inbox"
    (inbox / "all.json").write_text(json.dumps({"team": "acme", "type": "team", "confirm": "acme"}))
    os.utime(inbox / "all.json", (0, 0))

    (taken,) = cli.json("requests", "take")["accepted"]

    assert (taken["channel"], taken["state"]) == ("file", "unapproved")
    assert cli.json("erase", "--resume", exit_code=5)[0]["request"]["state"] == "unapproved"
    assert (
        cli.json("requests", "approve", taken["requestId"], "--as", "Bob", "--confirm", erasing(taken))["state"]
        == "accepted"
    )
    assert cli.json("erase", "--resume")[0]["request"]["state"] == "completed"


def test_a_request_is_cancelled_in_its_grace_period_and_never_after_it_was_done(cli, plan):
    before, user = items_of(cli), plan.team("acme").busy.user_id
    raise_cap(cli, "--grace-hours", "24")
    waiting = cli.json("erase", "--team", "acme", "--user", user, exit_code=5)["request"]
    assert waiting["state"] == "waiting"
    assert items_of(cli) < before

    text = cli("requests", "cancel", waiting["requestId"])

    assert text.exit_code == 0
    assert "readable" in text.stdout
    assert items_of(cli) == before
    assert cli.json("erase", "--resume") == []
    assert cli.json("requests", "show", waiting["requestId"])["state"] == "cancelled"
    cli.json("team", "set", "acme", "--grace-hours", "0")
    done = cli.json("erase", "--team", "acme", "--user", user)["request"]
    assert cli.error("requests", "cancel", done["requestId"], exit_code=3)["code"] == "cancel-too-late"


def test_a_due_date_is_put_off_once_with_a_reason_that_stays_sealed(cli):
    asked = everything_of(cli)
    extend = ("requests", "extend", asked["requestId"], "--days", "30", "--reason")

    later = cli.json(*extend, "-", stdin=f"{REASON}\n")

    assert later["dueAt"] > asked["dueAt"]
    assert later["extendedAt"]
    assert REASON.encode() not in bytes_below(cli.home)
    assert cli.error(*extend, "once more", exit_code=3)["code"] == "extension-refused"
    assert "extended" in cli("requests", "show", asked["requestId"]).stdout


def test_what_a_hold_covers_is_hidden_and_erased_when_it_is_released(cli, plan):
    user, others = plan.team("acme").busy.user_id, items_of(cli)
    held = hold_on(cli, user)
    assert (held["kind"], held["isInForce"]) == ("user", True)
    assert REASON not in json.dumps(held)
    asked = everything_of(cli, "--as", "Ann")
    going = asked["items"] - plan.team("acme").busy.items
    cli.json("requests", "approve", asked["requestId"], "--as", "Bob", "--confirm", f"erase {going}")

    (partly,) = cli.json("erase", "--resume", exit_code=5)

    assert partly["request"]["state"] == "partly-withheld"
    assert partly["request"]["withheld"] == {
        "items": plan.team("acme").busy.items,
        "holds": [{"holdId": held["holdId"], "reason": "legal-claim", "items": plan.team("acme").busy.items}],
    }
    assert items_of(cli) == 0 < others
    assert held["holdId"] in cli("requests", "show", asked["requestId"]).stdout
    assert {REASON.encode(), HOLDER.encode()}.isdisjoint(bytes_below(cli.home).split())

    released = cli.json("holds", "release", held["holdId"])

    (done,) = released["requests"]
    assert (done["request"]["state"], done["request"]["withheld"]) == ("completed", None)
    (listed,) = cli.json("holds", "list", "--team", "acme")
    assert (listed["holdId"], listed["isInForce"]) == (held["holdId"], False)
    assert cli.error("holds", "release", held["holdId"], exit_code=3)["code"] == "hold-refused"


@pytest.mark.parametrize(
    ("arguments", "code", "exit_code"),
    [
        (["--user", "u", "--until", "2001-01-01"], "hold-refused", 3),
        (["--until", UNTIL], "wrong-usage", 2),
        (["--user", "u", "--task", "t", "--until", UNTIL], "wrong-usage", 2),
        (["--from", "2026-02-01T00:00Z", "--to", "2026-01-01T00:00Z", "--until", UNTIL], "dates-inverted", 3),
    ],
    ids=["it has ended already", "it names nothing", "it names two things", "its dates are inverted"],
)
def test_a_hold_that_cannot_be_says_why_without_a_value(cli, arguments, code, exit_code):
    error = cli.error(
        "holds", "add", "--team", "acme", "--reason", REASON, "--holder", HOLDER, *arguments, exit_code=exit_code
    )

    assert error["code"] == code
    assert REASON not in json.dumps(error)
    assert cli.json("holds", "list") == []


def test_what_is_not_there_is_told_as_such(cli):
    for command in (("approve", "none"), ("cancel", "none"), ("extend", "none", "--days", "1", "--reason", "r")):
        assert cli.error("requests", *command, exit_code=1)["code"] == "request-unknown"
    assert cli.error("holds", "release", "none", exit_code=3)["code"] == "hold-refused"


def test_the_status_counts_what_waits_for_a_second_person_in_text_and_json(cli):
    nothing = cli.json("status", exit_code=5)["waitingForSecondPerson"]
    asked = everything_of(cli, "--as", "Ann")
    change = cli.json("team", "set", "acme", "--cap-percent", "100", "--as", "Ann", exit_code=5)["waitingChange"]

    waiting = cli.json("status", exit_code=5)["waitingForSecondPerson"]
    text = " ".join(cli("status").stdout.split())

    ours = {"requests": 1, "items": asked["items"], "policyChanges": 1}
    assert nothing == {"requests": 0, "items": 0, "policyChanges": 0, "teams": {}}
    assert waiting == {**ours, "teams": {"acme": ours}}
    assert f"Waiting for a second person: 1 request of team acme, {asked['items']:,} items" in text
    assert "a change of policy of team acme" in text
    assert "`implio retention approve --team acme`" in text
    cli.json("requests", "approve", asked["requestId"], "--as", "Bob", "--confirm", erasing(asked))
    cli.json("retention", "approve", "--team", "acme", "--as", "Bob", "--confirm", f"shorten {change['items']}")
    assert cli.json("status", exit_code=5)["waitingForSecondPerson"] == nothing
