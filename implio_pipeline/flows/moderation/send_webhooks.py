"""Deliver: tell teams of decisions, completed deletions, and what waits for a second person.

The rules:

* What is said is read when it is sent, and kept nowhere.
* A delivery stays in the catalog until it was made. A crash after sending sends it again, under the same id.
* A delivery whose item is deleted before it is sent goes with the item.
* Of what no longer waits for a second person nothing is said.
* Each team's deliveries are made one after another, independently of other teams. A slow receiver therefore delays its
  own team alone, and nothing else waits for receivers: the server delivers in a process of its own.
"""

import json
from collections.abc import Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from datetime import datetime
from threading import Semaphore
from typing import Any, assert_never

from implio_pipeline.domain.callback import (
    ABANDONED,
    CLAIM_LASTS,
    DELIVERY_HEADER,
    KEY_HEADER,
    LONGEST_DELIVERY_BACKOFF,
    MOST_ATTEMPTS,
    SIGNATURE_HEADER,
    TEAM_SECONDS,
    CallbackEvent,
    CallbackSecrets,
    Delivery,
    DeliveryResult,
)
from implio_pipeline.domain.errors import CallbackUnknown, ImplioError
from implio_pipeline.domain.faults import FIRST_BACKOFF, backoff
from implio_pipeline.domain.ids import RequestId, TeamId
from implio_pipeline.domain.instants import instant_text
from implio_pipeline.domain.receipt import Receipt
from implio_pipeline.domain.request import Request, RequestState
from implio_pipeline.domain.request_view import request_view
from implio_pipeline.domain.retention import PolicyChange
from implio_pipeline.flows.moderation.get_items import items_of
from implio_pipeline.flows.moderation.webhooks import secrets_of
from implio_pipeline.ports.ledger import LedgerEntry
from implio_pipeline.ports.moderation import WebhookClient
from implio_pipeline.ports.services import Services

_AT_ONCE = 100
_RECEIVERS_AT_ONCE = 64
"""Teams that are told at the same time. Their threads wait for receivers; few of them read files at a time."""


@dataclass(kw_only=True, slots=True)
class DeliverySummary:
    """What one run did, in counts and codes."""

    delivered: int = 0
    put_off: int = 0
    given_up: int = 0
    cancelled: int = 0
    """Deliveries with nothing left to say: their item or callback is gone."""
    failed: dict[TeamId, str] = field(default_factory=dict)

    def add(self, other: "DeliverySummary") -> None:
        """Add what was done for one team."""
        self.delivered += other.delivered
        self.put_off += other.put_off
        self.given_up += other.given_up
        self.cancelled += other.cancelled
        self.failed |= other.failed


class Deliverer:
    """Makes deliveries, many teams' at a time.

    Args:
        services: What the flow may touch.
        webhook_client: Who carries them.
        most: Deliveries of one team in one pass.
    """

    def __init__(self, services: Services, webhook_client: WebhookClient, *, most: int = _AT_ONCE) -> None:
        self._world = services
        self._courier = webhook_client
        self._most = most
        self._pool = ThreadPoolExecutor(_RECEIVERS_AT_ONCE, thread_name_prefix="deliver")
        self._reading = Semaphore(max(1, services.threads))
        self._in_hand: dict[TeamId, Future[DeliverySummary]] = {}

    def begin(self, teams: Sequence[TeamId] | None = None) -> DeliverySummary:
        """Begin a pass for each team that has deliveries due and no pass under way; wait for none.

        Args:
            teams: Whose; all that have some due when `None`.

        Returns:
            What the passes did that have ended since the last call.
        """
        ended = self._ended()
        due = self._world.catalog.callbacks.teams_due(now=self._world.clock.now()) if teams is None else teams
        for team in due:
            if team not in self._in_hand:
                self._in_hand[team] = self._pool.submit(
                    _deliver_team, self._world, self._courier, team, self._most, reading=self._reading
                )
        return ended

    def finish(self) -> DeliverySummary:
        """Wait for the passes under way, and return what they did."""
        self._pool.shutdown()
        return self._ended()

    def _ended(self) -> DeliverySummary:
        summary = DeliverySummary()
        for team in [team for team, future in self._in_hand.items() if future.done()]:
            try:
                summary.add(self._in_hand.pop(team).result())
            except Exception as error:  # noqa: BLE001 -- whatever it is, the other teams are told
                summary.failed[team] = error.code if isinstance(error, ImplioError) else type(error).__name__
        return summary


