"""A deletion that is standing keeps a person's new items out, at every door, until somebody lifts it."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.catalogs import alter_catalog, copy_catalog, copy_part
from support.home import ADS, CARS, Home, a_home, opened_at
from support.items import Ad
from support.landing import LandedTable

from implio_pipeline.domain.errors import CatalogOutdated, CatalogTampered, ImplioError, LiftRefused
from implio_pipeline.domain.ids import FileKind
from implio_pipeline.domain.request import Request, RequestState
from implio_pipeline.domain.scope import ByTask, ByUser
from implio_pipeline.domain.statements import StandingLifted
from implio_pipeline.flows.deletion.accept import note_tombstones
from implio_pipeline.flows.deletion.cancel import cancel
from implio_pipeline.flows.deletion.erase import erase
from implio_pipeline.flows.deletion.lift import lift
from implio_pipeline.flows.files.compact import compact
from implio_pipeline.flows.files.ingest import IngestSummary, ingest
from implio_pipeline.flows.files.submit import Submission, submission_instant, submit
from implio_pipeline.flows.operations.audit import audit
from implio_pipeline.flows.operations.restore import restore
from implio_pipeline.flows.operations.rotate_keys import rotate_keys

HOUR = timedelta(hours=1)


@pytest.fixture
def home(tmp_path: Path) -> Iterator[Home]:
    with a_home(tmp_path / "home") as home:
        yield home


def standing(home: Home, user: str = "ann", **known: Any) -> Request:
    (answer,) = home.answers(ByUser(user_id=user), is_standing=True, **known)
    assert isinstance(answer, Request)
    return answer


def landed(home: Home, name: str, *ads: Ad, rejected: tuple[Ad, ...] = ()) -> IngestSummary:
    bad = home.table(rejected, kind=FileKind.REJECTED)
    home.landing.land(ADS, LandedTable(name=name, pieces_of_items=[home.table(ads)], rejected=bad))
    return ingest(home.services)


def posted(home: Home, *ads: Ad) -> tuple[int, ...]:
    """Post items, and return the places of those that were kept out."""
    at = submission_instant(home.services, ADS)
    rows = home.table([replace(each, at=at) for each in ads])
    return submit(home.services, ADS, [Submission(team=ADS, arrived_at=at, rows=rows)]).parts[0].kept_out


def test_new_items_of_the_person_stay_out_of_landing_files_and_posts_and_are_counted_apart(home: Home) -> None:
    home.keep(Ad(task="a-0", user="ann"), Ad(task="b-0", user="bob"))
    standing(home)
    erase(home.services)
    home.clock.pass_by(HOUR)
    later = home.clock.now()

    file = landed(
        home,
        "export",
        Ad(task="a-1", user="ann"),
        Ad(task="a-2", user="ann", at=later),
        Ad(task="b-1", user="bob", at=later),
        rejected=(Ad(task="a-3", user="ann", at=later),),
    )
    kept_out = posted(home, Ad(task="b-2", user="bob"), Ad(task="a-4", user="ann"))

    assert (file.erased_before, file.kept_out, file.returned_items, file.items) == (1, 2, 0, 1)
    assert kept_out == (1,)
    assert home.tasks(ADS) == ["b-0", "b-1", "b-2"]
    assert home.tasks(ADS, kind=FileKind.REJECTED) == []
    counts = home.services.catalog.landings.erased_people(ADS, since=later.date())
    assert (counts.kept_out, counts.returned) == (3, 0)


def test_an_item_that_names_an_instant_of_the_future_stays_out_too(home: Home) -> None:
    standing(home)

    file = landed(home, "export", Ad(task="a-1", user="ann", at=home.clock.now() + timedelta(days=400)))

    assert (file.kept_out, home.tasks(ADS)) == (1, [])


def test_items_that_are_on_their_way_in_while_it_is_accepted_stay_out(home: Home) -> None:
    later = home.clock.now() + HOUR
    items = [home.table([Ad(task="a-1", user="ann", at=later), Ad(task="b-1", user="bob", at=later)])]
    home.landing.land(ADS, LandedTable(name="export", pieces_of_items=items, between=lambda: standing(home) and None))

    summary = ingest(home.services)

    assert (summary.items, summary.kept_out + summary.erased_before) == (1, 1)
    assert home.tasks(ADS) == ["b-1"]


def test_another_team_takes_the_same_person_in(home: Home) -> None:
    standing(home)
    home.clock.pass_by(HOUR)

    home.keep(Ad(task="a-1", user="ann", at=home.clock.now()), team=CARS)

    assert home.tasks(CARS) == ["a-1"]


def test_once_it_is_lifted_new_items_come_in_and_are_told_as_those_of_a_person_who_comes_back(home: Home) -> None:
    request = standing(home)
    erase(home.services)
    home.clock.pass_by(HOUR)
    landed(home, "export 1", Ad(task="a-1", user="ann", at=home.clock.now()))

    (lifted,) = lift(home.services, request.request_id, name="Ada")
    home.clock.pass_by(HOUR)
    file = landed(home, "export 2", Ad(task="a-2", user="ann", at=home.clock.now()))

    assert (file.items, file.kept_out, file.returned_items, file.returned_people) == (1, 0, 1, 1)
    assert home.tasks(ADS) == ["a-2"]
    assert not lifted.keeps_out
    (entry,) = home.services.ledger.newest_first(StandingLifted)
    assert entry.body["requestId"] == request.request_id
    assert entry.body["liftedBy"] == home.services.keychain.pseudonym(ADS, "identity ada")
    assert home.opened.ledger.check() == []
    assert audit(home.services).findings == []


def test_on_a_host_whose_clock_is_behind_the_lifting_does_not_lie_before_the_request(home: Home) -> None:
    asked = standing(home)
    home.clock.pass_by(-timedelta(minutes=2))

    (lifted,) = lift(home.services, asked.request_id, name="Ada")

    assert lifted.standing_lifted_at == asked.accepted_at


def test_lifting_one_lifts_every_one_of_the_same_person_and_of_nobody_else(home: Home) -> None:
    first, second, other = standing(home), standing(home, idempotency_key="again"), standing(home, "bob")

    lifted = lift(home.services, second.request_id, name="Ada")

    assert [each.request_id for each in lifted] == [second.request_id, first.request_id]
    assert home.services.catalog.requests.get(other.request_id).keeps_out


def test_lifting_twice_lifting_what_keeps_nobody_out_and_lifting_by_nobody_are_refused(home: Home) -> None:
    (plain,) = home.ask(ByUser(user_id="bob"))
    request = standing(home)

    with pytest.raises(LiftRefused, match="is not standing"):
        lift(home.services, plain.request_id, name="Ada")
    with pytest.raises(LiftRefused, match="no name is given"):
        lift(home.services, request.request_id, name=" ")
    lift(home.services, request.request_id, name="Ada")
    with pytest.raises(LiftRefused, match="lifted before"):
        lift(home.services, request.request_id, name="Ada")


def test_only_a_deletion_of_one_user_can_be_standing(home: Home) -> None:
    (answer,) = home.answers(ByTask(task_id="a"), is_standing=True)

    assert isinstance(answer, ImplioError)
    assert "one user" in answer.facts


def test_the_same_senders_id_for_a_standing_one_after_one_that_is_not_is_refused(home: Home) -> None:
    (first,) = home.answers(ByUser(user_id="ann"), idempotency_key="k")
    (again,) = home.answers(ByUser(user_id="ann"), idempotency_key="k", is_standing=True)

    assert isinstance(first, Request)
    assert isinstance(again, ImplioError)
    assert "not standing" in again.facts


def test_a_standing_deletion_that_is_cancelled_keeps_nobody_out(home: Home) -> None:
    home.services.catalog.teams.set_limits(ADS, cap_percent=20, grace_hours=24)
    request = standing(home)
    assert request.state is RequestState.WAITING
    cancel(home.services, request.request_id)
    home.clock.pass_by(HOUR)

    file = landed(home, "export", Ad(task="a-1", user="ann", at=home.clock.now()))

    assert (file.items, file.kept_out) == (1, 0)
    assert audit(home.services).findings == []


def test_the_receipt_says_that_it_is_standing_and_from_when(home: Home) -> None:
    request = standing(home)
    erase(home.services)

    (receipt,) = home.receipts()

    assert receipt.body["standing"] == {"from": receipt.body["hiddenAt"]}
    (plain,) = home.ask(ByUser(user_id="bob"))
    erase(home.services)
    assert "standing" not in home.receipts()[-1].body
    assert request.request_id != plain.request_id


ALTERATIONS = {
    "its row is taken away": "delete from standing_rules",
    "it names another person": "update standing_rules set user_key = zeroblob(16)",
    "it says that it was lifted": "update standing_rules set lifted_at = since, lifted_by = 'x'",
}


@pytest.mark.parametrize("statement", ALTERATIONS.values(), ids=ALTERATIONS.keys())
def test_who_writes_the_catalog_cannot_let_a_person_in(home: Home, statement: str) -> None:
    standing(home)
    assert alter_catalog(home.path, statement) == 1
    home.clock.pass_by(HOUR)

    with pytest.raises(CatalogTampered):
        posted(home, Ad(task="a-1", user="ann"))

    assert home.tasks(ADS) == []
    assert audit(home.services).findings


def copied(source: Path, target: Path) -> None:
    """Put catalog and vault of one folder in the place of another's."""
    for name in ("catalog", "vault"):
        copy_part(source / name, target / name)


