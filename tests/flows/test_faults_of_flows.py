"""Whatever a disk answers for one file or team fails that alone, in every flow: the others go on, and it is named."""

import errno
import os
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import pytest
from support.clock import NOW
from support.damage import damaged
from support.home import ADS, CARS, Home
from support.items import YESTERDAY, Ad
from support.landing import LandedTable
from support.moderation import decide_all, waiting

from implio_pipeline.api import upkeep_process
from implio_pipeline.domain.errors import CatalogUnavailable, StorageFailed
from implio_pipeline.domain.retention import RetentionPolicy
from implio_pipeline.flows.access.export import AccessDraft, export_person, purge_exports
from implio_pipeline.flows.deletion.retention import retain
from implio_pipeline.flows.faults import Fault, Faults
from implio_pipeline.flows.files.compact import compact, merge_small
from implio_pipeline.flows.files.ingest import ingest
from implio_pipeline.flows.moderation.apply_decisions import apply_decisions
from implio_pipeline.flows.operations.audit import AuditReport, audit
from implio_pipeline.flows.operations.housekeep import housekeep
from implio_pipeline.flows.operations.rotate_keys import rotate_keys
from implio_pipeline.stores.catalog.manifest import SqlManifest
from implio_pipeline.stores.keys.keychain import TeamKeychain

ERRNOS = {
    name: getattr(errno, name) for name in ("EIO", "EROFS", "EACCES", "ENOTDIR", "EISDIR", "ENOSPC", "ESTALE", "EMFILE")
}
LAST_WEEK = NOW - timedelta(days=7)
CANARY = "mueller-secret-canary"


@dataclass(frozen=True, kw_only=True)
class Flow:
    """One flow over two units of work, one of which meets a bad place of the disk."""

    prepare: Callable[[Home], None]
    plant: Callable[[Home, int], AbstractContextManager[None]]
    run: Callable[[Home, Faults], Any]
    names: Callable[[Home], str]
    """What the fault says, in part."""
    is_other_done: Callable[[Home, Any], bool]


def the_disk_says(number: int) -> OSError:
    return OSError(number, os.strerror(number), f"/landing/{CANARY}.csv")


@contextmanager
def failing(kind: type, method: str, number: int, *, when: Callable[..., bool]) -> Iterator[None]:
    """Let a method fail as the disk does for the calls that `when` tells."""
    real = getattr(kind, method)

    def call(self: Any, *rest: Any, **known: Any) -> Any:
        if when(*rest, **known):
            raise the_disk_says(number)
        return real(self, *rest, **known)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(kind, method, call)
        yield


def two_days(home: Home) -> None:
    for day in (LAST_WEEK, YESTERDAY):
        for task in ("a", "b", "c"):
            home.keep(Ad(task=f"{task}{day.day}", user=f"u{task}", at=day, outcome=None))
    home.keep(Ad(task="z", at=YESTERDAY), team=CARS)


def two_landing_files(home: Home) -> None:
    for name in ("bad", "good"):
        home.landing.land(ADS, LandedTable(name=name, pieces_of_items=[home.table([Ad(task=name)])]))


@contextmanager
def a_landing_file_that_cannot_be_read(home: Home, number: int) -> Iterator[None]:
    def broken() -> None:
        raise the_disk_says(number)

    home.landing.files[ADS][0].between = broken
    yield


@contextmanager
def a_landing_folder_that_cannot_be_listed(home: Home, number: int) -> Iterator[None]:
    home.landing.land(CARS, LandedTable(name="cars", pieces_of_items=[home.table([Ad(task="cars")], team=CARS)]))
    with failing(type(home.landing), "claim", number, when=lambda team, *_, **__: team == ADS):
        yield


def old_items(home: Home) -> None:
    for team in (ADS, CARS):
        home.keep(Ad(task=f"old-{team}", at=LAST_WEEK), team=team)
        home.services.catalog.teams.set_policy(team, RetentionPolicy(keep_days=3))


def decided_on_two_days(home: Home) -> None:
    two_days(home)
    decide_all(home, waiting(home))


