"""The second person is a person: a key acts for its maker, and one person's acts count together, through every door."""

from dataclasses import replace
from datetime import timedelta

import pytest
from support.home import ADS, Home
from support.items import Ad

from implio_pipeline.domain.errors import ApprovalRefused
from implio_pipeline.domain.plan import ApprovalPolicy
from implio_pipeline.domain.request import Request, RequestDraft, RequestState
from implio_pipeline.domain.scope import ByTeam, Scope
from implio_pipeline.domain.words import Channel
from implio_pipeline.flows.accept import accept
from implio_pipeline.flows.api_keys import add_api_key, recognise, rotate_api_key
from implio_pipeline.flows.approve import approve
from implio_pipeline.ports.world import World

GRACE, MINUTE = timedelta(hours=1), timedelta(minutes=1)


@pytest.fixture
def world(home: Home) -> World:
    """A hundred items of as many users, of which one person may erase twenty in a week."""
    home.world = replace(home.world, approvals=ApprovalPolicy(cap_from_items=100))
    home.keep(*(Ad(task=f"t{number}", user=f"user {number}") for number in range(100)))
    return home.world


def ask_by_key(world: World, text: str, scope: Scope) -> Request:
    """Ask as the API does for a caller who shows a key."""
    key = recognise(world, text)
    draft = RequestDraft(
        team=ADS,
        scope=scope,
        channel=Channel.API,
        received_at=world.clock.now(),
        asked_by=f"api key {key.key_id}",
        acts_for=key.made_by,
    )
    (answer,) = accept(world, [draft])
    assert isinstance(answer, Request)
    return answer


def test_whoever_made_a_key_cannot_approve_what_it_asks_for(world: World) -> None:
    _, text = add_api_key(world, ADS, label="shop", by="Otto Lindqvist")
    request = ask_by_key(world, text, ByTeam())

    for spelling in ("Otto Lindqvist", " otto  LINDQVIST", "\N{FULLWIDTH LATIN CAPITAL LETTER O}tto Lindqvist"):
        with pytest.raises(ApprovalRefused, match="second person"):
            approve(world, request.request_id, name=spelling)

    assert approve(world, request.request_id, name="Jane").state is RequestState.ACCEPTED


def test_a_replaced_key_acts_for_whoever_replaced_it_and_the_old_one_for_its_maker(home: Home, world: World) -> None:
    key, old = add_api_key(world, ADS, label="shop", by="Otto")
    _, new = rotate_api_key(world, key.key_id, grace=GRACE, by="Jane")

    by_new = ask_by_key(world, new, ByTeam())
    home.clock.pass_by(MINUTE)
    by_old = ask_by_key(world, old, ByTeam())

    with pytest.raises(ApprovalRefused):
        approve(world, by_new.request_id, name="Jane")
    with pytest.raises(ApprovalRefused):
        approve(world, by_old.request_id, name="Otto")
    assert approve(world, by_new.request_id, name="Otto").state is RequestState.ACCEPTED
