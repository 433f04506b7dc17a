"""The permission table, asked of every route and every role; and the guards that every form passes."""

import re
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from starlette.routing import Route
from support.depth import examples
from support.home import ADS
from support.page import PEOPLE, Browser, Page

from implio_pipeline import web
from implio_pipeline.api import docs
from implio_pipeline.domain.access import Act, Role, may
from implio_pipeline.domain.scope import ByUser
from implio_pipeline.web.app import ROUTERS
from implio_pipeline.web.guard import Anybody

ROUTES = [route for router in (*ROUTERS, docs.pages.router) for route in router.routes if isinstance(route, Route)]
OF_TEAMS = [route for route in ROUTES if isinstance(getattr(route.endpoint, "demands", None), Act)]
BY_ROLE = {role: who for who, role in PEOPLE.items()}


def path_of(route: Route, team: str = "ads") -> str:
    parts = {"team": team, "request_id": "0" * 32, "hold_id": "0" * 32, "member_id": "0" * 32}
    parts |= {"key_id": "0" * 12, "queue": "Default", "task_id": "0" * 32}
    return route.path.format(**{name: parts[name] for name in route.param_convertors})


def state_of(page: Page) -> tuple:
    catalog = page.services.catalog
    return (
        catalog.teams.all(),
        catalog.requests.all(),
        catalog.holds.all(),
        catalog.moderation.entries(),
        page.accounts.members.all(),
        page.accounts.audit_log.newest(ADS, most=100),
        page.services.ledger.size(),
    )


def test_every_route_demands_something() -> None:
    missing = [route.path for route in ROUTES if not hasattr(route.endpoint, "demands")]

    assert missing == [], f"{missing}: register these with `pages.get/post(path, demands=…)` of web/guard.py"


def test_what_is_open_to_anyone_is_this_and_no_more() -> None:
    anyone = {route.path for route in ROUTES if route.endpoint.demands is Anybody.ANYONE}  # type: ignore[attr-defined]

    assert anyone == {"/docs", "/sign-in", "/sign-in/code", "/sign-out"}


@pytest.mark.parametrize("role", BY_ROLE, ids=str)
def test_what_the_table_denies_is_answered_403_and_changes_nothing(page: Page, role: Role) -> None:
    browser = page.browser(who=BY_ROLE[role])
    token = browser.token()
    before = state_of(page)

    for route in OF_TEAMS:
        demanded = route.endpoint.demands  # type: ignore[attr-defined]
        if may(role, demanded):
            continue
        for path in (path_of(route), path_of(route, "cars"), path_of(route, "no-such-team")):
            method = "POST" if "POST" in route.methods else "GET"
            answer = browser.client.request(method, path, data={"form_token": token} if method == "POST" else None)
            assert answer.status_code == 403, (path, role)
    assert state_of(page) == before


@pytest.mark.parametrize("role", BY_ROLE, ids=str)
def test_what_the_table_allows_is_not_answered_403(page: Page, role: Role) -> None:
    browser = page.browser(who=BY_ROLE[role])

    for route in OF_TEAMS:
        if may(role, route.endpoint.demands) and "GET" in route.methods:  # type: ignore[attr-defined]
            assert browser.get(path_of(route)).status_code in (200, 404), route.path


def test_another_team_is_as_closed_as_one_that_does_not_exist(page: Page) -> None:
    browser = page.browser(who="jane")

    for route in OF_TEAMS:
        method = "POST" if "POST" in route.methods else "GET"
        answers = [
            browser.client.request(
                method, path_of(route, team), data={"form_token": browser.token()} if method == "POST" else None
            )
            for team in ("cars", "no-such-team")
        ]
        assert [each.status_code for each in answers] == [403, 403]
        assert answers[0].text == answers[1].text


def test_who_is_not_signed_in_is_led_to_sign_in_and_changes_nothing(page: Page) -> None:
    before = state_of(page)
    browser = page.browser()
    browser.get("/sign-in")

    for route in ROUTES:
        if route.endpoint.demands is Anybody.ANYONE:  # type: ignore[attr-defined]
            continue
        answer = browser.send(path_of(route)) if "POST" in route.methods else browser.client.get(path_of(route))
        assert (answer.status_code, answer.headers["location"]) == (303, "/sign-in"), route.path
    assert state_of(page) == before