def decided_by_outcome(home: Home) -> None:
    decided_on_two_days(home)
    home.services.catalog.teams.set_policy(ADS, RetentionPolicy(by_outcome={"refused": 1_000}))


def strays(home: Home) -> None:
    two_days(home)
    for team in (ADS, CARS):
        path = home.stored()[0 if team == ADS else -1]
        stray = path.parent / f"stray-{team}.parquet"
        stray.write_bytes(b"PARE")
        os.utime(stray, (0, 0))


def at_last_weeks_files(operation: str) -> Callable[[Home, int], AbstractContextManager[None]]:
    return lambda _, number: damaged(operation, below=str(LAST_WEEK.date()), number=number)


def files_of(home: Home, day: Any) -> int:
    return sum(file.day == day for file in home.files(ADS))


def a_file_of_ads(files: Any) -> bool:
    return any(file.team == ADS for file in files)


def noted(report: AuditReport, faults: Faults) -> AuditReport:
    for each in report.findings:
        faults.found.append(Fault(unit=each.words, error=StorageFailed(each.words)))
    return report


def two_exports(home: Home) -> None:
    two_days(home)
    for user in ("ua", "ub"):
        draft = AccessDraft(team=ADS, user_id=user, asked_by="Sam")
        export_person(home.services, home.opened.exports, draft)
    home.clock.pass_by(timedelta(days=30))


FLOWS = {
    "ingestion, one landing file": Flow(
        prepare=two_landing_files,
        plant=a_landing_file_that_cannot_be_read,
        run=lambda home, faults: ingest(home.services, faults=faults),
        names=lambda _: "landing file of team ads, 3 bytes",
        is_other_done=lambda home, _: home.tasks(ADS) == ["good"],
    ),
    "ingestion, one team's folder": Flow(
        prepare=two_landing_files,
        plant=a_landing_folder_that_cannot_be_listed,
        run=lambda home, faults: ingest(home.services, faults=faults),
        names=lambda _: "landing folder of team ads",
        is_other_done=lambda home, _: home.tasks(CARS) == ["cars"],
    ),
    "retention, one team": Flow(
        prepare=old_items,
        plant=lambda _, number: failing(SqlManifest, "candidates", number, when=lambda team, *_, **__: team == ADS),
        run=lambda home, faults: retain(home.services, today=NOW.date(), faults=faults),
        names=lambda _: "retention of team ads",
        is_other_done=lambda _, requests: [each.team for each in requests] == [CARS],
    ),
    "retention, the verdicts of one file": Flow(
        prepare=decided_by_outcome,
        plant=at_last_weeks_files("read"),
        run=lambda home, faults: retain(home.services, today=NOW.date(), faults=faults),
        names=lambda _: "of team ads",
        is_other_done=lambda home, _: len(home.services.catalog.moderation.unsettled(ADS)) == 3,
    ),
    "compaction": Flow(
        prepare=two_days,
        plant=at_last_weeks_files("read"),
        run=lambda home, faults: compact(home.services, rows_per_file=100, faults=faults),
        names=lambda _: f"items of team ads on {LAST_WEEK.date()}",
        is_other_done=lambda home, _: (files_of(home, LAST_WEEK.date()), files_of(home, YESTERDAY.date())) == (3, 1),
    ),
    "compaction that cannot write": Flow(
        prepare=two_days,
        plant=at_last_weeks_files("write"),
        run=lambda home, faults: compact(home.services, rows_per_file=100, faults=faults),
        names=lambda _: f"items of team ads on {LAST_WEEK.date()}",
        is_other_done=lambda home, _: (files_of(home, LAST_WEEK.date()), files_of(home, YESTERDAY.date())) == (3, 1),
    ),
    "rotation of keys": Flow(
        prepare=two_days,
        plant=lambda _, number: failing(TeamKeychain, "rewrap_file_keys", number, when=lambda team, *_: team == ADS),
        run=lambda home, faults: rotate_keys(home.services, faults=faults),
        names=lambda _: "keys of team ads",
        is_other_done=lambda _, summary: (
            any(key.startswith("cars/") for key in summary.team_keys_destroyed)
            and not any(key.startswith("ads/") for key in summary.team_keys_destroyed)
        ),
    ),
    "housekeeping": Flow(
        prepare=strays,
        plant=lambda _, number: damaged("delete", below="stray-ads", number=number),
        run=lambda home, faults: housekeep(home.services, stray_age=timedelta(0), faults=faults),
        names=lambda _: "stray file",
        is_other_done=lambda home, _: (
            [path.name for path in home.stored() if "stray" in path.name] == ["stray-ads.parquet"]
        ),
    ),
    "settling": Flow(
        prepare=decided_on_two_days,
        plant=at_last_weeks_files("read"),
        run=lambda home, faults: apply_decisions(home.services, faults=faults),
        names=lambda _: "of team ads",
        is_other_done=lambda home, _: len(home.services.catalog.moderation.unsettled(ADS)) == 3,
    ),
    "the audit": Flow(
        prepare=two_days,
        plant=lambda _, number: failing(SqlManifest, "sealed", number, when=a_file_of_ads),
        run=lambda home, faults: noted(audit(home.services, is_full=True), faults),
        names=lambda _: "could not be read",
        is_other_done=lambda _, report: report.files_read == 1,
    ),
    "the end of exports": Flow(
        prepare=two_exports,
        plant=lambda home, number: failing(
            type(home.opened.exports),
            "discard",
            number,
            when=lambda name: name == home.opened.exports.all()[0].export_id,
        ),
        run=lambda home, faults: purge_exports(home.services, home.opened.exports, faults),
        names=lambda _: "export ",
        is_other_done=lambda home, purged: purged == 1 and len(home.opened.exports.all()) == 1,
    ),
}


