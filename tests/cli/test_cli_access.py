"""Access from the command line: granting, reading under a grant, the log, and who may run what."""

import getpass
import json

import pytest
import typer
from support.catalogs import alter_catalog

from implio_pipeline.cli import app
from implio_pipeline.cli.permissions import ACTS, demand_act
from implio_pipeline.domain.access import PERMISSIONS, Role
from implio_pipeline.domain.errors import AccessDenied

GRANT = ("access", "grant", "jane", "--team", "acme", "--purpose", "support", "--days", "14")
QUERY = ("query", "--team", "acme", "--as", "jane")
COUNT = "select outcome, count(*) as n from items group by 1"


@pytest.fixture(autouse=True)
def _grants_are_required(monkeypatch):
    monkeypatch.setenv("IMPLIO_ACCESS__GRANTS", "required")


def commands_of(group, path=()):
    for name, command in group.commands.items():
        if hasattr(command, "commands"):
            yield from commands_of(command, (*path, name))
        else:
            yield " ".join((*path, name))


def test_every_command_names_the_act_that_it_is():
    commands = set(commands_of(typer.main.get_command(app)))

    assert commands == set(ACTS), "name the act of every command in ACTS of implio_pipeline/cli/permissions.py"


def test_a_command_without_an_act_and_one_that_operators_may_not_run_are_denied(monkeypatch):
    demand_act("implio query")

    with pytest.raises(AccessDenied):
        demand_act("implio unheard-of")
    monkeypatch.setitem(PERMISSIONS, Role.OPERATOR, frozenset())
    with pytest.raises(AccessDenied):
        demand_act("implio query")


def test_a_denied_command_does_nothing_and_says_so(cli, monkeypatch):
    monkeypatch.setitem(PERMISSIONS, Role.OPERATOR, frozenset())

    assert cli.error("team", "add", "new", "--region", "eu", exit_code=3)["code"] == "access-denied"

    monkeypatch.undo()
    assert "new" not in {team["team"] for team in cli.json("team", "list")}


def test_a_reader_without_a_grant_is_told_which_command_to_ask_for(cli):
    error = cli.error(*QUERY, COUNT, exit_code=3)

    assert error["code"] == "grant-missing"
    assert "implio access grant" in error["remedy"]
    assert "jane" not in json.dumps(error)
    assert cli.json("access", "log") == []


def test_a_grant_lets_read_is_used_reviewed_and_revoked(cli):
    made = cli.json(*GRANT, "--classes", "content", "--by", "boss", "--note", "ticket 4711")
    assert (made["person"], made["classes"], made["purpose"]) == ("jane", ["content", "operational"], "support")

    rows = cli.json(*QUERY, COUNT)["rowCount"]
    (line,) = cli.json("access", "log", "--team", "acme")
    assert (line["person"], line["rows"], line["columns"]) == ("jane", rows, ["outcome"])
    assert (line["purpose"], line["grants"]) == ("support", [made["grantId"]])
    assert cli.json("access", "log", "--team", "globex") == []
    assert "jane" in cli("access", "log").stdout

    reviewed = {each["grantId"]: each for each in cli.json("access", "review", "--soon-days", "30")}
    assert reviewed[made["grantId"]]["remarks"] == ["expires soon"]
    assert "Marked as reviewed" in cli("access", "review").stdout
    listed = {each["grantId"]: each for each in cli.json("access", "list", "--team", "acme")}
    assert listed[made["grantId"]]["lastUsedAt"] == line["at"]
    assert listed[made["grantId"]]["reviewedAt"]

    assert cli.json("access", "revoke", made["grantId"])["revokedAt"]
    assert cli.error(*QUERY, COUNT, exit_code=3)["code"] == "grant-missing"
    assert cli.error("access", "revoke", made["grantId"], exit_code=1)["code"] == "grant-refused"
    assert made["grantId"] not in {each["grantId"] for each in cli.json("access", "list")}
    assert made["grantId"] in {each["grantId"] for each in cli.json("access", "list", "--all")}
    assert cli.json("access", "forget", "jane")["isForgotten"] is True
    assert "jane" not in cli("access", "log").stdout


def test_identity_asks_for_its_purpose(cli):
    cli.json(*GRANT, "--classes", "identity")
    asked = (*QUERY, "--classes", "identity", "select user_id from items limit 1")

    assert cli.error(*asked, exit_code=3)["code"] == "purpose-missing"
    assert cli.error(*asked, "--purpose", "legal", exit_code=3)["code"] == "grant-missing"
    assert cli.json(*asked, "--purpose", "support")["rowCount"] == 1


def test_who_adds_a_team_may_read_it_at_once_but_not_who_its_users_are(cli):
    assert "without users' identity" in cli("team", "add", "new", "--region", "eu").stdout

    assert cli.json("query", "--team", "new", "select count(*) as n from items")["rows"] == [{"n": 0}]
    asked = ("query", "--team", "new", "--classes", "identity", "--purpose", "set-up", "select 1")
    assert cli.error(*asked, exit_code=3)["code"] == "grant-missing"
    (grant,) = cli.json("access", "list", "--team", "new")
    assert (grant["person"], grant["purpose"]) == (getpass.getuser(), "set-up")


