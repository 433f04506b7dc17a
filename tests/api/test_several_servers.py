"""Several API servers on one home: what they share, where calls come from behind a proxy, and how one ends."""

import asyncio
import ipaddress
import re
import signal
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest
from starlette.requests import Request
from starlette.responses import JSONResponse
from support.catalogs import URL_VARIABLE
from support.clock import NOW
from support.databases import new_database
from support.home import ADS, Home, a_home, opened_at
from support.items import Ad
from support.ring import OneKey
from support.serving import serving

from implio_pipeline.api.failures import TooManyCalls
from implio_pipeline.api.limits import RateLimit, SharingRates
from implio_pipeline.domain.errors import SignInLocked, SignInRefused
from implio_pipeline.domain.request import Request as Deletion
from implio_pipeline.domain.scope import ByUser
from implio_pipeline.domain.statements import TombstonePlaced
from implio_pipeline.flows.accounts.sign_in import sign_in
from implio_pipeline.flows.deletion.accept import accept
from implio_pipeline.stores.catalog.catalog import SqlCatalog, open_catalog
from implio_pipeline.stores.catalog.requests import SqlRequests
from tests.api.conftest import ITEM

PROXY, CALLER, OTHER = "10.0.0.7", "203.0.113.9", "198.51.100.4"

PATIENT = "3600"
"""Seconds that a server waits for an answer: a process may take a minute to start on a busy machine."""


# Rates


def granted(limit: RateLimit, who: str, tries: int = 1_000) -> int:
    """Return how many of some calls are let through."""
    passed = 0
    for _ in range(tries):
        try:
            limit.take(who)
        except TooManyCalls:
            break
        passed += 1
    return passed


@pytest.fixture
def catalogs() -> Iterator[list[SqlCatalog]]:
    url = new_database()
    opened = [open_catalog(url, OneKey()) for _ in range(3)]
    yield opened
    for each in opened:
        each.close()


def shared(catalogs: list[SqlCatalog], *, per_second: float) -> list[tuple[RateLimit, SharingRates]]:
    """Return the limit of each server, and what shares it. Their clocks stand still; the database's does not."""
    limits = [RateLimit(per_second, seconds=lambda: 0.0) for _ in catalogs]
    return [
        (limit, SharingRates({"key": limit}, catalog.shared_rates()))
        for limit, catalog in zip(limits, catalogs, strict=True)
    ]


def test_what_a_caller_spends_at_one_server_is_spent_at_the_others(catalogs: list[SqlCatalog]) -> None:
    # A rate at which nothing to speak of comes back while the test runs.
    (one, sharing_one), (two, sharing_two), (third, sharing_third) = shared(catalogs, per_second=0.001)
    limits, sharings = (one, two, third), (sharing_one, sharing_two, sharing_third)
    for limit in limits:
        limit._burst = 100.0
    for sharing in sharings:
        sharing.exchange()

    spent = [granted(limit, "ann", 30) for limit in limits]
    for sharing in sharings:
        sharing.exchange()
    one.take("ann")
    sharing_one.exchange()

    # 91 are spent, and 9 left for all together; who has seen the newest exchange knows it.
    assert spent == [30, 30, 30]
    assert granted(one, "ann") == 9
    assert granted(one, "bob") == 100


def test_a_debt_at_several_servers_is_paid_before_a_caller_is_let_in_again(catalogs: list[SqlCatalog]) -> None:
    pairs = shared(catalogs, per_second=0.001)
    for limit, sharing in pairs:
        limit._burst = 10.0
        sharing.exchange()

    assert [granted(limit, "ann") for limit, _ in pairs] == [10, 10, 10]  # nobody has told the others yet
    for _, sharing in pairs:
        sharing.exchange()

    one = pairs[0][0]
    assert one._buckets["ann"][0] == pytest.approx(0, abs=0.1)  # the first to tell: it knows of no other yet
    assert pairs[2][0]._buckets["ann"][0] == pytest.approx(-20, abs=0.1)
    assert granted(pairs[2][0], "ann") == 0


def test_tokens_come_back_by_the_databases_clock(catalogs: list[SqlCatalog]) -> None:
    pairs = shared(catalogs, per_second=1_000_000.0)
    rates = catalogs[0].shared_rates()
    rates.spend("key", {"ann": 5.0}, rate=1_000_000.0, burst=10.0)

    left = rates.spend("key", {"ann": 1.0}, rate=1_000_000.0, burst=10.0)

    assert left == {"ann": 9.0}
    assert pairs


def test_no_caller_is_named_in_the_table(catalogs: list[SqlCatalog]) -> None:
    rates = catalogs[0].shared_rates()
    rates.spend("address", {CALLER: 1.0}, rate=1.0, burst=2.0)

    with catalogs[0]._engine.connect() as connection:
        rows = connection.exec_driver_sql("select caller, tokens from api_rates").all()
        kind = connection.exec_driver_sql("select relpersistence from pg_class where relname = 'api_rates'").scalar()

    assert len(rows) == 1
    assert CALLER.encode() not in bytes(rows[0][0])
    assert kind == "u"


