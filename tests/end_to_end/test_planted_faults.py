"""A fault in what erases: the request ends unverified, its file is named, none of it can be read, somebody is told."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import dagster as dg
import numpy as np
import pyarrow as pa
import pytest
from support.home import ADS, Home
from support.items import Ad
from support.stage import failure_codes

from implio_pipeline import open_lake
from implio_pipeline.domain.file_changes import Change
from implio_pipeline.domain.request import RequestState
from implio_pipeline.domain.scope import ByUser
from implio_pipeline.jobs import CARRY_OUT_REQUESTS
from implio_pipeline.orchestration.build import build_definitions
from implio_pipeline.orchestration.resources import HomeResource
from implio_pipeline.stores.catalog.manifest import SqlManifest
from implio_pipeline.stores.vault import describe
from implio_pipeline.stores.vault.vault import EncryptedVault

Plant = Callable[[pytest.MonkeyPatch, Home], None]


def rewriter(spoil: Callable[[pa.Table, Any], tuple[pa.Table, Any]]) -> Plant:
    """Plant a fault into the rows that a rewrite keeps."""

    def plant(monkeypatch: pytest.MonkeyPatch, home: Home) -> None:
        del home
        write = EncryptedVault._write_kept
        monkeypatch.setattr(
            EncryptedVault, "_write_kept", lambda self, rows, mask, file: write(self, *spoil(rows, mask.copy()), file)
        )

    return plant


def keeps_one(rows: pa.Table, mask: Any) -> tuple[pa.Table, Any]:
    mask[mask.argmax()] = False
    return rows, mask


def drops_one(rows: pa.Table, mask: Any) -> tuple[pa.Table, Any]:
    mask[mask.argmin()] = True
    return rows, mask


def alters_one(rows: pa.Table, mask: Any) -> tuple[pa.Table, Any]:
    at = int(np.flatnonzero(~mask)[0])
    titles = ["altered" if number == at else title for number, title in enumerate(rows["title"].to_pylist())]
    place = rows.column_names.index("title")
    return rows.set_column(place, rows.schema.field("title"), pa.array(titles, pa.string())), mask


def a_filter_that_misses(monkeypatch: pytest.MonkeyPatch, home: Home) -> None:
    del home
    build = describe.build_filter
    monkeypatch.setattr(describe, "build_filter", lambda keys: build(list(keys)[1:]))


def a_swap_of_the_wrong_file(monkeypatch: pytest.MonkeyPatch, home: Home) -> None:
    home.keep(Ad(task="other", user="cid"))
    commit = SqlManifest.commit

    def commit_another(self: SqlManifest, change: Change) -> None:
        others = [file.file_id for file in self.files(ADS) if file.file_id not in change.remove]
        commit(self, replace(change, remove=tuple(others[:1])) if change.outcomes else change)

    monkeypatch.setattr(SqlManifest, "commit", commit_another)


FAULTS: dict[str, Plant] = {
    "a rewriter that keeps one matching row": rewriter(keeps_one),
    "a rewriter that drops a kept row": rewriter(drops_one),
    "a rewriter that alters a kept row": rewriter(alters_one),
    "a membership filter that misses": a_filter_that_misses,
    "a swap that names the wrong file": a_swap_of_the_wrong_file,
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_ends_unverified_with_its_file_named(home: Home, monkeypatch: pytest.MonkeyPatch, fault: str) -> None:
    home.keep(Ad(task="a"), Ad(task="b", user="bob", title="chair"), Ad(task="c", user="dee", title="table"))
    (touched,) = home.files(ADS)
    FAULTS[fault](monkeypatch, home)
    before = home.rows(ADS)
    (asked,) = home.ask(ByUser(user_id="ann"))

    with dg.instance_for_test() as instance:
        repository = build_definitions(HomeResource(home=str(home.path))).get_repository_def()
        result = repository.get_job(CARRY_OUT_REQUESTS).execute_in_process(instance=instance, raise_on_error=False)
        log = "".join(str(each.event_log_entry) for each in instance.get_records_for_run(result.run_id).records)

    # 1. It ends unverified, and names the file.
    request = home.services.catalog.requests.get(asked.request_id)
    assert (request.state, request.error_code) == (RequestState.UNVERIFIED, "unverified")
    named = {file.file_id for file in home.files(ADS)} if "swap" in fault else {touched.file_id}
    assert request.error_about in named
    # 2. Dagster's run has failed with that code, and names the file too.
    assert failure_codes(result) == ["unverified"]
    assert request.error_about in log
    # 3. Nothing was committed; the old data is read by no query, and there is no receipt.
    assert home.rows(ADS) == before
    with open_lake(home.path, team=ADS) as lake:
        left = lake.sql("select task_id from items order by 1").fetchall()
    assert left == [(row["task_id"],) for row in before if row["user_id"] != "ann"]
    assert home.receipts() == []
