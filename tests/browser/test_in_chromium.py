"""The page in a real browser: what people do on it, with and without JavaScript, at every width, for everybody."""

from collections.abc import Callable
from typing import Any

import pytest
from axe_playwright_python.sync_playwright import Axe
from support.home import ADS

from browser.conftest import Served, look
from implio_pipeline.domain.request import RequestState
from implio_pipeline.domain.retention import RetentionPolicy
from implio_pipeline.flows.deletion.erase import erase

Tab = Callable[..., Any]
FOR_ADMINS = ("/remove", "/requests", "/retention", "/holds", "/keys", "/callbacks", "/members", "/audit-log")
TEAM_PAGES = ("", "/queues", *FOR_ADMINS)


def forget_ann(page: Any) -> None:
    page.get_by_role("link", name="Remove data").first.click()
    page.get_by_label("User id").fill("ann")
    page.get_by_role("button", name="Show what would be removed").click()
    page.get_by_label("Type the user id again").fill("ann")


def test_a_user_is_forgotten_from_sign_in_to_the_receipt(served: Served, tab: Tab) -> None:
    page = tab(who="jane")
    page.get_by_role("heading", name="Storage at a glance").wait_for()
    look(page, "overview-light")
    page.get_by_role("link", name="Remove data").click()
    look(page, "remove-light")
    page.get_by_label("User id").fill("ann")
    page.get_by_role("button", name="Show what would be removed").click()
    button = page.get_by_role("button", name="Hide and erase 55 items")
    assert button.is_disabled()
    page.get_by_label("Type the user id again").fill("ann")
    look(page, "preview-light")
    button.click()

    page.get_by_text("The items are hidden now").wait_for()
    assert "ann" not in page.url
    look(page, "request-open-light")
    assert erase(served.page.services).items_erased == 55
    page.get_by_role("link", name="Open the receipt").wait_for()  # without a reload: the page looks by itself
    look(page, "request-done-light")
    with page.expect_download() as download:
        page.get_by_role("link", name="Download it, signed").click()
    assert download.value.suggested_filename.startswith("receipt-")
    page.get_by_role("link", name="Open the receipt").click()
    page.get_by_role("heading", name="Your data is erased").wait_for()
    assert page.evaluate("getComputedStyle(document.querySelector('main')).maxWidth") == "780px"
    look(page, "receipt")


def test_a_purge_waits_for_a_second_approver(served: Served, tab: Tab) -> None:
    jane, omar = tab(who="jane"), tab(who="omar")
    jane.get_by_role("link", name="Remove data").click()
    jane.get_by_label("Everything to date").check()
    jane.get_by_role("button", name="Show what would be removed").click()
    jane.get_by_label("Type the team's name").fill("ads")
    look(jane, "preview-team-light")
    jane.get_by_role("button", name="ask for approval").click()
    look(jane, "approve-not-mine-light")
    jane.get_by_text("another administrator must approve it").wait_for()
    assert erase(served.page.services).items_erased == 0

    omar.goto("/teams/ads/requests")
    look(omar, "requests-asking-light")
    omar.get_by_role("link", name="Everything to date").click()
    look(omar, "approve-light")
    approve = omar.get_by_role("button", name="Approve and erase")
    assert approve.is_disabled()
    typed = omar.get_by_label("To approve, type")
    typed.fill(typed.get_attribute("data-expects"))
    approve.click()
    omar.get_by_text("Approved. The erasure can begin.").wait_for()

    assert erase(served.page.services).items_erased > 500
    jane.get_by_text("Erased").first.wait_for()
    (request,) = served.page.services.catalog.requests.all(team=ADS)
    assert request.state is RequestState.COMPLETED
    omar.goto("/teams/ads")
    look(omar, "overview-empty-light")


