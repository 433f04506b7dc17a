"""A file's date is believed only when it can be true, and what is kept out for its age alone is set aside."""

import gzip
import json
import os
from datetime import datetime, timedelta
from pathlib import Path

import pytest
from support.changed import changed
from support.clock import NOW, TODAY
from support.home import ADS, Home
from support.items import Ad
from support.landing import LandedTable

from implio_pipeline.domain.ids import FileKind
from implio_pipeline.domain.retention import RetentionPolicy
from implio_pipeline.domain.scope import ByUser
from implio_pipeline.flows.deletion.erase import erase
from implio_pipeline.flows.deletion.retention import retain
from implio_pipeline.flows.files.ingest import IngestSummary, ingest
from implio_pipeline.formats.limits import LandingPolicy
from implio_pipeline.stores.landing.zone import LandingFolder

LINES = b'{"id":"t-1","content":{"title":"a"},"user":{"id":"u-1"}}\n{"id":"t-2"}\n'
DATES = {
    "1970": datetime.fromisoformat("1970-01-01T00:00:00+00:00"),
    "1980": datetime.fromisoformat("1980-01-01T00:00:00+00:00"),
    "before the team existed": NOW - timedelta(days=200),
    "a year to come": NOW + timedelta(days=365),
}


def landed(home: Home, modified_at: datetime, content: bytes = LINES, *, name: str = "old.ndjson") -> IngestSummary:
    """Take in one file of the real landing folder, of that date."""
    folder = home.path / "landing" / ADS
    folder.mkdir(parents=True, exist_ok=True)
    (folder / name).write_bytes(content)
    os.utime(folder / name, (modified_at.timestamp(),) * 2)
    zone = LandingFolder(
        home.path / "landing",
        home.services.keychain,  # type: ignore[arg-type]
        home.opened.set_aside,
        clock=home.clock,
        policy=LandingPolicy(settle_seconds=0),
    )
    return ingest(changed(home.services, landing=zone))


@pytest.mark.parametrize("modified_at", DATES.values(), ids=DATES)
def test_items_of_a_file_whose_date_cannot_be_true_reached_us_when_it_was_taken_up(
    home: Home, modified_at: datetime
) -> None:
    home.services.catalog.teams.set_policy(ADS, RetentionPolicy(keep_days=60))

    summary = landed(home, modified_at)
    retain(home.services, today=TODAY)
    erase(home.services)

    assert (summary.items, summary.rejected, summary.erased_before, summary.too_old) == (1, 1, 0, 0)
    assert [row["submitted_at"] for row in home.rows(ADS)] == [NOW]
    assert [row["submitted_at"] for row in home.rows(ADS, kind=FileKind.REJECTED)] == [NOW]


@pytest.mark.parametrize("content", [b"[]", gzip.compress(b"[]")], ids=["plain", "gzip"])
def test_a_file_without_items_comes_in_although_the_team_has_a_retention_policy(home: Home, content: bytes) -> None:
    home.services.catalog.teams.set_policy(ADS, RetentionPolicy(keep_days=60))

    summary = landed(home, NOW, content, name="nothing.json")

    assert (summary.files, summary.items) == (1, 0)
    assert [path for path in (home.path / "landing" / ADS).iterdir() if path.is_file()] == []


def test_what_age_alone_keeps_out_is_set_aside_as_a_landing_file_and_comes_in_once_the_policy_allows(
    home: Home,
) -> None:
    home.services.catalog.teams.set_policy(ADS, RetentionPolicy(keep_days=60))
    old = {
        "id": "t-old",
        "content": {"title": "ä\n", "price": {"amount": 1.5, "currency": "EUR"}},
        "user": {"id": "u-1", "phoneNumbers": ["1"]},
        "result": {"outcome": "refused", "reasons": [{"name": "fraud"}]},
        "submittedAt": (NOW - timedelta(days=90)).isoformat(),
    }
    new = {"id": "t-new", "content": {"title": "b"}}

    first = landed(home, NOW, b"".join(json.dumps(each).encode() + b"\n" for each in (old, new)))
    (aside,) = home.opened.set_aside.list()
    content = b"".join(home.opened.set_aside.open(aside.id))
    home.services.catalog.teams.set_policy(ADS, RetentionPolicy())
    again = landed(home, NOW, content)

    assert (first.items, first.too_old, first.erased_before) == (1, 1, 0)
    assert (aside.team, aside.code) == (ADS, "too-old")
    assert json.loads(content) == old
    assert (again.items, again.rejected) == (1, 0)
    assert {row["item_id"] for row in home.rows(ADS)} == {"t-old", "t-new"}


def test_erased_before_and_too_old_are_counted_apart(home: Home) -> None:
    home.services.catalog.teams.set_policy(ADS, RetentionPolicy(keep_days=60))
    home.ask(ByUser(user_id="ann"))
    ads = [Ad(task="hers"), Ad(task="old", user="bob", at=NOW - timedelta(days=90)), Ad(task="in", user="bob")]
    home.landing.land(ADS, LandedTable(name="file", pieces_of_items=[home.table(ads)]))

    summary = ingest(home.services)
    (record,) = home.services.catalog.landings.all(ADS)

    assert (summary.items, summary.erased_before, summary.too_old) == (1, 1, 1)
    assert (record.items, record.erased_before, record.too_old) == (1, 1, 1)


def test_what_retention_begins_to_cover_while_a_file_comes_in_is_set_aside_too(home: Home) -> None:
    home.keep(Ad(task="there", user="bob", at=NOW - timedelta(days=90)))

    def begin() -> None:
        home.services.catalog.teams.set_policy(ADS, RetentionPolicy(keep_days=60))
        retain(home.services, today=TODAY)

    ads = [Ad(task="old", user="bob", at=NOW - timedelta(days=90)), Ad(task="in", user="bob")]
    home.landing.land(ADS, LandedTable(name="file", pieces_of_items=[home.table(ads)], between=begin))

    summary = ingest(home.services)

    assert (summary.items, summary.too_old) == (1, 1)
    assert [each.code for each in home.opened.set_aside.list()] == ["too-old"]
    assert sorted(home.tasks(ADS)) == ["in", "there"]


def test_a_report_counts_what_was_kept_out(home: Home) -> None:
    home.services.catalog.teams.set_policy(ADS, RetentionPolicy(keep_days=60))
    home.ask(ByUser(user_id="u-1"))
    old = {"id": "t", "content": {"title": "x"}, "submittedAt": (NOW - timedelta(days=90)).isoformat()}

    landed(home, NOW - timedelta(seconds=0), json.dumps(old).encode())

    (report,) = Path(home.path / "landing" / ADS / ".rejected").glob("*.json")
    assert json.loads(report.read_bytes())["tooOld"] == 1
