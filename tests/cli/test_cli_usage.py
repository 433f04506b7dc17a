"""Help, global options, wrong usage: what a person meets first."""

import json
import re
from datetime import UTC, datetime, timedelta

import pytest
from typer.testing import CliRunner

from implio_pipeline.cli import app
from implio_pipeline.cli.app import _globals_first
from implio_pipeline.cli.tables import cell, left_text
from implio_pipeline.domain.sentences import count, size_text

COMMANDS = (
    "init",
    "demo",
    "ingest",
    "erase",
    "query",
    "status",
    "compact",
    "housekeep",
    "restore",
    *(f"keys {name}" for name in ("rotate", "list")),
    *(f"team {name}" for name in ("add", "set", "list", "show")),
    *(f"requests {name}" for name in ("list", "show", "take")),
    *(f"retention {name}" for name in ("set", "show", "run")),
    *(f"receipts {name}" for name in ("list", "show", "verify")),
    *(f"set-aside {name}" for name in ("list", "show", "discard")),
)
PERSON = "jane.doe@example.com"


def run(*arguments: str):
    return CliRunner().invoke(app, list(arguments), catch_exceptions=False)


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_explains_itself(command):
    result = run(*command.split(), "--help")

    assert result.exit_code == 0
    assert f"Usage: implio {command}" in result.stdout


def test_the_help_says_what_exit_codes_mean_and_how_to_keep_ids_out_of_the_history():
    text = re.sub(r"\s+", " ", run("--help").stdout)

    for meaning in ("0 done", "1 a failure", "2 wrong usage", "3 the request", "4 something did", "5 something waits"):
        assert meaning in text
    assert "--user - and --task -" in text


def test_the_version_is_one_line():
    assert re.fullmatch(r"implio-pipeline \d+\.\d+\.\d+\n", run("--version").stdout)


def test_a_command_line_without_command_shows_the_help():
    result = run()

    assert result.exit_code == 2
    assert "Usage: implio" in result.output


WRONG = {
    "an argument too many": (["erase", "--team", "acme", PERSON], "too many arguments"),
    "an unknown command": ([PERSON], "no such command"),
    "a misspelt command": (["statsu"], "did you mean"),
    "an unknown option": (["erase", f"--{PERSON}"], "no such option"),
    "a misspelt option": (["erase", "--usr", PERSON], "or --user"),
    "an option without value": (["erase", "--team"], "needs a value"),
    "a number that is none": (["demo", "--items", PERSON], "--items cannot be used"),
    "a day that is none": (["retention", "run", "--date", PERSON], "2026-01-31"),
    "a format that is none": (["query", "--team", "acme", "--format", PERSON, "select 1"], "table, records, csv, json"),
    "a class that is none": (["query", "--team", "acme", "--classes", PERSON, "select 1"], "operational"),
    "an outcome that is none": (["team", "add", "x", "--region", "eu", "--outcome", f"{PERSON}=3"], "OUTCOME=DAYS"),
    "nothing to erase": (["erase", "--team", "acme"], "name one thing"),
    "two things to erase": (["erase", "--team", "acme", "--user", PERSON, "--task", PERSON], "name one thing"),
    "half a range": (["erase", "--team", "acme", "--from", PERSON], "name one thing"),
    "no team": (["erase", "--user", PERSON], "--team is missing"),
    "a missing option": (["query", "select 1"], "--team is missing"),
    "a scope to resume": (["erase", "--resume", "--user", PERSON], "--team only"),
    "too few items": (["demo", "--items", "10"], "at least"),
}


@pytest.mark.parametrize("name", WRONG)
def test_wrong_usage_is_explained_without_repeating_what_was_typed(name, look):
    arguments, words = WRONG[name]

    result = look(*arguments)

    assert result.exit_code == 2
    assert words in result.stderr
    assert "wrong-usage" in result.stderr
    assert PERSON not in result.output
    assert result.stdout == ""


