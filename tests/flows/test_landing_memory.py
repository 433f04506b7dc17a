"""The memory of landing files: keyed, and no longer than anything of the file is in the vault."""

import os
from datetime import timedelta
from hashlib import sha256

import pytest
from support.changed import changed
from support.home import ADS, Home
from support.items import YESTERDAY, Ad, table_of_rows
from support.landing import LandedTable

from implio_pipeline.domain.retention import RetentionPolicy
from implio_pipeline.domain.scope import ByDates, ByTeam, ByUser, Scope
from implio_pipeline.flows.deletion.erase import erase
from implio_pipeline.flows.files.ingest import ingest
from implio_pipeline.flows.operations.housekeep import housekeep

SCOPES: dict[str, Scope] = {
    "its only user": ByUser(user_id="ann"),
    "its dates": ByDates(start=YESTERDAY - timedelta(days=2), end=YESTERDAY + timedelta(days=2)),
    "the whole team": ByTeam(),
}


def landed(home: Home, name: str, *ads: Ad) -> LandedTable:
    """Land a file whose items carry a batch id of their own."""
    rows = [row | {"batch_id": f"batch of {name}"} for row in home.table(ads).to_pylist()]
    return home.landing.land(ADS, LandedTable(name=name, pieces_of_items=[table_of_rows(rows)]))


@pytest.mark.parametrize("how", SCOPES)
def test_content_that_was_erased_whole_is_new_when_it_comes_again(how: str, home: Home) -> None:
    landed(home, "a", Ad(task="a-1"), Ad(task="a-2", at=YESTERDAY - timedelta(days=1)))
    landed(home, "b", Ad(task="b-1", user="bob", at=YESTERDAY - timedelta(days=9)))
    ingest(home.services)
    home.ask(SCOPES[how])
    erase(home.services)

    later = home.clock.now() + timedelta(hours=1)
    home.clock.pass_by(timedelta(hours=2))
    landed(home, "a", Ad(task="a-1", at=later), Ad(task="a-2", at=later))
    summary = ingest(home.services)

    assert (summary.duplicates, summary.items) == (0, 2)
    assert {"a-1", "a-2"} <= set(home.tasks(ADS))


def test_content_of_which_one_item_is_left_is_not_taken_twice(home: Home) -> None:
    landed(home, "a", Ad(task="a-1"), Ad(task="a-2", user="bob"))
    ingest(home.services)
    home.ask(ByUser(user_id="ann"))
    erase(home.services)

    landed(home, "a", Ad(task="a-1"), Ad(task="a-2", user="bob"))
    summary = ingest(home.services)

    assert summary.duplicates == 1
    assert home.tasks(ADS) == ["a-2"]


def test_content_is_remembered_through_merges_and_rotations(home: Home) -> None:
    landed(home, "a", Ad(task="a-1"))
    ingest(home.services)
    housekeep(home.services)

    landed(home, "a", Ad(task="a-1"))

    assert ingest(home.services).duplicates == 1
    assert home.tasks(ADS) == ["a-1"]


def test_housekeeping_forgets_a_file_once_nothing_of_its_days_is_left(home: Home) -> None:
    landed(home, "old", Ad(task="o-1", at=YESTERDAY - timedelta(days=9)))
    landed(home, "new", Ad(task="n-1"))
    ingest(home.services)
    home.services.catalog.teams.set_policy(ADS, RetentionPolicy(keep_days=5))
    home.ask(ByDates(start=YESTERDAY - timedelta(days=10), end=YESTERDAY - timedelta(days=8)))
    erase(home.services)

    summary = housekeep(home.services)

    assert summary.landings == 1
    (kept,) = home.services.catalog.landings.all(ADS)
    assert kept.last_day == YESTERDAY.date()


def test_nothing_in_a_home_is_the_plain_digest_of_a_landing_file(home: Home) -> None:
    content = b'{"id": "a", "content": {"title": "t"}, "user": {"id": "ann"}}\n{"id": "broken"}\n'
    folder = home.path / "landing" / ADS
    folder.mkdir()
    (folder / "items.ndjson").write_bytes(content)
    os.utime(folder / "items.ndjson", (0, 0))  # long enough ago that nobody is writing to it

    ingest(changed(home.services, landing=home.opened.landing))
    home.opened.catalog.scrub()

    plain = sha256(content).hexdigest()
    (record,) = home.services.catalog.landings.all(ADS)
    assert record.digest
    files = [path for path in home.path.rglob("*") if path.is_file()]
    assert any(path.parent.name == ".rejected" for path in files)
    for path in files:
        assert plain[:16] not in path.name
        assert plain[:16].encode() not in path.read_bytes()
