"""`implio serve` as its own process, over real TLS: what it refuses, what it answers, and what a kill leaves."""

import json
import os
import signal
import ssl
import subprocess
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest
from cryptography import x509
from support.catalogs import copy_home
from support.home import ADS, CARS, opened_at
from support.receiver import Receiver, receiving
from support.serving import COMMAND, serving

from implio_pipeline.domain.request import RequestState
from implio_pipeline.flows.accounts.api_keys import add_api_key
from implio_pipeline.flows.moderation.webhooks import allow_hosts, set_callback
from implio_pipeline.stores.local_tls import RENEWED_BEFORE, LocalAuthority

ITEM = {"id": "ad-1", "content": {"title": "zqzq-title"}, "user": {"id": "zqzq-ann"}}
_MOST_LOOKS, _LOOKS_SECONDS = 12_000, 0.05
"""Ten minutes in all, for a machine that others use too, and far below what a key may call."""


@pytest.fixture
def home(empty_home: Path, tmp_path: Path) -> Path:
    copy_home(empty_home, tmp_path / "home")
    return tmp_path / "home"


def until(happened: Callable[[], object]) -> None:
    for _ in range(_MOST_LOOKS):
        if happened():
            return
        time.sleep(_LOOKS_SECONDS)
    raise TimeoutError("it did not happen")


def completed(client: httpx.Client, status_url: str) -> dict[str, Any]:
    for _ in range(_MOST_LOOKS):
        status = client.get(status_url).raise_for_status().json()
        if status["state"] == "completed":
            return status
        time.sleep(_LOOKS_SECONDS)
    raise TimeoutError("the deletion was not completed")


def test_a_server_answers_over_tls_to_who_trusts_its_authority_and_erases_what_it_is_asked_to(home: Path) -> None:
    with serving(home, "--jobs", header_seconds="0.2") as server, server.client() as client:
        posted = client.post("/v1/ads", json=[ITEM]).raise_for_status()
        deleted = client.delete("/v1/ads", params={"userId": "zqzq-ann"}).raise_for_status().json()
        status = completed(client, deleted["statusUrl"])
        receipt = client.get(status["receiptUrl"]).raise_for_status().json()
        assert receipt["body"]["erased"]["items"] == 1
        assert posted.headers["Strict-Transport-Security"]
        assert "server" not in posted.headers

        # Strangers' authorities, old protocols and plain HTTP get nowhere.
        with pytest.raises(ssl.SSLCertVerificationError):
            server.connect(ssl.create_default_context())
        with server.connect(server.trust) as connection:
            assert connection.version() in ("TLSv1.2", "TLSv1.3")
            # A head that never ends is not waited for.
            connection.sendall(b"GET /v1/health HTTP/1.1\r\nHost: localhost\r\n")
            assert connection.recv(4_096).startswith(b"HTTP/1.1 408")
        with server.connect(server.trust) as connection:
            connection.sendall(b"zqzq\r\n\r\n")
            refused = connection.recv(4_096)
            assert refused.startswith(b"HTTP/1.1 400")
            assert b"application/problem+json" in refused
            assert b"zqzq" not in refused
        with server.connect(server.trust) as connection:
            both = b"Content-Length: 4\r\nTransfer-Encoding: chunked\r\n"
            connection.sendall(b"POST /v1/ads HTTP/1.1\r\nHost: localhost\r\n" + both + b"\r\n0\r\n\r\nGET /v1/health")
            assert connection.recv(4_096).startswith(b"HTTP/1.1 400")
    log = (home / "log").read_text()
    assert {json.loads(line)["route"] for line in log.splitlines()} >= {"/v1/ads", "/v1/deletions/{request_id}"}
    assert "zqzq" not in log
    assert server.process.returncode == 0


def test_every_item_that_was_acknowledged_survives_a_kill(home: Path) -> None:
    acknowledged: list[str] = []

    def post_until_it_dies(number: int) -> None:
        with server.client() as client:
            while True:
                try:
                    answer = client.post("/v1/ads", json=[ITEM | {"id": f"ad-{number}"}] * 20)
                except httpx.TransportError:
                    return
                acknowledged.extend(each["taskId"] for each in answer.json()["accepted"])
                if len(acknowledged) > 200:
                    os.kill(server.process.pid, signal.SIGKILL)

    with serving(home, "--http") as server, ThreadPoolExecutor(4) as pool:
        list(pool.map(post_until_it_dies, range(4)))

    with opened_at(home) as opened:
        kept = set(opened.tasks(ADS))
        assert len(acknowledged) > 200
        assert set(acknowledged) <= kept
        assert {entry.task_id for entry in opened.services.catalog.moderation.entries(ADS)} == kept


