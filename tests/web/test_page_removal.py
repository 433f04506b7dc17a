"""Removing data on the page: shown first, typed, carried out exactly; approved by somebody else where it must be."""

import json
from datetime import timedelta

from support.home import ADS
from support.items import Ad
from support.page import Page

from implio_pipeline.domain.ids import Channel
from implio_pipeline.domain.request import RequestState
from implio_pipeline.flows.deletion.erase import erase


def only_request(page: Page):
    (request,) = page.services.catalog.requests.all(team=ADS)
    return request


def test_a_user_is_forgotten_from_preview_to_receipt(page: Page) -> None:
    browser = page.browser(who="jane")
    shown = browser.send("/teams/ads/remove/preview", kind="user", user_id="ann", reason="asked by mail")
    assert "12" in shown.text
    assert page.services.catalog.requests.all() == []

    answer = browser.send("/teams/ads/remove", **browser.hidden(), typed="ann")

    request = only_request(page)
    assert answer.headers["location"] == f"/teams/ads/requests/{request.request_id}?done=asked"
    assert (request.channel, request.state) == (Channel.PAGE, RequestState.ACCEPTED)
    assert "ann" not in str(answer.url) + answer.headers["location"]
    erase(page.services)
    detail = browser.get(f"/teams/ads/requests/{request.request_id}").text
    assert "12 items" in detail.replace("\N{NO-BREAK SPACE}", " ")
    receipt = browser.client.get(f"/teams/ads/requests/{request.request_id}/receipt.json")
    assert json.loads(receipt.text)["body"]["erased"]["items"] == 12
    assert "attachment" in receipt.headers["content-disposition"]
    paper = browser.client.get(f"/teams/ads/requests/{request.request_id}/receipt")
    assert "style-src 'sha256-" in paper.headers["content-security-policy"]
    assert {row["user_id"] for row in page.home.rows(ADS)} == {"bob", None}


def test_an_erasure_that_fails_names_its_file_and_day(page: Page) -> None:
    browser = page.browser(who="jane")
    browser.send("/teams/ads/remove/preview", kind="user", user_id="ann")
    browser.send("/teams/ads/remove", **browser.hidden(), typed="ann")
    for path in page.home.stored():
        path.unlink()

    erase(page.services)

    request = only_request(page)
    detail = browser.get(f"/teams/ads/requests/{request.request_id}").text
    assert request.error_about in {file.file_id for file in page.home.files(ADS)}
    assert f"<code>file-missing</code> at file <code>{request.error_about}</code> of {request.error_day}" in detail


def test_a_person_is_kept_out_until_an_administrator_lifts_that_on_the_request(page: Page) -> None:
    browser = page.browser(who="jane")
    form = browser.get("/teams/ads/remove").text
    assert 'name="standing"' in form
    assert "This is for end users, not for moderators" in form
    shown = browser.send("/teams/ads/remove/preview", kind="user", user_id="ann", standing="yes")
    assert "Later items stay out too" in shown.text
    browser.send("/teams/ads/remove", **browser.hidden(), typed="ann")
    request = only_request(page)
    path = f"/teams/ads/requests/{request.request_id}"
    assert "New items of this person stay out" in browser.get(path).text
    assert ">Standing<" in browser.get("/teams/ads/requests").text

    answer = browser.send(f"{path}/lift")

    assert answer.headers["location"] == f"{path}?done=lifted"
    assert not only_request(page).keeps_out
    detail = browser.get(path).text
    assert "Then it was lifted" in detail
    assert ">Standing<" not in browser.get("/teams/ads/requests").text
    assert "Accept new items again" not in detail
    erase(page.services)
    assert "was standing from" in browser.client.get(f"{path}/receipt").text


def test_an_id_that_a_program_altered_is_not_asked_for(page: Page) -> None:
    browser = page.browser(who="jane")

    rounded = browser.send("/teams/ads/remove/preview", kind="user", user_id="1.23457E+15")
    task = browser.send("/teams/ads/remove/preview", kind="task", task_id="ad-1")

    assert (rounded.status_code, task.status_code) == (422, 422)
    assert "Format the column as text" in rounded.text
    assert "own id is not a task id" in task.text


def test_nothing_is_done_when_something_else_was_typed(page: Page) -> None:
    browser = page.browser(who="jane")
    browser.send("/teams/ads/remove/preview", kind="user", user_id="ann")

    answer = browser.send("/teams/ads/remove", **browser.hidden(), typed="bob")

    assert answer.status_code == 422
    assert page.services.catalog.requests.all() == []


