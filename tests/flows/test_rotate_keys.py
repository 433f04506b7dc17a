"""Laws of rotation: everything live stays readable, nothing old opens, no file is touched, and no crash loses a key."""

import shutil
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from support.catalogs import copy_home
from support.changed import changed, impatient
from support.clock import NOW
from support.crash import Tripwire, every_place, watched
from support.home import ADS, CARS, Home, opened_at, ring_of
from support.items import YESTERDAY, Ad
from support.landing import LandedTable
from support.promises import disagreements

from implio_pipeline.domain.epochs import EpochDestroyed
from implio_pipeline.domain.errors import KeyMissing, PlanOutdated
from implio_pipeline.domain.ids import ColumnClass, KeyPurpose, Region, TeamId
from implio_pipeline.domain.keys import KeyStatement, RingFaults
from implio_pipeline.domain.ledger_codec import body_of
from implio_pipeline.domain.request import RequestState
from implio_pipeline.domain.scope import ByTask, ByTeam, ByUser
from implio_pipeline.domain.team import Team
from implio_pipeline.flows.accounts.teams import add_team
from implio_pipeline.flows.deletion.erase import erase
from implio_pipeline.flows.deletion.extend import extend
from implio_pipeline.flows.deletion.legal_holds import HoldDraft, place_hold, release_hold
from implio_pipeline.flows.files.ingest import ingest
from implio_pipeline.flows.files.team_keys import renew_class_keys
from implio_pipeline.flows.operations.audit import survivors
from implio_pipeline.flows.operations.epochs import epoch_open_since
from implio_pipeline.flows.operations.housekeep import housekeep
from implio_pipeline.flows.operations.rotate_keys import (
    close_epoch,
    faults_of_ring,
    finish_rotation,
    newest_key_statement,
    rotate_keys,
)
from implio_pipeline.ports.services import Services

NewHome = Callable[[], Home]
EU = Region("eu")
EVERY_ROOT = {f"{region}/{name}" for region in ("eu", "us") for name in ColumnClass}
rich = settings(deadline=None, max_examples=6, suppress_health_check=[HealthCheck.function_scoped_fixture])


def fill(home: Home) -> None:
    for number in range(6):
        home.keep(
            Ad(task=f"t{number}", user=["ann", "bob", None][number % 3], at=YESTERDAY - timedelta(days=number % 2))
        )
    home.keep(Ad(task="car"), team=CARS)


def stored_bytes(home: Home) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in home.stored()}


def versions(home: Home, team: TeamId = ADS) -> dict[str, list[int]]:
    found: dict[str, list[int]] = {}
    for key in home.services.catalog.teams.keys(team):
        found.setdefault(key.purpose.value, []).append(key.version)
    return found


def roots_of(home: Home) -> set[str]:
    return set(home.services.keychain.ring.identities())


def check_settled(home: Home, place: str = "") -> None:
    """Hold what is true whenever a rotation has ended."""
    roots = roots_of(home)
    assert {each.rpartition("/")[0] for each in roots} == {*EVERY_ROOT, "home/seal"}, place
    assert len(roots) == len(EVERY_ROOT) + 1, place
    for team in (ADS, CARS):
        keys = home.services.catalog.teams.keys(team)
        assert {key.root_key_id for key in keys} <= roots, place
        assert all(len(numbers) == 1 for numbers in versions(home, team).values()), place
    statement = newest_key_statement(home.services.ledger)
    assert statement is not None, place
    assert set(statement.roots.live) >= roots, place
    assert statement.roots.retired == {}, place
    assert faults_of_ring(home.services.ledger, home.services.keychain) == RingFaults(), place
    assert home.opened.ledger.check() == [], place
    assert disagreements(home.services) == [], place


def test_everything_is_readable_before_and_after_and_no_file_is_written(home: Home) -> None:
    fill(home)
    rows, files, user_key = home.rows(), stored_bytes(home), home.user_key("ann")

    summary = rotate_keys(home.services)

    assert home.rows() == rows
    assert stored_bytes(home) == files
    assert home.user_key("ann") == user_key
    assert (summary.teams, summary.files) == (2, len(home.files()))
    assert len(summary.team_keys_destroyed) == 8
    assert set(summary.root_keys_destroyed) == {f"{root}/1" for root in {*EVERY_ROOT, "home/seal"}}
    check_settled(home)
    with opened_at(home.path) as another:
        assert another.rows() == rows
        assert another.user_key("ann") == user_key


