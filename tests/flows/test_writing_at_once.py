"""Rows on their way in: files are written several at once and a few at a time, and all of them or none stay."""

from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from threading import Barrier, Lock
from typing import Any

import pytest
from support.home import ADS, Home
from support.items import YESTERDAY, Ad

from implio_pipeline.domain.errors import StorageFull
from implio_pipeline.domain.files import SealedFile
from implio_pipeline.flows.files import intake
from implio_pipeline.flows.files.submit import add_rows

DAYS = 12
PATIENCE_SECONDS = 600


def add_days(home: Home) -> list[SealedFile]:
    """Add a part of four items for each of some days; each day becomes one file."""
    parts = [
        home.table([Ad(task=f"t-{day}-{one}", at=YESTERDAY - timedelta(days=day)) for one in range(4)])
        for day in range(DAYS)
    ]
    return add_rows(home.services, home.services.catalog.teams.get(ADS), parts).files


def bytes_of_a_file(home: Home) -> int:
    return home.table([Ad(task=f"t-0-{one}", at=YESTERDAY) for one in range(4)]).nbytes


def test_a_file_is_written_beside_another_one(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    both, write = Barrier(2), home.vault.write_part

    def together(part: Any, **known: Any) -> SealedFile:
        both.wait(PATIENCE_SECONDS)  # fails unless two are written at the same time
        return write(part, **known)

    monkeypatch.setattr(home.vault, "write_part", together)

    assert len(add_days(home)) == DAYS


def test_files_that_are_not_finished_take_no_more_memory_than_the_buffer(
    home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    lock, begun, most = Lock(), 0, 0
    submit, write = ThreadPoolExecutor.submit, home.vault.write_part

    def submitted(self: ThreadPoolExecutor, act: Any, *given: Any, **known: Any) -> Any:
        nonlocal begun, most
        with lock:
            begun += "day" in known
            most = max(most, begun)
        return submit(self, act, *given, **known)

    def written(part: Any, **known: Any) -> SealedFile:
        nonlocal begun
        made = write(part, **known)
        with lock:
            begun -= 1
        return made

    monkeypatch.setattr(ThreadPoolExecutor, "submit", submitted)
    monkeypatch.setattr(home.vault, "write_part", written)
    monkeypatch.setattr(intake, "BUFFER_BYTES", 3 * bytes_of_a_file(home) + 100)

    assert len(add_days(home)) == DAYS
    assert 2 <= most <= 3


@pytest.mark.parametrize("bad", [0, 1, DAYS // 2, DAYS - 1])
@pytest.mark.parametrize("files_at_once", [1, 3, 100])
def test_if_one_file_fails_none_stays(
    home: Home, monkeypatch: pytest.MonkeyPatch, bad: int, files_at_once: int
) -> None:
    write, bad_day = home.vault.write_part, (YESTERDAY - timedelta(days=bad)).date()

    def fails_once(part: Any, **known: Any) -> SealedFile:
        if known["day"] == bad_day:
            raise StorageFull("no room")
        return write(part, **known)

    monkeypatch.setattr(home.vault, "write_part", fails_once)
    monkeypatch.setattr(intake, "BUFFER_BYTES", files_at_once * bytes_of_a_file(home) + 100)

    with pytest.raises(StorageFull):
        add_days(home)

    assert home.stored() == []
    assert home.files() == []
