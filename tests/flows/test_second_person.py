"""The second person is a person: a key acts for its maker, and one person's acts count together, through every door."""

import errno
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from support.changed import changed
from support.clock import NOW
from support.home import ADS, CARS, Home, opened_at
from support.items import Ad
from support.processes import own_processes

from implio_pipeline.domain.access import Role
from implio_pipeline.domain.errors import ApprovalRefused, ClockWrong
from implio_pipeline.domain.ids import Channel
from implio_pipeline.domain.instants import ClockBounds
from implio_pipeline.domain.plan import Appointment, ApprovalPolicy
from implio_pipeline.domain.request import Request, RequestDraft, RequestState
from implio_pipeline.domain.retention import ChangeState, RetentionPolicy
from implio_pipeline.domain.scope import ByDates, ByTeam, ByUser, Scope
from implio_pipeline.flows.accounts.api_keys import add_api_key, authenticate_api_key, rotate_api_key
from implio_pipeline.flows.accounts.members import Inviter, add_member
from implio_pipeline.flows.deletion.accept import accept
from implio_pipeline.flows.deletion.approval import approvable, approve, approve_many
from implio_pipeline.flows.deletion.erase import erase
from implio_pipeline.flows.deletion.policy_changes import approve_policy, change_policy
from implio_pipeline.flows.deletion.retention import retain
from implio_pipeline.flows.identity import identity_of
from implio_pipeline.ports.services import Services

GRACE, MINUTE = timedelta(hours=1), timedelta(minutes=1)


@pytest.fixture
def services(home: Home) -> Services:
    """A hundred items of as many users, of which one person may erase twenty in a week."""
    home.services = changed(home.services, approvals=ApprovalPolicy(cap_from_items=100))
    home.keep(*(Ad(task=f"t{number}", user=f"user {number}") for number in range(100)))
    home.clock.pass_by(timedelta(days=8))
    return home.services


def ask(services: Services, *scopes: Scope, by: str, channel: Channel = Channel.PAGE) -> list[RequestState]:
    """Ask one after the other, and return where each request is."""
    states = []
    for scope in scopes:
        draft = RequestDraft(team=ADS, scope=scope, channel=channel, received_at=services.clock.now(), asked_by=by)
        (answer,) = accept(services, [draft])
        assert isinstance(answer, Request)
        states.append(answer.state)
    return states


def users(start: int, end: int) -> list[Scope]:
    return [ByUser(user_id=f"user {number}") for number in range(start, end)]


def ask_by_key(services: Services, text: str, scope: Scope) -> Request:
    """Ask as the API does for a caller who shows a key."""
    key = authenticate_api_key(services, text)
    draft = RequestDraft(
        team=ADS,
        scope=scope,
        channel=Channel.API,
        received_at=services.clock.now(),
        asked_by=f"api key {key.key_id}",
        acts_for=key.made_by,
    )
    (answer,) = accept(services, [draft])
    assert isinstance(answer, Request)
    return answer


def test_whoever_made_a_key_cannot_approve_what_it_asks_for(services: Services) -> None:
    _, text = add_api_key(services, ADS, label="shop", by="Otto Lindqvist")
    request = ask_by_key(services, text, ByTeam())

    for spelling in ("Otto Lindqvist", " otto  LINDQVIST", "\N{FULLWIDTH LATIN CAPITAL LETTER O}tto Lindqvist"):
        with pytest.raises(ApprovalRefused, match="second person"):
            approve(services, request.request_id, name=spelling)

    assert approve(services, request.request_id, name="Jane").state is RequestState.ACCEPTED


def test_a_replaced_key_acts_for_whoever_replaced_it_and_the_old_one_for_its_maker(
    home: Home, services: Services
) -> None:
    key, old = add_api_key(services, ADS, label="shop", by="Otto")
    _, new = rotate_api_key(services, key.key_id, grace=GRACE, by="Jane")

    by_new = ask_by_key(services, new, ByTeam())
    home.clock.pass_by(MINUTE)
    by_old = ask_by_key(services, old, ByTeam())

    with pytest.raises(ApprovalRefused):
        approve(services, by_new.request_id, name="Jane")
    with pytest.raises(ApprovalRefused):
        approve(services, by_old.request_id, name="Otto")
    assert approve(services, by_new.request_id, name="Otto").state is RequestState.ACCEPTED


