"""Callbacks: where a team wants to be told of decisions and deletions, and with which secrets."""

import json
from collections.abc import Iterable
from dataclasses import dataclass

from implio_pipeline.domain.callback import Callback, CallbackSecrets, Delivery, Destination, check_host
from implio_pipeline.domain.errors import CallbackRefused, CallbackUnknown
from implio_pipeline.domain.ids import TeamId
from implio_pipeline.domain.moderation import seal_context
from implio_pipeline.ports.moderation import WebhookClient
from implio_pipeline.ports.services import Services


@dataclass(frozen=True, kw_only=True, slots=True)
class CallbackView:
    """A team's callback as anybody may see it again: without its path and its secrets."""

    team: TeamId
    host: str | None
    """`None` when the team has no callback."""
    allowed: frozenset[str]
    waiting: int
    given_up: int


def allow_hosts(services: Services, team: TeamId, hosts: Iterable[str]) -> frozenset[str]:
    """Let a team's callback go to these hosts and no others, and return them.

    Raises:
        TeamUnknown: there is no such team.
        CallbackRefused: one is no exact name of a host.
    """
    names = frozenset(check_host(host) for host in hosts)
    services.catalog.callbacks.allow(team, names)
    return names


def set_callback(services: Services, webhook_client: WebhookClient, team: TeamId, url: str) -> CallbackSecrets:
    """Give a team its callback, in place of the one it has, and return its new secrets: they are never shown again.

    Raises:
        TeamUnknown: there is no such team.
        CallbackRefused: the URL is none of https, or its host is not on the team's allow list, or lies inside.
    """
    destination = Destination.of(url)
    if destination.host not in services.catalog.callbacks.hosts(team):
        raise CallbackRefused("the host is not on the team's allow list")
    webhook_client.check(url)
    made = CallbackSecrets(
        url=url, signing_secret=webhook_client.new_secret("whsec"), team_key=webhook_client.new_secret("whkey")
    )
    parts = json.dumps({"url": made.url, "signingSecret": made.signing_secret, "teamKey": made.team_key})
    sealed = services.keychain.seal(team, parts.encode(), context=seal_context("callback", team))
    now = services.clock.now()
    services.catalog.callbacks.put(Callback(team=team, host=destination.host, made_at=now, sealed=sealed))
    return made


def show_callback(services: Services, team: TeamId) -> CallbackView:
    """Return where a team's callback goes, and how its deliveries stand.

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
    """Remove a team's callback, with its secrets and whatever was still to be delivered.

    Raises:
        CallbackUnknown: it has none.
    """
    services.catalog.callbacks.remove(team)
    services.catalog.scrub(is_thorough=False)


def secrets_of(services: Services, team: TeamId) -> CallbackSecrets:
    """Return where a team's callback goes and its secrets, to send it.

    Raises:
        CallbackUnknown: it has none.
        KeyMissing: the key that sealed them is destroyed.
    """
    callback = services.catalog.callbacks.get(team)
    if callback is None:
        raise CallbackUnknown("the team has no callback")
    opened = json.loads(services.keychain.unseal(team, callback.sealed, context=seal_context("callback", team)))
    return CallbackSecrets(url=opened["url"], signing_secret=opened["signingSecret"], team_key=opened["teamKey"])
