"""Settling: a verdict reaches its item's file, nothing else changes, and nothing of it is left elsewhere."""

import shutil
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from support.catalogs import copy_home, copy_part
from support.clock import NOW, TODAY
from support.crash import Tripwire, When, every_place, watched
from support.home import ADS, CARS, Home, opened_at
from support.items import YESTERDAY, Ad
from support.moderation import MODERATOR, decide_all, decided, feed, keep_waiting, waiting
from support.promises import disagreements

from implio_pipeline.domain.errors import FileTampered, PlanOutdated, StorageFull, Unverified
from implio_pipeline.domain.faults import LONGEST_BACKOFF, WorkKind
from implio_pipeline.domain.moderation import Approve, Refuse
from implio_pipeline.domain.request import RequestState
from implio_pipeline.domain.retention import RetentionPolicy
from implio_pipeline.domain.scope import ByTask, ByUser
from implio_pipeline.flows.deletion.erase import erase
from implio_pipeline.flows.deletion.legal_holds import HoldDraft, place_hold, release_hold
from implio_pipeline.flows.deletion.retention import retain
from implio_pipeline.flows.faults import Faults
from implio_pipeline.flows.moderation import apply_decisions as settling
from implio_pipeline.flows.moderation.apply_decisions import FEED_KEEPS, apply_decisions
from implio_pipeline.flows.moderation.decide import notes_of
from implio_pipeline.flows.moderation.get_items import get_items
from implio_pipeline.flows.operations.audit import audit
from implio_pipeline.flows.operations.housekeep import housekeep
from implio_pipeline.flows.operations.restore import restore
from implio_pipeline.flows.operations.rotate_keys import rotate_keys

NewHome = Callable[[], Home]
DECIDED = ("outcome", "reasons", "feedback", "actor_id")
DAY = timedelta(days=1)
users = st.none() | st.sampled_from(["ann", "bob", "cid"])
ads = st.lists(
    st.builds(
        Ad,
        task=st.integers(0, 11).map(str),
        user=users,
        at=st.integers(0, 3).map(lambda days: YESTERDAY - days * DAY),
        outcome=st.sampled_from([None, "no decision", "approved"]),
    ),
    min_size=1,
    max_size=12,
    unique_by=lambda ad: ad.task,
)


