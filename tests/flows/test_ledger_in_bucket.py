"""A whole home whose ledger is in a bucket: what it promises, and a restore from it."""

import json
from datetime import timedelta
from pathlib import Path

import pytest
from support.catalogs import copy_part
from support.clock import NOW
from support.home import ADS, CARS, a_home, opened_at
from support.items import Ad
from support.servers import s3

from implio_pipeline.domain.scope import ByUser
from implio_pipeline.flows.deletion.erase import erase
from implio_pipeline.flows.operations.restore import restore
from implio_pipeline.verify import check_chains, check_receipt


@pytest.fixture(autouse=True)
def ledger_in_bucket(monkeypatch: pytest.MonkeyPatch) -> None:
    server = s3()
    for name, value in server.environment.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("IMPLIO_LEDGER__URL", f"s3://{server.new_bucket()}/ledger")


def test_what_was_erased_is_erased_again_from_the_bucket(tmp_path: Path) -> None:
    folder = tmp_path / "home"
    with a_home(folder) as home:
        home.keep(Ad(task="ann-1", user="ann"), Ad(task="bob-1", user="bob"))
        home.keep(Ad(task="car", user="ann"), team=CARS)
    for name in ("catalog", "vault"):
        copy_part(folder / name, tmp_path / "backup" / name)
    with opened_at(folder) as home:
        home.ask(ByUser(user_id="ann"))
        erase(home.services)
        (entry,) = home.receipts()
        note = home.opened.ledger.checkpoint(entry.chain)

    # Catalog and vault are put back, and the index of the ledger is lost.
    for name in ("catalog", "vault"):
        copy_part(tmp_path / "backup" / name, folder / name)
    (folder / "ledger" / "index.db").unlink()
    with opened_at(folder, at=NOW + timedelta(hours=1), is_restoring=True) as home:
        summary = restore(home.services)

        assert summary.is_proven
        assert home.tasks(ADS) == ["bob-1"]
        assert home.tasks(CARS) == ["car"]
        assert home.opened.ledger.check() == []
        assert [each.findings for each in check_chains(home.opened.ledger_sources(), kept=[note])] == [[], [], []]
        (again,) = home.opened.ledger.receipts([entry.statement.request_id]).values()
        assert [each.kind for each in again] == ["receipt", "re-erasure"]
        assert entry.chain == "eu"
        assert not list((folder / "ledger").rglob("*.jsonl"))


def test_a_receipt_from_the_bucket_proves_itself(tmp_path: Path) -> None:
    with a_home(tmp_path / "home") as home:
        home.keep(Ad(task="ann-1", user="ann"))
        home.ask(ByUser(user_id="ann"), ByUser(user_id="bob"))
        erase(home.services)

        for entry in home.receipts():
            assert check_receipt(json.dumps(entry.shape()), home.opened.ledger.public_key(entry.chain)) == []