@given(acts=st.lists(st.sampled_from(["rotate", "keep", "erase", "team", "rotate one"]), max_size=6))
@rich
def test_rotation_changes_no_answer_whatever_goes_on_around_it(new_home: NewHome, acts: list[str]) -> None:
    with_rotation, without = [], []
    for answers, is_rotating in ((without, False), (with_rotation, True)):
        home = new_home()
        for number, act in enumerate(acts):
            home.clock.pass_by(timedelta(seconds=1))
            match act:
                case "rotate" | "rotate one" if is_rotating:
                    rotate_keys(home.services, teams=[ADS] if act == "rotate one" else None)
                case "keep":
                    home.keep(Ad(task=f"a{number}"), Ad(task=f"b{number}", user="bob"))
                case "erase":
                    home.ask(ByUser(user_id="ann"))
                    erase(home.services)
                case "team":
                    home.ask(ByTeam())
                    erase(home.services)
            answers.append([(row["task_id"], row["title"], row["user_id"]) for row in home.rows()])
        assert survivors(home.services) == {}
        assert home.opened.ledger.check() == []
    assert with_rotation == without


def test_erasing_after_a_rotation_finds_the_same_people(home: Home) -> None:
    fill(home)
    home.ask(ByTask(task_id="t0"))
    rotate_keys(home.services)
    home.ask(ByUser(user_id="ann"))

    erase(home.services)

    assert home.tasks(ADS) == ["t1", "t2", "t4", "t5"]
    assert survivors(home.services) == {}
    assert {request.state for request in home.services.catalog.requests.all()} == {RequestState.COMPLETED}
    check_settled(home)


def test_one_teams_rotation_leaves_the_other_teams_keys_and_wraps_them_under_the_new_roots(home: Home) -> None:
    add_team(home.services, "third", region=EU)
    third = TeamId("third")
    home.keep(Ad(task="x"), team=third)

    summary = rotate_keys(home.services, teams=[ADS])

    assert {key.rpartition("/")[0].partition("/")[0] for key in summary.team_keys_destroyed} == {"ads"}
    assert all(numbers == [1] for numbers in versions(home, third).values())
    assert {key.root_key_id.rpartition("/")[2] for key in home.services.catalog.teams.keys(third)} == {"2"}
    assert {key.root_key_id.rpartition("/")[2] for key in home.services.catalog.teams.keys(CARS)} == {"1"}
    assert home.tasks(third) == ["x"]


def test_an_intake_under_way_is_planned_again_under_the_new_keys(home: Home) -> None:
    once: list[object] = []

    def rotate_once() -> None:
        if not once:
            with opened_at(home.path) as another:
                once.append(rotate_keys(impatient(another.services)))

    pieces = [home.table([Ad(task="n1")]), home.table([Ad(task="n2")])]
    home.keep(Ad(task="before"))
    file = home.landing.land(ADS, LandedTable(name="new", pieces_of_items=pieces, between=rotate_once))

    summary = ingest(home.services)

    assert once
    assert (summary.items, file.became) == (2, "finished")
    assert home.tasks() == ["before", "n1", "n2"]
    check_settled(home)


def test_files_written_under_keys_that_are_gone_by_the_commit_are_written_again(home: Home) -> None:
    once: list[object] = []

    def write_then_rotate(*rows: object, **known: object) -> object:
        written = write(*rows, **known)
        if not once:
            with opened_at(home.path) as another:
                once.append(rotate_keys(impatient(another.services)))
        return written

    write, home.vault.write_part = home.vault.write_part, write_then_rotate

    home.keep(Ad(task="n1"))

    assert once
    assert home.tasks() == ["n1"]
    check_settled(home)


def test_an_erasure_under_way_loses_nothing_and_completes(home: Home) -> None:
    fill(home)
    home.ask(ByUser(user_id="ann"))
    once: list[object] = []

    def rewrite_then_rotate(work: object) -> object:
        rewritten = rewrite(work)
        if not once:
            with opened_at(home.path) as another:
                once.append(rotate_keys(impatient(another.services)))
        return rewritten

    rewrite, home.vault.rewrite = home.vault.rewrite, rewrite_then_rotate
    erase(home.services)
    erase(home.services, again=True)

    assert once
    assert home.tasks(ADS) == ["t1", "t2", "t4", "t5"]
    assert home.services.catalog.requests.all()[0].state is RequestState.COMPLETED
    finish_rotation(home.services)
    check_settled(home)