def without_verdicts(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [{name: value for name, value in row.items() if name not in DECIDED} for row in rows]


def of(rows: list[dict[str, Any]], task: str) -> dict[str, Any]:
    return next({name: row[name] for name in DECIDED} for row in rows if row["task_id"] == task)


@given(items=ads, chosen=st.sets(st.integers(0, 11)), splits=st.integers(1, 3))
@settings(deadline=None, max_examples=15, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_settling_changes_what_was_decided_and_nothing_else(
    new_home: NewHome, items: list[Ad], chosen: set[int], splits: int
) -> None:
    home = new_home()
    keep_waiting(home, *items)
    before = home.rows(ADS)
    to_decide = [task for task in waiting(home) if int(task) in chosen]
    looked = {}
    for part in range(splits):
        decide_all(home, to_decide[part::splits])
        looked |= get_items(home.services, ADS, to_decide[part::splits])
        apply_decisions(home.services)

    after = home.rows(ADS)

    assert without_verdicts(after) == without_verdicts(before)
    for row in before:
        seen = of(after, row["task_id"])
        if row["task_id"] not in to_decide:
            assert seen == {name: row[name] for name in DECIDED}
        else:
            assert seen == {name: looked[row["task_id"]][name] for name in DECIDED}
            assert seen["actor_id"] == MODERATOR
    assert home.services.catalog.moderation.unsettled(ADS) == []
    assert apply_decisions(home.services).files == 0
    assert audit(home.services, is_full=True).findings == []


def test_a_refusal_brings_its_reasons_and_feedback_into_the_item(home: Home) -> None:
    keep_waiting(home, Ad(task="a", outcome=None), Ad(task="b"))
    decided(home, "a", Refuse(reasons=("spam", "rude"), feedback=("be kind",), note="canary note"))

    summary = apply_decisions(home.services)

    assert (summary.verdicts, summary.files, summary.lost) == (1, 1, 0)
    assert of(home.rows(ADS), "a") == {
        "outcome": "refused",
        "reasons": ["spam", "rude"],
        "feedback": ["be kind"],
        "actor_id": MODERATOR,
    }
    assert dict(home.files(ADS)[0].outcomes) == {"refused": 1, "approved": 1}
    assert [note.text for note in notes_of(home.services, ADS, "a")] == ["canary note"]


def test_many_verdicts_cost_one_rewrite_of_each_file_and_its_old_keys(home: Home) -> None:
    keep_waiting(home, *(Ad(task=f"t{number}", outcome=None) for number in range(4)))
    (old,) = home.files(ADS)
    decide_all(home, [f"t{number}" for number in range(4)])

    assert apply_decisions(home.services).files == 1

    (new,) = home.files(ADS)
    assert new.file_id != old.file_id
    with pytest.raises(PlanOutdated):
        home.services.catalog.manifest.sealed([old])
    assert len(home.stored()) == 1


def test_a_settled_verdict_stays_in_the_feed_for_a_time_without_its_sealed_part(home: Home) -> None:
    keep_waiting(home, Ad(task="a", outcome=None))
    decided(home, "a", Refuse(reasons=("spam",)))
    apply_decisions(home.services)

    (told,) = feed(home.services, ADS).entries

    assert (told.sealed, told.outcome, told.decided.value) == (None, "refused", "refused")
    housekeep(home.services)
    assert len(feed(home.services, ADS).entries) == 1
    home.clock.pass_by(FEED_KEEPS + DAY)
    assert housekeep(home.services).verdicts == 1
    assert feed(home.services, ADS).entries == ()
    assert of(home.rows(ADS), "a")["outcome"] == "refused"


def test_a_settlement_that_does_not_prove_right_is_not_committed(home: Home) -> None:
    keep_waiting(home, Ad(task="a", outcome=None), Ad(task="b"))
    decided(home, "a", Approve())
    before, write = home.rows(ADS), home.vault._write

    def write_another_title(rows: pa.Table, **known: object) -> object:
        number = rows.schema.get_field_index("title")
        return write(rows.set_column(number, rows.schema.field(number), pa.array(["x"] * len(rows))), **known)

    home.vault._write = write_another_title

    with pytest.raises(Unverified):
        apply_decisions(home.services)
    assert home.rows(ADS) == before
    assert len(home.stored()) == 1
    home.vault._write = write
    assert apply_decisions(home.services, again=True).verdicts == 1


def test_retention_by_outcome_goes_by_the_verdict_and_not_by_what_the_item_came_with(home: Home) -> None:
    old = NOW - 10 * DAY
    keep_waiting(home, *(Ad(task=name, outcome=None, at=old) for name in ("approve", "refuse", "wait")))
    decided(home, "approve", Approve())
    decided(home, "refuse", Refuse(reasons=("spam",), note="a note"))
    home.services.catalog.teams.set_policy(ADS, RetentionPolicy(by_outcome={"refused": 5, "undecided": 30}))

    retain(home.services, today=TODAY)
    erase(home.services)

    assert home.tasks(ADS) == ["approve", "wait"]
    assert [each.task_id for each in feed(home.services, ADS).entries] == ["approve"]
    assert notes_of(home.services, ADS, "refuse") == []
    assert waiting(home) == ["wait"]
    assert audit(home.services, is_full=True).findings == []


def test_a_request_accepted_while_verdicts_are_settled_takes_its_own_and_leaves_the_others(home: Home) -> None:
    keep_waiting(home, Ad(task="a", outcome=None), Ad(task="b", user="bob", outcome=None))
    decide_all(home, ["a", "b"])
    asked, write = [], home.vault.apply_decisions

    def settle_while_somebody_asks(sealed: object, verdicts: object) -> object:
        if not asked:
            asked.extend(home.ask(ByUser(user_id="ann")))
        return write(sealed, verdicts)

    home.vault.apply_decisions = settle_while_somebody_asks

    assert apply_decisions(home.services).verdicts == 1
    assert of(home.rows(ADS), "a")["outcome"] is None
    assert of(home.rows(ADS), "b")["outcome"] == "refused"
    erase(home.services)
    assert home.tasks(ADS) == ["b"]
    assert len(home.stored()) == 1


def test_a_hold_keeps_verdict_and_note_hidden_until_the_item_goes(home: Home) -> None:
    keep_waiting(home, Ad(task="a", outcome=None), Ad(task="b", outcome=None))
    decide_all(home, ["a", "b"])
    words = {"words": "a claim", "holder": "dpo"}
    hold = place_hold(home.services, HoldDraft(team=ADS, scope=ByTask(task_id="a"), until=NOW + 99 * DAY, **words))
    home.ask(ByUser(user_id="ann"))
    erase(home.services)

    kinds = sorted(seal.kind for seal in home.services.catalog.teams.seals(ADS))

    assert home.tasks(ADS) == ["a"]
    assert kinds == ["decision", "hold", "note"]
    assert notes_of(home.services, ADS, "a") == []
    assert feed(home.services, ADS).entries == ()
    assert apply_decisions(home.services).verdicts == 0
    release_hold(home.services, hold.hold_id)
    erase(home.services)
    assert {request.state for request in home.services.catalog.requests.all()} == {RequestState.COMPLETED}
    assert home.services.catalog.teams.seals(ADS) == []


def test_verdicts_and_notes_outlive_a_rotation_and_old_seal_keys_do_not(home: Home) -> None:
    keep_waiting(home, Ad(task="a", outcome=None), Ad(task="b", outcome=None))
    decide_all(home, ["a", "b"])
    before = {key.key_id for key in home.services.catalog.teams.keys(ADS)}

    rotate_keys(home.services)

    kept = before & {key.key_id for key in home.services.catalog.teams.keys(ADS)}
    assert kept == {f"{ADS}/pseudonym/1"}
    assert [note.text for note in notes_of(home.services, ADS, "a")] == ["note a"]
    assert apply_decisions(home.services).verdicts == 2


class AnswerLost(Exception):
    """The call had its effect, and its answer never came."""


DEATHS: dict[str, dict[str, Any]] = {
    "killed": {},
    "answer lost": {"error": AnswerLost, "is_fatal": False},
    "the disk is full": {"error": lambda: StorageFull("no room"), "is_fatal": False, "when": When.BEFORE},
    "somebody else was faster": {"error": lambda: PlanOutdated("changed"), "is_fatal": False, "when": When.BEFORE},
    "a file is damaged": {"error": lambda: FileTampered("file f"), "is_fatal": False, "when": When.BEFORE},
}


@pytest.mark.parametrize("death", DEATHS.values(), ids=DEATHS)
def test_settling_killed_at_any_call_ends_as_if_nothing_had_happened(
    empty_home: Path, scratch: Path, death: dict[str, Any]
) -> None:
    seed, copy = scratch / "settle-seed", scratch / "settle-copy"
    shutil.rmtree(seed, ignore_errors=True)
    copy_home(empty_home, seed)
    with opened_at(seed) as home:
        keep_waiting(home, *(Ad(task=f"t{number}", outcome=None, user=None) for number in range(9)))
        keep_waiting(home, Ad(task="car"), team=CARS)
        decide_all(home, [f"t{number}" for number in range(0, 9, 2)])
        wanted = get_items(home.services, ADS, home.tasks(ADS))

    def settle_under(tripwire: Tripwire) -> None:
        shutil.rmtree(copy, ignore_errors=True)
        copy_home(seed, copy)
        with opened_at(copy, threads=1) as home:
            apply_decisions(watched(home.services, tripwire))

    for tripwire in every_place(settle_under, home=copy, **death):
        with opened_at(copy, threads=1) as home:
            apply_decisions(home.services, again=True)

            rows = {row["task_id"]: row for row in home.rows(ADS)}
            assert rows == wanted, tripwire.place
            assert home.services.catalog.moderation.unsettled(ADS) == [], tripwire.place
            assert [seal.kind for seal in home.services.catalog.teams.seals(ADS)] == ["note"] * 5, tripwire.place
            housekeep(home.services, stray_age=-timedelta(days=36500))
            assert disagreements(home.services) == [], tripwire.place
            assert len(home.stored()) == len(home.files()), tripwire.place


def test_a_file_that_is_lost_keeps_its_own_verdicts_waiting_and_no_others(home: Home) -> None:
    keep_waiting(home, Ad(task="a", outcome=None))
    keep_waiting(home, Ad(task="b", outcome=None, at=YESTERDAY - DAY))
    decided(home, "a", Approve())
    decided(home, "b", Approve())
    (bad,) = [file for file in home.files(ADS) if file.day == YESTERDAY.date()]
    (path,) = [path for path in home.stored() if bad.file_id in path.name]
    path.unlink()

    faults = Faults()
    summary = apply_decisions(home.services, faults=faults)

    assert [(each.error.code, each.error.about) for each in faults.found] == [("file-missing", bad.file_id)]
    assert (summary.verdicts, summary.lost) == (1, 0)
    assert [each.task_id for each in home.services.catalog.moderation.unsettled(ADS)] == ["a"]


def stuck_on_one_file(home: Home, *, bad: int, good: int) -> Path:
    """Decide items of two files, those of the bad one first; return the bad file's place."""
    keep_waiting(home, *(Ad(task=f"bad{number}", outcome=None) for number in range(bad)))
    keep_waiting(home, *(Ad(task=f"good{number}", outcome=None, at=YESTERDAY - DAY) for number in range(good)))
    decide_all(home, [f"bad{number}" for number in range(bad)] + [f"good{number}" for number in range(good)])
    (file,) = [file for file in home.files(ADS) if file.day == YESTERDAY.date()]
    (path,) = [path for path in home.stored() if file.file_id in path.name]
    return path


@given(at_once=st.integers(1, 7), bad=st.integers(1, 4), good=st.integers(1, 4))
@settings(deadline=None, max_examples=10, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_bad_file_with_more_verdicts_than_a_batch_is_tried_once_and_all_other_verdicts_are_settled(
    new_home: NewHome, monkeypatch: pytest.MonkeyPatch, at_once: int, bad: int, good: int
) -> None:
    # given more verdicts on a bad file than are settled at once, all of them older than those on a good one
    home = new_home()
    path = stuck_on_one_file(home, bad=bad, good=good)
    path.write_bytes(b"nothing")
    monkeypatch.setattr(settling, "_AT_ONCE", at_once)
    faults = Faults()

    # when they are settled once
    summary = apply_decisions(home.services, faults=faults)

    # then the bad file was tried once, and everything else is in the vault
    assert [each.error.code for each in faults.found] == ["file-tampered"]
    assert (summary.verdicts, summary.lost) == (good, 0)
    left = home.services.catalog.moderation.unsettled(ADS)
    assert {each.task_id for each in left} == {f"bad{number}" for number in range(bad)}


def test_a_bad_file_is_tried_again_later_each_time_and_delays_no_new_verdict(home: Home) -> None:
    path = stuck_on_one_file(home, bad=2, good=1)
    content = path.read_bytes()
    path.write_bytes(b"nothing")
    home.clock.pass_by(DAY)  # the verdicts have waited long enough
    tries = []
    for _ in range(20):
        faults = Faults()
        apply_decisions(home.services, faults=faults)
        tries.append(len(faults.found))
        assert not settling.is_settling_due(home.services, waits=timedelta(0))
        home.clock.pass_by(timedelta(minutes=5))

    (failed,) = home.services.catalog.failed_files.all(WorkKind.SETTLE)
    assert tries[0] == 1
    assert sum(tries) == failed.attempts < 10
    assert apply_decisions(home.services).verdicts == 0

    keep_waiting(home, Ad(task="new", outcome=None))
    decided(home, "new", Approve())
    assert apply_decisions(home.services).verdicts == 1
    path.write_bytes(content)
    home.clock.pass_by(LONGEST_BACKOFF)
    assert apply_decisions(home.services).verdicts == 2
    housekeep(home.services)
    assert home.services.catalog.failed_files.all(WorkKind.SETTLE) == []


def test_a_verdict_that_cannot_be_opened_is_passed_over_alone(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    keep_waiting(home, Ad(task="a", outcome=None), Ad(task="b", outcome=None))
    decide_all(home, ["a", "b"])
    real = settling.opened_values

    def opened_but_one(catalog: Any, keychain: Any, verdict: Any) -> Any:
        if verdict.task_id == "a":
            raise FileTampered("the seal does not open")
        return real(catalog, keychain, verdict)

    monkeypatch.setattr(settling, "opened_values", opened_but_one)
    faults = Faults()

    assert apply_decisions(home.services, faults=faults).verdicts == 1
    assert [each.unit for each in faults.found] == ["verdict 1 of team ads"]
    assert [each.task_id for each in home.services.catalog.moderation.unsettled(ADS)] == ["a"]


def test_a_team_that_cannot_be_settled_stops_no_other(home: Home) -> None:
    keep_waiting(home, Ad(task="a", outcome=None))
    decided(home, "a", Approve())
    (file,) = home.stored()
    file.write_bytes(b"nothing")

    with pytest.raises(FileTampered):
        apply_decisions(home.services, teams=[CARS, ADS])
    assert len(home.services.catalog.moderation.unsettled(ADS)) == 1


def test_a_backup_put_back_brings_no_verdict_back_that_was_erased(home: Home, tmp_path: Path) -> None:
    keep_waiting(home, Ad(task="a", outcome=None), Ad(task="b", user="bob", outcome=None))
    decide_all(home, ["a", "b"])
    home.opened.close()
    for folder in ("catalog", "vault"):
        copy_part(home.path / folder, tmp_path / "backup" / folder)
    with opened_at(home.path) as later:
        later.ask(ByUser(user_id="ann"))
        erase(later.services)
    for folder in ("catalog", "vault"):
        copy_part(tmp_path / "backup" / folder, home.path / folder)

    with opened_at(home.path, is_restoring=True) as again:
        assert len(feed(again.services, ADS).entries) == 2
        restore(again.services)

        assert [each.task_id for each in feed(again.services, ADS).entries] == ["b"]
        assert notes_of(again.services, ADS, "a") == []
        assert apply_decisions(again.services).verdicts == 1
