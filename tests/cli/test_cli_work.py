"""Commands that change a home: init, team, ingest, requests, retention, set-aside, upkeep."""

import errno
import json
import os
import stat

from support.catalogs import copy_home
from support.servers import s3
from typer.testing import CliRunner

from implio_pipeline.cli import app
from implio_pipeline.stores.landing.claimed import ClaimedLanding

HOUSEKEPT = {
    *("doomed", "strays", "leftovers", "verdictsForgotten", "readsNoted"),
    *("setAsideDiscarded", "reportsDiscarded", "exportsDiscarded"),
    "failed",
}


def test_init_makes_a_home_and_says_how_to_run_on_it(implio, tmp_path):
    result = CliRunner().invoke(app, ["init", str(tmp_path / "home")], catch_exceptions=False)

    assert result.exit_code == 0
    assert "dagster-daemon run -w" in result.stdout
    assert "-h 127.0.0.1" in result.stdout
    assert (tmp_path / "home" / "dagster.yaml").is_file()
    assert (tmp_path / "home" / "workspace.yaml").is_file()
    assert implio(tmp_path / "home").json("status")["teams"] == []
    assert implio(tmp_path / "home").error("init", str(tmp_path / "home"), exit_code=1)["code"] == "home-exists"


def test_init_answers_programs(tmp_path):
    result = CliRunner().invoke(app, ["init", str(tmp_path / "home"), "--json"], catch_exceptions=False)

    assert json.loads(result.stdout).keys() == {"home", "daemon", "webserver", "settings", "passwordsFrom"}


def test_init_names_what_it_wrote_and_where_passwords_and_files_are_expected(tmp_path, monkeypatch):
    server = s3()
    bucket = server.new_bucket()
    for name, value in server.environment.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("IMPLIO_LANDING__URL", f"s3://{bucket}/landing")
    monkeypatch.setenv("IMPLIO_LEDGER__URL", f"s3://{bucket}/ledger")
    monkeypatch.setenv("IMPLIO_REQUESTS__URL", f"s3://{bucket}/requests")
    monkeypatch.setenv("IMPLIO_REQUESTS__REQUESTERS", '["helpdesk"]')
    monkeypatch.setenv("IMPLIO_DAGSTER__BROKER", "redis://:zqzq-secret@redis:6379/0")

    result = CliRunner().invoke(app, ["init", str(tmp_path / "home")], catch_exceptions=False)

    said = " ".join(result.stdout.split())
    assert f"Back up keys/ and s3://{bucket}/ledger apart" in said
    assert "dagster.broker, landing.url, ledger.url" in said
    assert "each process needs them from IMPLIO_DAGSTER__BROKER." in said
    assert f"put its items into s3://{bucket}/landing/TEAM/" in said
    assert f"put requests into s3://{bucket}/requests/NAME/" in said
    assert "zqzq-secret" not in said


def test_a_team_is_made_in_its_region(cli):
    shape = cli.json("team", "add", "initech", "--region", "eu", "--keep-days", "90", "--outcome", "refused=30")

    assert shape["region"] == "eu"
    assert stat.S_IMODE((cli.home / "landing" / "initech").stat().st_mode) == 0o700
    assert not any(cli.home.joinpath("landing", "initech").iterdir())
    assert shape["policy"]["byOutcome"] == {"refused": 30}
    assert cli.error("team", "add", "initech", "--region", "eu", exit_code=1)["code"] == "team-invalid"
    assert cli.error("team", "add", "other", "--region", "moon", exit_code=1)["code"] == "region-unknown"
    assert cli.error("team", "add", "Jane Doe", "--region", "eu", exit_code=1)["code"] == "team-invalid"


def test_ingestion_tells_what_came_in(implio, landed, tmp_path, plan):
    copy_home(landed[0], tmp_path / "home")
    cli = implio(tmp_path / "home")
    assert "implio ingest" in cli("status").stdout

    shape = cli.json("ingest", "--team", "acme", exit_code=5)

    acme = plan.team("acme")
    assert (shape["items"], shape["rejected"], shape["setAside"]) == (acme.good, acme.bad, 1)
    assert sum(each["items"] for each in shape["partitions"]) == acme.good
    assert "kept encrypted" in cli("ingest").stdout
    assert "No landing file was ready" in cli("ingest").stdout


