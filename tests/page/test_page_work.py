"""Keys, callbacks and queues on the page: shown once, told where allowed, decided once, gone with their items."""

import re

from support.home import ADS
from support.page import Page

from implio_pipeline.domain.scope import ByTask
from implio_pipeline.flows.api_keys import add_api_key, recognise


def key_shown(text: str) -> str:
    found = re.search(r'<code class="secret">([^<]+)</code>', text)
    assert found
    return found[1]


def test_a_key_is_shown_once_and_works(page: Page) -> None:
    browser = page.browser(who="jane")
    browser.get("/teams/ads/keys")

    made = browser.send("/teams/ads/keys", label="shop", until="")

    secret = key_shown(made.text)
    assert recognise(page.world, secret).team == ADS
    assert secret not in browser.get("/teams/ads/keys").text
    assert "shop" in browser.text
    assert [entry.deed.value for entry in page.desk.trail.newest(ADS, most=1)] == ["made an API key"]


def test_a_revoked_key_opens_nothing_and_another_teams_key_is_unknown(page: Page) -> None:
    ours, text = add_api_key(page.world, ADS, label="old")
    theirs, _ = add_api_key(page.world, type(ADS)("cars"), label="theirs")
    browser = page.browser(who="jane")
    browser.get("/teams/ads/keys")

    revoked = browser.send(f"/teams/ads/keys/{ours.key_id}/revoke")
    unknown = browser.send(f"/teams/ads/keys/{theirs.key_id}/revoke")

    assert (revoked.status_code, unknown.status_code) == (303, 404)
    assert page.world.catalog.api_keys.get(ours.key_id).revoked_at is not None
    assert page.world.catalog.api_keys.get(theirs.key_id).revoked_at is None
    assert text not in browser.get("/teams/ads/keys").text


def test_a_replaced_key_is_accepted_beside_its_successor(page: Page) -> None:
    old, old_text = add_api_key(page.world, ADS, label="shop")
    browser = page.browser(who="jane")
    browser.get("/teams/ads/keys")

    made = browser.send(f"/teams/ads/keys/{old.key_id}/replace")

    assert recognise(page.world, key_shown(made.text)).label == "shop"
    assert recognise(page.world, old_text).key_id == old.key_id


def test_a_callback_goes_only_to_a_host_that_was_allowed(page: Page) -> None:
    browser = page.browser(who="jane")
    browser.get("/teams/ads/callbacks")

    refused = browser.send("/teams/ads/callbacks", url="https://hooks.example/quiet-canary")
    wrong = browser.send("/teams/ads/callbacks/hosts", hosts="https://hooks.example/")
    saved = browser.send("/teams/ads/callbacks/hosts", hosts="hooks.example api.example")

    assert (refused.status_code, wrong.status_code, saved.status_code) == (422, 422, 303)
    assert "not on the team" in refused.text
    assert page.world.catalog.callbacks.hosts(ADS) == {"hooks.example", "api.example"}
    assert "quiet-canary" not in refused.text


def test_a_moderator_decides_and_the_item_leaves_the_queue(page: Page) -> None:
    browser = page.browser(who="mo")
    browser.get("/teams/ads/queues")
    waiting = {entry.task_id for entry in page.world.catalog.queues.entries(ADS)}

    review = browser.send("/teams/ads/queues/next", queue="Default")
    task = browser.hidden()["task_id"]
    no_reason = browser.send("/teams/ads/queues/decide", queue="Default", task_id=task, decision="refuse")
    done = browser.send("/teams/ads/queues/decide", queue="Default", task_id=task, decision="approve", note="fine")

    assert (review.status_code, no_reason.status_code, done.status_code) == (200, 409, 200)
    assert {entry.task_id for entry in page.world.catalog.queues.entries(ADS)} == waiting - {task}
    assert page.desk.trail.newest(ADS, most=1)[0].subject == task


def test_a_decision_on_a_deleted_item_is_gone_lock_or_not(page: Page) -> None:
    browser = page.browser(who="mo")
    browser.get("/teams/ads/queues")
    browser.send("/teams/ads/queues/next", queue="Default")
    task = browser.hidden()["task_id"]
    page.home.ask(ByTask(task_id=task))

    late = browser.send("/teams/ads/queues/decide", queue="Default", task_id=task, decision="approve")

    assert late.status_code == 410
    assert task not in late.text


def test_a_spectator_sees_queues_and_no_item(page: Page) -> None:
    browser = page.browser(who="sue")

    seen = browser.get("/teams/ads/queues")
    review = browser.send("/teams/ads/queues/next", queue="Default")

    assert (seen.status_code, review.status_code) == (200, 403)
    assert "Default" in seen.text


def test_queues_are_made_and_removed_while_empty(page: Page) -> None:
    browser = page.browser(who="ada")
    browser.get("/teams/ads/queues")

    made = browser.send("/teams/ads/queues", queue="Cars & bikes")
    kept = browser.send("/teams/ads/queues/remove", queue="Default")
    removed = browser.send("/teams/ads/queues/remove", queue="Cars & bikes")

    assert (made.status_code, kept.status_code, removed.status_code) == (303, 409, 303)
