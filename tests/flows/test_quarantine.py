"""A landing file that fails each time: tried so often and no more, and no other file waits for it."""

import errno
import os
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from support.clock import NOW
from support.home import ADS, CARS, Home
from support.items import Ad
from support.landing import LandedTable

from implio_pipeline.domain.errors import ImplioError, StorageFailed
from implio_pipeline.domain.faults import LONGEST_BACKOFF, MOST_ATTEMPTS, FailedFile, WorkKind
from implio_pipeline.domain.ids import TeamId
from implio_pipeline.flows.faults import Faults
from implio_pipeline.flows.files.ingest import failed_landings, ingest, marks_put_off

NewHome = Callable[[], Home]
BAD: dict[str, Callable[[], BaseException]] = {
    "EIO": lambda: OSError(errno.EIO, os.strerror(errno.EIO)),
    "ESTALE": lambda: OSError(errno.ESTALE, os.strerror(errno.ESTALE)),
    "the vault refuses it": lambda: StorageFailed("refused"),
    "a fault of ours": lambda: ValueError("x"),
}


@dataclass
class Landed:
    """A file and how often it was read; each reading fails while it is bad."""

    table: LandedTable
    error: Callable[[], BaseException] | None = None
    readings: list[int] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.table.between = self._between

    def _between(self) -> None:
        self.readings.append(1)
        if self.error is not None:
            raise self.error()


def landed(home: Home, name: str, *, team: TeamId = ADS, error: Callable[[], BaseException] | None = None) -> Landed:
    table = LandedTable(name=name, pieces_of_items=[home.table([Ad(task=name)], team=team)])
    home.landing.land(team, table)
    return Landed(table, error)


def tried_for_ever(home: Home, *, times: int = MOST_ATTEMPTS + 5) -> Faults:
    faults = Faults()
    for _ in range(times):
        ingest(home.services, faults=faults)
        home.clock.pass_by(LONGEST_BACKOFF)
    return faults


@given(files=st.lists(st.sampled_from([None, *BAD]), min_size=1, max_size=6), threads=st.sampled_from([1, 2]))
@settings(deadline=None, max_examples=10, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_bad_landing_files_never_stop_the_others_and_each_is_tried_so_often_and_no_more(
    new_home: NewHome, files: list[str | None], threads: int
) -> None:
    # given files of which some fail each time
    home = new_home()
    every = [
        (kind, landed(home, f"file{number}", error=None if kind is None else BAD[kind]))
        for number, kind in enumerate(files)
    ]
    good = sorted(each.table.name for kind, each in every if kind is None)

    # when they are taken in once, all good ones are in
    ingest(home.services, faults=Faults())
    assert home.tasks(ADS) == good

    # then each bad one is tried so often, however many runs there are, and stays where it is
    faults = tried_for_ever(home)
    assert [len(each.readings) for kind, each in every if kind] == [MOST_ATTEMPTS] * (len(files) - len(good))
    assert len(faults.found) == (MOST_ATTEMPTS - 1) * (len(files) - len(good))
    failed = failed_landings(home.services)
    assert len(failed) == len(files) - len(good)
    assert all(each.is_quarantined and each.attempts == MOST_ATTEMPTS for each in failed)
    assert all(each.table.became is None for kind, each in every if kind)


def test_a_failed_file_waits_for_its_back_off_and_a_new_one_does_not(home: Home) -> None:
    bad = landed(home, "bad", error=BAD["EIO"])
    with pytest.raises(ImplioError):
        ingest(home.services)
    landed(home, "new")

    summary = ingest(home.services)  # no fault: the bad one is not tried

    assert (summary.files, len(bad.readings)) == (1, 1)
    assert home.services.landing.waiting(but=marks_put_off(failed_landings(home.services), now=home.clock.now())) == {}
    home.clock.pass_by(timedelta(seconds=30))
    with pytest.raises(ImplioError):
        ingest(home.services)
    assert len(bad.readings) == 2


def test_a_quarantined_file_is_tried_when_somebody_says_so_and_forgotten_once_it_is_in(home: Home) -> None:
    bad = landed(home, "bad", error=BAD["EIO"])
    tried_for_ever(home)
    assert [each.next_attempt_at for each in failed_landings(home.services)] == [None]

    with pytest.raises(ImplioError):
        ingest(home.services, again=True)
    assert [each.attempts for each in failed_landings(home.services)] == [MOST_ATTEMPTS + 1]
    bad.error = None
    ingest(home.services)
    assert home.tasks(ADS) == []
    ingest(home.services, again=True)

    assert home.tasks(ADS) == ["bad"]
    assert home.services.catalog.failed_files.all(WorkKind.INGEST) == []


def test_what_is_not_there_any_more_is_forgotten_and_a_file_written_anew_is_new(home: Home) -> None:
    bad = landed(home, "bad", error=BAD["EIO"])
    tried_for_ever(home)
    assert len(home.services.catalog.failed_files.all(WorkKind.INGEST)) == 1

    bad.table.name = "mended"  # other content, another mark
    bad.error = None
    ingest(home.services)

    assert home.tasks(ADS) == ["bad"]
    assert home.services.catalog.failed_files.all(WorkKind.INGEST) == []


def test_a_file_is_told_by_its_team_size_and_arrival_and_by_no_name(home: Home) -> None:
    landed(home, "mueller-canary", team=CARS, error=BAD["EIO"])
    tried_for_ever(home, times=1)

    (failed,) = home.services.catalog.failed_files.all(WorkKind.INGEST)

    assert failed.unit == "landing file of team cars, 14 bytes, of 2026-03-01T12:00:00Z"
    assert failed.error_code == "storage-failed"
    assert "mueller" not in repr(failed)


def test_a_back_off_begun_under_a_clock_that_was_ahead_is_over() -> None:
    known: dict[str, Any] = {"team": ADS, "work": WorkKind.INGEST, "file": "f", "unit": "u", "error_code": "c"}
    ahead = FailedFile.failed_again(None, now=NOW + timedelta(days=400), **known)

    assert not ahead.is_put_off(now=NOW)
    assert FailedFile.failed_again(None, now=NOW, **known).is_put_off(now=NOW)
