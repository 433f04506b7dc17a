"""A network that loses packets, between a worker and its database, its bucket and its key service.

The laws are those of `docs/RELIABILITY.md`: whatever the network does, nothing is lost, left over or doubled, and when
it is well again the work ends.
"""

from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from sqlalchemy import make_url
from support.buckets import move_into_bucket, use_server
from support.catalogs import URL_VARIABLE
from support.clock import NOW
from support.cutting_proxy import CuttingProxy
from support.databases import new_database
from support.depth import few
from support.home import ADS, Home, opened_at
from support.items import YESTERDAY, Ad
from support.key_services import transit_address
from support.landing import LandedTable
from support.promises import disagreements
from support.servers import S3Server, postgres, transit

from implio_pipeline import wiring
from implio_pipeline.domain.errors import ImplioError
from implio_pipeline.domain.ids import Region
from implio_pipeline.domain.scope import ByUser
from implio_pipeline.flows.accounts.teams import add_team
from implio_pipeline.flows.deletion.erase import erase
from implio_pipeline.flows.files.compact import compact
from implio_pipeline.flows.files.ingest import ingest
from implio_pipeline.flows.operations.audit import audit
from implio_pipeline.flows.operations.housekeep import housekeep
from implio_pipeline.flows.operations.rotate_keys import rotate_keys

pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
"""Connections that are cut are not closed in order."""

WORK: list[Callable[[Home], object]] = [
    lambda home: home.answers(ByUser(user_id="ann"), received_at=NOW),
    lambda home: ingest(home.services),
    lambda home: erase(home.services),
    lambda home: compact(home.services, rows_per_file=100),
    lambda home: rotate_keys(home.services),
]


def before(address: str) -> CuttingProxy:
    return CuttingProxy(urlsplit(address).port or 0)


@pytest.fixture
def networks(server: S3Server) -> Iterator[dict[str, CuttingProxy]]:
    """A proxy before each server."""
    made = {"database": before(postgres()), "bucket": before(server.url), "keys": before(transit())}
    yield made
    for each in made.values():
        each.close()


@pytest.fixture
def home(
    networks: dict[str, CuttingProxy],
    server: S3Server,
    bucket: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[Home]:
    """A home with nothing on this machine but its ledger and what is landed."""
    folder = tmp_path / "home"
    wiring.init_home(folder)
    move_into_bucket(folder, bucket)
    use_server(server.at(f"http://127.0.0.1:{networks['bucket'].port}"), monkeypatch)
    url = make_url(new_database()).set(port=networks["database"].port)
    monkeypatch.setenv(URL_VARIABLE, url.render_as_string(hide_password=False))
    address = transit_address(monkeypatch, url=f"http://127.0.0.1:{networks['keys'].port}")
    settings = folder / "implio.toml"
    text = settings.read_text()
    text = text.replace("[regions.eu]", f'[regions.eu]\nkeys = "{address}"')
    settings.write_text(f'home_keys = "{address}"\n{text}')
    wiring.make_root_keys(folder)
    with opened_at(folder, threads=1) as opened:
        add_team(opened.services, ADS, region=Region("eu"))
        yield opened


@pytest.mark.parametrize("seed", few(range(40), 1))
def test_whatever_the_network_loses_nothing_else_is_lost_and_the_work_ends_when_it_is_well(
    home: Home, networks: dict[str, CuttingProxy], seed: int
) -> None:
    home.keep(Ad(task="ann-1"), Ad(task="bob-1", user="bob"))
    home.keep(Ad(task="ann-2"), Ad(task="bob-2", user="bob"))
    home.keep(Ad(task="ann-3", at=YESTERDAY - timedelta(days=1)))
    home.landing.land(ADS, LandedTable(name="new", pieces_of_items=[home.table([Ad(task="new", user="bob")])]))

    for number, each in enumerate(networks.values()):
        each.worsen(seed * 10 + number)
    failed = 0
    for act in [*WORK, *WORK]:
        try:
            act(home)
        except ImplioError:
            failed += 1
    for each in networks.values():
        each.heal()
    done = {name: (each.cuts, each.stalls) for name, each in networks.items()}

    # Whoever was told of an error sends the request again, and what waits for its next attempt is due.
    home.clock.pass_by(timedelta(days=1))
    for act in WORK:
        act(home)
    housekeep(home.services, stray_age=timedelta(days=-36_500))  # the bucket's clock is another one
    assert home.tasks() == ["bob-1", "bob-2", "new"], (done, failed)
    assert len(home.receipts()) == 1
    assert not home.opened.ledger.check()
    assert disagreements(home.services) == []
    assert audit(home.services, is_full=True).findings == []
    assert sum(cuts + stalls for cuts, stalls in done.values()) > 0, "the network was well: this shows nothing"