def test_many_small_requests_of_one_person_through_every_door_are_one_large_one(home: Home, services: Services) -> None:
    _, text = add_api_key(services, ADS, label="shop", by="Otto")

    states = ask(services, *users(0, 8), by="Otto")
    states += [ask_by_key(services, text, scope).state for scope in users(8, 16)]
    states += ask(services, *users(16, 90), by="otto", channel=Channel.FILE)

    assert states == [RequestState.ACCEPTED] * 20 + [RequestState.UNAPPROVED] * 70
    assert ask(services, *users(90, 93), by="Jane") == [RequestState.ACCEPTED] * 3  # a person of her own
    erase(services)
    assert len(home.rows()) == 100 - 23
    assert ask(services, *users(93, 94), by="Otto") == [RequestState.UNAPPROVED]  # what is erased still counts


def test_a_request_above_the_cap_that_is_asked_for_twice_at_once_waits_once(services: Services) -> None:
    draft = RequestDraft(
        team=ADS,
        scope=ByDates(start=NOW - timedelta(days=99), end=NOW + timedelta(days=99)),
        channel=Channel.FILE,
        received_at=services.clock.now(),
        asked_by="Otto",
        idempotency_key="key-1",
    )

    first, second = accept(services, [draft, draft])

    assert isinstance(first, Request)
    assert first == second
    assert first.state is RequestState.UNAPPROVED


def test_what_was_asked_before_the_window_counts_no_more(home: Home, services: Services) -> None:
    ask(services, *users(0, 20), by="Otto")
    erase(services)
    assert ask(services, *users(20, 21), by="Otto") == [RequestState.UNAPPROVED]

    home.clock.pass_by(timedelta(days=8))

    assert ask(services, *users(21, 42), by="Otto") == [RequestState.ACCEPTED] * 20 + [RequestState.UNAPPROVED]


def test_items_that_come_in_raise_nobodys_cap(home: Home, services: Services) -> None:
    home.keep(*(Ad(task=f"junk {number}", user=f"junk {number}") for number in range(900)))

    assert ask(services, *users(0, 30), by="Otto") == [RequestState.ACCEPTED] * 20 + [RequestState.UNAPPROVED] * 10


def test_a_small_team_counts_as_a_large_one_and_its_wholesale_removal_still_takes_two(home: Home) -> None:
    home.services = changed(home.services, approvals=ApprovalPolicy(cap_from_items=50))
    home.keep(*(Ad(task=f"t{number}", user=f"user {number}") for number in range(12)))

    assert ask(home.services, ByTeam(), by="Otto") == [RequestState.UNAPPROVED]
    assert ask(home.services, *users(0, 12), by="Otto") == [RequestState.ACCEPTED] * 10 + [RequestState.UNAPPROVED] * 2


def test_requests_for_the_same_items_hide_no_more_than_the_team_has(services: Services) -> None:
    both = [ByDates(start=NOW - timedelta(days=days), end=NOW + timedelta(days=400)) for days in (300, 400)]
    assert ask(services, *both, by="Jane") == [RequestState.UNAPPROVED] * 2

    assert services.catalog.requests.unapproved(ADS) == (2, 100)


class NoRoom:
    """A ledger whose disk is full: what was erased gets no receipt yet."""

    def __init__(self, ledger: Any) -> None:
        self._ledger = ledger

    def __getattr__(self, name: str) -> Any:
        return getattr(self._ledger, name)

    def append(self, *_: Any, **__: Any) -> Any:
        raise OSError(errno.ENOSPC, "No space left on device")


def test_what_is_erased_and_has_no_receipt_yet_counts_as_erased(services: Services) -> None:
    assert ask(services, *users(0, 20), by="Jane") == [RequestState.ACCEPTED] * 20
    erase(changed(services, ledger=NoRoom(services.ledger)))
    assert services.catalog.manifest.items(ADS) == 80

    assert ask(services, *users(20, 40), by="Jane") == [RequestState.UNAPPROVED] * 20


def test_a_count_that_an_erasure_overtook_is_not_kept(services: Services) -> None:
    assert ask(services, *users(0, 20), by="Jane") == [RequestState.ACCEPTED] * 20
    counted = {each.request_id: 0 for each in services.catalog.requests.all()}  # as read while the files were swapped
    erase(changed(services, ledger=NoRoom(services.ledger)))

    services.catalog.requests.counted(counted)

    assert ask(services, *users(20, 40), by="Jane") == [RequestState.UNAPPROVED] * 20


