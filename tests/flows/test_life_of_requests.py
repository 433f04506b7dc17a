"""Gates of a request: a second person, a grace period, a plan; and its due date."""

from datetime import timedelta

import pytest
from support.changed import changed
from support.clock import NOW
from support.home import ADS, Home
from support.items import Ad

from implio_pipeline.domain.errors import ApprovalRefused, CancelTooLate, PlanChanged
from implio_pipeline.domain.ids import Channel
from implio_pipeline.domain.plan import ApprovalPolicy
from implio_pipeline.domain.request import Request, RequestDraft, RequestState
from implio_pipeline.domain.scope import ByTeam, ByUser
from implio_pipeline.flows.deletion.approval import approve
from implio_pipeline.flows.deletion.cancel import cancel
from implio_pipeline.flows.deletion.erase import erase
from implio_pipeline.flows.deletion.extend import extend
from implio_pipeline.flows.deletion.preview import accept_plan, plan_erasure

HOUR = timedelta(hours=1)
ANN = RequestDraft(team=ADS, scope=ByUser(user_id="ann"), channel=Channel.CLI, received_at=NOW)


def some_ads(home: Home) -> None:
    home.keep(*(Ad(task=f"a{number}", user="ann", outcome=None) for number in range(4)))
    home.keep(*(Ad(task=f"b{number}", user=f"user {number}") for number in range(8)))


def kinds(home: Home) -> list[str]:
    return [entry.kind for entry in home.services.ledger.entries()]


def test_a_large_share_is_erased_only_after_a_second_person(home: Home) -> None:
    home.services = changed(home.services, approvals=ApprovalPolicy(cap_from_items=4))
    some_ads(home)
    home.clock.pass_by(timedelta(days=8))
    (request,) = home.answers(ByUser(user_id="ann"), asked_by="Jane ")
    (small,) = home.ask(ByUser(user_id="user 1"))
    assert isinstance(request, Request)

    assert (request.state, small.state) == (RequestState.UNAPPROVED, RequestState.ACCEPTED)
    assert erase(home.services, only=[request.request_id], again=True).items_erased == 0
    with pytest.raises(ApprovalRefused, match="second person"):
        approve(home.services, request.request_id, name="jane")
    assert approve(home.services, request.request_id, name="Sam").state is RequestState.ACCEPTED

    assert erase(home.services).items_erased == 5
    assert kinds(home) == ["tombstone", "tombstone", "approved", "receipt", "receipt"]


def test_a_whole_team_always_needs_one_and_any_name_will_do_for_a_request_of_nobody(home: Home) -> None:
    home.services = changed(home.services, approvals=ApprovalPolicy())
    some_ads(home)
    (request,) = home.ask(ByTeam())

    assert request.state is RequestState.UNAPPROVED
    approve(home.services, request.request_id, name="Jane")
    assert erase(home.services).items_erased == 12


def test_a_request_cancelled_in_its_grace_period_leaves_everything_as_it_was(home: Home) -> None:
    home.services.catalog.teams.set_limits(ADS, cap_percent=20, grace_hours=24)
    some_ads(home)
    rows, queued = home.rows(), home.services.catalog.moderation.entries(ADS)
    (request,) = home.ask(ByUser(user_id="ann"))
    assert request.state is RequestState.WAITING
    assert len(home.services.catalog.moderation.entries(ADS)) == len(queued) - 4

    cancel(home.services, request.request_id)

    home.clock.pass_by(48 * HOUR)
    assert erase(home.services, again=True).items_erased == 0
    assert (home.rows(), home.services.catalog.moderation.entries(ADS)) == (rows, queued)
    assert home.services.catalog.requests.tombstones(ADS) == []
    assert kinds(home) == ["tombstone", "lifted"]


def test_when_the_grace_period_is_over_the_request_runs_and_cannot_be_cancelled(home: Home) -> None:
    home.services.catalog.teams.set_limits(ADS, cap_percent=20, grace_hours=24)
    some_ads(home)
    (request,) = home.ask(ByUser(user_id="ann"))
    assert erase(home.services, again=True).items_erased == 0
    home.clock.pass_by(24 * HOUR)

    assert erase(home.services).items_erased == 4
    with pytest.raises(CancelTooLate):
        cancel(home.services, request.request_id)


def test_a_plan_is_done_exactly_or_refused_and_then_nothing_is_hidden(home: Home) -> None:
    some_ads(home)
    plan = plan_erasure(home.services, ANN)
    home.clock.pass_by(HOUR)
    assert plan_erasure(home.services, ANN).digest == plan.digest
    home.keep(Ad(task="new", user="ann"))

    with pytest.raises(PlanChanged):
        accept_plan(home.services, ANN, digest=plan.digest)

    assert home.services.catalog.requests.all() == []
    again = plan_erasure(home.services, ANN)
    request = accept_plan(home.services, ANN, digest=again.digest)
    assert isinstance(request, Request)
    assert erase(home.services).items_erased == again.items == plan.items + 1 == 5


def test_an_extension_is_noted_and_its_reason_stays_sealed(home: Home) -> None:
    (request,) = home.ask(ByUser(user_id="ann"))

    after = extend(home.services, request.request_id, days=30, reason="canary reason")

    assert after.due_at == request.due_at + timedelta(days=30)
    assert kinds(home) == ["tombstone", "extended"]
    assert b"canary" not in b"".join(path.read_bytes() for path in home.path.rglob("*") if path.is_file())
