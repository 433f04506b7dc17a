"""Signing in: what it takes, what it costs a guesser, and what a session is worth."""

from datetime import timedelta

import pyotp
import pytest
from starlette.testclient import TestClient
from support.catalogs import octets_of
from support.home import ADS
from support.page import PASSWORD, SETUP, Browser, Page

from implio_pipeline.domain.access import Role
from implio_pipeline.domain.accounts import SESSION_IDLE, SESSION_LONGEST
from implio_pipeline.flows.accounts.members import add_member
from implio_pipeline.flows.accounts.sign_in import use_codes


def test_a_member_gets_in_and_out(page: Page) -> None:
    browser = page.browser()
    assert browser.get("/teams/ads").headers["location"] == "/sign-in"

    answer = browser.sign_in("jane")
    assert answer.headers["location"] == "/teams"
    assert browser.get("/teams/ads").status_code == 200

    browser.send("/sign-out")
    assert browser.get("/teams/ads").headers["location"] == "/sign-in"


def test_the_cookie_is_bound_to_the_host_and_out_of_reach_of_scripts(page: Page) -> None:
    cookie = page.browser().sign_in("jane").headers["set-cookie"]

    assert cookie.startswith("__Host-implio-session=")
    assert all(mark in cookie for mark in ("HttpOnly", "Secure", "SameSite=strict", "Path=/"))


def test_a_new_token_is_given_at_sign_in_and_only_its_hash_is_stored(page: Page) -> None:
    browser = page.browser()
    browser.get("/sign-in")
    guest = browser.client.cookies["__Host-implio-guest"]
    browser.sign_in("jane")
    token = browser.client.cookies["__Host-implio-session"]

    assert token != guest
    stored = octets_of(page.home.path)
    assert token.encode() not in stored


def test_nobody_is_told_which_part_was_wrong(page: Page) -> None:
    browser = page.browser()
    answers = [browser.sign_in("jane", "not the password"), browser.sign_in("nobody", PASSWORD)]

    assert [answer.status_code for answer in answers] == [403, 403]
    texts = [answer.text.split("<main")[1].split("<form")[0] for answer in answers]
    assert texts[0] == texts[1]


def test_guessing_costs_more_and_more_time_for_addresses_that_exist_and_for_others(page: Page) -> None:
    for who in ("jane", "nobody"):
        browser = page.browser()
        statuses = [browser.sign_in(who, "wrong password!").status_code for _ in range(6)]
        assert statuses == [403] * 5 + [429]

    browser = page.browser()
    assert browser.sign_in("jane").status_code == 429
    page.home.clock.pass_by(timedelta(seconds=31))
    assert browser.sign_in("jane").status_code == 303
    assert page.browser().sign_in("jane").status_code == 303


def test_a_session_ends_when_it_is_idle_and_at_last_anyway(page: Page) -> None:
    browser = page.browser(who="jane")
    page.home.clock.pass_by(SESSION_IDLE - timedelta(seconds=1))
    assert browser.get("/teams/ads").status_code == 200
    page.home.clock.pass_by(SESSION_IDLE)
    assert browser.get("/teams/ads").status_code == 303

    browser = page.browser(who="jane")
    for _ in range(int(SESSION_LONGEST / SESSION_IDLE) * 2 - 1):
        page.home.clock.pass_by(SESSION_IDLE / 2)
        assert browser.get("/teams/ads").status_code == 200
    page.home.clock.pass_by(SESSION_IDLE / 2)
    assert browser.get("/teams/ads").status_code == 303


def test_a_page_that_looks_for_progress_by_itself_keeps_nobody_signed_in(page: Page) -> None:
    browser = page.browser(who="jane")

    for _ in range(4):
        page.home.clock.pass_by(SESSION_IDLE / 4)
        answer = browser.get("/teams/ads/requests/progress")

    assert answer.headers["location"] == "/sign-in"


@pytest.mark.parametrize("secret", ["", "abc", "!!"])
def test_a_code_for_a_secret_that_the_page_did_not_make_is_refused_and_a_new_secret_is_shown(
    page: Page, secret: str
) -> None:
    browser = page.browser(who="jane")
    browser.get("/account")
    browser.send("/account/codes")

    answer = browser.send("/account/codes/confirm", secret=secret, code="000000")

    assert answer.status_code == 422
    assert "The secret is not valid" in answer.text
    assert len(browser.hidden()["secret"]) == 32


def test_with_codes_a_password_alone_opens_nothing_and_no_code_counts_twice(page: Page) -> None:
    jane = page.accounts.members.find("jane@example.com")
    secret = page.accounts.secrets.new_code_secret()
    clock = pyotp.TOTP(secret)
    assert jane is not None
    use_codes(page.accounts, jane, secret=secret, code=clock.at(page.home.clock.now()))
    page.home.clock.pass_by(timedelta(minutes=2))
    browser = page.browser()

    assert browser.sign_in("jane").headers["location"] == "/sign-in/code"
    assert browser.get("/teams/ads").headers["location"] == "/sign-in"
    browser.get("/sign-in/code")
    assert browser.send("/sign-in/code", code="000000").status_code == 403
    code = clock.at(page.home.clock.now())
    assert browser.send("/sign-in/code", code=code).headers["location"] == "/teams"
    assert browser.get("/teams/ads").status_code == 200

    other = page.browser()
    other.sign_in("jane")
    assert other.send("/sign-in/code", code=code).status_code == 403


def test_who_was_given_a_password_chooses_their_own_before_anything_else(page: Page) -> None:
    _member, made = add_member(
        page.services, page.accounts, email="new@example.com", name="New", team=ADS, role=Role.ADMIN, by=SETUP
    )
    browser = page.browser()
    browser.sign_in("new", str(made))

    assert browser.get("/teams/ads").headers["location"] == "/account"
    browser.get("/account")
    assert browser.send("/account/password", old=made, new="short", again="short").status_code == 422
    answer = browser.send("/account/password", old=made, new=PASSWORD, again=PASSWORD)
    assert answer.headers["location"] == "/account?done=password"
    assert browser.get("/teams/ads").status_code == 200
    assert page.browser().sign_in("new", str(made)).status_code == 403


def test_a_changed_password_ends_every_other_session(page: Page) -> None:
    one, other = page.browser(who="jane"), page.browser(who="jane")

    one.send("/account/password", old=PASSWORD, new="another quiet bicycle", again="another quiet bicycle")

    assert one.get("/teams/ads").status_code == 200
    assert other.get("/teams/ads").headers["location"] == "/sign-in"


def test_name_and_address_lie_sealed(page: Page) -> None:
    page.browser(who="jane")

    stored = b"".join(path.read_bytes() for path in page.home.path.rglob("*") if path.is_file()).lower()

    assert b"jane" not in stored
    assert b"example.com" not in stored


def test_failures_from_one_place_lock_nobody_out_who_signs_in_from_another(page: Page) -> None:
    elsewhere = {"base_url": "https://testserver", "client": ("203.0.113.9", 4711)}
    guesser = Browser(client=TestClient(page.app, follow_redirects=False, **elsewhere))
    assert [guesser.sign_in("jane", "wrong password!").status_code for _ in range(20)][-1] == 429

    assert page.browser().sign_in("jane").status_code == 303
    assert guesser.sign_in("jane").status_code == 429