def test_estimates_that_were_too_high_take_nothing_away(home: Home) -> None:
    home.services = changed(home.services, approvals=ApprovalPolicy(cap_from_items=100))
    busy = [Ad(task=f"busy {number}", user="busy") for number in range(4)]
    for number in range(25):  # each file has a busy user, so that nobody else's items can be told from the catalog
        home.keep(
            *(replace(ad, task=f"{ad.task} {number}") for ad in busy), Ad(task=f"t{number}", user=f"user {number}")
        )
    home.clock.pass_by(timedelta(days=8))

    states = ask(home.services, *users(0, 25), by="Otto")

    assert states == [RequestState.ACCEPTED] * 25
    assert ask(home.services, ByUser(user_id="busy"), by="Otto") == [RequestState.UNAPPROVED]


def test_two_processes_together_let_no_more_through_than_one(home: Home, services: Services) -> None:
    def ask_some(start: int) -> list[RequestState]:
        with opened_at(home.path, at=home.clock.now(), approvals=services.approvals) as other:
            return [state for each in users(start, start + 25) for state in ask(other.services, each, by="Otto")]

    with ThreadPoolExecutor(2) as pool:
        found = [state for states in pool.map(ask_some, (0, 25)) for state in states]

    assert found.count(RequestState.ACCEPTED) == 20
    alone = [each for each in services.catalog.requests.all(team=ADS) if each.is_alone]
    assert sum(each.covered_items for each in alone) == 20


def ask_in_process(path: Path, user: str, start: Any, states: Any) -> None:
    with opened_at(path, at=NOW + timedelta(days=9), approvals=ApprovalPolicy(cap_from_items=100)) as home:
        start.wait()
        states.put([state.value for state in ask(home.services, ByUser(user_id=user), by="Otto")])


def test_of_two_processes_that_both_ask_just_under_the_cap_one_waits_for_a_second_person(home: Home) -> None:
    for user in ("heavy a", "heavy b"):
        home.keep(*(Ad(task=f"{user} {number}", user=user) for number in range(15)))
    own = own_processes()
    start, states = own.Barrier(2), own.Queue()
    both = [
        own.Process(target=ask_in_process, args=(home.path, user, start, states)) for user in ("heavy a", "heavy b")
    ]
    for process in both:
        process.start()
    found = [*states.get(), *states.get()]
    for process in both:
        process.join()

    assert sorted(found) == ["accepted", "unapproved"]


def keep_days(services: Services, days: int, *, by: str) -> ChangeState:
    return change_policy(services, ADS, policy=RetentionPolicy(keep_days=days), by=by).state


def test_a_policy_that_lets_much_go_waits_for_a_second_person_and_the_old_one_is_in_force(
    home: Home, services: Services
) -> None:
    assert keep_days(services, 0, by="Otto") is ChangeState.WAITING

    assert services.catalog.teams.get(ADS).policy == RetentionPolicy()
    assert retain(services, today=services.clock.now().date()) == []
    with pytest.raises(ApprovalRefused, match="second person"):
        approve_policy(services, ADS, name=" otto ")
    approve_policy(services, ADS, name="Jane")
    (request,) = retain(services, today=services.clock.now().date())
    assert request.state is RequestState.ACCEPTED
    erase(services)
    assert home.rows() == []
    assert [entry.body["state"] for entry in services.ledger.entries() if entry.kind == "policy"] == [
        "waiting",
        "in force",
    ]


def test_a_policy_that_takes_effect_later_step_by_step_or_by_outcome_waits_too(home: Home, services: Services) -> None:
    home.keep(*(Ad(task=f"r{number}", user=f"r {number}", outcome="refused") for number in range(15)))

    assert keep_days(services, 3_000, by="Otto") is ChangeState.WAITING  # nothing goes for years, and then everything
    for days in (30, 20):  # the refused items twice are thirty
        policy = RetentionPolicy(by_outcome={"refused": days})
        state = change_policy(services, ADS, policy=policy, by="Otto").state
        assert state is (ChangeState.IN_FORCE if days == 30 else ChangeState.WAITING)
    assert ask(services, *users(0, 6), by="Otto") == [RequestState.ACCEPTED] * 5 + [RequestState.UNAPPROVED]


def test_a_longer_period_and_the_policy_of_an_empty_team_need_nobody(services: Services) -> None:
    assert change_policy(services, CARS, policy=RetentionPolicy(keep_days=1), by="Otto").state is ChangeState.IN_FORCE
    services.catalog.teams.set_policy(ADS, RetentionPolicy(keep_days=30))

    assert keep_days(services, 60, by="Otto") is ChangeState.IN_FORCE


def test_nobody_raises_the_cap_alone(services: Services) -> None:
    assert change_policy(services, ADS, cap_percent=100, by="Otto").state is ChangeState.WAITING
    assert change_policy(services, ADS, cap_percent=5, by="Otto").state is ChangeState.IN_FORCE
    change_policy(services, ADS, cap_percent=100, by="Otto")

    approve_policy(services, ADS, name="Jane")

    assert services.catalog.teams.get(ADS).cap_percent == 100
    assert ask(services, *users(0, 90), by="Otto") == [RequestState.ACCEPTED] * 90


