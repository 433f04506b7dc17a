"""The pages beside the API, in the one app that is served."""

from support.page import Browser, Page, TestClient

from implio_pipeline.api.app import create_app
from implio_pipeline.domain.ids import Channel
from implio_pipeline.web.rendering import ASSETS_PATH


def test_pages_and_api_answer_side_by_side_each_in_its_own_way(page: Page) -> None:
    app = create_app(page.app.state.opened)
    with TestClient(app, base_url="https://testserver", follow_redirects=False) as client:
        browser = Browser(client=client)
        assert browser.sign_in("jane").headers["location"] == "/teams"
        browser.get("/teams/ads/remove")
        browser.send("/teams/ads/remove/preview", kind="user", user_id="ann")
        assert browser.send("/teams/ads/remove", **browser.hidden(), typed="ann").status_code == 303

        denied = client.get("/teams/cars")
        assert (denied.status_code, denied.headers["content-type"]) == (403, "text/html; charset=utf-8")
        assert "script-src 'self'" in denied.headers["content-security-policy"]
        assert client.get("/v1/deletions").headers["content-type"] == "application/problem+json"
        assert "/teams" not in client.get("/openapi.json").text
        refused = client.put(f"{ASSETS_PATH}/page.css")
        assert (refused.status_code, refused.headers["allow"]) == (405, "GET, HEAD")

    assert [each.channel for each in page.services.catalog.requests.all()] == [Channel.PAGE]