def deliver_due(
    services: Services, webhook_client: WebhookClient, *, teams: Sequence[TeamId] | None = None, most: int = _AT_ONCE
) -> DeliverySummary:
    """Make one pass of deliveries for each team, and wait for the slowest.

    Args:
        services: What the flow may touch.
        webhook_client: Who carries it.
        teams: Whose; all that have some due when `None`.
        most: Deliveries of one team in one pass.
    """
    deliverer = Deliverer(services, webhook_client, most=most)
    try:
        deliverer.begin(teams)
        return deliverer.finish()
    except BaseException:  # such as Ctrl-C: a receiver is not waited for
        webhook_client.abandon()
        raise


def decision_body(delivery: Delivery, item: Mapping[str, Any]) -> dict[str, Any]:
    """Return what a team is told of a decision: the item's ids and its result, no content."""
    return {
        "type": delivery.event.value,
        "deliveryId": delivery.delivery_id,
        "decidedAt": instant_text(delivery.made_at),
        "items": [{"id": item["item_id"], "batchId": item["batch_id"], "taskId": item["task_id"]}],
        "result": {
            "outcome": item["outcome"],
            "reasons": [{"name": name} for name in item["reasons"] or ()],
            "feedback": [{"name": name} for name in item["feedback"] or ()],
            "actorId": item["actor_id"],
        },
    }


def deletion_body(delivery: Delivery, request: Request, receipt: LedgerEntry[Receipt] | None) -> dict[str, Any]:
    """Return what a team is told of a completed deletion: nothing personal."""
    return _about_request(delivery, request) | {
        "completedAt": instant_text(request.completed_at or delivery.made_at),
        "outcome": request.outcome.parts(),
        "receipt": None if receipt is None else f"sha256:{receipt.digest}",
    }


def approval_body(delivery: Delivery, request: Request) -> dict[str, Any]:
    """Return what a team is told of a deletion that waits for a second person: nothing personal."""
    return _about_request(delivery, request) | {
        "acceptedAt": instant_text(request.accepted_at),
        "items": request.covered_items if request.is_exact else None,
    }


def _about_request(delivery: Delivery, request: Request) -> dict[str, Any]:
    return {
        "type": delivery.event.value,
        "deliveryId": delivery.delivery_id,
        **request_view(request, request.outcome, only=("requestId", "kind", "state", "why")),
    }


def policy_approval_body(delivery: Delivery, change: PolicyChange) -> dict[str, Any]:
    """Return what a team is told of a change of policy that waits for a second person."""
    return {
        "type": delivery.event.value,
        "deliveryId": delivery.delivery_id,
        "changeId": change.change_id,
        "state": change.state.value,
        "askedAt": instant_text(change.asked_at),
        "items": change.affected_items,
        "was": change.was.text,
        "policy": change.policy.text,
        "wasCapPercent": change.was_cap_percent,
        "capPercent": change.cap_percent,
    }


