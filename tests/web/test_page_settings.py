"""Retention, holds and members on the page."""

import errno
import os
from datetime import timedelta

from support.home import ADS
from support.items import Ad
from support.landing import LandedTable
from support.page import PASSWORD, Page

from implio_pipeline.domain.access import Role
from implio_pipeline.domain.faults import LONGEST_BACKOFF, MOST_ATTEMPTS
from implio_pipeline.domain.retention import RetentionPolicy
from implio_pipeline.flows.deletion.erase import erase
from implio_pipeline.flows.deletion.retention import retain
from implio_pipeline.flows.faults import Faults
from implio_pipeline.flows.files.ingest import ingest


def policy(page: Page) -> RetentionPolicy:
    return page.services.catalog.teams.get(ADS).policy


def plain(text: str) -> str:
    return text.replace("\N{NO-BREAK SPACE}", " ")


def test_what_a_shorter_policy_removes_is_said_and_is_what_the_next_run_removes(page: Page) -> None:
    browser = page.browser(who="jane")
    shown = browser.send("/teams/ads/retention/preview", keep_days="30", days_refused="10")
    assert "This change removes 9 items on the next run" in plain(shown.text)
    assert "new: 30 days" in shown.text
    assert policy(page) == RetentionPolicy()

    assert browser.send("/teams/ads/retention", **browser.hidden(), typed="no").status_code == 422
    assert policy(page) == RetentionPolicy()
    assert browser.send("/teams/ads/retention", **browser.hidden(), typed="remove").status_code == 303

    assert policy(page) == RetentionPolicy(keep_days=30, by_outcome={"refused": 10})
    retain(page.services, today=page.home.clock.now().date())
    assert erase(page.services).items_erased == 9


def test_a_longer_policy_removes_nothing_and_asks_for_nothing(page: Page) -> None:
    browser = page.browser(who="jane")
    shown = browser.send("/teams/ads/retention/preview", keep_days="400")
    assert "This change removes nothing" in shown.text

    assert browser.send("/teams/ads/retention", **browser.hidden()).status_code == 303
    assert policy(page).keep_days == 400


def test_a_policy_that_would_remove_other_items_than_were_shown_is_not_saved(page: Page) -> None:
    browser = page.browser(who="jane")
    browser.send("/teams/ads/retention/preview", keep_days="30")
    page.home.clock.pass_by(timedelta(days=11))
    browser.sign_in("jane")
    hidden = {"keep_days": "30", "going": "8", "typed": "remove"}

    assert browser.send("/teams/ads/retention", **hidden).status_code == 409
    assert policy(page) == RetentionPolicy()


def test_a_policy_that_is_none_is_refused(page: Page) -> None:
    browser = page.browser(who="jane")

    for fields in ({"keep_days": "-1"}, {"keep_days": "9999999"}, {"keep_days": "3", "days_refused": "9"}):
        assert browser.send("/teams/ads/retention/preview", **fields).status_code == 422


def test_a_hold_keeps_what_it_covers_until_it_is_released(page: Page) -> None:
    browser = page.browser(who="jane")
    answer = browser.send(
        "/teams/ads/holds", kind="user", user_id="ann", until="2026-12-31", reason="legal-claim", words="case 7"
    )
    assert answer.status_code == 303
    (hold,) = page.services.catalog.holds.all(ADS)
    browser.send("/teams/ads/remove/preview", kind="user", user_id="ann")
    assert "A legal hold keeps all 12 items. They would be hidden" in plain(browser.text)
    browser.send("/teams/ads/remove", **browser.hidden(), typed="ann")
    assert erase(page.services).items_erased == 0

    browser.send(f"/teams/ads/holds/{hold.hold_id}/release")

    assert erase(page.services).items_erased == 12


