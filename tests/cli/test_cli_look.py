"""Commands that only look: status, query, teams, receipts."""

import csv
import io
import json

import pytest
from typer.testing import CliRunner

from implio_pipeline.cli import app


def test_the_status_of_a_home_tells_what_is_there_and_what_waits(look, plan):
    shape = look.json("status", exit_code=5)

    teams = {team["team"]: team for team in shape["teams"]}
    assert teams["acme"]["items"] == plan.team("acme").good
    assert teams["globex"]["queue"] >= plan.team("globex").waiting
    assert shape["waiting"] == {
        "landingDays": {},
        "landingFilesFailed": [],
        "landingWithoutTeam": [],
        "landingMisnamed": {},
        "requestFiles": 0,
        "refusedRequestFiles": 0,
        "passedOver": {"landing": 0, "inbox": 0},
        "openRequests": [],
        "setAsideFiles": 2,
        "overdueItems": 0,
        "unsettledVerdicts": 0,
        "givenUpCallbacks": 0,
        "oldest": [],
    }
    assert shape["ledger"] == {"entries": 4, "isHolding": True}  # the grants


def test_people_are_told_what_to_run_next(look):
    result = look("status")

    assert result.exit_code == 5
    assert "implio set-aside list" in result.stdout
    assert "The ledger verifies" in result.stdout


def test_a_query_is_a_table_for_people(look):
    result = look("query", "--team", "acme", "select count(*) as items from items")

    assert result.exit_code == 0
    assert "items" in result.stdout
    assert "70" in result.stdout


def test_a_long_table_is_cut_and_says_so(look):
    query = ["query", "--team", "acme", "select * from range(150)"]

    assert "100 of 150 rows" in look(*query).stdout
    assert "100 of 150 rows" not in look(*query, "--all-rows").stdout


def test_rows_too_wide_for_a_table_stand_one_by_one_and_a_table_can_be_asked_for(look):
    query = ["query", "--team", "acme", "select * from items limit 30"]

    told = look(*query).stdout

    assert "Row 20" in told
    assert "Row 21" not in told
    assert "20 of 30 rows" in told
    assert all("item_id  " in row for row in told.split("Row ")[1:])
    assert "Row 30" in look(*query, "--all-rows").stdout
    assert "Row 1" not in look(*query, "--format", "table").stdout
    assert look("query", "--team", "acme", "select * from items where false").stdout.strip() == "No rows"
    assert look("query", "--team", "acme", "select 1 as n", "--format", "records").stdout.split() == [
        "Row",
        "1",
        "n",
        "1",
    ]


def test_a_query_is_csv_and_json_whole(look):
    query = ["query", "--team", "acme", "select range as n, null as nothing from range(150)"]

    lines = list(csv.reader(io.StringIO(look(*query, "--format", "csv").stdout)))
    shape = json.loads(look(*query, "--format", "json").stdout)

    assert lines[:2] == [["n", "nothing"], ["0", ""]]
    assert len(lines) == 151
    assert shape["columns"] == ["n", "nothing"]
    assert shape["rowCount"] == len(shape["rows"]) == 150
    assert shape["rows"][3] == {"n": 3, "nothing": None}


def test_values_of_every_type_become_json(look):
    sql = "select submitted_at, user_key, images, task_id from items where user_key is not null limit 1"

    row = look.json("query", "--team", "acme", sql)["rows"][0]

    assert row["submitted_at"].endswith("Z")
    assert len(row["user_key"]) == 32
    assert isinstance(row["images"], list)


def test_the_key_of_a_user_finds_their_items(look, plan):
    light = plan.team("acme").light
    sql = "select distinct user_id from items where user_key = $user_key"

    asked = ("query", "--team", "acme", "--classes", "identity", "--purpose", "access-request")
    shape = look.json(*asked, "--user", light.user_id, sql)

    assert shape["rows"] == [{"user_id": light.user_id}]