def test_nobody_is_granted_anything_by_adding_a_team_where_the_settings_say_so(cli, monkeypatch):
    monkeypatch.setenv("IMPLIO_ACCESS__MAKER_DAYS", "0")
    cli.json("team", "add", "new", "--region", "eu")

    assert cli.json("access", "list", "--team", "new") == []
    assert cli.error("query", "--team", "new", "select 1", exit_code=3)["code"] == "grant-missing"


def test_an_export_in_clear_needs_an_identity_grant_and_is_written_down(cli, plan, tmp_path):
    light = plan.team("acme").light
    ask = ("export", "--team", "acme", "--user", light.user_id, "--out")
    cli.json(*ask, str(tmp_path / "first"))
    (line,) = cli.json("access", "log")
    assert (line["door"], line["purpose"]) == ("export", "access-request")
    assert line["rows"] >= light.items

    for grant in cli.json("access", "list", "--team", "acme"):
        cli.json("access", "revoke", grant["grantId"])

    assert cli.error(*ask, str(tmp_path / "second"), exit_code=3)["code"] == "grant-missing"
    assert not (tmp_path / "second").exists()


def test_the_log_is_verified_and_an_altered_one_is_found(cli):
    cli.json(*GRANT, "--classes", "content")
    cli.json(*QUERY, COUNT)
    assert cli.json("housekeep")["readsNoted"] == 1
    assert cli.json("access", "verify") == {"isHolding": True, "lines": 1, "faults": [], "revivedGrants": []}

    assert alter_catalog(cli.home, "update access_log set rows = rows + 1")

    assert cli.json("access", "verify", exit_code=4)["faults"][0]["line"] == 1
    assert "Line 1" in cli("access", "verify").stdout


WRONG = {
    "no end": ([*GRANT[:-2], "--classes", "content"], "--days or --until"),
    "two ends": ([*GRANT, "--classes", "content", "--until", "2026-01-31"], "--days or --until"),
    "a purpose that is none": ([*GRANT[:5], "--purpose", "fun", "--days", "1", "--classes", "content"], "--purpose"),
    "a class that is none": ([*GRANT, "--classes", "jane"], "operational"),
    "a format that is none": (["register", "export", "--format", "pdf"], "json, html, md"),
}


@pytest.mark.parametrize("name", WRONG)
def test_wrong_usage_is_explained(name, look):
    arguments, words = WRONG[name]

    error = look.error(*arguments, exit_code=2)

    assert words in error["message"]
    assert "jane" not in error["message"]


def test_the_register_of_processors_names_this_machine_and_what_it_hosts(look):
    (machine,) = look.json("processors", "list")

    assert (machine["name"], machine["location"], machine["regions"]) == ("this machine", "on site", ["eu", "us"])
    assert "this machine" in look("processors", "list").stdout


def test_a_misplaced_region_is_told_with_its_name_and_remedy(cli):
    settings = cli.home / "implio.toml"
    settings.write_text(settings.read_text().replace('"vault/us"', '"vault/eu/us"'))

    error = cli.error("status", exit_code=1)

    assert error["code"] == "root-shared"
    assert "implio.toml" in error["remedy"]


def test_the_record_of_processing_is_live_complete_and_about_nobody(cli, plan, tmp_path):
    named = ("access", "grant", "zqzq-operator", "--team", "acme", "--classes", "identity", "--purpose", "legal")
    cli.json(*named, "--days", "3")
    record = cli.json("register", "export")
    teams = {each["team"]: each for each in record["teams"]}
    assert teams["acme"]["items"] == plan.team("acme").good
    assert teams["globex"]["retention"] == "kept 30000 days; rejected text 30 days"
    assert {each["class"] for each in record["personalData"]} == {"operational", "content", "identity"}
    assert any("controller's name" in gap for gap in record["gaps"])
    measures = {each["measure"]: each["state"] for each in record["measures"]}
    assert measures["Self-audit of files, catalog, keys and ledger"] == "never yet"

    cli.json("audit", exit_code=0)
    cli.json("keys", "rotate")
    settings = cli.home / "implio.toml"
    settings.write_text(settings.read_text() + '\n[controller]\nname = "Kind & Fair <Ltd>"\ndpo = "dpo@example.org"\n')
    again = cli.json("register", "export")
    measures = {each["measure"]: each["state"] for each in again["measures"]}
    assert measures["Self-audit of files, catalog, keys and ledger"].endswith("0 days ago")
    assert measures["Rotation of keys, so that old backups cannot be read"].endswith("0 days ago")
    assert again["controller"]["dataProtectionOfficer"] == "dpo@example.org"
    assert not any("controller's name" in gap for gap in again["gaps"])

    assert cli("register", "export", "--format", "html", "--out", str(tmp_path / "r.html")).exit_code == 0
    page = (tmp_path / "r.html").read_text()
    text = cli("register", "export").stdout
    for told in (page, text, json.dumps(again)):
        assert "zqzq-operator" not in told
        for team in plan.teams:
            assert team.light.user_id not in told
            assert team.light.email not in told
    assert "Kind &amp; Fair &lt;Ltd&gt;" in page
    assert "<script" not in page
    assert "http" not in page.replace("http-equiv", "")
    assert cli.error("register", "export", "--out", str(tmp_path / "r.html"), exit_code=2)["code"] == "wrong-usage"