def drop_requests(cli, *asks):
    path = cli.home / "requests" / "inbox" / "asks.json"
    path.write_text(json.dumps(list(asks)))
    os.utime(path, (1_700_000_000, 1_700_000_000))


def test_the_inbox_is_read_and_its_requests_carried_out_later(cli, plan):
    light = plan.team("acme").light
    drop_requests(cli, {"team": "acme", "type": "user", "userId": light.user_id})
    assert "1 request file in the inbox: `implio requests take`" in cli("erase", "--resume").stdout

    taken = cli.json("requests", "take")

    (request,) = taken["accepted"]
    assert (taken["files"], taken["refused"]) == (1, 0)
    assert cli.json("requests", "list", "--open")[0]["state"] == "accepted"
    assert "late" in cli("requests", "list").stdout
    assert "Late" in cli("status").stdout
    assert cli.json("requests", "show", request["requestId"])["receipt"] is None
    assert "find the files" in cli("requests", "show", request["requestId"]).stdout

    (done,) = cli.json("erase", "--resume", "--team", "acme")

    assert done["receipt"]["body"]["erased"]["items"] == light.items
    assert cli.json("requests", "list", "--open") == []
    assert "done" in cli("requests", "list", "--team", "acme").stdout
    assert "Receipt: acme" in cli("requests", "show", request["requestId"]).stdout


def test_a_refused_request_file_ends_with_three(cli):
    drop_requests(cli, {"team": "nobody", "type": "user", "userId": "jane"})

    result = cli("requests", "take")

    assert result.exit_code == 3
    assert ".refused.json" in result.stdout
    assert "accepted" not in result.stdout
    assert "jane" not in result.output
    assert cli.json("status", exit_code=5)["waiting"]["refusedRequestFiles"] == 1
    assert "Refused requests: 1 file in the inbox" in cli("status").stdout


def test_what_lies_where_it_is_never_taken_is_told(cli):
    inbox, landing = cli.home / "requests" / "inbox", cli.home / "landing"
    for path in (inbox / "asks.txt", inbox / "asks.xml", landing / "astray.json", landing / "acme" / "items.xml"):
        path.write_text("{}")
    for path in (inbox / ".asks.json", inbox / "asks.json.part", landing / "acme" / ".items"):
        path.write_text("")  # hidden, or not whole yet
    (inbox / "folder.json").mkdir()
    os.mkfifo(landing / "acme" / "pipe.json")
    (landing / "acme" / "link.json").symlink_to(inbox / "asks.txt")
    (landing / "No Team").mkdir()

    shape = cli.json("status", exit_code=5)

    assert shape["waiting"]["passedOver"] == {"landing": 5, "inbox": 3}
    told = cli("status").stdout
    assert "Never read from inbox: 3 entries" in told
    assert "Never read from landing: 5 entries" in told
    assert all(f'"{name}"' in told for name in ("asks.txt", "folder.json", "acme/pipe.json", "No Team", "astray.json"))


def test_of_many_things_never_taken_the_first_are_named(cli):
    for number in range(30):
        (cli.home / "landing" / "acme" / f"x{number}\x1b.bak").write_text("")

    told = " ".join(cli("status").stdout.split())

    assert "Never read from landing: 30 entries" in told
    assert "20 more;" in told
    assert "\\x1b.bak" in told
    assert "\x1b" not in told


def test_a_shorter_period_is_asked_about(cli, plan):
    refused = cli("retention", "set", "--team", "acme", "--keep-days", "10", stdin="n\n")
    agreed = cli("retention", "set", "--team", "acme", "--keep-days", "10", stdin="y\n")

    assert refused.exit_code == 3
    assert f"{plan.team('acme').good} stored items will be overdue" in refused.stderr
    assert agreed.exit_code == 0
    assert cli.json("retention", "show", "--team", "acme")[0]["policy"]["keepDays"] == 10


def test_a_longer_period_is_not_asked_about(cli):
    shape = cli.json("team", "set", "globex", "--keep-days", "until-deleted")

    assert shape["policy"]["keepDays"] is None


