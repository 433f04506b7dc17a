"""A key service that is sealed, stopped, throttled, slow, or that refuses: what is said, what goes on, what is kept."""

import time
from collections.abc import Iterator
from pathlib import Path

import hvac
import pytest
from support.clock import NOW
from support.key_services import Proxy, kms_address, proxy, transit_address
from support.servers import ROOT_TOKEN, kms, start_transit, transit

from implio_pipeline.domain.checkup import Level
from implio_pipeline.domain.errors import (
    ClassNotGranted,
    ImplioError,
    KeyMissing,
    KeyServiceDenied,
    KeyServiceUnavailable,
)
from implio_pipeline.domain.ids import ColumnClass, FileId, Region, TeamId
from implio_pipeline.domain.key_addresses import TransitAddress
from implio_pipeline.ports.keychain import KeyRing
from implio_pipeline.remedies import remedy_for_operators as remedy_of
from implio_pipeline.stores.keys.aws_kms import KmsKeyRing
from implio_pipeline.stores.keys.keychain import TeamKeychain
from implio_pipeline.stores.keys.transit import TransitKeyRing

EU = Region("eu")
pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
"""Connections that a test cuts off are not closed in order."""
KEY = bytes(range(32))
CONTEXT = {"team": "ads", "purpose": "content", "version": "1"}
SECRETS = (ROOT_TOKEN, "a-secret-of-aws", "a-token-that-is-revoked", KEY.hex())
QUICK = (5.0, 0.5)
"""How long a test waits for a service that does not answer at all."""


@pytest.fixture(params=["transit", "aws-kms"])
def between(request: pytest.FixtureRequest) -> Iterator[Proxy]:
    with proxy(transit() if request.param == "transit" else kms()) as about:
        yield about


@pytest.fixture
def ring(between: Proxy, monkeypatch: pytest.MonkeyPatch) -> KeyRing:
    made: KeyRing
    if between.behind == transit():
        made = TransitKeyRing(EU, transit_address(monkeypatch, url=between.url), backoff_seconds=0.01)
    else:
        made = KmsKeyRing(EU, kms_address(monkeypatch, url=between.url))
    made.make(EU)
    return made


def error_of(act, *arguments, **named) -> ImplioError:
    with pytest.raises(ImplioError) as raised:
        act(*arguments, **named)
    told = "\n".join([str(raised.value), repr(raised.value), raised.value.remedy, str(raised.value.__cause__)])
    assert not [secret for secret in SECRETS if secret in told]
    assert raised.value.__suppress_context__, "the library's own error may quote an answer"
    return raised.value


@pytest.mark.parametrize("status", [429, 503, 500])
def test_a_call_that_is_throttled_a_few_times_succeeds_in_the_end(between: Proxy, ring: KeyRing, status: int) -> None:
    root_key_id, wrapped = ring.wrap(EU, "content", KEY, context=CONTEXT)
    between.calls.clear()
    between.answers += [status, status]

    assert ring.unwrap(root_key_id, wrapped, context=CONTEXT) == KEY
    assert len(between.calls) == 3


@pytest.mark.parametrize("status", [429, 503])
def test_a_service_that_is_throttled_or_down_for_long_is_unavailable_after_bounded_tries(
    between: Proxy, ring: KeyRing, status: int
) -> None:
    root_key_id, wrapped = ring.wrap(EU, "content", KEY, context=CONTEXT)
    between.calls.clear()
    between.always = status

    error = error_of(ring.unwrap, root_key_id, wrapped, context=CONTEXT)

    assert (type(error), error.code) == (KeyServiceUnavailable, "key-service-unavailable")
    assert 2 <= len(between.calls) <= 6
    between.always = None
    assert ring.unwrap(root_key_id, wrapped, context=CONTEXT) == KEY


def test_a_service_that_does_not_answer_is_unavailable_and_not_waited_for_without_end(
    between: Proxy, ring: KeyRing
) -> None:
    root_key_id, wrapped = ring.wrap(EU, "content", KEY, context=CONTEXT)
    hasty: KeyRing
    if isinstance(ring, TransitKeyRing):
        hasty = TransitKeyRing(EU, ring._address, backoff_seconds=0.01, timeout_seconds=QUICK)
    elif isinstance(ring, KmsKeyRing):
        hasty = KmsKeyRing(EU, ring._address, timeout_seconds=QUICK, tries=2)
    between.holds.clear()

    error = error_of(hasty.unwrap, root_key_id, wrapped, context=CONTEXT)

    between.holds.set()
    assert error.code == "key-service-unavailable"
    assert ring.unwrap(root_key_id, wrapped, context=CONTEXT) == KEY