def test_a_process_with_the_old_keys_in_memory_goes_on_reading_and_writing(home: Home) -> None:
    fill(home)
    with opened_at(home.path) as stale:
        rows = stale.rows()
        stale.user_key("ann")

        rotate_keys(home.services)

        assert stale.rows() == rows
        stale.keep(Ad(task="late"))
        assert len(home.rows()) == len(rows) + 1
    check_settled(home)


@pytest.mark.parametrize("act", ["a new team", "new keys of a team"])
def test_a_key_wrapped_under_a_root_key_that_goes_is_made_again(home: Home, act: str) -> None:
    made = home.services.keychain.new_team_keys
    gone: list[str] = []

    def make_then_rotate(team: TeamId, region: Region, **known: Any) -> object:
        keys = made(team, region, **known)
        gone.extend(key.root_key_id for key in keys)
        home.services.keychain.new_team_keys = made
        with opened_at(home.path) as another:
            rotate_keys(another.services)
        return keys

    home.services.keychain.new_team_keys = make_then_rotate

    if act == "a new team":
        add_team(home.services, "new", region=EU)
    else:
        renew_class_keys(home.services, ADS)
        add_team(home.services, "new", region=EU)

    used = {key.root_key_id for team in (ADS, TeamId("new")) for key in home.services.catalog.teams.keys(team)}
    assert gone
    assert used.isdisjoint(gone)
    finish_rotation(home.services)
    home.keep(Ad(task="x"), team=TeamId("new"))
    assert home.tasks(TeamId("new")) == ["x"]
    check_settled(home)


def test_a_rotation_amid_another_ends_with_one_of_each_key(home: Home) -> None:
    fill(home)
    rows, once = home.rows(), []
    rewrap = home.services.keychain.rewrap_team_keys

    def rewrap_amid(keys: object) -> object:
        answer = rewrap(keys)
        if not once:
            once.append(True)
            with opened_at(home.path) as another:
                rotate_keys(another.services)
        return answer

    home.services.keychain.rewrap_team_keys = rewrap_amid
    rotate_keys(home.services)

    assert home.rows() == rows
    check_settled(home)


def test_what_is_sealed_is_sealed_again_and_the_old_seal_key_opens_nothing(home: Home) -> None:
    home.keep(Ad(task="a"))
    (request,) = home.ask(ByUser(user_id="ann"))
    until = NOW + timedelta(days=9)
    hold = place_hold(home.services, HoldDraft(team=ADS, scope=ByTeam(), until=until, words="a claim", holder="Sam"))

    rotate_keys(home.services)

    assert versions(home)["seal"] == [2]
    for context, before, words in (
        (request.request_id, request.sealed, b"ann"),
        (hold.hold_id, hold.sealed, b"Sam"),
    ):
        (now,) = [each for each in home.services.catalog.teams.seals(ADS) if each.context == context]
        assert words in home.services.keychain.unseal(ADS, now.sealed, context=context)
        assert before is not None
        with pytest.raises(KeyMissing):
            home.services.keychain.unseal(ADS, before, context=context)
    # What is done with them afterwards works: an extension opens the words and adds to them.
    extend(home.services, request.request_id, days=9, reason="many files")
    release_hold(home.services, hold.hold_id)
    erase(home.services)
    assert home.services.catalog.teams.seals(ADS) == []
    assert home.rows(ADS) == []


SEALING: dict[str, Callable[[Home], object]] = {
    "a request": lambda home: home.ask(ByUser(user_id="ann")),
    "a hold": lambda home: place_hold(
        home.services,
        HoldDraft(team=ADS, scope=ByTeam(), until=NOW + timedelta(days=9), words="a claim", holder="Sam"),
    ),
}


