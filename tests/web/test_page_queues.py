"""Moderation on the page: ten at a time, one decision each, and a deletion wins."""

from support.home import ADS
from support.page import Page

from implio_pipeline.domain.scope import ByTask


def waiting(page: Page) -> list[str]:
    return [entry.task_id for entry in page.services.catalog.moderation.entries(ADS)]


def test_a_moderator_takes_what_waits_and_decides(page: Page) -> None:
    browser = page.browser(who="mo")
    before = waiting(page)
    shown = browser.send("/teams/ads/queues/next", queue="Default").text
    assert "a bicycle" in shown

    approved = browser.send("/teams/ads/queues/decide", queue="Default", task_id=before[0], decision="approve")
    refused = browser.send("/teams/ads/queues/decide", queue="Default", task_id=before[1], decision="refuse")
    assert (approved.status_code, refused.status_code) == (200, 409)
    browser.send(
        "/teams/ads/queues/decide", queue="Default", task_id=before[1], decision="refuse", reason="spam", note="again"
    )
    browser.send("/teams/ads/queues/decide", queue="Default", task_id=before[2], decision="move", to="Escalated")

    assert waiting(page) == before[2:]
    assert page.services.catalog.moderation.counts()[("ads", "Escalated")] == 1
    assert [entry.deed.value for entry in page.accounts.audit_log.newest(ADS, most=3)] == [
        "moved an item to another queue",
        "decided on an item",
        "decided on an item",
    ]


def test_what_one_looks_at_is_given_to_nobody_else(page: Page) -> None:
    one, other = page.browser(who="mo"), page.browser(who="ada")
    one.send("/teams/ads/queues/next", queue="Default")

    assert "No item waits here that nobody else" in other.send("/teams/ads/queues/next", queue="Default").text
    one.send("/teams/ads/queues/back")
    assert "No item waits here that nobody else" not in other.send("/teams/ads/queues/next", queue="Default").text


def test_a_decision_on_what_was_deleted_meanwhile_is_gone(page: Page) -> None:
    browser = page.browser(who="mo")
    browser.send("/teams/ads/queues/next", queue="Default")
    task = waiting(page)[0]
    page.home.ask(ByTask(task_id=task))

    assert (
        browser.send("/teams/ads/queues/decide", queue="Default", task_id=task, decision="approve").status_code == 410
    )


def test_a_spectator_sees_how_much_waits_and_takes_nothing(page: Page) -> None:
    browser = page.browser(who="sue")
    assert "Take the next" not in browser.get("/teams/ads/queues").text

    assert browser.send("/teams/ads/queues/next", queue="Default").status_code == 403


def test_queues_are_added_and_removed_by_who_may(page: Page) -> None:
    browser = page.browser(who="ada")
    browser.get("/teams/ads/queues")
    browser.send("/teams/ads/queues", name="Cars")
    assert ("ads", "Cars") in page.services.catalog.moderation.counts()
    browser.send("/teams/ads/queues/remove", queue="Cars")
    assert ("ads", "Cars") not in page.services.catalog.moderation.counts()

    assert page.browser(who="mo").send("/teams/ads/queues", name="Mine").status_code == 403


def test_a_callback_goes_to_allowed_hosts_only_and_shows_its_secrets_once(page: Page) -> None:
    browser = page.browser(who="jane")
    browser.get("/teams/ads/callbacks")

    assert browser.send("/teams/ads/callbacks", url="https://elsewhere.example/hook").status_code == 422
    assert page.services.catalog.callbacks.get(ADS) is None
