"""Callbacks: the address to which a team's webhooks are sent, and the secrets that authenticate them.

Rules:

* An address must be https, and its host must be on the team's allow list by its exact name. No other connection of ours
  goes to an address that a customer chooses (decision 0031).
* Address and secrets are sealed under the team's seal key, and shown once, when the callback is set.
"""

import json
from collections.abc import Iterable
from dataclasses import dataclass

from implio_pipeline.domain.callback import Callback, CallbackSecrets, Delivery, Destination, check_host
from implio_pipeline.domain.errors import CallbackRefused, CallbackUnknown
from implio_pipeline.domain.ids import TeamId
from implio_pipeline.domain.moderation import seal_context
from implio_pipeline.domain.replan import replan, reread
from implio_pipeline.ports.catalog import Catalog
from implio_pipeline.ports.keychain import Keychain
from implio_pipeline.ports.moderation import WebhookClient
from implio_pipeline.ports.services import Services


@dataclass(frozen=True, kw_only=True, slots=True)
class CallbackView:
    """A team's callback as it may be shown again: without its path and its secrets."""

    team: TeamId
    host: str | None
    """`None` when the team has no callback."""
    allowed: frozenset[str]
    """Hosts that a callback of the team may go to."""
    waiting: int
    """Deliveries that are still to be sent."""
    given_up: int


def allow_hosts(services: Services, team: TeamId, hosts: Iterable[str]) -> frozenset[str]:
    """Set the hosts that a team's callback may go to, and return them; a callback to another host is removed.

    Raises:
        TeamUnknown: there is no such team.
        CallbackRefused: a host is not given by its exact name.
    """
    names = frozenset(check_host(host) for host in hosts)
    services.catalog.callbacks.allow(team, names)
    return names


def set_callback(services: Services, webhook_client: WebhookClient, team: TeamId, url: str) -> CallbackSecrets:
    """Set or replace a team's callback, and return its new secrets, which are never shown again.

    Raises:
        TeamUnknown: there is no such team.
        CallbackRefused: the URL is not https, its host is not on the team's allow list, or its address is not public.
    """
    # 1. The host must be allowed, and its addresses public: otherwise a customer could make us call machines of our own
    #    network (server-side request forgery).
    destination = Destination.of(url)
    if destination.host not in services.catalog.callbacks.hosts(team):
        raise CallbackRefused("the host is not on the team's allow list")
    webhook_client.check(url)
    # 2. Make new secrets. The team key is the callback's own: API keys are kept as hashes, and cannot be sent.
    made = CallbackSecrets(
        url=url, signing_secret=webhook_client.new_secret("whsec"), team_key=webhook_client.new_secret("whkey")
    )
    parts = json.dumps({"url": made.url, "signingSecret": made.signing_secret, "teamKey": made.team_key})
    now = services.clock.now()

    def put() -> None:
        sealed = services.keychain.seal(team, parts.encode(), context=seal_context("callback", team))
        services.catalog.callbacks.put(Callback(team=team, host=destination.host, made_at=now, sealed=sealed))

    replan(put, about=f"the keys of team {team}")
    return made


def show_callback(services: Services, team: TeamId) -> CallbackView:
    """Return the host of a team's callback, and how many deliveries wait.

    Raises:
        TeamUnknown: there is no such team.
    """
    name = services.catalog.teams.get(team).team
    callback = services.catalog.callbacks.get(name)
    deliveries: list[Delivery] = services.catalog.callbacks.all(name)
    given_up = sum(each.given_up_at is not None for each in deliveries)
    return CallbackView(
        team=name,
        host=None if callback is None else callback.host,
        allowed=services.catalog.callbacks.hosts(name),
        waiting=len(deliveries) - given_up,
        given_up=given_up,
    )


def remove_callback(services: Services, team: TeamId) -> None:
    """Remove a team's callback, its secrets and its waiting deliveries.

    Raises:
        CallbackUnknown: the team has no callback.
    """
    services.catalog.callbacks.remove(team)
    # The deleted secrets stay in free pages of the database until it is scrubbed.
    services.catalog.scrub(is_thorough=False)


def secrets_of(catalog: Catalog, keychain: Keychain, team: TeamId) -> CallbackSecrets:
    """Return the address and the secrets of a team's callback.

    Raises:
        CallbackUnknown: the team has no callback.
        KeyMissing: the key that sealed them is destroyed.
    """

    def read() -> CallbackSecrets:
        callback = catalog.callbacks.get(team)
        if callback is None:
            raise CallbackUnknown("the team has no callback")
        opened = json.loads(keychain.unseal(team, callback.sealed, context=seal_context("callback", team)))
        return CallbackSecrets(url=opened["url"], signing_secret=opened["signingSecret"], team_key=opened["teamKey"])

    return reread(read, about=f"the keys of team {team}", again=lambda: keychain.forget(team))
