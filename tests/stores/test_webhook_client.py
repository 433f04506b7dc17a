"""The webhook client, against real servers on this machine: what it sends, and where it will not go."""

import datetime as dt
import hmac
import ssl
import threading
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from support.clock import NOW
from support.receiver import Receiver, receiving

from implio_pipeline.domain.callback import ABANDONED
from implio_pipeline.domain.errors import CallbackRefused
from implio_pipeline.stores import webhook_client as module
from implio_pipeline.stores.webhook_client import HttpWebhookClient, _resolve

NAME = "hooks.example.test"


@pytest.fixture
def certificate(tmp_path: Path) -> tuple[Path, ssl.SSLContext]:
    """A certificate for the name alone, in a file, and a server's context that has it."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, NAME)])
    now = dt.datetime.now(dt.UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(days=1))
        .not_valid_after(now + dt.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(NAME)]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .sign(key, hashes.SHA256())
    )
    file, both = tmp_path / "ca.pem", tmp_path / "server.pem"
    file.write_bytes(made.public_bytes(serialization.Encoding.PEM))
    plain = serialization.NoEncryption()
    both.write_bytes(
        file.read_bytes() + key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, plain)
    )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(both)
    return file, context


def test_a_body_arrives_as_it_was_signed() -> None:
    webhook_client = HttpWebhookClient(may_use_http=True)
    secret, body = webhook_client.new_secret("whsec"), b'{"type": "decision"}'
    with receiving(Receiver()) as receiver:
        signature = webhook_client.sign(secret, body, at=NOW)
        answer = webhook_client.send(f"http://127.0.0.1:{receiver.port}/in?x=1", body, {"Implio-Signature": signature})

    ((path, headers, got),) = receiver.got
    parts = dict(part.split("=") for part in headers["Implio-Signature"].split(","))
    expected = hmac.digest(secret.encode(), f"{parts['t']}.".encode() + got, "sha256").hex()
    assert answer.is_done
    assert (path, got, headers["Content-Type"]) == ("/in?x=1", body, "application/json")
    assert (int(parts["t"]), parts["v1"]) == (int(NOW.timestamp()), expected)
    assert headers["Host"] == f"127.0.0.1:{receiver.port}"


def test_secrets_are_never_the_same_and_say_what_they_are() -> None:
    made = {HttpWebhookClient().new_secret("whsec") for _ in range(20)}

    assert len(made) == 20
    assert all(each.startswith("whsec_") and len(each) > 40 for each in made)


def test_the_certificate_must_be_of_the_name_although_the_address_is_called(
    certificate: tuple[Path, ssl.SSLContext],
) -> None:
    file, context = certificate
    known = {"inside": [NAME, "other.example.test"], "ca_file": file, "resolver": lambda host, port: ["127.0.0.1"]}
    webhook_client = HttpWebhookClient(**known)
    with receiving(Receiver(), tls=context) as receiver:
        right = webhook_client.send(f"https://{NAME}:{receiver.port}/", b"{}", {})
        other = webhook_client.send(f"https://other.example.test:{receiver.port}/", b"{}", {})
        unknown = HttpWebhookClient(inside=[NAME], resolver=known["resolver"]).send(
            f"https://{NAME}:{receiver.port}/", b"{}", {}
        )

    assert right.is_done
    assert (other.status, other.code) == (None, "callback-unreachable")
    assert (unknown.status, unknown.code) == (None, "callback-unreachable")
    assert len(receiver.got) == 1
    assert receiver.got[0][1]["Host"] == f"{NAME}:{receiver.port}"


def test_a_redirect_is_no_receipt_and_is_not_followed() -> None:
    with receiving(Receiver()) as inside, receiving(Receiver(status=307)) as receiver:
        receiver.location = f"http://127.0.0.1:{inside.port}/"
        answer = HttpWebhookClient(may_use_http=True).send(f"http://127.0.0.1:{receiver.port}/", b"{}", {})

    assert (answer.status, answer.code, answer.is_done) == (307, "http-307", False)
    assert inside.got == []


def test_a_name_is_resolved_once_and_the_address_that_was_looked_at_is_called() -> None:
    asked: list[str] = []

    def changing(host: str, port: int) -> list[str]:
        asked.append(host)
        return ["127.0.0.1"] if len(asked) == 1 else ["10.0.0.1"]

    with receiving(Receiver()) as receiver:
        answer = HttpWebhookClient(may_use_http=True, resolver=changing).send(
            f"http://x.test:{receiver.port}/", b"{}", {}
        )

    assert answer.is_done
    assert asked == ["x.test"]


def test_one_address_inside_among_others_is_enough_to_refuse() -> None:
    webhook_client = HttpWebhookClient(resolver=lambda host, port: ["93.184.216.34", "169.254.169.254"])

    with pytest.raises(CallbackRefused):
        webhook_client.check(f"https://{NAME}/")
    assert webhook_client.send(f"https://{NAME}/", b"{}", {}).code == "callback-refused"
    with pytest.raises(CallbackRefused):
        HttpWebhookClient(resolver=lambda host, port: []).check(f"https://{NAME}/")


def test_no_proxy_of_the_environment_is_used(monkeypatch: pytest.MonkeyPatch) -> None:
    with receiving(Receiver()) as proxy, receiving(Receiver()) as receiver:
        for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY"):
            monkeypatch.setenv(name, f"http://127.0.0.1:{proxy.port}")
        answer = HttpWebhookClient(may_use_http=True).send(f"http://127.0.0.1:{receiver.port}/", b"{}", {})

    assert answer.is_done
    assert proxy.got == []


def test_who_does_not_answer_is_given_up_after_a_bounded_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_WHOLE_SECONDS", 0.2)
    with receiving(Receiver(is_silent=True)) as receiver:
        answer = HttpWebhookClient(may_use_http=True).send(f"http://127.0.0.1:{receiver.port}/", b"{}", {})

    assert (answer.status, answer.code) == (None, "callback-timeout")


def test_nobody_there_is_an_answer_too() -> None:
    with receiving(Receiver()) as receiver:
        port = receiver.port

    assert (
        HttpWebhookClient(may_use_http=True).send(f"http://127.0.0.1:{port}/", b"{}", {}).code == "callback-unreachable"
    )
    assert _resolve("", 443) is not None


def test_what_is_under_way_ends_at_once_when_it_is_abandoned_and_nothing_more_is_sent() -> None:
    webhook_client, answers = HttpWebhookClient(may_use_http=True), []
    with receiving(Receiver(is_silent=True)) as receiver:
        url = f"http://127.0.0.1:{receiver.port}/"
        sending = threading.Thread(target=lambda: answers.append(webhook_client.send(url, b"{}", {})))
        sending.start()
        while not receiver.got:
            assert sending.is_alive()

        webhook_client.abandon()
        sending.join()
        answers.append(webhook_client.send(url, b"{}", {}))
        assert not receiver.released.is_set()

    assert [(each.status, each.code) for each in answers] == [(None, ABANDONED)] * 2
    assert len(receiver.got) == 1


def test_a_name_server_that_hangs_holds_up_neither_a_delivery_nor_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_WHOLE_SECONDS", 0.2)
    released = threading.Event()

    def hangs(host: str, port: int) -> list[str]:
        released.wait()
        return []

    answer = HttpWebhookClient(resolver=hangs).send(f"https://{NAME}/", b"{}", {})

    assert answer.code == "callback-timeout"
    assert not released.is_set()
    released.set()