def test_a_member_is_added_with_a_password_shown_once_and_taken_out_again(page: Page) -> None:
    browser = page.browser(who="jane")
    browser.send("/teams/ads/members", name="Kim Ny", email="kim@example.com", role="spectator")
    password = browser.text.split('class="secret">')[1].split("<")[0]
    kim = page.browser()
    assert kim.sign_in("kim", password).status_code == 303
    assert password not in browser.get("/teams/ads/members").text
    member = page.accounts.members.find("kim@example.com")
    assert member is not None

    browser.send(f"/teams/ads/members/{member.member_id}/role", role="moderator")
    assert page.accounts.members.get(member.member_id).roles == {ADS: Role.MODERATOR}
    browser.send(f"/teams/ads/members/{member.member_id}/remove")

    assert page.accounts.members.find("kim@example.com") is None
    assert kim.get("/account").headers["location"] == "/sign-in"


def test_the_last_administrator_stays(page: Page) -> None:
    browser = page.browser(who="jane")
    omar = page.accounts.members.find("omar@example.com")
    jane = page.accounts.members.find("jane@example.com")
    assert omar is not None
    assert jane is not None

    assert browser.send(f"/teams/ads/members/{omar.member_id}/role", role="spectator").status_code == 303
    assert browser.send(f"/teams/ads/members/{jane.member_id}/role", role="spectator").status_code == 409
    assert browser.send(f"/teams/ads/members/{jane.member_id}/remove").status_code == 409
    assert page.accounts.members.get(jane.member_id).roles == {ADS: Role.ADMIN}


def test_a_member_of_another_team_cannot_be_changed_from_here(page: Page) -> None:
    browser = page.browser(who="jane")
    eve = page.accounts.members.find("eve@example.com")
    assert eve is not None

    assert browser.send(f"/teams/ads/members/{eve.member_id}/role", role="no access").status_code == 409
    assert browser.send(f"/teams/ads/members/{eve.member_id}/remove").status_code == 409

    assert page.accounts.members.get(eve.member_id) == eve
    assert page.browser().sign_in("eve", PASSWORD).status_code == 303


def test_a_role_that_changes_counts_from_the_next_click(page: Page) -> None:
    omar = page.browser(who="omar")
    assert omar.get("/teams/ads/members").status_code == 200
    member = page.accounts.members.find("omar@example.com")
    assert member is not None

    page.accounts.members.set_role(member.member_id, ADS, Role.SPECTATOR)

    assert omar.get("/teams/ads/members").status_code == 403
    assert omar.get("/teams/ads").status_code == 200


def test_a_policy_that_lets_more_go_than_one_may_decide_waits_for_a_second_administrator(page: Page) -> None:
    page.services.catalog.teams.set_limits(ADS, cap_percent=1, grace_hours=0)
    jane, omar = page.browser(who="jane"), page.browser(who="omar")
    shown = jane.send("/teams/ads/retention/preview", keep_days="30")
    assert "another administrator" in shown.text

    jane.send("/teams/ads/retention", **jane.hidden(), typed="remove")

    assert page.services.catalog.teams.get(ADS).policy == RetentionPolicy()
    assert jane.send("/teams/ads/retention/approve", typed="shorten 24").status_code == 409
    omar.get("/teams/ads/retention")
    assert "Jane" in omar.text
    assert omar.send("/teams/ads/retention/approve", typed="yes").status_code == 422
    assert omar.send("/teams/ads/retention/approve", typed="shorten 24").status_code == 303
    assert page.services.catalog.teams.get(ADS).policy == RetentionPolicy(keep_days=30)


def test_a_landing_file_that_failed_or_is_quarantined_is_named_on_the_overview(page: Page) -> None:
    # given a landing file that the disk refuses
    def refused() -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    home = page.home
    home.landing.land(ADS, LandedTable(name="bad", between=refused, pieces_of_items=[home.table([Ad(task="bad")])]))
    ingest(home.services, faults=Faults())
    unit = "landing file of team ads, 3 bytes"

    # when it failed once, then when it is quarantined
    once = plain(page.browser(who="jane").get("/teams/ads").text)
    for _ in range(MOST_ATTEMPTS):
        home.clock.pass_by(LONGEST_BACKOFF)
        ingest(home.services, faults=Faults())
    often = plain(page.browser(who="jane").get("/teams/ads").text)

    # then the page says so
    assert f"The {unit}" in once
    assert "1 attempt, tried again at" in once
    assert f"Quarantined: the {unit}" in often
    assert "10 attempts, not tried again automatically" in often
