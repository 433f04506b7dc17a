"""API keys on the page: shown once, replaced with time to change over, ended at once."""

from datetime import timedelta

import pytest
from support.home import ADS, CARS
from support.page import Browser, Page

from implio_pipeline.domain.errors import ApiKeyRefused
from implio_pipeline.flows.accounts.api_keys import add_api_key, authenticate_api_key


def shown_key(browser: Browser) -> str:
    return browser.text.split('class="secret">')[1].split("<")[0]


def test_a_key_is_shown_once_and_works(page: Page) -> None:
    browser = page.browser(who="jane")
    browser.send("/teams/ads/keys", label="shop server")
    text = shown_key(browser)

    assert authenticate_api_key(page.services, text).team == ADS
    assert text not in browser.get("/teams/ads/keys").text


def test_a_replaced_key_works_for_a_day_and_a_revoked_one_not_at_all(page: Page) -> None:
    browser = page.browser(who="jane")
    browser.send("/teams/ads/keys", label="shop server")
    old = shown_key(browser)
    key_id = authenticate_api_key(page.services, old).key_id
    browser.send(f"/teams/ads/keys/{key_id}/replace")
    new = shown_key(browser)
    assert authenticate_api_key(page.services, old).team == authenticate_api_key(page.services, new).team == ADS

    browser.send(f"/teams/ads/keys/{authenticate_api_key(page.services, new).key_id}/revoke")
    page.home.clock.pass_by(timedelta(days=1))

    for text in (old, new):
        with pytest.raises(ApiKeyRefused):
            authenticate_api_key(page.services, text)


def test_a_key_of_another_team_cannot_be_touched_from_here(page: Page) -> None:
    key, text = add_api_key(page.services, CARS, label="theirs", by="Jane")
    browser = page.browser(who="jane")

    for act in ("replace", "revoke"):
        assert browser.send(f"/teams/ads/keys/{key.key_id}/{act}").status_code in (404, 409)
    assert authenticate_api_key(page.services, text).team == CARS


def test_a_key_that_will_not_do_is_not_made(page: Page) -> None:
    browser = page.browser(who="jane")

    assert browser.send("/teams/ads/keys", label="").status_code == 422
    assert browser.send("/teams/ads/keys", label="old", last_day="2020-01-01").status_code == 422
    assert page.services.catalog.api_keys.all(ADS) == []


def test_a_key_that_is_replaced_twice_tells_when_it_truly_ends(page: Page) -> None:
    browser = page.browser(who="jane")
    browser.send("/teams/ads/keys", label="shop server")
    key_id = authenticate_api_key(page.services, shown_key(browser)).key_id
    browser.send(f"/teams/ads/keys/{key_id}/replace")
    first = browser.text.split("is accepted until ")[1].split("<")[0]
    page.home.clock.pass_by(timedelta(hours=20))

    browser.send(f"/teams/ads/keys/{key_id}/replace")

    assert browser.text.split("is accepted until ")[1].split("<")[0] == first
