"""The demo, whole and small; and that it never takes a home that is not its own."""

from support.catalogs import only_sqlite
from typer.testing import CliRunner

from implio_pipeline.cli import app, demo_steps
from implio_pipeline.cli.session import Session


def test_the_demo_runs_to_its_proof_in_a_folder_of_samples(tmp_path, monkeypatch):
    monkeypatch.setenv("IMPLIO_ACCESS__GRANTS", "required")
    home = tmp_path / "data"
    (home / "samples").mkdir(parents=True)
    (home / "samples" / "kept.json").write_text("[]")

    result = CliRunner().invoke(
        app, ["--home", str(home), "demo", "--items", "140", "--days", "14"], catch_exceptions=False
    )

    assert result.exit_code == 0, result.output
    for promise in ("found 0 times", "0 survivors", "The ledger verifies", "dagster-webserver -h 127.0.0.1"):
        assert promise in result.stdout
    assert result.stderr == ""
    assert (home / "samples" / "kept.json").exists()


@only_sqlite  # the demo replaces folders only: `tests/test_new_home.py` has what it says of a server
def test_a_demo_may_be_made_anew_in_the_home_of_the_last(tmp_path):
    home = tmp_path / "data"
    session = Session(home=home, is_json=True)
    demo_steps.prepare_home(session, home, is_fresh=False)
    (home / "samples").mkdir()
    first_key = (home / "keys" / "home" / "ledger.pem").read_bytes()

    demo_steps.prepare_home(session, home, is_fresh=False)

    assert (home / "keys" / "home" / "ledger.pem").read_bytes() != first_key
    assert (home / "samples").is_dir()


@only_sqlite
def test_the_demo_leaves_a_home_alone_that_it_did_not_make(cli):
    error = cli.error("demo", exit_code=1)

    assert error["code"] == "home-exists"
    assert "--fresh" in error["remedy"]


@only_sqlite
def test_even_a_fresh_demo_asks_before_it_removes_such_a_home(cli):
    assert cli.error("demo", "--fresh", stdin="n\n", exit_code=3)["code"] == "not-confirmed"
    assert cli.json("team", "list")