@pytest.mark.parametrize("act", SEALING)
def test_what_was_sealed_under_a_key_that_goes_before_it_is_stored_is_sealed_again(home: Home, act: str) -> None:
    seals: list[bytes] = []
    make = home.services.keychain.sealer

    def sealer_amid(team: TeamId) -> Callable[[bytes, str], bytes]:
        """Return a seal under a key that a rotation on another machine destroys before anything is stored."""
        seal = make(team)
        if team == ADS and not seals:
            seals.append(b"")
            rotate_keys(home.services)
        return seal

    home.services.keychain.sealer = sealer_amid
    home.services.keychain.seal = lambda team, text, *, context: sealer_amid(team)(text, context)

    SEALING[act](home)

    (stored,) = home.services.catalog.teams.seals(ADS)
    assert stored.sealed.startswith(b"ads/seal/2\0")
    assert home.services.keychain.unseal(ADS, stored.sealed, context=stored.context)
    check_settled(home)


def test_finishing_when_nothing_is_left_writes_nothing(home: Home) -> None:
    fill(home)
    finish_rotation(home.services)
    assert list(home.services.ledger.entries()) == []
    rotate_keys(home.services)
    housekeep(home.services)
    entries = list(home.services.ledger.entries())

    housekeep(home.services)

    assert list(home.services.ledger.entries()) == entries
    assert {entry.kind for entry in entries} - {"epoch-destroyed"} == {"keys", "clock"}


def test_a_key_that_does_not_open_stops_the_rotation_before_anything_is_destroyed(home: Home) -> None:
    fill(home)
    path = home.path / "keys" / "eu" / "content.1.key"
    key = path.read_bytes()
    path.write_bytes(bytes(32))
    with opened_at(home.path) as another, pytest.raises(KeyMissing):
        rotate_keys(another.services)

    path.write_bytes(key)
    with opened_at(home.path) as another:
        assert len(another.rows()) == 7
        finish_rotation(another.services)
        assert len(another.rows()) == 7
        check_settled(another)


def test_a_ledgers_statement_is_read_back_as_it_was_written_and_holds_no_key(home: Home) -> None:
    fill(home)
    raw = [path.read_bytes().hex() for path in (home.path / "keys").rglob("*.key")]

    rotate_keys(home.services)

    for entry in home.services.ledger.newest_first(KeyStatement):
        assert body_of(entry.statement) == entry.body
    raw += [path.read_bytes().hex() for path in (home.path / "keys").rglob("*.key")]
    text = "".join(path.read_text() for path in (home.path / "ledger").rglob("*.jsonl"))
    assert [key for key in raw if key[:16] in text] == []
    statement = newest_key_statement(home.services.ledger)
    assert statement is not None
    assert set(statement.roots.destroyed) == {f"{root}/1" for root in {*EVERY_ROOT, "home/seal"}}
    assert "ads/content/1" in statement.team_keys.destroyed
    assert "ads/content/2" in statement.team_keys.live
    assert "ads/pseudonym/1" in statement.team_keys.live


def test_a_ring_is_compared_with_what_was_told_of_it(home: Home) -> None:
    rotate_keys(home.services)
    rotate_keys(home.services)
    told, ring = newest_key_statement(home.services.ledger), dict(home.services.keychain.ring.identities())
    assert told is not None

    older = {"eu/content/1": "0", **{key: print_ for key, print_ in ring.items() if key != "eu/content/3"}}
    assert told.ring_faults(older) == RingFaults(missing=("eu/content/3",), returned=("eu/content/1",))
    assert told.ring_faults(ring | {"eu/content/3": "0"}) == RingFaults(changed=("eu/content/3",))
    assert told.ring_faults(ring | {"eu/content/4": "0", "mars/content/1": "0"}) == RingFaults()


def test_a_new_root_key_is_whole_or_not_there_and_never_another(home: Home) -> None:
    ring, folder = ring_of(home), home.path / "keys" / "eu"
    ring.renew(EU)
    second = (folder / "content.2.key").read_bytes()
    ring._write(EU, "content", 2)

    assert (folder / "content.2.key").read_bytes() == second
    assert [path.name for path in folder.iterdir() if path.name.startswith(".")] == []
    assert all(path.stat().st_mode & 0o077 == 0 for path in folder.iterdir())


def test_a_root_key_half_destroyed_by_a_crash_is_destroyed_by_the_next_call(home: Home) -> None:
    folder = home.path / "keys" / "eu"
    ring_of(home).renew(EU)
    left = folder / ".content.1.key.0123.shred"
    (folder / "content.1.key").rename(left)

    assert "eu/content/1" not in ring_of(home).identities()
    ring_of(home).retire(["eu/content/1"])

    assert not left.exists()


