"""The reference at `/docs`: whole, served by us alone, and true: what it shows is run as it is shown."""

import html
import os
import re
import subprocess
import sys
from html.parser import HTMLParser
from importlib.resources import files

import pytest
from support.home import Home
from support.serving import serving

from implio_pipeline.api.samples import EXAMPLES
from implio_pipeline.domain.request import OPEN_STATES
from tests.api.conftest import Door, Server
from tests.api.test_deleting import REFUSED

SAMPLE = re.compile(r"<h3>In (\w+)</h3>\s*<pre[^>]*><code>(.*?)</code></pre>", re.DOTALL)
RUN = {"curl": ["bash", "-e", "-c"], "Python": [sys.executable, "-W", "error", "-c"]}


class Read(HTMLParser):
    """What a page refers to."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.loaded: list[str] = []
        self.links: list[str] = []
        self.ids: list[str] = []
        self.inline: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        known = dict(attributes)
        self.ids += [known["id"]] if known.get("id") else []
        self.links += [known["href"]] if tag == "a" and known.get("href") else []
        self.loaded += [
            str(known[name]) for name in ("src", "href") if name in known and tag in ("script", "link", "img")
        ]
        self.inline += [name for name, _ in attributes if name.startswith("on") or name == "style"]


def test_everybody_may_read_it_and_nothing_of_it_is_anybody_elses(door: Door) -> None:
    answer = door.stranger()("GET", "/docs")

    page = Read(answer.text)
    assert answer.status_code == 200
    assert "default-src 'none'" in answer.headers["Content-Security-Policy"]
    assert "unsafe" not in answer.headers["Content-Security-Policy"]
    assert all(each.startswith(("/static/", "data:,")) for each in page.loaded)
    assert page.inline == []
    assert len(page.ids) == len(set(page.ids))
    for link in page.links:
        assert link.startswith("/") or link.removeprefix("#") in page.ids, link
        assert not link.startswith(("//", "http"))


def test_it_tells_every_call_every_schema_every_state_and_every_error_that_the_app_answers(
    door: Door, ads: Server
) -> None:
    text = html.unescape(door.stranger()("GET", "/docs").text)
    document = door.app.openapi()

    for path, methods in document["paths"].items():
        for method, call in methods.items():
            assert f"{method.upper()} {path}" in text
            for parameter in call.get("parameters", []):
                assert f"<code>{parameter['name']}</code>" in text
    for name in document["components"]["schemas"]:
        assert f'id="schema-{name}"' in text
    for state in OPEN_STATES:
        assert f"<code>{state.value}</code>" in text
    for query in ("userId=", "userId=a&taskId=b", "fromDate=2026-01-01T00:00Z", "fromDate=x&toDate=y", "userid=a"):
        problem = ads.problem("DELETE", f"/v1/ads?{query}", status=400)
        assert f"<code>{problem['code']}</code>" in text
    assert f"<code>{door.stranger().problem('GET', '/v1/ads', status=401)['code']}</code>" in text


@pytest.mark.parametrize("query", [query for query, _ in REFUSED.values()], ids=REFUSED)
def test_it_tells_every_reason_for_which_a_deletion_is_refused(door: Door, ads: Server, query: str) -> None:
    problem = ads.problem("DELETE", f"/v1/ads?{query}", status=400)

    assert f"<code>{problem['code']}</code>" in door.stranger()("GET", "/docs").text


def test_the_example_of_a_deletion_says_what_the_table_of_states_says(door: Door) -> None:
    text = html.unescape(door.stranger()("GET", "/docs").text)
    example = EXAMPLES["Deletion"]

    row = text.partition(f'<th scope="row"><code>{example["state"]}</code></th>')[2].partition("</tr>")[0]

    assert f">{example['why']}<" in row
    assert f">{example['next']}<" in row


def test_no_state_is_worded_as_if_nothing_had_been_tried(door: Door) -> None:
    assert " 0 times" not in door.stranger()("GET", "/docs").text


def test_the_page_of_the_keys_leads_to_it() -> None:
    assert 'href="/docs"' in (files("implio_pipeline.web") / "templates" / "keys.html").read_text()


def test_every_example_runs_as_it_is_shown(home: Home, door: Door) -> None:
    samples = SAMPLE.findall(door.stranger()("GET", "/docs").text)
    assert {lang for lang, _ in samples} == set(RUN)
    assert len(samples) > 10

    with serving(home.path, "--jobs", call_seconds="600") as server, server.client() as patient:
        patient.post("/v1/ads", json=[]).raise_for_status()  # what starts with the first call has started
        known = {"SERVER": server.address, "KEY": server.key, "CA": str(home.path / "keys" / "tls" / "ca.pem")}
        for lang, source in samples:
            done = subprocess.run(
                [*RUN[lang], html.unescape(source)],
                env=os.environ | known,
                capture_output=True,
                text=True,
                check=False,
            )
            assert done.returncode == 0, f"{source}\n{done.stdout}{done.stderr}"
