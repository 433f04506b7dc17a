"""Where a callback may go, and when it is tried again."""

from datetime import timedelta

import pytest

from implio_pipeline.domain.callback import (
    LONGEST_DELIVERY_BACKOFF,
    MOST_ATTEMPTS,
    CallbackSecrets,
    DeliveryResult,
    Destination,
    check_address,
    check_host,
)
from implio_pipeline.domain.errors import CallbackRefused
from implio_pipeline.domain.faults import FIRST_BACKOFF, backoff

HTTPS, HTTP = Destination.of("https://hooks.example.com/in"), Destination.of("http://localhost:8080/in")
INSIDE = (
    "127.0.0.1",
    "10.1.2.3",
    "172.16.0.9",
    "192.168.1.1",
    "169.254.169.254",
    "100.64.0.1",
    "0.0.0.0",  # noqa: S104
    "224.0.0.1",
    "::1",
    "fe80::1%eth0",
    "fc00::1",
    "::ffff:10.0.0.1",
    "64:ff9b::a00:1",
    "2002:a00:1::1",
    "",
    "not an address",
)
NO_URLS = {
    "another scheme": "ftp://hooks.example.com/",
    "no host": "https:///path",
    "a user name": "https://me:secret@hooks.example.com/",
    "a fragment": "https://hooks.example.com/#here",
    "a port that is none": "https://hooks.example.com:99999/",
    "a line break": "https://hooks.example.com/\nHost: other",
    "letters that look alike": "https://h\u043e\u043eks.example.com/",
    "no end": "https://hooks.example.com/" + "x" * 2_000,
}


@pytest.mark.parametrize("address", INSIDE)
def test_no_callback_goes_to_an_address_inside_unless_the_operator_says_so(address: str) -> None:
    with pytest.raises(CallbackRefused):
        check_address(address, destination=HTTPS, is_exempt=False, may_use_http=True)


def test_public_addresses_and_exempt_hosts_are_let_through_by_https() -> None:
    for address, is_exempt in (("93.184.216.34", False), ("2606:2800:220:1::1", False), ("10.1.2.3", True)):
        check_address(address, destination=HTTPS, is_exempt=is_exempt, may_use_http=False)


@pytest.mark.parametrize(
    ("address", "may_use_http", "is_let_through"),
    [("127.0.0.1", True, True), ("::1", True, True), ("127.0.0.1", False, False), ("93.184.216.34", True, False)],
)
def test_plain_http_goes_to_this_machine_alone_and_only_if_allowed(
    address: str, may_use_http: bool, is_let_through: bool
) -> None:
    if is_let_through:
        check_address(address, destination=HTTP, is_exempt=False, may_use_http=may_use_http)
    else:
        with pytest.raises(CallbackRefused):
            check_address(address, destination=HTTP, is_exempt=True, may_use_http=may_use_http)


@pytest.mark.parametrize("url", NO_URLS.values(), ids=NO_URLS)
def test_what_is_no_plain_url_of_a_host_is_refused_without_repeating_it(url: str) -> None:
    with pytest.raises(CallbackRefused) as refused:
        Destination.of(url)

    assert "secret" not in refused.value.facts


@pytest.mark.parametrize("host", ["*.example.com", "example.com:443", "example.com/path", "", "a b", "exämple.com"])
def test_an_allowed_host_is_one_exact_name(host: str) -> None:
    with pytest.raises(CallbackRefused):
        check_host(host)


def test_hosts_are_compared_in_lower_case_without_the_last_dot() -> None:
    assert check_host(" Hooks.Example.COM. ") == Destination.of("https://HOOKS.example.com/").host
    assert Destination.of("https://[::1]:8443/x").host == check_host("::1")


def test_waits_double_up_to_a_bound() -> None:
    waits = [backoff(attempt, longest=LONGEST_DELIVERY_BACKOFF) for attempt in range(1, MOST_ATTEMPTS + 1)]

    assert waits[:3] == [FIRST_BACKOFF, 2 * FIRST_BACKOFF, 4 * FIRST_BACKOFF]
    assert max(waits) <= LONGEST_DELIVERY_BACKOFF
    assert backoff(1_000, longest=LONGEST_DELIVERY_BACKOFF) == LONGEST_DELIVERY_BACKOFF
    assert sum(waits, timedelta()) > timedelta(hours=4)


@pytest.mark.parametrize("status", [None, 201, 204, 301, 404, 500])
def test_only_200_says_that_it_was_received(status: int | None) -> None:
    assert not DeliveryResult(status=status).is_done
    assert DeliveryResult(status=200).is_done


def test_secrets_and_the_address_never_show() -> None:
    secrets = CallbackSecrets(url="https://canary/", signing_secret="canary", team_key="canary")  # noqa: S106

    assert "canary" not in repr(secrets)