@pytest.mark.parametrize("number", ERRNOS.values(), ids=ERRNOS)
@pytest.mark.parametrize("flow", FLOWS.values(), ids=FLOWS)
def test_what_a_disk_answers_for_one_file_or_team_fails_that_alone(home: Home, flow: Flow, number: int) -> None:
    # given two units of work, one of which lies on a bad place of the disk
    flow.prepare(home)
    faults = Faults()

    # when the flow runs
    with flow.plant(home, number):
        answer = flow.run(home, faults)

    # then that one is named, by no personal value, and the other is done
    assert faults
    assert all(flow.names(home) in each.unit for each in faults.found), faults
    assert {each.error.code for each in faults.found} <= {"storage-failed", "storage-full"}
    assert CANARY not in repr(faults)
    assert flow.is_other_done(home, answer)


RAISING: dict[str, Callable[[Home], object]] = {
    "ingestion": lambda home: ingest(home.services),
    "small merges": lambda home: merge_small(home.services, rows_per_file=100, from_files=2),
}


@pytest.mark.parametrize("act", RAISING)
def test_a_caller_that_asks_for_no_faults_is_told_of_the_first_once_the_others_are_done(home: Home, act: str) -> None:
    two_days(home)
    # Small merges look at yesterday and today.
    for task in ("today-1", "today-2"):
        home.keep(Ad(task=task, at=NOW))
    two_landing_files(home)
    with (
        a_landing_file_that_cannot_be_read(home, errno.EIO),
        damaged("read", below=str(YESTERDAY.date()), number=errno.EIO),
        pytest.raises(StorageFailed),
    ):
        RAISING[act](home)

    done = {"ingestion": "good" in home.tasks(ADS), "small merges": files_of(home, NOW.date()) == 1}
    assert done[act]


def test_what_must_end_a_run_is_swallowed_by_no_guard(home: Home) -> None:
    class ServerGone(BaseException):
        pass

    faults = Faults()
    for error in (ServerGone(), KeyboardInterrupt(), MemoryError(), CatalogUnavailable("gone")):
        with pytest.raises(type(error)), faults.isolate("work"):
            raise error
    assert not faults
    assert not issubclass(upkeep_process._ServerGone, Exception)
