"""Erasing from the command line: preview, the four kinds, refusals, failures, resuming."""

import pytest

PERSON = "jane.doe@example.com"


def items_of(cli, user_id):
    rows = cli.json(
        "query", "--team", "acme", "--classes", "identity", "--purpose", "access-request", "--user", "-",
        "select count(*) as items from items where user_key = $user_key", stdin=f"{user_id}\n",
    )  # fmt: skip
    return rows["rows"][0]["items"]


def test_a_preview_counts_and_accepts_nothing(cli, plan):
    busy = plan.team("acme").busy

    shape = cli.json("erase", "--team", "acme", "--user", busy.user_id, "--preview")

    assert {"team": "acme", "kind": "user", "items": busy.items, "days": busy.days}.items() <= shape.items()
    assert shape["files"] >= busy.days
    assert cli.json("requests", "list") == []


def test_a_user_is_erased_and_the_receipt_shown(cli, plan):
    busy = plan.team("acme").busy
    assert items_of(cli, busy.user_id) == busy.items

    result = cli("erase", "--team", "acme", "--user", "-", stdin=f"{busy.user_id}\n")

    assert result.exit_code == 0
    assert "Receipt: acme, by user" in result.stdout
    assert "signed, in batch" in result.stdout
    assert busy.user_id not in result.output
    assert items_of(cli, busy.user_id) == 0


def test_programs_get_the_request_and_the_signed_receipt(cli, plan):
    busy = plan.team("acme").busy

    shape = cli.json("erase", "--team", "acme", "--user", busy.user_id)

    assert shape["request"]["state"] == "completed"
    assert shape["request"]["channel"] == "cli"
    assert shape["receipt"]["body"]["erased"]["items"] == busy.items
    assert shape["receipt"]["proof"]["signature"]


def test_a_submission_is_erased_and_leaves_the_queue(cli):
    found = cli.json("query", "--team", "acme", "select task_id from queue limit 1")
    task_id = found["rows"][0]["task_id"]

    shape = cli.json("erase", "--team", "acme", "--task", "-", stdin=task_id)

    assert shape["receipt"]["body"]["erased"]["items"] == 1
    assert shape["receipt"]["body"]["erased"]["queueEntries"] == 1


def test_a_range_of_dates_is_erased(cli, plan):
    span = plan.team("acme").span

    shape = cli.json("erase", "--team", "acme", "--from", f"{span.since}T00:00Z", "--to", f"{span.until}T00:00Z")

    assert shape["receipt"]["body"]["erased"]["items"] == span.items


def test_a_whole_team_goes_once_its_name_is_typed(cli, plan):
    shape = cli.json("erase", "--team", "acme", "--all", stdin="acme\n")

    assert shape["receipt"]["body"]["erased"]["items"] == plan.team("acme").good
    assert cli.json("team", "show", "acme")["items"] == 0


def test_a_whole_team_stays_when_another_name_is_typed(cli, plan):
    error = cli.error("erase", "--team", "acme", "--all", "--yes", "globex", exit_code=3)

    assert error["code"] == "not-confirmed"
    assert cli.json("team", "show", "acme")["items"] == plan.team("acme").good


def test_a_whole_team_stays_when_nobody_answers(cli, plan):
    assert cli.error("erase", "--team", "acme", "--all", stdin="", exit_code=3)["code"] == "not-confirmed"
    assert cli.json("team", "show", "acme")["items"] == plan.team("acme").good


REFUSED = {
    "an unknown team": (["--team", "jane-doe", "--user", PERSON], "team-unknown"),
    "a name no team can have": (["--team", PERSON, "--user", PERSON], "bad-team-name"),
    "an empty user id": (["--team", "acme", "--user", ""], "empty-id"),
    "a date without zone": (["--team", "acme", "--from", "2026-01-01", "--to", "2026-01-02"], "zoneless-date"),
    "something that is no date": (["--team", "acme", "--from", PERSON, "--to", PERSON], "bad-date"),
    "hours alone": (["--team", "acme", "--from", "2026-01-02T00Z", "--to", "2026-01-01T00Z"], "bad-date"),
    "a range turned round": (
        ["--team", "acme", "--from", "2026-01-02T00:00Z", "--to", "2026-01-01T00:00Z"],
        "dates-inverted",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_a_refusal_has_code_and_remedy_and_repeats_no_value(name, look):
    arguments, code = REFUSED[name]

    result = look("erase", *arguments)

    assert result.exit_code == 3
    assert code in result.stderr
    assert PERSON not in result.output
    assert "jane-doe" not in result.output
    assert len(result.stderr.splitlines()) == 2


def test_what_failed_stays_hidden_waits_and_is_resumed(cli, plan, tmp_path):
    busy = plan.team("acme").busy
    file = max((cli.home / "vault" / "eu").rglob("*.parquet"), key=lambda path: path.stat().st_size)
    vault = cli.home / "vault" / "eu"
    vault.rename(tmp_path / "away")
    vault.mkdir()

    error = cli.error("erase", "--team", "acme", "--user", busy.user_id, exit_code=1)

    assert file.exists() is False
    assert error["code"] == "file-missing"
    vault.rmdir()
    (tmp_path / "away").rename(vault)
    (waiting,) = cli.json("status", exit_code=5)["waiting"]["openRequests"]
    shown = cli.json("requests", "show", waiting["requestId"])
    (bad,) = vault.rglob(f"{shown['errorFile']}.parquet")
    assert waiting["errorCode"] == shown["errorCode"] == "file-missing"
    assert bad.parent.name == f"day={shown['errorDay']}"
    assert items_of(cli, busy.user_id) == 0

    (resumed,) = cli.json("erase", "--resume")

    assert resumed["receipt"]["body"]["erased"]["items"] == busy.items
    assert cli.json("erase", "--resume") == []