def let_in(services: Services, who: str, *, by: str, is_by_operator: bool = False) -> None:
    names = {name: identity_of(services.keychain, ADS, text) for name, text in (("who", who), ("by", by))}
    at = services.clock.now()
    services.catalog.teams.add_appointment(Appointment(team=ADS, **names, at=at, is_by_operator=is_by_operator))


def test_an_account_made_for_oneself_is_no_second_person_and_has_no_cap_of_its_own(
    home: Home, services: Services
) -> None:
    let_in(services, "Otto II", by="Otto")
    let_in(services, "Otto III", by="Otto II")
    assert ask(services, ByTeam(), by="Otto") == [RequestState.UNAPPROVED]
    (request,) = services.catalog.requests.all(team=ADS)

    for name in ("Otto II", "Otto III"):
        with pytest.raises(ApprovalRefused, match="one person"):
            approve(services, request.request_id, name=name)
    assert ask(services, *users(0, 15), by="Otto III") == [RequestState.ACCEPTED] * 15
    assert ask(services, *users(15, 25), by="Otto") == [RequestState.ACCEPTED] * 5 + [RequestState.UNAPPROVED] * 5

    home.clock.pass_by(timedelta(days=8))
    assert approve(services, request.request_id, name="Otto III").state is RequestState.ACCEPTED


def test_what_an_account_erased_counts_with_its_makers_acts_for_as_long_as_it_lies_in_the_window(
    home: Home, services: Services
) -> None:
    let_in(services, "Otto II", by="Otto")
    home.clock.pass_by(timedelta(days=6))
    assert ask(services, *users(0, 20), by="Otto II") == [RequestState.ACCEPTED] * 20

    home.clock.pass_by(timedelta(days=2))  # from now on the account is a person of its own

    assert ask(services, *users(20, 22), by="Otto") == [RequestState.UNAPPROVED] * 2


def test_members_whom_the_operator_let_in_are_persons_of_their_own(services: Services) -> None:
    for name in ("Ann", "Bob"):
        let_in(services, name, by="root", is_by_operator=True)
    ask(services, ByTeam(), by="Ann")
    (request,) = services.catalog.requests.all(team=ADS)

    with pytest.raises(ApprovalRefused, match="one person"):
        approve(services, request.request_id, name="root")
    assert approve(services, request.request_id, name="Bob").state is RequestState.ACCEPTED


def test_many_are_approved_at_once_or_none(services: Services) -> None:
    ask(services, *users(0, 60), by="Otto")
    waiting = approvable(services, ADS, name="Jane")
    assert (len(waiting), approvable(services, ADS, name="Otto")) == (40, [])

    with pytest.raises(ApprovalRefused):
        approve_many(services, waiting, name="Otto")
    approve_many(services, waiting, name="Jane")

    assert services.catalog.requests.unapproved(ADS) == (0, 0)
    assert sum(entry.kind == "approved" for entry in services.ledger.entries()) == 40


@pytest.mark.parametrize("off", [timedelta(days=8), -timedelta(days=8)], ids=["ahead", "behind"])
def test_no_clock_that_disagrees_ends_or_forgets_the_window_of_one_person(
    home: Home, services: Services, off: timedelta
) -> None:
    let_in(services, "Otto II", by="Otto")
    assert ask(services, *users(0, 20), ByTeam(), by="Otto")[-1] is RequestState.UNAPPROVED
    keep_days(services, 30, by="Otto")
    (request,) = services.catalog.requests.all(team=ADS, states=[RequestState.UNAPPROVED])
    services = home.services = changed(services, clock_bounds=ClockBounds())
    home.clock.pass_by(off)

    with pytest.raises(ClockWrong):
        approve(services, request.request_id, name="Otto II")
    with pytest.raises(ClockWrong):
        approve_policy(services, ADS, name="Otto II")
    with pytest.raises(ClockWrong):
        keep_days(services, 20, by="Otto")
    otto, accounts = Inviter(name="Otto"), home.opened.accounts
    with pytest.raises(ClockWrong):
        add_member(services, accounts, email="otto3@example.com", name="Otto III", team=ADS, role=Role.ADMIN, by=otto)

    assert services.catalog.requests.get(request.request_id) == request
    assert [each.policy.keep_days for each in services.catalog.policy_changes.waiting(ADS)] == [30]