def test_a_database_that_is_gone_leaves_each_server_its_own_limit(home: Home) -> None:
    class Gone:
        def spend(self, *_: Any, **__: Any) -> Any:
            raise ConnectionError

        def forget(self) -> None:
            raise ConnectionError

    limit = RateLimit(5, seconds=lambda: 0.0)
    sharing = SharingRates({"key": limit}, Gone())
    with pytest.raises(ConnectionError):
        limit.exchange("key", Gone()) or limit.take("ann") or limit.exchange("key", Gone())

    sharing.start()
    passed = granted(limit, "ann")
    sharing.close()

    assert passed == 9  # a burst of ten, of which one was taken before


# Sign-ins


def test_parallel_guesses_at_several_servers_count_like_guesses_in_a_row(
    catalogs: list[SqlCatalog], home: Home
) -> None:
    outcomes: list[type[Exception]] = []

    def guess(catalog: SqlCatalog) -> None:
        accounts = home.opened.accounts
        mine = type(accounts)(
            clock=accounts.clock, members=catalog.members, audit_log=catalog.audit_log, secrets=accounts.secrets
        )
        for _ in range(6):
            with pytest.raises(SignInRefused) as refused:
                sign_in(mine, email="ann@example.org", password="wrong", origin=CALLER)  # noqa: S106
            outcomes.append(refused.type)

    threads = [threading.Thread(target=guess, args=(each,)) for each in catalogs]
    for each in threads:
        each.start()
    for each in threads:
        each.join()

    counted = sum(each is not SignInLocked for each in outcomes)
    members = catalogs[0].members
    one_server = [members.begin_attempt("bob@example.org", origin=CALLER, now=home.clock.now()) for _ in range(18)]
    assert counted == sum(until is None for until in one_server)


# Proxies


@pytest.fixture
def seen(made: Any) -> Any:
    """Return a function that tells which address and scheme the app sees of a call."""
    door = made(trusted_proxies=[ipaddress.ip_network("10.0.0.0/8"), ipaddress.ip_network("fd00::/8")])

    async def tell(request: Request) -> JSONResponse:
        return JSONResponse([request.client.host, request.url.scheme])

    door.app.router.routes.clear()
    door.app.add_route("/seen", tell)

    def call(peer: str, *forwarded: str, proto: str | None = None) -> list[str]:
        headers = [("X-Forwarded-For", each) for each in forwarded]
        headers += [] if proto is None else [("X-Forwarded-Proto", proto)]

        async def run() -> httpx.Response:
            transport = httpx.ASGITransport(door.app, client=(peer, 1))
            async with httpx.AsyncClient(transport=transport, base_url="http://api.test") as client:
                return await client.get("/seen", headers=headers)

        return asyncio.run(run()).json()

    return call


def test_the_caller_is_the_address_next_to_the_trusted_proxies(seen: Any) -> None:
    assert seen(PROXY, CALLER, proto="https") == [CALLER, "https"]
    assert seen(PROXY, f"{CALLER}, 10.1.1.1") == [CALLER, "http"]
    assert seen(PROXY, CALLER, "10.1.1.1") == [CALLER, "http"]
    assert seen("fd00::1", "2001:db8::7") == ["2001:db8::7", "http"]
    assert seen(f"::ffff:{PROXY}", CALLER) == [CALLER, "http"]


@pytest.mark.parametrize(
    ("peer", "forwarded", "is_seen"),
    [
        (CALLER, [OTHER], CALLER),
        (CALLER, [PROXY], CALLER),
        (PROXY, [f"{OTHER}, {CALLER}"], CALLER),
        (PROXY, [f"127.0.0.1, {CALLER}"], CALLER),
        (PROXY, [OTHER, CALLER], CALLER),
        (PROXY, [f"{OTHER}, nonsense, 10.1.1.1"], "10.1.1.1"),
        (PROXY, [], PROXY),
        (PROXY, [""], PROXY),
    ],
)
def test_a_forged_header_changes_nothing(seen: Any, peer: str, forwarded: list[str], is_seen: str) -> None:
    assert seen(peer, *forwarded)[0] == is_seen


def test_a_forged_scheme_changes_nothing(seen: Any) -> None:
    assert seen(CALLER, proto="https")[1] == "http"
    assert seen(PROXY, proto="gopher")[1] == "http"


def test_without_trusted_proxies_every_header_is_ignored_by_the_rate_limit(made: Any) -> None:
    door = made(address_calls_per_second=1, seconds=lambda: 0.0)
    call = door.stranger()

    statuses = [
        call("GET", "/v1/health", headers={"X-Forwarded-For": f"203.0.113.{number}"}).status_code for number in range(4)
    ]

    assert statuses == [200, 200, 429, 429]


# Real servers


@pytest.fixture
def on_postgresql(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Home]:
    """An open home on PostgreSQL."""
    with monkeypatch.context() as patch:
        patch.setenv(URL_VARIABLE, new_database())
        with a_home(tmp_path / "on-postgresql") as made:
            yield made


