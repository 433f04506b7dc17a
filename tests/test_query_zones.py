"""The same question has the same answer on every machine, whatever zone and language it is set to."""

import os
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from support.home import ADS, Home
from support.items import Ad

from implio_pipeline import open_lake

MIDNIGHT = datetime(2025, 11, 2, tzinfo=UTC)
"""The night on which clocks went back in Los Angeles; the half hours about it lie on two days."""
INSTANTS = (
    MIDNIGHT - timedelta(minutes=30),
    MIDNIGHT + timedelta(minutes=30),
    datetime(2025, 10, 26, 0, 30, tzinfo=UTC),  # the night of it in Berlin
    datetime(2025, 10, 26, 1, 30, tzinfo=UTC),
    datetime(2025, 10, 26, 2, 30, tzinfo=UTC),
)
QUESTIONS = (
    "select count(*) as n from items where submitted_at >= '2025-11-02'",
    "select count(*) as n from items where submitted_at::date = day",
    "select date_trunc('day', submitted_at) as day, count(*) as n from items group by 1 order by 1",
    "select date_trunc('hour', submitted_at) as hour, count(*) as n from items group by 1 order by 1",
    "select submitted_at::varchar as text from items order by submitted_at",
    "select strftime(submitted_at, '%A %d %B %Y %H:%M %z') as text from items order by submitted_at",
    "select extract(hour from submitted_at) as hour, dayname(submitted_at) as name from items order by submitted_at",
    "select make_timestamptz(2025, 11, 2, 0, 0, 0) as made, '2025-11-02 00:00'::timestamptz as said",
    "select submitted_at from items order by submitted_at",
)
ASK = """
import sys
from pathlib import Path
from implio_pipeline import open_lake
with open_lake(Path(sys.argv[1]), team="ads") as lake:
    for question in sys.argv[2:]:
        result = lake.sql(question)
        print(result.fetchall(), result.df().to_csv())
"""
MACHINES = {
    "west of UTC": {"TZ": "America/Los_Angeles", "LC_ALL": "en_US.UTF-8"},
    "east of UTC": {"TZ": "Europe/Berlin", "LC_ALL": "de_DE.UTF-8"},
    "with another calendar": {"TZ": "Asia/Bangkok", "LC_ALL": "th_TH.UTF-8"},
}


@pytest.fixture
def stocked(home: Home) -> Path:
    home.keep(*(Ad(task=f"t-{number}", at=at) for number, at in enumerate(INSTANTS)))
    return home.path


def asked(path: Path, machine: dict[str, str]) -> str:
    command = [sys.executable, "-c", ASK, str(path), *QUESTIONS]
    return subprocess.run(command, env=os.environ | machine, capture_output=True, check=True, text=True).stdout


def test_answers_do_not_depend_on_the_zone_and_language_of_the_reader_s_machine(stocked: Path) -> None:
    expected = asked(stocked, {"TZ": "UTC", "LC_ALL": "C.UTF-8"})

    answers = {name: asked(stocked, machine) for name, machine in MACHINES.items()}

    assert answers == dict.fromkeys(MACHINES, expected)


def test_days_are_those_of_utc(stocked: Path) -> None:
    with open_lake(stocked, team=ADS) as lake:
        later, same_day, *_ = (lake.sql(question).fetchall() for question in QUESTIONS)

    assert later == [(1,)]
    assert same_day == [(len(INSTANTS),)]