DEATHS: dict[str, dict[str, Any]] = {
    "killed": {},
    "answer lost": {"error": lambda: RuntimeError("answer lost"), "is_fatal": False},
    "somebody else was faster": {"error": lambda: PlanOutdated("changed"), "is_fatal": False},
}


@pytest.mark.parametrize("death", DEATHS.values(), ids=DEATHS)
def test_a_rotation_killed_at_any_call_leaves_everything_readable_and_is_finished(
    empty_home: Path, scratch: Path, death: dict[str, Any]
) -> None:
    seed, copy = scratch / "rotate-seed", scratch / "rotate-copy"
    shutil.rmtree(seed, ignore_errors=True)
    copy_home(empty_home, seed)
    with opened_at(seed) as home:
        fill(home)
        home.ask(ByTask(task_id="t0"))
        rows, user_key = home.rows(), home.user_key("ann")

    def rotate_under(tripwire: Tripwire) -> None:
        shutil.rmtree(copy, ignore_errors=True)
        copy_home(seed, copy)
        with opened_at(copy) as home:
            rotate_keys(watched(impatient(home.services), tripwire))

    for tripwire in every_place(rotate_under, home=copy, **death):
        with opened_at(copy) as home:
            assert home.rows() == rows, tripwire.place
            home.keep(Ad(task="late"))

            housekeep(home.services)

            assert len(home.rows()) == len(rows) + 1, tripwire.place
            assert home.user_key("ann") == user_key, tripwire.place
            if newest_key_statement(home.services.ledger):  # else it died before anything had begun
                check_settled(home, tripwire.place)
        with opened_at(copy) as home:
            rotate_keys(home.services)
            erase(home.services)
            assert [row["task_id"] for row in home.rows(ADS)] == ["late", "t1", "t2", "t3", "t4", "t5"], tripwire.place
            check_settled(home, tripwire.place)


def test_a_closing_of_an_epoch_that_is_killed_at_any_call_is_done_by_the_next_one(
    empty_home: Path, scratch: Path
) -> None:
    seed, copy = scratch / "epoch-seed", scratch / "epoch-copy"
    shutil.rmtree(seed, ignore_errors=True)
    copy_home(empty_home, seed)
    with opened_at(seed) as home:
        fill(home)
        (request,) = home.ask(ByUser(user_id="ann"))
        erase(home.services)
        rows = home.rows()

    def close_under(tripwire: Tripwire) -> None:
        shutil.rmtree(copy, ignore_errors=True)
        copy_home(seed, copy)
        with opened_at(copy) as home:
            close_epoch(watched(keeping(impatient(home.services)), tripwire))

    for tripwire in every_place(close_under, home=copy):
        with opened_at(copy) as home:
            services = keeping(home.services)
            # Everything is readable, and an entry about the epoch is true, if there is one.
            assert home.rows() == rows, tripwire.place
            told = list(services.ledger.newest_first(EpochDestroyed, chain=EU))
            ring = services.keychain.ring.identities()
            assert not [each for entry in told for each in entry.statement.root_keys if each in ring], tripwire.place

            close_epoch(services)

            # The next closing covers what was erased before, and nothing that opens it is left.
            newest = next(services.ledger.newest_first(EpochDestroyed, chain=EU)).statement
            assert newest.last_receipt == request.request_id, tripwire.place
            assert epoch_open_since(services) is None, tripwire.place
            assert home.rows() == rows, tripwire.place
        with opened_at(copy) as home:
            housekeep(home.services)
            check_settled(home, tripwire.place)


def keeping(services: Services) -> Services:
    """Return services whose catalog keeps copies of what is deleted, as PostgreSQL does."""
    return changed(services, catalog=changed(services.catalog, destroys_at_once=False))


def test_a_team_of_a_region_without_roots_is_named(home: Home) -> None:
    home.services.catalog.teams.add(
        Team(team=TeamId("lost"), region=Region("mars"), created_at=NOW),
        home.services.keychain.new_team_keys(TeamId("lost"), EU, version=1, at=NOW, purposes=tuple(KeyPurpose)),
    )

    with pytest.raises(KeyMissing, match="mars"):
        rotate_keys(home.services)
