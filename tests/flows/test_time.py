"""Time is logical: a request covers what was there when it was accepted, and nothing that came later, on any clock."""

from collections.abc import Callable
from datetime import timedelta

import pytest
from support.clock import NOW
from support.home import ADS, Home
from support.items import Ad

from implio_pipeline.domain.request import RequestState
from implio_pipeline.domain.scope import ByDates, ByTask, ByTeam, ByUser, Scope
from implio_pipeline.flows.deletion.accept import accept
from implio_pipeline.flows.deletion.erase import erase
from implio_pipeline.flows.deletion.preview import accept_plan, plan_erasure
from implio_pipeline.flows.files.submit import Submission, submission_instant, submit

MINUTES = timedelta(minutes=1)
SCOPES: dict[str, Scope] = {
    "user": ByUser(user_id="ann"),
    "task": ByTask(task_id="t-1"),
    "dates": ByDates(start=NOW - timedelta(days=1), end=NOW + timedelta(days=1)),
    "team": ByTeam(),
}


def post(home: Home, task: str, user: str = "ann") -> None:
    """Post an item as a customer's server does, at the instant the server gives it."""
    arrived_at = submission_instant(home.services, ADS)
    submit(
        home.services,
        ADS,
        [Submission(team=ADS, arrived_at=arrived_at, rows=home.table([Ad(task=task, user=user, at=arrived_at)]))],
    )


@pytest.mark.parametrize("scope", SCOPES.values(), ids=SCOPES)
def test_a_request_under_a_clock_that_lies_behind_covers_every_item_that_is_there(home: Home, scope: Scope) -> None:
    post(home, "t-1")
    home.clock.at = NOW - 2 * MINUTES

    (request,) = home.ask(scope)
    erase(home.services)
    home.clock.at = NOW + MINUTES

    (receipt,) = home.receipts()
    assert home.tasks() == []
    assert receipt.body["erased"]["items"] == 1
    assert request.accepted_at > NOW


def test_a_post_to_a_server_whose_clock_lies_behind_an_erasure_is_stored(home: Home) -> None:
    home.ask(ByUser(user_id="ann"))
    erase(home.services)
    home.clock.at = NOW - 2 * MINUTES

    post(home, "new")

    assert home.tasks() == ["new"]


def test_the_receipt_counts_newer_items_of_the_scope_and_says_why_they_stay(home: Home) -> None:
    post(home, "old")
    (request,) = home.ask(ByUser(user_id="ann"))
    home.clock.pass_by(MINUTES)
    post(home, "new")
    post(home, "other", user="bob")

    erase(home.services)

    (receipt,) = home.receipts()
    assert home.tasks() == ["new", "other"]
    assert receipt.body["outcome"]["newer"] == 1
    assert home.services.catalog.requests.get(request.request_id).outcome.newer == 1


def test_the_same_deletion_again_under_a_clock_that_lies_behind_covers_what_came_in_between(home: Home) -> None:
    draft: Callable[[], object] = lambda: accept(  # noqa: E731
        home.services, [home.draft(ByUser(user_id="ann"))], same_within=timedelta(hours=1)
    )
    draft()
    home.clock.pass_by(MINUTES)
    post(home, "between")
    home.clock.at = NOW - MINUTES

    draft()
    erase(home.services)

    assert home.tasks() == []


def test_a_plan_made_under_a_clock_that_lies_behind_tells_what_is_erased(home: Home) -> None:
    post(home, "t-1")
    home.clock.at = NOW - 2 * MINUTES
    draft = home.draft(ByUser(user_id="ann"))

    plan = plan_erasure(home.services, draft)
    accept_plan(home.services, draft, digest=plan.digest)
    erase(home.services)

    assert plan.items == 1
    assert home.tasks() == []
    assert home.services.catalog.requests.all()[0].state is RequestState.COMPLETED