def test_a_request_of_another_team_cannot_be_reached_through_ones_own(page: Page) -> None:
    (request,) = page.home.ask(ByUser(user_id="ann"), team="cars")
    browser = page.browser(who="jane")

    paths = [
        f"/teams/ads/requests/{request.request_id}{rest}" for rest in ("", "/progress", "/receipt", "/receipt.json")
    ]
    assert {browser.client.get(path).status_code for path in paths} == {404}
    for act in ("approve", "cancel", "extend"):
        assert browser.send(f"/teams/ads/requests/{request.request_id}/{act}", days="3", why="x").status_code in (
            404,
            409,
        )
    assert page.services.catalog.requests.get(request.request_id) == request


FORMS = [route for route in ROUTES if "POST" in route.methods and route.path != "/sign-out"]


@pytest.mark.parametrize("route", FORMS, ids=lambda route: route.path)
def test_a_form_without_the_sessions_own_token_does_nothing(page: Page, route: Route) -> None:
    browser, other = page.browser(who="jane"), page.browser(who="omar")
    before = state_of(page)

    for fields in ({}, {"form_token": ""}, {"form_token": other.token()}):
        assert browser.client.post(path_of(route), data=fields).status_code == 403
    crossed = browser.client.post(
        path_of(route), data={"form_token": browser.token()}, headers={"Sec-Fetch-Site": "cross-site"}
    )
    assert crossed.status_code == 403
    assert state_of(page) == before


@given(body=st.binary(max_size=200) | st.text(max_size=80).map(lambda text: f"kind={text}&user_id={text}".encode()))
@settings(max_examples=examples(60), deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_whatever_a_form_holds_is_answered_calmly(page: Page, body: bytes) -> None:
    browser: Browser = page.browser(who="jane")
    form = b"form_token=" + browser.token().encode() + b"&" + body

    answer = browser.client.post(
        "/teams/ads/remove/preview", content=form, headers={"content-type": "application/x-www-form-urlencoded"}
    )

    assert answer.status_code in (200, 403, 422)


def test_a_form_too_large_is_refused_before_it_is_read_whole(page: Page) -> None:
    browser = page.browser(who="jane")

    assert browser.send("/teams/ads/remove/preview", user_id="x" * 70_000).status_code == 403


def test_every_answer_forbids_what_the_page_does_not_need(page: Page) -> None:
    browser = page.browser(who="jane")

    for path in ("/sign-in", "/teams/ads", "/teams/ads/requests/none", "/teams/cars"):
        headers = browser.client.get(path).headers
        policy = headers["content-security-policy"]
        assert "default-src 'none'" in policy
        assert "unsafe" not in policy
        assert headers["cache-control"] == "no-store"


def test_the_style_and_the_script_are_kept_for_a_year_at_an_address_of_their_content_alone(page: Page) -> None:
    browser = page.browser()
    browser.get("/sign-in")
    addresses = re.findall(r'(?:href|src)="(/static/[^"]+)"', browser.text)

    for address in addresses:
        answer = browser.client.get(address)
        assert answer.headers["cache-control"] == "public, max-age=31536000, immutable"
        assert answer.headers["x-content-type-options"] == "nosniff"
        again = browser.client.get(address, headers={"If-None-Match": answer.headers["etag"]})
        assert (again.status_code, again.headers["cache-control"]) == (304, answer.headers["cache-control"])

    assert [address.rpartition("/")[2] for address in addresses] == ["page.css", "page.js"]
    for other in (f"/static/{'0' * 16}/page.css", f"{addresses[0]}.bak", addresses[0].replace("page.css", "../app.py")):
        assert browser.client.get(other).status_code == 404


def test_no_template_holds_a_script_a_style_or_an_address_of_elsewhere() -> None:
    folder = Path(web.__file__).parent
    texts = {path.name: path.read_text() for path in [*folder.glob("templates/*"), *folder.glob("static/*")]}

    assert {"base.html", "page.css", "page.js"} <= texts.keys()
    for name, text in texts.items():
        assert "//" not in text.replace("// ", ""), name
        assert not any(mark in text for mark in (" style=", " onclick", " onload", "<style", "|safe", "| safe")), name
