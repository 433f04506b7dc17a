"""A person who was erased and comes in again with a customer's next export is told, in numbers."""

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest
from support.home import ADS, Home, a_home
from support.items import Ad
from support.landing import LandedTable

from implio_pipeline.domain.scope import ByUser
from implio_pipeline.flows.deletion.erase import erase
from implio_pipeline.flows.files.ingest import IngestSummary, ingest


@pytest.fixture
def home(tmp_path: Path) -> Iterator[Home]:
    with a_home(tmp_path / "home") as home:
        yield home


def landed(home: Home, name: str, *ads: Ad) -> IngestSummary:
    home.landing.land(ADS, LandedTable(name=name, pieces_of_items=[home.table([ad]) for ad in ads]))
    return ingest(home.services)


def test_items_of_people_who_were_erased_are_counted_when_they_come_in_again(home: Home) -> None:
    first = landed(home, "export 1", Ad(task="a-1", user="ann"), Ad(task="b-1", user="bob"))
    home.ask(ByUser(user_id="ann"), ByUser(user_id="bob"))
    erase(home.services)
    home.clock.pass_by(timedelta(hours=1))
    later = home.clock.now()
    early = Ad(task="a-0", user="ann")
    again = [Ad(task=f"a-{number}", user="ann", at=later) for number in (2, 3)]

    second = landed(home, "export 2", early, *again, Ad(task="b-2", user="bob", at=later), Ad(task="c", user="cid"))

    assert (first.returned_items, first.returned_people) == (0, 0)
    assert (second.returned_items, second.returned_people, second.erased_before) == (3, 2, 1)
    assert home.tasks(ADS) == ["a-2", "a-3", "b-2", "c"]
    assert repr(home.user_key("ann")) not in repr(second)


def test_runs_add_up_people_each_once(home: Home) -> None:
    home.ask(ByUser(user_id="ann"))
    home.clock.pass_by(timedelta(hours=1))
    whole = IngestSummary()

    for number in range(2):
        whole.add(landed(home, f"export {number}", Ad(task=f"a-{number}", user="ann", at=home.clock.now())))

    assert (whole.returned_items, whole.returned_people) == (2, 1)
