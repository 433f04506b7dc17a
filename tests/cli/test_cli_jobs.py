"""`implio jobs`: every job of the table is named, and the loop does them until it is told to stop."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

from support.catalogs import copy_home

from implio_pipeline.jobs import JOBS

LONGEST_SECONDS = 300.0


def test_every_job_is_named_with_what_wakes_it(implio, empty_home):
    found = implio(empty_home).json("jobs", "list")["jobs"]

    assert [(each["name"], each["about"]) for each in found] == [(job.name, job.about) for job in JOBS]
    woken = {each["name"]: each["wakes"] for each in found}
    assert (woken["carry_out_requests"], woken["self_audit"]) == ("every 3 s", "cron 15 5 * * 0")


def test_without_dagster_a_landing_file_is_taken_in_until_the_loop_is_told_to_stop(implio, empty_home, tmp_path):
    home = implio(tmp_path / "home")
    copy_home(empty_home, home.home)
    path = home.home / "landing" / "ads" / "items.ndjson"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({"id": "1", "content": {"title": "t", "body": "b"}}))
    os.utime(path, (time.time() - 60,) * 2)
    command = [str(Path(sys.executable).parent / "implio"), "--home", str(home.home), "jobs", "run"]

    with subprocess.Popen(command, stderr=subprocess.DEVNULL) as loop:
        until = time.monotonic() + LONGEST_SECONDS
        while path.exists():
            assert loop.poll() is None
            assert time.monotonic() < until
            time.sleep(0.2)
        loop.send_signal(signal.SIGTERM)
        assert loop.wait(LONGEST_SECONDS) == 0

    assert {team["team"]: team["items"] for team in home.json("status")["teams"]}["ads"] == 1