def test_what_changed_since_it_was_shown_is_shown_again_and_not_done(page: Page) -> None:
    browser = page.browser(who="jane")
    browser.send("/teams/ads/remove/preview", kind="user", user_id="ann")
    hidden = browser.hidden()
    page.home.keep(Ad(task="late", user="ann"))

    answer = browser.send("/teams/ads/remove", **hidden, typed="ann")

    assert answer.status_code == 409
    assert "13" in answer.text
    assert page.services.catalog.requests.all() == []
    assert browser.send("/teams/ads/remove", **browser.hidden(), typed="ann").status_code == 303


def test_a_lone_administrator_is_warned_before_asking_and_one_of_two_is_not(page: Page) -> None:
    words = "Nobody else in this team can approve it"

    with_two = page.browser(who="jane").send("/teams/ads/remove/preview", kind="team")
    alone = page.browser(who="eve").send("/teams/cars/remove/preview", kind="team")

    assert words not in with_two.text
    assert words in alone.text


def test_a_whole_team_needs_its_name_and_a_second_person(page: Page) -> None:
    jane, omar = page.browser(who="jane"), page.browser(who="omar")
    jane.send("/teams/ads/remove/preview", kind="team")
    assert jane.send("/teams/ads/remove", **jane.hidden(), typed="remove").status_code == 422
    jane.send("/teams/ads/remove", **jane.hidden(), typed="ads")
    request = only_request(page)
    assert request.state is RequestState.UNAPPROVED
    assert erase(page.services).items_erased == 0
    path = f"/teams/ads/requests/{request.request_id}"

    assert "another administrator must approve" in jane.get(path).text
    assert jane.send(f"{path}/approve").status_code == 409
    omar.get(path)
    shown = omar.get(path).text.replace("\N{NO-BREAK SPACE}", " ")
    assert "24 items" in shown
    assert "nothing has changed" in shown
    assert "24 items" in omar.get("/teams/ads").text.replace("\N{NO-BREAK SPACE}", " ")  # the banner
    assert omar.send(f"{path}/approve", typed="erase 23").status_code == 422
    assert omar.send(f"{path}/approve", typed="erase 24").headers["location"] == f"{path}?done=approved"

    assert erase(page.services).items_erased == 24
    assert page.home.rows(ADS) == []


def test_a_request_is_cancelled_in_its_grace_period(page: Page) -> None:
    page.services.catalog.teams.set_limits(ADS, cap_percent=20, grace_hours=24)
    browser = page.browser(who="jane")
    browser.send("/teams/ads/remove/preview", kind="dates", first_day="2026-02-20", last_day="2026-03-01")
    browser.send("/teams/ads/remove", **browser.hidden(), typed="remove")
    request = only_request(page)
    assert request.state is RequestState.WAITING

    browser.send(f"/teams/ads/requests/{request.request_id}/cancel")

    page.home.clock.pass_by(timedelta(minutes=5))
    assert only_request(page).state is RequestState.CANCELLED
    assert erase(page.services, again=True).items_erased == 0


def test_a_due_date_is_put_off_once_with_a_reason(page: Page) -> None:
    page.services.catalog.teams.set_limits(ADS, cap_percent=20, grace_hours=24)
    browser = page.browser(who="jane")
    browser.send("/teams/ads/remove/preview", kind="user", user_id="ann")
    browser.send("/teams/ads/remove", **browser.hidden(), typed="ann")
    request = only_request(page)
    path = f"/teams/ads/requests/{request.request_id}/extend"

    assert browser.send(path, days="30", why="").status_code == 409
    assert browser.send(path, days="30", why="many requests").status_code == 303
    assert browser.send(path, days="5", why="more").status_code == 409

    assert only_request(page).due_at == request.due_at + timedelta(days=30)


def test_no_personal_value_of_a_form_comes_to_an_address(page: Page) -> None:
    asked = []
    browser = page.browser(who="jane")
    browser.client.event_hooks["request"].append(lambda request: asked.append(str(request.url)))
    browser.send("/teams/ads/remove/preview", kind="user", user_id="zqzq-ann")
    answer = browser.send("/teams/ads/remove", **browser.hidden(), typed="zqzq-ann")
    browser.get(answer.headers["location"])

    assert not any("zqzq" in address for address in [*asked, answer.headers["location"]])


def test_the_audit_log_tells_who_did_what_by_opaque_ids(page: Page) -> None:
    browser = page.browser(who="jane")
    browser.send("/teams/ads/remove/preview", kind="user", user_id="zqzq-ann")
    browser.send("/teams/ads/remove", **browser.hidden(), typed="zqzq-ann")

    newest = page.accounts.audit_log.newest(ADS, most=1)[0]

    assert newest.count == 0
    assert (newest.name, newest.subject) == ("Jane", only_request(page).request_id)
    assert newest.who == only_request(page).asked_by
    text = browser.get("/teams/ads/audit-log").text
    assert "asked to remove items" in text
    assert "zqzq" not in text
    stored = b"".join(path.read_bytes() for path in page.home.path.rglob("*") if path.is_file())
    assert b"zqzq" not in stored