def test_a_retention_change_that_one_may_not_decide_alone_waits_for_a_second_administrator(
    served: Served, tab: Tab
) -> None:
    jane, omar = tab(who="jane"), tab(who="omar")
    jane.goto("/teams/ads/retention")
    jane.get_by_label("All items").fill("60")
    jane.get_by_role("button", name="Show what this would change").click()
    assert jane.get_by_text("Once approved, it removes 331").is_visible()
    look(jane, "retention-asked-light")
    jane.get_by_label("Type remove").fill("remove")
    jane.get_by_role("button", name="Ask for the new policy").click()
    jane.get_by_text("so another administrator must approve it").wait_for()
    assert jane.get_by_role("button", name="Approve the change").count() == 0
    assert served.page.services.catalog.teams.get(ADS).policy == RetentionPolicy()

    omar.goto("/teams/ads/retention")
    look(omar, "retention-waits-light")
    approve = omar.get_by_role("button", name="Approve the change")
    assert approve.is_disabled()
    typed = omar.get_by_label("To approve, type")
    typed.fill(typed.get_attribute("data-expects"))
    approve.click()
    omar.get_by_text("Approved. The new policy is in force.").wait_for()
    assert served.page.services.catalog.teams.get(ADS).policy == RetentionPolicy(keep_days=60)


def test_what_a_hold_keeps_is_said_to_be_kept(served: Served, tab: Tab) -> None:
    page = tab(who="jane")
    page.goto("/teams/ads/holds")
    page.get_by_label("User id").fill("ann")
    page.get_by_label("Last day in force").fill("2026-12-31")
    page.get_by_label("In words").fill("a claim")
    page.get_by_role("button", name="Place the hold").click()
    page.get_by_text("The legal hold is in force.").wait_for()
    forget_ann(page)
    look(page, "preview-held-light")
    page.get_by_role("button", name="Hide 55 items").click()
    page.get_by_role("link", name="Requests").first.wait_for()
    assert erase(served.page.services).items_erased == 0
    page.reload()
    look(page, "request-held-light")

    facts = page.get_by_role("main").inner_text()
    assert "55 items" in facts.replace("\N{NO-BREAK SPACE}", " ")
    assert "All 55 items are erased" not in facts
    assert page.get_by_text("Erased", exact=True).count() == 0


def test_a_retention_change_is_shown_before_it_is_saved(served: Served, tab: Tab) -> None:
    served.page.services.catalog.teams.set_limits(ADS, cap_percent=100, grace_hours=0)
    page = tab(who="jane")
    page.get_by_role("link", name="Retention").click()
    assert page.get_by_text("it is kept 30 days, or as long").is_visible()
    page.get_by_label("All items").fill("60")
    page.get_by_role("button", name="Show what this would change").click()
    text = page.get_by_text("on the next run.").first.inner_text()
    assert page.get_by_text("new: 60 days").is_visible()
    look(page, "retention-preview-light")
    save = page.get_by_role("button", name="Save the policy")
    assert save.is_disabled()
    assert served.page.services.catalog.teams.get(ADS).policy == RetentionPolicy()
    page.get_by_label("Type remove").fill("remove")
    save.click()

    page.get_by_text("The retention policy is saved.").wait_for()
    assert served.page.services.catalog.teams.get(ADS).policy == RetentionPolicy(keep_days=60)
    assert text.split("removes")[1].split("item")[0].strip() in page.get_by_text("The next run removes").inner_text()
    look(page, "retention-light")


@pytest.mark.parametrize("who", ["mo", "sue", "ned"])
def test_who_may_not_sees_no_way_in_and_finds_none(served: Served, tab: Tab, who: str) -> None:
    page = tab(who=who)

    assert page.get_by_role("link", name="Remove data").count() == 0
    for path in FOR_ADMINS:
        assert page.goto(f"/teams/ads{path}").status == 403
        assert page.get_by_role("heading", name="Not allowed").is_visible()
    look(page, f"denied-{who}")


def test_a_moderator_works_through_a_queue(served: Served, tab: Tab) -> None:
    page = tab(who="mo")
    before = len(served.page.services.catalog.moderation.entries(ADS))
    page.get_by_role("link", name="Moderation").click()
    page.get_by_role("button", name="Take the next of Default").click()
    assert page.get_by_role("article").count() == 10
    page.get_by_role("button", name="Approve").first.click()
    page.get_by_text("Decided.").wait_for()
    page.get_by_label("Reason").first.fill("spam")
    page.get_by_role("button", name="Refuse").first.click()
    page.get_by_text("Decided.").wait_for()

    assert len(served.page.services.catalog.moderation.entries(ADS)) == before - 2


