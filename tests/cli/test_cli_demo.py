"""The demo, whole and small; and that it never takes a home that is not its own."""

from typer.testing import CliRunner

from implio_pipeline.cli import app


def test_the_demo_runs_to_its_proof_and_may_be_run_again(implio, tmp_path):
    home = tmp_path / "data"
    (home / "samples").mkdir(parents=True)
    (home / "samples" / "kept.json").write_text("[]")

    first = CliRunner().invoke(
        app, ["--home", str(home), "demo", "--items", "140", "--days", "14"], catch_exceptions=False
    )

    assert first.exit_code == 0, first.output
    assert "found 0 times" in first.stdout
    assert "0 survivors" in first.stdout
    assert "dagster-webserver -h 127.0.0.1" in first.stdout
    again = implio(home).json("demo", "--items", "140", "--days", "14")
    assert again["isProven"]
    assert again["probeItemsAfter"] == 0
    assert (home / "samples" / "kept.json").exists()


def test_the_demo_leaves_a_home_alone_that_it_did_not_make(cli):
    error = cli.error("demo", exit_code=1)

    assert error["code"] == "home-exists"
    assert "--fresh" in error["remedy"]


def test_even_a_fresh_demo_asks_before_it_removes_such_a_home(cli):
    assert cli.error("demo", "--fresh", stdin="n\n", exit_code=130)["code"] == "interrupted"
    assert cli.json("team", "list")