def test_the_same_deletion_at_two_servers_at_one_instant_is_one_request(
    on_postgresql: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = on_postgresql
    home.keep(Ad(task="a", user="ann"))
    start, real = threading.Barrier(2), SqlRequests.latest

    def latest(self: SqlRequests, *known: Any) -> Any:
        found = real(self, *known)
        start.wait(600)  # both have looked for an earlier request before either is stored
        return found

    monkeypatch.setattr(SqlRequests, "latest", latest)
    drafts = [home.draft(ByUser(user_id="ann"), received_at=NOW + timedelta(seconds=number)) for number in range(2)]
    with opened_at(home.path) as other, ThreadPoolExecutor(2) as pool:
        calls = [
            pool.submit(accept, services, [draft], same_within=timedelta(minutes=1))
            for services, draft in zip((home.services, other.services), drafts, strict=True)
        ]
        (one,), (two,) = (each.result() for each in calls)

    assert isinstance(one, Deletion)
    assert one.request_id == two.request_id
    assert len(home.services.catalog.requests.all()) == 1
    # The ledger may be told twice, as after a crash, and never of two requests.
    told = {each.statement.request_id for each in home.services.ledger.newest_first(TombstonePlaced)}
    assert told == {one.request_id}


def test_a_standing_deletion_beside_a_plain_one_at_one_instant_stands(
    on_postgresql: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = on_postgresql
    real = SqlRequests.latest

    def latest(self: SqlRequests, *known: Any) -> Any:
        found = real(self, *known)
        monkeypatch.setattr(SqlRequests, "latest", real)
        # Another server is faster, and its deletion does not stand.
        accept(home.services, [home.draft(ByUser(user_id="ann"))], same_within=timedelta(minutes=1))
        return found

    monkeypatch.setattr(SqlRequests, "latest", latest)
    standing = home.draft(ByUser(user_id="ann"), is_standing=True)
    (answer,) = accept(home.services, [standing], same_within=timedelta(minutes=1))

    assert isinstance(answer, Deletion)
    assert answer.keeps_out
    assert len(home.services.catalog.requests.all()) == 2


def guessed(client: httpx.Client) -> int:
    """Sign in with a wrong password; return the status."""
    (token,) = re.findall(r'name="form_token" value="([0-9a-f]+)"', client.get("/sign-in").text)
    form = {"form_token": token, "email": "nobody@example.com", "password": "a wrong password"}
    return client.post("/sign-in", data=form).status_code


def test_two_servers_of_one_database_take_over_for_each_other(on_postgresql: Home) -> None:
    home = on_postgresql
    with (
        serving(home.path, call_seconds=PATIENT) as one,
        serving(home.path, call_seconds=PATIENT) as two,
        one.client() as first,
        two.client() as second,
    ):
        # The same post at both is stored once.
        key = {"Idempotency-Key": "zqzq"}
        answers: list[httpx.Response] = []

        def post(client: httpx.Client) -> None:
            answers.append(client.post("/v1/ads", json=[ITEM], headers=key))

        posting = [threading.Thread(target=post, args=(client,)) for client in (first, second)]
        for each in posting:
            each.start()
        for each in posting:
            each.join()
        again = second.post("/v1/ads", json=[ITEM], headers=key)
        stored = {each.text for each in (*answers, again) if each.status_code == 200}
        assert {each.status_code for each in answers} <= {200, 409}
        assert len(stored) == 1

        # The same deletion at both at once is one request.
        with ThreadPoolExecutor(2) as pool:
            for user in ("bob", "cid", "dan"):
                both = pool.map(lambda client, who=user: client.delete(f"/v1/ads?userId={who}"), (first, second))
                assert len({each.json()["requestId"] for each in both}) == 1

        # Guesses at both count together.
        guesses = [guessed(client) for client in (first, second, first, second, first, second)]
        assert guesses == [403] * 5 + [429]

        # A deletion at one hides at the other, also when the first is gone.
        deletion = first.delete("/v1/ads", params={"userId": "ann"}).json()
        one.process.kill()
        assert second.get(deletion["statusUrl"]).json()["statusUrl"] == deletion["statusUrl"]
        assert second.post("/v1/ads", json=[ITEM | {"id": "ad-2"}]).status_code == 200


def test_a_server_that_is_told_to_stop_says_so_and_still_takes_calls(home: Home) -> None:
    with (
        serving(home.path, drain_seconds="300", shutdown_seconds=PATIENT, call_seconds=PATIENT) as server,
        server.client() as client,
    ):
        assert client.get("/v1/ready").json() == {"status": "ready"}

        server.process.send_signal(signal.SIGTERM)
        while (answer := client.get("/v1/ready")).status_code == 200:
            time.sleep(0.01)

        assert (answer.status_code, answer.json()["code"]) == (503, "shutting-down")
        assert client.post("/v1/ads", json=[ITEM]).status_code == 200

        server.process.send_signal(signal.SIGTERM)  # told twice, it ends now

        server.process.stderr.read()
        assert server.process.wait() == 0
    assert home.services.catalog.manifest.items(ADS) == 1