REFUSED = {
    "a class not asked for": ("select user_id from items", "class-not-granted"),
    "a statement that writes": ("create table t as select 1", "query-refused"),
    "two statements": ("select 1; select 2", "query-refused"),
    "a file": ("select * from read_text('/etc/passwd')", "query-refused"),
    "a value in the wrong quotes": ('select title from items where item_id = "u-1000-jane"', "query-refused"),
    "no SQL at all": ("jane.doe@example.com", "query-refused"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_a_refused_query_has_its_code_and_repeats_no_value(name, look):
    sql, code = REFUSED[name]

    result = look("query", "--team", "acme", sql)

    assert result.exit_code == 3
    assert code in result.stderr
    assert "jane" not in result.output
    assert result.stdout == ""


def test_a_user_key_needs_the_identity_class(look):
    assert look.error("query", "--team", "acme", "--user", "x", "select 1", exit_code=3)["code"] == "class-not-granted"


def test_teams_are_listed_and_shown(look, plan):
    names = [team["team"] for team in look.json("team", "list")]
    shape = look.json("team", "show", "globex")

    assert names == ["acme", "globex"]
    assert shape["policy"] == {"keepDays": 30000, "byOutcome": {}, "text": "kept 30000 days; rejected text 30 days"}
    assert shape["items"] == plan.team("globex").good
    assert shape["itemsWithoutUserId"] == plan.team("globex").guests
    assert {key["purpose"] for key in shape["keys"]} >= {"identity", "content", "operational"}
    assert "hosted by" in look("team", "show", "globex").stdout
    assert "globex" in look("team", "list").stdout


def test_an_unknown_team_is_not_repeated(look):
    result = look("team", "show", "jane-doe")

    assert result.exit_code == 1
    assert "team-unknown" in result.stderr
    assert "jane-doe" not in result.output


def test_receipts_are_listed_shown_and_verified(cli, plan):
    request_id = cli.json("erase", "--team", "acme", "--user", plan.team("acme").light.user_id)["request"]["requestId"]

    assert request_id in cli("receipts", "list", "--team", "acme").stdout
    assert cli.json("receipts", "list", "--team", "globex") == []
    assert cli.json("receipts", "show", request_id)["body"]["requestId"] == request_id
    assert "survivors" in cli("receipts", "show", request_id).stdout
    assert cli.json("receipts", "verify")["entries"] == 4 + 2
    assert "verifies" in cli("receipts", "verify").stdout


def test_a_kept_receipt_and_a_kept_checkpoint_are_verified(cli, plan, tmp_path):
    request_id = cli.json("erase", "--team", "acme", "--user", plan.team("acme").light.user_id)["request"]["requestId"]
    receipt, checkpoint, key = tmp_path / "receipt.json", tmp_path / "checkpoint", tmp_path / "public.pem"
    shape = cli.json("receipts", "show", request_id)
    receipt.write_text(json.dumps(shape))
    checkpoint.write_text(cli("receipts", "checkpoint").stdout)
    key.write_bytes((cli.home / "ledger" / shape["chain"] / "public.pem").read_bytes())
    alone = ("receipts", "verify", "--receipt", str(receipt), "--public-key", str(key))

    assert cli.json(*alone)["isHolding"] is True
    assert cli.json("receipts", "verify", "--against", str(receipt))["isHolding"] is True
    assert cli.json("receipts", "verify", "--against", str(checkpoint))["isHolding"] is True
    assert cli.json("receipts", "verify", "--since", str(checkpoint))["isHolding"] is True
    assert {each["chain"] for each in cli.json("receipts", "checkpoint")["chains"]} >= {"home", shape["chain"]}

    receipt.write_text(json.dumps(shape).replace('"items": ', '"items": 1'))
    assert cli.json(*alone, exit_code=4)["findings"] != []


def test_a_ledger_is_verified_anywhere_without_a_home(cli, plan, tmp_path):
    cli.json("erase", "--team", "acme", "--user", plan.team("acme").light.user_id)

    result = CliRunner().invoke(
        app, ["--home", str(tmp_path), "receipts", "verify", "--ledger", str(cli.home / "ledger")]
    )

    assert result.exit_code == 0


def test_an_altered_ledger_does_not_verify(cli, plan):
    cli.json("erase", "--team", "acme", "--user", plan.team("acme").light.user_id)
    ledger = next(path for path in (cli.home / "ledger").rglob("*.jsonl") if '"receipt"' in path.read_text())
    ledger.write_text(ledger.read_text().replace('"items":3', '"items":2'))

    assert cli.json("receipts", "verify", exit_code=4)["findings"][0]["problem"].endswith(
        "is not the one that was signed"
    )
    assert cli.json("status", exit_code=4)["ledger"]["isHolding"] is False


def test_a_folder_without_ledger_is_told_as_such(look, tmp_path):
    assert look.error("receipts", "verify", "--ledger", str(tmp_path), exit_code=1)["code"] == "ledger-broken"


def test_an_unknown_receipt_or_request_is_told_as_such(look):
    assert look.error("receipts", "show", "jane", exit_code=1)["code"] == "request-unknown"
    assert look.error("requests", "show", "jane", exit_code=1)["code"] == "request-unknown"
