"""Webhooks (settings and pages say *callback*): which addresses may be called, and how deliveries are retried.

Rules:
* A callback goes to a host on the team's allow list, and into a private network only if the operator allows that host.
  Otherwise a customer could reach machines behind this server's firewall (server-side request forgery).
* The body is made when it is sent and never stored, so that an erasure has nothing to erase there.
* Only the HTTP status 200 counts as delivered.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network
from urllib.parse import urlsplit

from implio_pipeline.domain.errors import CallbackRefused
from implio_pipeline.domain.ids import RequestId, TaskKey, TeamId, UserKey, sensitive

MOST_ATTEMPTS = 10
LONGEST_DELIVERY_BACKOFF = timedelta(hours=6)
CLAIM_LASTS = timedelta(minutes=5)
"""How long a delivery belongs to the process that began it. After a crash another process retries it."""
TEAM_SECONDS = 10.0
"""In one pass, a team gets no further delivery once its receiver has taken this long in total."""
TELL_WAITING_AFTER = timedelta(minutes=1)
"""How long a request stays unapproved before its team is told. One that is released earlier is not reported."""
ABANDONED = "callback-abandoned"
"""The code of a delivery that was stopped because the process ends; it does not count as an attempt."""
SIGNATURE_HEADER, KEY_HEADER, DELIVERY_HEADER = "Implio-Signature", "X-Api-Key", "Implio-Delivery"
_LONGEST_URL = 2_000
_NAT64 = ip_network("64:ff9b::/96")


class CallbackEvent(StrEnum):
    """The kind of event that a team is told about."""

    DECISION = "decision"
    DELETION = "deletion"
    APPROVAL = "approval-needed"
    """A deletion waits for a second person."""
    POLICY_APPROVAL = "policy-approval-needed"
    """A change of policy or cap waits for a second person."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Callback:
    """A team's callback. The full address and the secrets are sealed."""

    team: TeamId
    host: str
    made_at: datetime
    sealed: bytes = sensitive()


@dataclass(frozen=True, kw_only=True, slots=True)
class CallbackSecrets:
    """The full address of a callback, and the secrets that prove to the receiver who sends it."""

    url: str = sensitive()
    signing_secret: str = sensitive()
    team_key: str = sensitive()


@dataclass(frozen=True, kw_only=True, slots=True)
class Delivery:
    """One message to a team."""

    delivery_id: str
    team: TeamId
    event: CallbackEvent
    made_at: datetime
    task_id: str | None = None
    task_key: TaskKey | None = None
    user_key: UserKey | None = None
    submitted_at: datetime | None = None
    outcome: str | None = None
    request_id: RequestId | None = None
    """The request; for a change of policy, the id of the change."""
    attempts: int = 0
    next_attempt_at: datetime
    error_code: str | None = None
    given_up_at: datetime | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class DeliveryResult:
    """The result of sending: the HTTP status, or one of our codes if there was no answer."""

    status: int | None
    code: str | None = None
    seconds: float = 0.0
    """How long sending took."""

    @property
    def is_done(self) -> bool:
        """Whether the receiver confirmed the message."""
        # Anything but 200 is tried again (decision 0031).
        return self.status == 200  # noqa: PLR2004


@dataclass(frozen=True, kw_only=True, slots=True)
class Destination:
    """The parts of a callback's URL that decide whether it may be called."""

    scheme: str
    host: str
    port: int

    @classmethod
    def of(cls, url: str) -> "Destination":
        """Return the destination of a URL.

        Raises:
            CallbackRefused: the URL cannot be called, or contains a user name or a fragment.
        """
        # `port` is parsed when it is read, and raises ValueError, too.
        try:
            parts = urlsplit(url)
            port = parts.port
        except ValueError:
            raise CallbackRefused("the address of the callback is not a URL") from None
        if parts.scheme not in ("https", "http") or not parts.hostname or len(url) > _LONGEST_URL or not url.isascii():
            raise CallbackRefused("the address of the callback is not an https URL")
        if parts.username is not None or parts.password is not None or parts.fragment or not url.isprintable():
            raise CallbackRefused("the address of the callback must not contain a user name, password or fragment")
        return cls(
            scheme=parts.scheme, host=check_host(parts.hostname), port=port or (443 if parts.scheme == "https" else 80)
        )


def check_host(host: str) -> str:
    """Return a host name in the form that is compared: exact, in lower case, without wildcards or port.

    Raises:
        CallbackRefused: the text is not a host name.
    """
    name = host.strip().lower().rstrip(".")
    # Digits, letters, hyphens and dots; colons for IPv6 addresses. Wildcards would allow hosts that nobody checked.
    letters = name.replace("-", "").replace(".", "").replace(":", "")
    if not name or not letters.isascii() or not letters.isalnum() or len(name) > 253:  # noqa: PLR2004
        raise CallbackRefused("an allowed host is one exact name, such as hooks.example.com")
    if ":" in name and not isinstance(_address(name), IPv6Address):
        raise CallbackRefused("an allowed host is named without its port")
    return name


def check_address(address: str, *, destination: Destination, is_exempt: bool, may_use_http: bool) -> None:
    """Check that a callback may be sent to an address.

    Args:
        address: The address to which the host name was resolved.
        destination: The destination of the URL.
        is_exempt: Whether the operator allows this host to be in a private network.
        may_use_http: Whether the operator allows plain HTTP to this machine.

    Raises:
        CallbackRefused: the address is in a private network, or the message would be sent unencrypted.
    """
    found = _address(address)
    if found is None:
        raise CallbackRefused("the host has no address that can be used")
    # 1. Plain HTTP would show decisions and secrets to the network; on this machine the operator may allow it.
    if destination.scheme == "http":
        if found.is_loopback and may_use_http:
            return
        raise CallbackRefused("callbacks are sent by https; plain http only to this machine, if settings allow it")
    # 2. Server-side request forgery: a customer's URL must not reach services behind our firewall (decision 0031).
    #    Addresses that stand for others (6to4, Teredo, NAT64) count as private, because they may lead there.
    if not is_exempt and (not found.is_global or found.is_multicast or _leads_elsewhere(found)):
        raise CallbackRefused("the host's address is inside a private network, on this machine or not on the internet")


def _leads_elsewhere(address: IPv4Address | IPv6Address) -> bool:
    """Return whether an address stands for another one, which may be in a private network.

    Source: RFC 3056 (6to4), RFC 4380 (Teredo), RFC 6052 (NAT64).
    """
    if isinstance(address, IPv4Address):
        return False
    return address.sixtofour is not None or address.teredo is not None or address in _NAT64


def _address(text: str) -> IPv4Address | IPv6Address | None:
    try:
        found = ip_address(text.partition("%")[0])
    except ValueError:
        return None
    # `::ffff:10.0.0.1` is 10.0.0.1: compared as IPv6 it would count as a public address.
    mapped = found.ipv4_mapped if isinstance(found, IPv6Address) else None
    return mapped or found
