"""Laws of time, over any order of acts under clocks that differ within the bounds."""

from collections.abc import Callable
from datetime import datetime, timedelta

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from support.changed import changed
from support.clock import NOW
from support.home import ADS, Home
from support.items import Ad

from implio_pipeline.domain.instants import ClockBounds
from implio_pipeline.domain.plan import ApprovalPolicy
from implio_pipeline.domain.request import RequestState
from implio_pipeline.domain.retention import RetentionPolicy
from implio_pipeline.domain.scope import ByTask, ByUser
from implio_pipeline.flows.clock import agreed_now
from implio_pipeline.flows.deletion.approval import approve
from implio_pipeline.flows.deletion.cancel import cancel
from implio_pipeline.flows.deletion.erase import erase
from implio_pipeline.flows.deletion.legal_holds import HoldDraft, place_hold, release_hold
from implio_pipeline.flows.deletion.retention import retain
from implio_pipeline.flows.files.submit import Submission, submission_instant, submit

USERS = ("ann", "bob")
# A host's clock may lie behind the newest reading by less than the bound, and time goes on by a little at each act.
STEPS = st.lists(
    st.tuples(st.sampled_from(("post", "accept", "erase", "retain")), st.sampled_from(USERS), st.integers(-240, 240)),
    max_size=12,
)


def erase_and_compare(home: Home, asked_by: dict[str, str], stored: dict[str, str]) -> None:
    """Erase, and compare what each new receipt says of newer items with what is stored of the user."""
    before = len(home.receipts())
    erase(home.services)
    for entry in home.receipts()[before:]:
        if (user := asked_by.get(str(entry.body["requestId"]))) is not None:
            assert entry.body["outcome"]["newer"] == sum(theirs == user for theirs in stored.values())


IN_ORDER = ("receivedAt", "acceptedAt", "hiddenAt", "erasedAt", "checkedAt")
"""What a receipt dates, in the order in which it happens."""


def assert_in_order(home: Home) -> None:
    """Compare the instants within each signed entry, and with those of earlier entries about the same request."""
    newest: dict[str, datetime] = {}
    for entry in home.services.ledger.entries():
        name = str(entry.body.get("requestId") or entry.body.get("holdId"))
        told = [
            datetime.fromisoformat(entry.body[each])
            for each in (*IN_ORDER, "before", "approvedAt", "placedAt", "releasedAt", "liftedAt")
            if entry.body.get(each) is not None and (each != "before" or entry.kind == "tombstone")
        ]
        assert told == sorted(told), (entry.kind, entry.body)
        if told:
            assert newest.get(name, told[-1]) <= told[-1], entry.kind
            newest[name] = told[-1]
    for request in home.services.catalog.requests.all():
        dated = (request.received_at, request.accepted_at, request.erased_at, request.checked_at, request.completed_at)
        known = [each for each in dated if each is not None]
        assert known == sorted(known), request.state


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(steps=STEPS)
def test_what_is_acknowledged_stays_until_a_later_request_and_what_was_there_at_a_request_is_gone(
    new_home: Callable[[], Home], steps: list[tuple[str, str, int]]
) -> None:
    home = new_home()
    home.services = changed(home.services, clock_bounds=ClockBounds())
    home.services.catalog.teams.set_policy(ADS, RetentionPolicy(keep_days=60))
    agreed_now(home.services)
    newest, stored, there = NOW, dict[str, str](), dict[str, set[str]]()
    asked_by = dict[str, str]()

    for number, (act, user, off) in enumerate(steps):
        newest += timedelta(seconds=1)
        home.clock.at = newest + timedelta(seconds=off)  # a host that is off by so much
        newest = max(newest, home.clock.at)
        if act == "post":
            at, task = submission_instant(home.services, ADS), f"t-{number}"
            submit(
                home.services,
                ADS,
                [Submission(team=ADS, arrived_at=at, rows=home.table([Ad(task=task, user=user, at=at)]))],
            )
            stored[task] = user
        elif act == "accept":
            (request,) = home.ask(ByUser(user_id=user))
            there[request.request_id] = {task for task, theirs in stored.items() if theirs == user}
            stored = {task: theirs for task, theirs in stored.items() if theirs != user}
            asked_by[request.request_id] = user
        elif act == "erase":
            erase_and_compare(home, asked_by, stored)
        else:
            retain(home.services, today=home.clock.at.date())
    erase_and_compare(home, asked_by, stored)
    assert_in_order(home)

    left = set(home.tasks(ADS))
    assert left == set(stored)
    for request_id, items in there.items():
        request = next(each for each in home.services.catalog.requests.all() if each.request_id == request_id)
        assert request.state is RequestState.COMPLETED
        assert left.isdisjoint(items)


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(offs=st.lists(st.integers(-240, 240), min_size=6, max_size=6))
def test_whatever_the_clocks_say_what_is_signed_of_a_request_is_in_order(
    new_home: Callable[[], Home], offs: list[int]
) -> None:
    # given hosts whose clocks differ within the bounds, each of which does one thing
    home = new_home()
    home.services = changed(home.services, clock_bounds=ClockBounds(), approvals=ApprovalPolicy(cap_from_items=4))
    newest = NOW
    agreed_now(home.services)
    home.keep(*(Ad(task=f"{user}-{number}", user=user) for user in USERS for number in range(3)))

    def on_another_host(off: int) -> None:
        nonlocal newest
        newest += timedelta(seconds=1)
        home.clock.at = newest + timedelta(seconds=off)
        newest = max(newest, home.clock.at)

    on_another_host(offs[0])
    until = newest + timedelta(days=30)
    scope = ByTask(task_id="ann-1")
    hold = place_hold(home.services, HoldDraft(team=ADS, scope=scope, until=until, words="w", holder="h"))
    on_another_host(offs[1])
    taken_back, kept = home.ask(ByUser(user_id="bob"), ByUser(user_id="ann"))

    # when one request is taken back, one approved, carried out in part, and then whole
    on_another_host(offs[2])
    cancel(home.services, taken_back.request_id)
    on_another_host(offs[3])
    approve(home.services, kept.request_id, name="Jane")
    erase(home.services)
    on_another_host(offs[4])
    release_hold(home.services, hold.hold_id)
    on_another_host(offs[5])
    erase(home.services, again=True)

    # then every instant follows the one before it
    assert [entry.kind for entry in home.services.ledger.entries()].count("receipt") == 1
    assert_in_order(home)
