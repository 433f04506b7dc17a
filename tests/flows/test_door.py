"""The one door: what a request means from the moment it is accepted, for what is there and what is on its way."""

from collections.abc import Callable
from datetime import timedelta

import pytest
from support.clock import NOW
from support.home import ADS, CARS, Home
from support.items import YESTERDAY, Ad, is_covered
from support.landing import LandedTable

from implio_pipeline.domain.errors import ImplioError
from implio_pipeline.domain.ids import Channel, FileKind, TeamId
from implio_pipeline.domain.request import Request, RequestDraft
from implio_pipeline.domain.retention import RetentionPolicy
from implio_pipeline.domain.scope import ByDates, ByTask, ByTeam, ByUser, Scope
from implio_pipeline.domain.team import Team
from implio_pipeline.flows.deletion.accept import accept
from implio_pipeline.flows.deletion.cancel import cancel
from implio_pipeline.flows.deletion.erase import erase
from implio_pipeline.flows.files.ingest import ingest
from implio_pipeline.flows.operations.audit import survivors

SCOPES: dict[str, Scope] = {
    "user": ByUser(user_id="ann"),
    "task": ByTask(task_id="n-0"),
    "dates": ByDates(start=YESTERDAY, end=YESTERDAY + timedelta(microseconds=1)),
    "team": ByTeam(),
}
REFUSED: dict[str, Scope] = {
    "an empty user id": ByUser(user_id="  "),
    "an empty task id": ByTask(task_id=""),
    "an empty range": ByDates(start=NOW, end=NOW),
    "an inverted range": ByDates(start=NOW, end=YESTERDAY),
    "a user id that is no text": ByUser(user_id="\ud800"),
}


def new_items(home: Home, team: TeamId = ADS) -> LandedTable:
    """Return a landing file of three pieces; it has landed."""
    pieces = [
        home.table([Ad(task=f"n-{number}", user=user, outcome=None)], team=team)
        for number, user in enumerate(["ann", "bob", "ann"])
    ]
    rejected = home.table([Ad(task="bad", user="ann")], kind=FileKind.REJECTED)
    return home.landing.land(team, LandedTable(name="new", pieces_of_items=pieces, rejected=rejected))


@pytest.mark.parametrize("scope", REFUSED.values(), ids=REFUSED)
def test_a_request_that_cannot_be_understood_is_refused_without_its_values_and_stops_no_other(
    home: Home, scope: Scope
) -> None:
    refused, accepted = home.answers(scope, ByUser(user_id="ann"))

    assert isinstance(refused, ImplioError)
    assert refused.code == "request-refused"
    assert isinstance(accepted, Request)


def test_a_request_of_an_unknown_team_is_refused_and_stops_no_other(home: Home) -> None:
    drafts = [
        RequestDraft(team=team, scope=ByUser(user_id="ann"), channel=Channel.API, received_at=NOW)
        for team in (TeamId("nobody"), CARS)
    ]

    refused, accepted = accept(home.services, drafts)

    assert isinstance(refused, ImplioError)
    assert isinstance(accepted, Request)