def test_programs_get_wrong_usage_as_one_line_of_json(look):
    result = look("--json", "erase", "--team", "acme", PERSON)

    assert json.loads(result.stderr) == {
        "error": {
            "code": "wrong-usage",
            "message": "there are too many arguments",
            "remedy": "Try `implio erase --help`.",
        }
    }


def test_a_missing_home_is_named_with_its_remedy(tmp_path):
    result = run("--home", str(tmp_path), "status")

    assert result.exit_code == 1
    assert "home-missing" in result.stderr
    assert "implio init HOME" in result.stderr


def test_settings_that_cannot_be_used_are_named_without_their_value(cli):
    (cli.home / "implio.toml").write_text(f'threads = "{PERSON}"\n')

    result = cli("status")

    assert result.exit_code == 1
    assert "settings-invalid" in result.stderr
    assert "threads" in result.stderr
    assert PERSON not in result.output


def test_settings_that_are_no_toml_are_told_as_such(cli):
    (cli.home / "implio.toml").write_text("threads = = 3")

    assert cli.error("status", exit_code=1)["code"] == "settings-invalid"


@pytest.mark.parametrize(
    ("variable", "value", "told"),
    [
        ("IMPLIO_DAGSTER__LAUNCHER", "zqzq-secret", "dagster.launcher: should be 'default', 'celery' or 'k8s'"),
        ("IMPLIO_DAGSTER__EXECUTOR", "celery", "needs dagster.broker"),
        ("IMPLIO_API__TRUSTED_PROXIES", "zqzq-secret", "IMPLIO_API… cannot be read: a list or a whole table is JSON"),
        ("IMPLIO_REGIONS", "zqzq-secret", "IMPLIO_REGIONS… cannot be read: a list or a whole table is JSON"),
        ("IMPLIO_WORKERS__MOST", "zqzq-secret", "workers.most: should be a valid integer"),
        ("IMPLIO_REGIONS__EU__KEYS", "transit:ftp://zqzq-secret@x", "regions.eu.keys: keys in Transit are written as"),
        (
            "IMPLIO_REGIONS__EU__VAULT",
            "gs://zqzq-secret",
            "regions.eu.vault: the place is not known; it is a folder, or s3:",
        ),
    ],
)
def test_a_wrong_setting_is_named_with_what_it_may_be_and_without_its_value(cli, monkeypatch, variable, value, told):
    monkeypatch.setenv(variable, value)

    error = cli.error("status", exit_code=1)

    assert told in error["message"]
    assert "zqzq" not in str(error)


ORDERS = {
    "json after the command": (["status", "--json"], ["--json", "status"]),
    "home after the command": (["status", "--home", "x"], ["--home", "x", "status"]),
    "home in one word": (["status", "--home=x", "-h"], ["--home=x", "status", "-h"]),
    "home without value": (["status", "--home"], ["--home", "status"]),
    "after a lone --": (["query", "--", "--json"], ["query", "--", "--json"]),
}


@pytest.mark.parametrize("name", ORDERS)
def test_global_options_may_stand_anywhere(name):
    given, ordered = ORDERS[name]

    assert _globals_first(given) == ordered


def test_a_cell_cannot_steer_the_terminal():
    assert cell("a\x1b[2Jb\rc").plain == "a·[2Jb·c"


def test_numbers_are_written_for_people():
    assert [size_text(size) for size in (0, 999, 1_500, 2_500_000)] == ["0 bytes", "999 bytes", "1.5 kB", "2.5 MB"]
    assert [count(1, "file"), count(1_200, "file")] == ["1 file", "1,200 files"]


def test_a_due_day_is_told_in_whole_days():
    now = datetime(2026, 1, 10, tzinfo=UTC)

    assert left_text(now + timedelta(days=3), now=now) == "in 3 days"
    assert left_text(now + timedelta(hours=3), now=now) == "today"
    assert left_text(now - timedelta(days=2), now=now) == "2 days late"