def test_reads_of_what_is_cached_go_on_while_the_service_is_down_and_the_rest_fails_clearly(
    between: Proxy, ring: KeyRing
) -> None:
    team, file = TeamId("ads"), FileId("f" * 32)
    stored: list = []
    keychain = TeamKeychain(ring, lambda _: stored)
    stored += keychain.new_team_keys(team, EU, version=1, at=NOW)
    raw, wrapped = keychain.new_file_keys(team, file)
    between.always = 503

    assert keychain.file_keys(team, wrapped) == raw
    assert keychain.user_key(team, "ann") == keychain.user_key(team, "ann")
    cold = TeamKeychain(ring, lambda _: stored)
    assert error_of(cold.file_keys, team, wrapped).code == "key-service-unavailable"
    assert error_of(keychain.new_team_keys, TeamId("new"), EU, version=1, at=NOW).code == "key-service-unavailable"
    # What was not granted stays so, whether the service runs or not.
    reader = TeamKeychain(ring, lambda _: stored, granted=[ColumnClass.OPERATIONAL])
    with pytest.raises(ClassNotGranted):
        reader.user_key(team, "ann")

    between.always = None
    assert cold.file_keys(team, wrapped) == raw, "nothing is lost"


def test_a_sealed_and_a_stopped_server_are_unavailable(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    running = start_transit(tmp_path)
    try:
        ring = TransitKeyRing(EU, transit_address(monkeypatch, url=running.address), backoff_seconds=0.01)
        ring.make(EU)
        root_key_id, wrapped = ring.wrap(EU, "content", KEY, context=CONTEXT)
        admin = hvac.Client(url=running.address, token=ROOT_TOKEN)
        admin.sys.seal()

        error = error_of(ring.unwrap, root_key_id, wrapped, context=CONTEXT)

        assert error.code == "key-service-unavailable"
        assert "unsealed" in remedy_of(error)
    finally:
        running.process.kill()
        running.process.wait()
    assert error_of(ring.unwrap, root_key_id, wrapped, context=CONTEXT).code == "key-service-unavailable"


def test_a_revoked_token_is_denied_and_a_new_one_in_its_file_is_used_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    address = transit_address(monkeypatch)
    TransitKeyRing(EU, address).make(EU)
    admin = hvac.Client(url=transit(), token=ROOT_TOKEN)
    file = tmp_path / "token"
    file.write_text(admin.auth.token.create(policies=["root"])["auth"]["client_token"] + "\n")
    monkeypatch.delenv("BAO_TOKEN")
    monkeypatch.setenv("BAO_TOKEN_FILE", str(file))
    ring = TransitKeyRing(EU, address)
    root_key_id, wrapped = ring.wrap(EU, "content", KEY, context=CONTEXT)

    admin.auth.token.revoke(file.read_text().strip())
    error = error_of(ring.unwrap, root_key_id, wrapped, context=CONTEXT)

    assert (type(error), error.code) == (KeyServiceDenied, "key-service-denied")
    assert "BAO_TOKEN" in remedy_of(error)
    assert file.read_text().strip() not in str(error)
    file.write_text(ROOT_TOKEN)
    assert ring.unwrap(root_key_id, wrapped, context=CONTEXT) == KEY


def test_no_credentials_at_all_are_denied(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    address = transit_address(monkeypatch)
    monkeypatch.delenv("BAO_TOKEN")
    assert error_of(TransitKeyRing(EU, address).identities).code == "key-service-denied"

    named = kms_address(monkeypatch)
    for each in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(each)
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "none"))
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "none"))
    assert error_of(KmsKeyRing(EU, named).identities).code == "key-service-denied"


def test_nobody_listening_is_unavailable(monkeypatch: pytest.MonkeyPatch) -> None:
    nobody = "http://127.0.0.1:9"
    ring = TransitKeyRing(EU, transit_address(monkeypatch, url=nobody), backoff_seconds=0.01)
    assert error_of(ring.identities).code == "key-service-unavailable"
    assert error_of(KmsKeyRing(EU, kms_address(monkeypatch, url=nobody), tries=2).identities).code == (
        "key-service-unavailable"
    )


POLICY = """
path "transit/keys/{name}-*" {{ capabilities = ["read"] }}
path "transit/encrypt/{name}-content" {{ capabilities = ["update"] }}
path "transit/decrypt/{name}-content" {{ capabilities = ["update"] }}
path "transit/rewrap/{name}-content" {{ capabilities = ["update"] }}
path "transit/keys/{name}-content/rotate" {{ capabilities = ["update"] }}
path "transit/keys/{name}-content/config" {{ capabilities = ["update"] }}
path "transit/keys/{name}-content/trim" {{ capabilities = ["update"] }}
"""


def token_for(address: TransitAddress, policy: str) -> str:
    admin = hvac.Client(url=transit(), token=ROOT_TOKEN)
    admin.sys.create_or_update_policy(address.name, policy.format(name=address.name))
    token: str = admin.auth.token.create(policies=[address.name])["auth"]["client_token"]
    return token


