"""Laws of time, over any order of acts under clocks that differ within the bounds."""

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from support.clock import NOW
from support.home import ADS, Home
from support.items import Ad

from implio_pipeline.domain.clock import ClockBounds
from implio_pipeline.domain.request import RequestState
from implio_pipeline.domain.retention import RetentionPolicy
from implio_pipeline.domain.scope import ByUser
from implio_pipeline.flows.clock import agreed_now
from implio_pipeline.flows.erase import erase
from implio_pipeline.flows.retain import retain
from implio_pipeline.flows.submit import Submission, arrival, submit

USERS = ("ann", "bob")
# A host's clock may lie behind the newest reading by less than the bound, and time goes on by a little at each act.
STEPS = st.lists(
    st.tuples(st.sampled_from(("post", "accept", "erase", "retain")), st.sampled_from(USERS), st.integers(-240, 240)),
    max_size=12,
)


def erase_and_compare(home: Home, asked_by: dict[str, str], stored: dict[str, str]) -> None:
    """Erase, and compare what each new receipt says of newer items with what is stored of the user."""
    before = len(home.receipts())
    erase(home.world)
    for entry in home.receipts()[before:]:
        if (user := asked_by.get(str(entry.body["requestId"]))) is not None:
            assert entry.body["outcome"]["newer"] == sum(theirs == user for theirs in stored.values())


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(steps=STEPS)
def test_what_is_acknowledged_stays_until_a_later_request_and_what_was_there_at_a_request_is_gone(
    new_home: Callable[[], Home], steps: list[tuple[str, str, int]]
) -> None:
    home = new_home()
    home.world = replace(home.world, clock_bounds=ClockBounds())
    home.world.catalog.teams.set_policy(ADS, RetentionPolicy(keep_days=60))
    agreed_now(home.world)
    newest, stored, there = NOW, dict[str, str](), dict[str, set[str]]()
    asked_by = dict[str, str]()

    for number, (act, user, off) in enumerate(steps):
        newest += timedelta(seconds=1)
        home.clock.at = newest + timedelta(seconds=off)  # a host that is off by so much
        newest = max(newest, home.clock.at)
        if act == "post":
            at, task = arrival(home.world, ADS), f"t-{number}"
            submit(
                home.world,
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
            retain(home.world, today=home.clock.at.date())
    erase_and_compare(home, asked_by, stored)

    left = set(home.tasks(ADS))
    assert left == set(stored)
    for request_id, items in there.items():
        request = next(each for each in home.world.catalog.requests.all() if each.request_id == request_id)
        assert request.state is RequestState.COMPLETED
        assert left.isdisjoint(items)