def _deliver_team(
    services: Services, webhook_client: WebhookClient, team: TeamId, most: int, *, reading: Semaphore
) -> DeliverySummary:
    summary = DeliverySummary()
    # 1. Read what is due and what each says. Reading opens vault files, so few teams do it at a time.
    due = services.catalog.callbacks.due(team, now=services.clock.now(), most=most)
    try:
        secrets = secrets_of(services, team)
        with reading:
            bodies = _bodies(services, team, due)
    except CallbackUnknown:
        for delivery in due:
            services.catalog.callbacks.done(delivery)
        summary.cancelled += len(due)
        return summary
    except Exception:
        # Something that they say cannot be read. It is tried again later, and does not count as an attempt.
        later = services.clock.now() + FIRST_BACKOFF
        for delivery in due:
            services.catalog.callbacks.put_off(replace(delivery, next_attempt_at=later))
        raise
    # 2. Send one after another, until the receiver has taken as long as a team's pass may last.
    taken_seconds = 0.0
    for delivery in due:
        # The last look before it leaves: what was deleted since is not there to be begun.
        begun = services.catalog.callbacks.begin(delivery, until=services.clock.now() + CLAIM_LASTS)
        if begun is None:
            summary.cancelled += 1
            continue
        body = bodies.get(delivery.delivery_id)
        if body is None:
            services.catalog.callbacks.done(begun)
            summary.cancelled += 1
            continue
        answer = _sent(services, webhook_client, secrets, begun, body)
        if answer.code == ABANDONED:
            # The process ends. The next one sends it again at once, and the attempt does not count.
            services.catalog.callbacks.put_off(delivery)
            summary.put_off += 1
            break
        _note(services, begun, answer, summary)
        taken_seconds += answer.seconds
        if answer.status is None or taken_seconds >= TEAM_SECONDS:
            break  # the others wait for the next pass: another team may wait for this thread
    return summary


def _bodies(services: Services, team: TeamId, due: Sequence[Delivery]) -> dict[str, dict[str, Any]]:
    """Return what each delivery says; one whose item or request is gone says nothing."""
    items = items_of(services, team, [each.task_id for each in due if each.task_id is not None])
    asked = [each.request_id for each in due if each.request_id is not None and each.event is CallbackEvent.DELETION]
    receipts = services.ledger.receipts(asked) if asked else {}
    bodies: dict[str, dict[str, Any]] = {}
    for each in due:
        match each.event:
            case CallbackEvent.DECISION:
                item = items.get(each.task_id or "")
                if item is not None:
                    bodies[each.delivery_id] = decision_body(each, item)
            case CallbackEvent.DELETION:
                request_id = each.request_id or RequestId("")
                told = receipts.get(request_id, [])
                request = services.catalog.requests.get(request_id)
                bodies[each.delivery_id] = deletion_body(each, request, told[-1] if told else None)
            case CallbackEvent.APPROVAL:
                request = services.catalog.requests.get(each.request_id or RequestId(""))
                if request.state is RequestState.UNAPPROVED:
                    bodies[each.delivery_id] = approval_body(each, request)
            case CallbackEvent.POLICY_APPROVAL:
                waiting = {change.change_id: change for change in services.catalog.policy_changes.waiting(team)}
                if each.request_id in waiting:
                    bodies[each.delivery_id] = policy_approval_body(each, waiting[each.request_id])
            case _:
                assert_never(each.event)
    return bodies


def _sent(
    services: Services,
    webhook_client: WebhookClient,
    secrets: CallbackSecrets,
    delivery: Delivery,
    body: Mapping[str, Any],
) -> DeliveryResult:
    content = json.dumps(body).encode()
    headers = {
        DELIVERY_HEADER: delivery.delivery_id,
        KEY_HEADER: secrets.team_key,
        SIGNATURE_HEADER: webhook_client.sign(secrets.signing_secret, content, at=services.clock.now()),
    }
    return webhook_client.send(secrets.url, content, headers)


def _note(services: Services, delivery: Delivery, answer: DeliveryResult, summary: DeliverySummary) -> None:
    if answer.is_done:
        services.catalog.callbacks.done(delivery)
        summary.delivered += 1
        return
    now: datetime = services.clock.now()
    after = replace(
        delivery,
        error_code=answer.code,
        next_attempt_at=now + backoff(delivery.attempts, longest=LONGEST_DELIVERY_BACKOFF),
    )
    if delivery.attempts >= MOST_ATTEMPTS:
        after = replace(after, given_up_at=now)
        summary.given_up += 1
    else:
        summary.put_off += 1
    services.catalog.callbacks.put_off(after)