def test_many_drafts_of_an_unknown_team_ask_the_catalog_for_it_once(
    home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[TeamId] = []
    teams = home.services.catalog.teams
    get = teams.get

    def counted(team: TeamId) -> Team:
        asked.append(team)
        return get(team)

    monkeypatch.setattr(teams, "get", counted)
    drafts = [
        RequestDraft(
            team=TeamId("nobody"), scope=ByUser(user_id=f"user {number}"), channel=Channel.FILE, received_at=NOW
        )
        for number in range(50)
    ]

    answers = accept(home.services, drafts)

    assert [answer.code for answer in answers if isinstance(answer, ImplioError)] == ["team-unknown"] * 50
    assert asked == [TeamId("nobody")]


def test_the_keys_of_a_team_are_looked_up_as_often_for_many_drafts_as_for_one(
    home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    looked_up: list[str] = []
    cache = home.services.keychain._cache  # type: ignore[attr-defined]
    get = cache.get

    def counted(team: TeamId, wrapped: bytes, unwrap: Callable[[], bytes]) -> bytes:
        looked_up.append(team)
        return bytes(get(team, wrapped, unwrap))

    monkeypatch.setattr(cache, "get", counted)

    def drafts(*users: str) -> list[RequestDraft]:
        return [
            RequestDraft(team=ADS, scope=ByUser(user_id=user), channel=Channel.FILE, received_at=NOW, asked_by="Otto")
            for user in users
        ]

    accept(home.services, drafts("one"))
    for_one = len(looked_up)
    accept(home.services, drafts(*(f"user {number}" for number in range(50))))

    assert len(looked_up) - for_one == for_one > 0


def test_the_same_key_returns_the_request_it_made_before_and_leaves_one_tombstone(home: Home) -> None:
    (first,) = home.answers(ByUser(user_id="ann"), idempotency_key="k")
    home.clock.pass_by(timedelta(hours=1))

    (again,) = home.answers(ByUser(user_id="ann"), idempotency_key="k")
    (other,) = home.answers(ByUser(user_id="ann"), idempotency_key="l")
    (elsewhere,) = home.answers(ByUser(user_id="ann"), team=CARS, idempotency_key="k")

    assert isinstance(first, Request)
    assert again == first
    assert len({first.request_id, other.request_id, elsewhere.request_id}) == 3
    assert len(home.rules()) == 2


@pytest.mark.parametrize(
    "scope", [ByUser(user_id="bob"), ByTask(task_id="ann"), ByTeam()], ids=["user", "task", "team"]
)
def test_another_request_under_a_used_key_is_refused_and_not_taken_for_the_first(home: Home, scope: Scope) -> None:
    (first,) = home.answers(ByUser(user_id="ann"), idempotency_key="k")

    (other,) = home.answers(scope, idempotency_key="k")
    (again,) = home.answers(ByUser(user_id="ann"), idempotency_key="k")

    assert isinstance(other, ImplioError)
    assert other.code == "request-id-reused"
    assert again == first
    assert len(home.rules()) == 1


def test_a_cancelled_request_is_not_made_again_under_its_key_and_not_called_accepted(home: Home) -> None:
    (first,) = accept(home.services, [home.draft(ByUser(user_id="ann"), idempotency_key="k")], is_paused=True)
    assert isinstance(first, Request)
    cancel(home.services, first.request_id)

    (again,) = home.answers(ByUser(user_id="ann"), idempotency_key="k")
    (anew,) = home.answers(ByUser(user_id="ann"), idempotency_key="l")

    assert isinstance(again, ImplioError)
    assert again.code == "request-id-reused"
    assert isinstance(anew, Request)
    assert [tombstone.request_id for tombstone in home.services.catalog.requests.tombstones(ADS)] == [anew.request_id]


def test_of_two_requests_under_one_key_that_come_together_the_first_holds(home: Home) -> None:
    first, second, third = home.answers(
        ByUser(user_id="ann"), ByUser(user_id="bob"), ByUser(user_id="ann"), idempotency_key="k"
    )

    assert isinstance(first, Request)
    assert isinstance(second, ImplioError)
    assert third == first
    assert len(home.rules()) == 1


def test_the_same_request_received_at_the_same_instant_is_one_request(home: Home) -> None:
    first, second, third = home.ask(ByUser(user_id="ann"), ByUser(user_id="ann"), ByUser(user_id="bob"))

    assert first.request_id == second.request_id != third.request_id


@pytest.mark.parametrize("kind", SCOPES)
def test_covered_entries_leave_the_queue_when_the_request_is_accepted(home: Home, kind: str) -> None:
    new_items(home)
    ingest(home.services)
    waiting = home.services.catalog.moderation.entries(ADS)

    (request,) = home.ask(SCOPES[kind])

    left = [entry.task_id for entry in home.services.catalog.moderation.entries(ADS)]
    rows = {row["task_id"]: row for row in home.rows(ADS)}
    assert left == [each.task_id for each in waiting if not is_covered(rows[each.task_id], home.rules())]
    assert request.queue_removed == len(waiting) - len(left) > 0


@pytest.mark.parametrize("kind", SCOPES)
@pytest.mark.parametrize("when", ["before the erasure", "after the erasure"])
def test_items_submitted_before_the_request_and_landing_late_stay_out(home: Home, kind: str, when: str) -> None:
    home.ask(SCOPES[kind])
    if when == "after the erasure":
        erase(home.services)
    new_items(home)

    summary = ingest(home.services)

    assert not [row for row in home.rows(ADS) if is_covered(row, home.rules())]
    assert summary.items == len(home.tasks(ADS))
    assert summary.erased_before + summary.too_old == 4 - summary.items - summary.rejected > 0
    assert {entry.task_id for entry in home.services.catalog.moderation.entries(ADS)} == set(home.tasks(ADS))
    erase(home.services)
    assert survivors(home.services) == {}


def test_new_items_of_the_same_user_come_in(home: Home) -> None:
    home.ask(ByUser(user_id="ann"))
    erase(home.services)
    home.clock.pass_by(timedelta(hours=2))

    home.keep(Ad(task="new", at=NOW), Ad(task="newer", at=NOW + timedelta(hours=1)), Ad(task="late", at=YESTERDAY))

    assert home.tasks() == ["new", "newer"]


@pytest.mark.parametrize("kind", SCOPES)
@pytest.mark.parametrize("at", [1, 2, 3])
@pytest.mark.parametrize("is_erased", [False, True], ids=["accepted", "erased"])
def test_a_request_accepted_while_a_file_is_read_reaches_its_items_all_the_same(
    home: Home, kind: str, at: int, is_erased: bool
) -> None:
    file, read = new_items(home), []

    def meanwhile() -> None:
        read.append(1)
        if len(read) == at:
            home.ask(SCOPES[kind])
            if is_erased:
                erase(home.services)

    file.between = meanwhile
    summary = ingest(home.services)
    erase(home.services)

    assert not [row for row in home.rows(ADS) if is_covered(row, home.rules())]
    expected = {"user": ["n-1"], "task": ["n-1", "n-2"], "dates": [], "team": []}[kind]
    assert home.tasks(ADS) == expected
    assert {entry.task_id for entry in home.services.catalog.moderation.entries(ADS)} == set(expected)
    if is_erased:
        assert summary.items == len(expected)
    assert file.became == "finished"
    assert len(home.stored()) == len(home.files())


def test_the_same_content_lands_once(home: Home) -> None:
    first, again = new_items(home), new_items(home)

    summary = ingest(home.services)

    assert (summary.files, summary.duplicates) == (1, 1)
    assert (first.became, again.became) == ("finished", "finished")
    assert len(home.tasks(ADS)) == 3


def test_a_file_that_ends_early_is_set_aside_whole(home: Home) -> None:
    file = new_items(home)
    file.is_invalid = True

    summary = ingest(home.services)

    assert (summary.set_aside, summary.items) == (1, 0)
    assert file.became == "set aside"
    assert home.stored() == []


def test_items_that_the_retention_policy_no_longer_allows_do_not_come_in(home: Home) -> None:
    home.services.catalog.teams.set_policy(ADS, RetentionPolicy(keep_days=5))

    home.keep(Ad(task="old", at=NOW - timedelta(days=6)), Ad(task="edge", at=NOW - timedelta(days=5)))

    assert home.tasks() == ["edge"]