def test_everything_works_without_javascript(served: Served, tab: Tab) -> None:
    page = tab(who="jane", java_script_enabled=False)
    forget_ann(page)
    look(page, "preview-plain")
    page.get_by_role("button", name="Hide and erase 55 items").click()
    page.get_by_text("The items are hidden now").wait_for()
    erase(served.page.services)
    page.reload()
    page.get_by_role("link", name="Open the receipt").wait_for()
    page.goto("/teams/ads/remove")
    look(page, "remove-plain")
    page.get_by_label("A range of dates").check()
    page.get_by_label("First day").fill("2026-01-01")
    page.get_by_label("Last day").fill("2026-01-02")
    page.get_by_role("button", name="Show what would be removed").click()
    page.get_by_label("Type remove").fill("remove")
    page.get_by_role("button", name="Hide and erase").click()
    page.get_by_text("The items are hidden now").wait_for()
    page.get_by_role("button", name="Sign out").click()
    page.get_by_text("You are signed out.").wait_for()


def pages_to_see(page: Any) -> Any:
    """Walk over every page there is, with something on each."""
    page.goto("/sign-in")
    yield "sign-in"
    page.get_by_label("E-mail address").fill("jane@example.com")
    page.get_by_label("Password").fill("a wrong password")
    page.get_by_role("button", name="Sign in").click()
    yield "sign-in-refused"
    page.get_by_label("E-mail address").fill("jane@example.com")
    page.get_by_label("Password").fill("a quiet bicycle in march")
    page.get_by_role("button", name="Sign in").click()
    page.wait_for_url("**/teams/ads")
    forget_ann(page)
    yield "preview"
    page.get_by_role("button", name="Hide and erase 55 items").click()
    yield "request"
    page.goto("/teams/ads/retention")
    page.get_by_label("All items").fill("40")
    page.get_by_role("button", name="Show what this would change").click()
    yield "retention-preview"
    page.goto("/teams/ads/holds")
    page.get_by_label("User id").fill("user 3")
    page.get_by_label("Last day in force").fill("2026-12-31")
    page.get_by_label("In words").fill("a claim")
    page.get_by_role("button", name="Place the hold").click()
    page.goto("/teams/ads/keys")
    page.get_by_label("What it is for").fill("shop server")
    page.get_by_role("button", name="Make the key").click()
    yield "key-made"
    page.goto("/teams/ads/queues")
    page.get_by_role("button", name="Take the next of Default").click()
    yield "queue"
    for path in TEAM_PAGES:
        page.goto(f"/teams/ads{path}")
        yield path.strip("/") or "overview"
    page.goto("/teams/ads/requests/none")
    yield "refused"
    page.goto("/account")
    yield "account"
    page.get_by_role("button", name="Set it up").click()
    yield "codes"


def serious(page: Any, name: str, **options: Any) -> list[Any]:
    """Return what axe-core finds serious or critical on a page, and where."""
    violations = Axe().run(page, options={"resultTypes": ["violations"], **options}).response["violations"]
    found = [each for each in violations if each["impact"] in ("serious", "critical")]
    return [(name, each["id"], [node["target"] for node in each["nodes"]]) for each in found]


def test_nothing_serious_stands_in_anybodys_way_and_nothing_is_wider_than_a_phone(tab: Tab) -> None:
    page = tab()
    found = []
    for name in pages_to_see(page):
        look(page, f"light-{name}")
        found += serious(page, name)
        page.set_viewport_size({"width": 360, "height": 740})
        look(page, f"phone-{name}")
        width = page.evaluate("document.documentElement.scrollWidth")
        found += [(name, width)] if width > 360 else []
        page.set_viewport_size({"width": 1100, "height": 900})

    assert found == []


def test_everything_can_be_read_in_the_dark(tab: Tab) -> None:
    page = tab(color_scheme="dark")
    found = []
    for name in pages_to_see(page):
        look(page, f"dark-{name}")
        found += serious(page, name, runOnly=["color-contrast"])

    assert found == []


def test_the_page_is_used_by_keyboard_alone(served: Served, tab: Tab) -> None:
    page = tab(who="jane")
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.className") == "skip"
    page.keyboard.press("Enter")
    assert page.evaluate("location.hash") == "#content"
    page.goto("/teams/ads/remove")
    page.get_by_role("radio", name="One end user").focus()
    page.keyboard.press("ArrowDown")
    assert page.get_by_role("textbox", name="Task id").is_visible()
    assert not page.get_by_role("textbox", name="User id").is_visible()