def test_an_outcome_gets_and_loses_its_own_period(cli):
    cli.json("retention", "set", "--team", "acme", "--outcome", "refused=20000", "--yes")
    assert cli.json("retention", "show", "--team", "acme")[0]["policy"]["byOutcome"] == {"refused": 20000}

    cli.json("retention", "set", "--team", "acme", "--outcome", "refused=")

    assert cli.json("retention", "show", "--team", "acme")[0]["policy"]["byOutcome"] == {}


def test_a_retention_run_removes_what_its_preview_counted(cli):
    cli.json("retention", "set", "--team", "acme", "--keep-days", "3", "--yes")
    run = ("retention", "run", "--date", "2026-01-28")

    (acme, _) = cli.json(*run, "--preview")
    assert "nothing was removed" in cli(*run, "--preview").stdout
    (done,) = cli.json(*run)

    erased = done["receipt"]["body"]["erased"]
    assert done["request"]["kind"] == "retention"
    assert (erased["items"], erased["rejectedItems"]) == (acme["items"], acme["rejected"])
    assert acme["items"] > 0
    assert (erased["filesDropped"], erased["filesRewritten"]) == (acme["filesWhole"], acme["filesMixed"])
    assert "Nothing is overdue" in cli(*run).stdout


def test_a_day_that_has_not_come_is_only_previewed(cli):
    assert cli.error("retention", "run", "--date", "9000-01-01", exit_code=2)["code"] == "wrong-usage"
    assert cli("retention", "run", "--date", "9000-01-01", "--preview").exit_code == 0


def test_a_sealed_file_is_shown_got_back_and_discarded(cli, tmp_path):
    first = cli.json("set-aside", "list")[0]

    shape = cli.json("set-aside", "show", first["id"], "--save", str(tmp_path / "back.json"))

    assert (tmp_path / "back.json").stat().st_size == first["sizeBytes"] == shape["sizeBytes"]
    assert stat.S_IMODE((tmp_path / "back.json").stat().st_mode) == 0o600
    again = cli.error("set-aside", "show", first["id"], "--save", str(tmp_path / "back.json"), exit_code=2)
    assert again["code"] == "wrong-usage"
    assert "landing" in cli("set-aside", "show", first["id"]).stdout
    assert first["id"] in cli("set-aside", "list").stdout
    assert cli.json("set-aside", "discard", first["id"]) == {"discarded": first["id"]}
    assert cli.error("set-aside", "discard", first["id"], exit_code=1)["code"] == "file-missing"


def test_compacting_and_housekeeping_tell_what_they_did(cli):
    assert cli.json("compact").keys() == {"partitions", "filesBefore", "filesAfter", "skipped", "failed"}
    assert cli("compact").exit_code == 0
    assert cli.json("housekeep").keys() == HOUSEKEPT
    assert "Scrubbed" in cli("housekeep").stdout


def test_a_landing_file_that_fails_is_named_in_the_status_and_tried_again_on_demand(cli, monkeypatch):
    # given a landing file that the disk refuses
    folder = cli.home / "landing" / "acme"
    folder.mkdir(exist_ok=True)
    (folder / "mueller-canary.ndjson").write_text('{"id": "x1", "user": {"id": "u"}, "content": {"title": "t"}}')
    os.utime(folder / "mueller-canary.ndjson", (1_700_000_000,) * 2)

    def refused(_):
        raise OSError(errno.EIO, "Input/output error")

    with monkeypatch.context() as disk:
        disk.setattr(ClaimedLanding, "pieces", refused)
        assert cli.error("ingest", exit_code=1)["code"] == "storage-failed"

    # when the status is asked for, it is named; and without --resume it waits for its back-off
    (failed,) = cli.json("status", exit_code=5)["waiting"]["landingFilesFailed"]
    assert (failed["team"], failed["attempts"], failed["isQuarantined"]) == ("acme", 1, False)
    assert "mueller" not in str(failed)
    assert "Failed: landing file of team acme" in cli("status").stdout
    assert "implio ingest --resume" in cli("status").stdout
    assert "Failed: landing file of team acme" in cli("ingest").stdout
    assert cli.json("ingest")["leftForLater"] == [failed]

    # then it is taken in when somebody says so
    assert cli.json("ingest", "--resume")["files"] == 1
    assert cli.json("ingest")["leftForLater"] == []