def test_the_service_itself_refuses_a_class_that_a_token_may_not_use(monkeypatch: pytest.MonkeyPatch) -> None:
    address = transit_address(monkeypatch)
    ring = TransitKeyRing(EU, address)
    ring.make(EU)
    identity = ring.wrap(EU, "identity", KEY, context=CONTEXT)
    monkeypatch.setenv("BAO_TOKEN", token_for(address, POLICY))

    reader = TransitKeyRing(EU, address)
    root_key_id, wrapped = reader.wrap(EU, "content", KEY, context=CONTEXT)

    assert reader.unwrap(root_key_id, wrapped, context=CONTEXT) == KEY
    assert error_of(reader.unwrap, *identity, context=CONTEXT).code == "key-service-denied"


def test_findings_name_what_is_wrong_and_the_permission_that_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    address = transit_address(monkeypatch)
    ring = TransitKeyRing(EU, address)
    assert {each.code for each in ring.findings()} == {"root-key-missing"}
    ring.make(EU)

    monkeypatch.setenv("BAO_TOKEN", token_for(address, POLICY))
    found = TransitKeyRing(EU, address).findings()

    missing = [each for each in found if each.code == "permission-missing"]
    assert {each.what.split(" of ")[1].split(" is ")[0] for each in missing} == {
        f"{address.name}-identity",
        f"{address.name}-operational",
    }
    assert all("policy" in each.remedy for each in missing)
    assert not [each for each in found if f"{address.name}-content" in each.what], "nothing is wrong with it"
    nobody = TransitKeyRing(EU, TransitAddress("http://127.0.0.1:9", "transit", "x"), backoff_seconds=0.01)
    assert [each.code for each in nobody.findings()] == ["key-service-unavailable"]


def test_a_root_token_is_one_finding_whatever_it_may_do(monkeypatch: pytest.MonkeyPatch) -> None:
    ring = TransitKeyRing(EU, transit_address(monkeypatch))
    ring.make(EU)

    (found,) = set(ring.findings())

    assert (found.code, found.level) == ("permission-wide", Level.ADVICE)
    assert "root token" in found.what


def test_findings_of_kms_name_missing_keys_and_find_nothing_wrong_with_new_ones(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    ring = KmsKeyRing(EU, kms_address(monkeypatch))
    assert {each.code for each in ring.findings()} == {"root-key-missing"}

    ring.make(EU)

    assert ring.findings() == []
    ring._call("disable", lambda kms: kms.disable_key(KeyId=ring.identities()["eu/content/1"].rpartition("/")[2]))
    assert "key-deleted" in {each.code for each in ring.findings()}


def test_a_slow_service_holds_up_the_keys_of_one_team_and_no_other(between: Proxy, ring: KeyRing) -> None:
    import threading  # noqa: PLC0415

    stored: dict = {}
    keychain = TeamKeychain(ring, lambda team: stored[team])
    for name in ("warm", "cold"):
        stored[name] = list(keychain.new_team_keys(TeamId(name), EU, version=1, at=NOW))
    keychain.forget(TeamId("cold"))
    _, wrapped = keychain.new_file_keys(TeamId("warm"), FileId("f" * 32))
    between.calls.clear()
    between.holds.clear()
    waiting = threading.Thread(target=keychain.user_key, args=(TeamId("cold"), "ann"))
    waiting.start()
    while not between.calls:
        time.sleep(0.01)

    assert keychain.file_keys(TeamId("warm"), wrapped)

    assert waiting.is_alive()
    between.holds.set()
    waiting.join()


def test_a_cache_forgets_what_is_old_and_what_is_too_much() -> None:
    from datetime import timedelta  # noqa: PLC0415

    from implio_pipeline.stores.keys.cache import KeyCache  # noqa: PLC0415

    now = [0.0]
    cache = KeyCache(most_keys=3, longest=timedelta(seconds=10), now=lambda: now[0])
    asked: list[bytes] = []

    def get(team: str, wrapped: bytes) -> bytes:
        return cache.get(TeamId(team), wrapped, lambda: asked.append(wrapped) or wrapped * 2)

    assert [get("a", b"1"), get("a", b"1"), get("b", b"2"), get("b", b"3")] == [b"11", b"11", b"22", b"33"]
    assert asked == [b"1", b"2", b"3"]
    get("a", b"1")
    get("b", b"4")  # too much: the one that was not used for longest goes
    assert len(cache) == 3
    get("b", b"2")
    assert asked == [b"1", b"2", b"3", b"4", b"2"]
    now[0] = 10.0
    get("a", b"1")
    assert asked[-1] == b"1"
    cache.forget(TeamId("a"))
    get("a", b"1")
    assert asked[-2:] == [b"1", b"1"]
    assert "11" not in repr(cache)


def test_an_error_of_a_missing_key_is_not_a_fault_of_the_service(ring: KeyRing) -> None:
    assert isinstance(error_of(ring.unwrap, "eu/content/9", b"vault:v9:AAAA", context=CONTEXT), KeyMissing)