def test_without_tls_only_this_machine_is_answered(home: Path) -> None:
    said = [*COMMAND, "--json", "--home", str(home), "serve", "--http", "--host", "0.0.0.0", "--port", "0"]  # noqa: S104

    done = subprocess.run(said, capture_output=True, text=True, check=False)

    assert done.returncode == 1
    error = json.loads(done.stderr.splitlines()[-1])["error"]
    assert error["code"] == "plain-http-refused"
    assert "--http" in error["remedy"]


def test_the_local_certificate_is_for_this_machine_alone_and_renewed_before_it_expires(tmp_path: Path) -> None:
    authority, now = LocalAuthority(tmp_path / "tls"), datetime(2026, 3, 1, tzinfo=UTC)
    first = authority.server_files(now=now)[0].read_bytes()
    certificate = x509.load_pem_x509_certificate(first)
    names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value

    unchanged = authority.server_files(now=now + timedelta(days=1))[0].read_bytes()
    soon = certificate.not_valid_after_utc - RENEWED_BEFORE
    renewed = authority.server_files(now=soon)[0].read_bytes()
    trusted = authority.authority.read_bytes()
    authority.server_files(now=now + timedelta(days=3650))

    assert "localhost" in names.get_values_for_type(x509.DNSName)
    assert {str(each) for each in names.get_values_for_type(x509.IPAddress)} == {"127.0.0.1", "::1"}
    assert unchanged == first
    assert renewed != first
    assert authority.authority.read_bytes() != trusted
    assert {path.stat().st_mode & 0o777 for path in (tmp_path / "tls").iterdir()} == {0o600}
    bound = x509.load_pem_x509_certificate(trusted).extensions.get_extension_for_class(x509.NameConstraints)
    assert bound.critical


def test_a_receiver_that_hangs_holds_up_no_erasure_no_other_callback_and_no_end_of_the_server(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("IMPLIO_CALLBACKS__HTTP_TO_THIS_MACHINE", "true")
    with receiving(Receiver(is_silent=True)) as hanging, receiving(Receiver()) as other:
        with opened_at(home, at=datetime.now(UTC)) as opened:
            for team, receiver in ((ADS, hanging), (CARS, other)):
                allow_hosts(opened.services, team, ["127.0.0.1"])
                set_callback(opened.services, opened.opened.webhook_client, team, f"http://127.0.0.1:{receiver.port}/")
            key = add_api_key(opened.services, CARS, label="test", by="Jane")[1]
        with serving(home, "--http", "--jobs") as server, server.client() as ads, server.client() as cars:
            cars.headers["X-Api-Key"] = key
            ads.delete("/v1/ads", params={"userId": "nobody"}).raise_for_status()
            until(lambda: hanging.got)

            cars.post("/v1/ads", json=[ITEM]).raise_for_status()
            deleted = cars.delete("/v1/ads", params={"userId": "zqzq-ann"}).raise_for_status().json()
            completed(cars, deleted["statusUrl"])
            until(lambda: other.got)

            server.process.terminate()
            server.process.wait()
            assert not hanging.released.is_set()
    with opened_at(home) as opened:
        (left,) = opened.services.catalog.callbacks.all()
        assert left.team == ADS
        # What was broken off is no attempt. On a slow machine one may have timed out before.
        assert len(hanging.got) - left.attempts in (0, 1)


def test_a_request_that_was_dropped_while_nothing_ran_hides_once_the_server_starts_and_no_daemon_is_needed(
    home: Path,
) -> None:
    # given a request file in the inbox, and neither a daemon nor a server
    asked = json.dumps({"team": ADS, "type": "user", "userId": "zqzq-ann"})
    (home / "requests" / "inbox" / "a.json").write_text(asked)

    # when a server starts that does not erase
    with opened_at(home) as other, serving(home):
        until(lambda: other.services.catalog.requests.tombstones(ADS))
        until(lambda: not list((home / "requests" / "inbox").rglob("*.json")))

    # then the request is accepted
    with opened_at(home) as after:
        assert [each.state for each in after.services.catalog.requests.all()] == [RequestState.ACCEPTED]