def done(home: Home, act: str, number: int) -> None:
    mine = Ad(task=f"a-{number + 1}", user="ann", at=home.clock.now())
    acts: dict[str, Callable[[], object]] = {
        "land": lambda: landed(home, f"export {number}", mine),
        "post": lambda: posted(home, mine),
        "erase": lambda: erase(home.services),
        "rotate": lambda: rotate_keys(home.services),
        "compact": lambda: compact(home.services, rows_per_file=4),
        "restore": lambda: restore(home.services),
        "reopen": lambda: None,
    }
    acts[act]()


@given(
    acts=st.lists(
        st.sampled_from(["land", "post", "erase", "rotate", "restore", "compact", "reopen"]), min_size=1, max_size=6
    ),
    is_lifted=st.booleans(),
)
@settings(max_examples=5, deadline=None)
def test_no_order_of_acts_lets_a_person_in_before_the_lifting_and_after_it_new_items_come_in(
    tmp_path_factory: pytest.TempPathFactory, acts: list[str], is_lifted: bool
) -> None:
    folder = tmp_path_factory.mktemp("law") / "home"
    with a_home(folder) as home:
        home.keep(Ad(task="a-0", user="ann"), Ad(task="b-0", user="bob"))
        request = standing(home)
        at = home.clock.now()
    copied(folder, folder.parent)
    for number, act in enumerate(acts):
        at += HOUR
        if act == "restore":
            copied(folder.parent, folder)
        with opened_at(folder, at=at, is_restoring=act == "restore") as home:
            done(home, act, number)
            erase(home.services)
            assert {row["user_key"] for row in home.rows(ADS)} <= {home.user_key("bob")}
        if act == "rotate":  # a backup from before it opens no more
            copied(folder, folder.parent)
    with opened_at(folder, at=at + HOUR) as home:
        if is_lifted:
            lift(home.services, request.request_id, name="Ada")
        later = home.clock.now() + HOUR
        home.clock.pass_by(HOUR)
        landed(home, "last", Ad(task="z", user="ann", at=later))
        assert ("z" in home.tasks(ADS)) is is_lifted


def test_a_backup_from_before_the_lifting_is_refused_and_restored_as_lifted(tmp_path: Path) -> None:
    folder = tmp_path / "home"
    with a_home(folder) as home:
        request = standing(home)
        erase(home.services)
    copy_catalog(folder / "catalog", tmp_path / "catalog")
    with opened_at(folder) as home:
        lift(home.services, request.request_id, name="Ada")
    copy_catalog(tmp_path / "catalog", folder / "catalog")

    with pytest.raises(CatalogOutdated), opened_at(folder):
        pass
    with opened_at(folder, is_restoring=True) as home:
        restore(home.services)
        assert not home.services.catalog.requests.get(request.request_id).keeps_out
        assert audit(home.services).findings == []


def test_a_lifting_that_the_ledger_was_not_told_is_told_later(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    request = standing(home)
    with monkeypatch.context() as patched:
        patched.setattr("implio_pipeline.flows.deletion.lift.note_tombstones", lambda _: None)
        note_tombstones(home.services)
        lift(home.services, request.request_id, name="Ada")
    assert not list(home.services.ledger.newest_first(StandingLifted))

    note_tombstones(home.services)
    note_tombstones(home.services)

    assert len(list(home.services.ledger.newest_first(StandingLifted))) == 1
