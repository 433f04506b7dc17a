"""Send webhooks: tell a team's server of decisions, of completed deletions, and of what waits for a second person.

Rules:

* A body is made just before it is sent, and is never stored.
* A delivery stays in the catalog until the receiver has answered 200. After a crash it is sent again under the same id.
* A delivery whose item is deleted before it is sent is deleted with the item.
* A message about a waiting request is sent only while the request still waits for a second person.
* Each team's deliveries are sent one after another, in a pass of its own. A slow receiver delays its own team only.
* The server sends from a process of its own, so that no API call ever waits for a receiver.
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
from implio_pipeline.flows.moderation.get_items import get_items
from implio_pipeline.flows.moderation.webhooks import secrets_of
from implio_pipeline.ports.ledger import LedgerEntry
from implio_pipeline.ports.moderation import Callbacks, WebhookClient
from implio_pipeline.ports.services import Services

_AT_ONCE = 100
"""Deliveries of one team in one pass."""
_RECEIVERS_AT_ONCE = 64
"""Teams whose deliveries are sent at the same time. Most of these threads wait for receivers; few read files."""


@dataclass(kw_only=True, slots=True)
class DeliverySummary:
    """What one run did, in counts and codes."""

    delivered: int = 0
    put_off: int = 0
    given_up: int = 0
    cancelled: int = 0
    """Deliveries that were not sent because their item, their callback or their cause is gone."""
    failed: dict[TeamId, str] = field(default_factory=dict)
    """Teams whose pass failed, each with the code of the error."""


class Deliverer:
    """Sends the deliveries of many teams at the same time.

    Args:
        services: What the flow may use.
        webhook_client: Sends one call.
        most: The most deliveries of one team in one pass.
    """

    def __init__(self, services: Services, webhook_client: WebhookClient, *, most: int = _AT_ONCE) -> None:
        self._services = services
        self._client = webhook_client
        self._most = most
        self._pool = ThreadPoolExecutor(_RECEIVERS_AT_ONCE, thread_name_prefix="deliver")
        self._reading = Semaphore(max(1, services.threads))
        self._running: dict[TeamId, Future[DeliverySummary]] = {}

    def begin(self, teams: Sequence[TeamId] | None = None) -> DeliverySummary:
        """Start a pass for each team that has deliveries due and no running pass, without waiting for them.

        Args:
            teams: These teams; every team with deliveries due when `None`.

        Returns:
            The counts of the passes that ended since the last call.
        """
        ended, callbacks = self._ended(), self._services.catalog.callbacks
        due = callbacks.teams_due(now=self._services.clock.now()) if teams is None else teams
        for team in due:
            # One pass for each team: two would send to the same receiver side by side, and out of order.
            if team not in self._running:
                self._running[team] = self._pool.submit(
                    _deliver_team, self._services, self._client, team, self._most, reading=self._reading
                )
        return ended

    def finish(self) -> DeliverySummary:
        """Wait for the running passes, and return what they did."""
        self._pool.shutdown()
        return self._ended()

    def _ended(self) -> DeliverySummary:
        total = DeliverySummary()
        for team in [team for team, future in self._running.items() if future.done()]:
            try:
                done = self._running.pop(team).result()
            except Exception as error:  # noqa: BLE001 -- whatever it is, the other teams' deliveries go on
                total.failed[team] = error.code if isinstance(error, ImplioError) else type(error).__name__
            else:
                total.delivered += done.delivered
                total.put_off += done.put_off
                total.given_up += done.given_up
                total.cancelled += done.cancelled
        return total


def deliver_due(
    services: Services, webhook_client: WebhookClient, *, teams: Sequence[TeamId] | None = None, most: int = _AT_ONCE
) -> DeliverySummary:
    """Run one pass of deliveries for each team, and wait for the slowest.

    Args:
        services: What the flow may use.
        webhook_client: Sends one call.
        teams: These teams; every team with deliveries due when `None`.
        most: The most deliveries of one team in one pass.
    """
    deliverer = Deliverer(services, webhook_client, most=most)
    try:
        deliverer.begin(teams)
        return deliverer.finish()
    except BaseException:  # such as Ctrl-C: do not wait for receivers
        webhook_client.abandon()
        raise


def deletion_body(delivery: Delivery, request: Request, receipt: LedgerEntry[Receipt] | None) -> dict[str, Any]:
    """Return the body for a completed deletion. It holds nothing personal."""
    return _request_body(delivery, request) | {
        "completedAt": instant_text(request.completed_at or delivery.made_at),
        "outcome": request.outcome.parts(),
        "receipt": None if receipt is None else f"sha256:{receipt.digest}",
    }


def _deliver_team(
    services: Services, webhook_client: WebhookClient, team: TeamId, most: int, *, reading: Semaphore
) -> DeliverySummary:
    """Run one team's pass."""
    callbacks, clock, summary = services.catalog.callbacks, services.clock, DeliverySummary()
    # 1. Read the due deliveries, and make their bodies. That opens vault files, so few teams may do it at once.
    due = callbacks.due(team, now=clock.now(), most=most)
    try:
        secrets = secrets_of(services.catalog, services.keychain, team)
        with reading:
            bodies = _bodies(services, team, due)
    except CallbackUnknown:
        for delivery in due:
            callbacks.done(delivery)
        summary.cancelled += len(due)
        return summary
    except Exception:
        # A body could not be made. The deliveries are tried again later, and this does not count as an attempt.
        later = clock.now() + FIRST_BACKOFF
        for delivery in due:
            callbacks.put_off(replace(delivery, next_attempt_at=later))
        raise
    # 2. Send them one after another, until the receiver has used up the time of one pass.
    taken_seconds = 0.0
    for delivery in due:
        # Claim each in a transaction of its own, just before it is sent. That fails if its item was deleted since.
        begun = callbacks.begin(delivery, until=clock.now() + CLAIM_LASTS)
        body = bodies.get(delivery.delivery_id)
        if begun is None or body is None:
            if begun is not None:
                callbacks.done(begun)
            summary.cancelled += 1
            continue
        content = json.dumps(body).encode()
        headers = {
            DELIVERY_HEADER: begun.delivery_id,
            KEY_HEADER: secrets.team_key,
            SIGNATURE_HEADER: webhook_client.sign(secrets.signing_secret, content, at=clock.now()),
        }
        answer = webhook_client.send(secrets.url, content, headers)
        if answer.code == ABANDONED:
            # This process is ending. The next process sends it at once, and this attempt does not count.
            callbacks.put_off(delivery)
            summary.put_off += 1
            break
        _note_answer(callbacks, begun, answer, summary, now=clock.now())
        taken_seconds += answer.seconds
        if answer.status is None or taken_seconds >= TEAM_SECONDS:
            break  # the rest waits for the next pass: another team may be waiting for this thread
    return summary


def _bodies(services: Services, team: TeamId, due: Sequence[Delivery]) -> dict[str, dict[str, Any]]:
    """Return the bodies by delivery. It has none if its item is hidden or gone, or if its cause no longer waits."""
    items = get_items(services, team, [each.task_id for each in due if each.task_id is not None])
    asked = [each.request_id for each in due if each.request_id is not None and each.event is CallbackEvent.DELETION]
    receipts = services.ledger.receipts(asked) if asked else {}
    bodies: dict[str, dict[str, Any]] = {}
    for each in due:
        request_id = each.request_id or RequestId("")
        match each.event:
            case CallbackEvent.DECISION:
                item = items.get(each.task_id or "")
                if item is not None:
                    bodies[each.delivery_id] = _decision_body(each, item)
            case CallbackEvent.DELETION:
                told = receipts.get(request_id, [])
                request = services.catalog.requests.get(request_id)
                bodies[each.delivery_id] = deletion_body(each, request, told[-1] if told else None)
            case CallbackEvent.APPROVAL:
                request = services.catalog.requests.get(request_id)
                if request.state is RequestState.UNAPPROVED:
                    bodies[each.delivery_id] = _request_body(each, request) | {
                        "acceptedAt": instant_text(request.accepted_at),
                        "items": request.covered_items if request.is_exact else None,
                    }
            case CallbackEvent.POLICY_APPROVAL:
                waiting = {change.change_id: change for change in services.catalog.policy_changes.waiting(team)}
                if each.request_id in waiting:
                    bodies[each.delivery_id] = _policy_change_body(each, waiting[each.request_id])
            case _:
                assert_never(each.event)
    return bodies


def _decision_body(delivery: Delivery, item: Mapping[str, Any]) -> dict[str, Any]:
    """Return the body for a decision: the ids of the item and its result, without its content."""
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


def _request_body(delivery: Delivery, request: Request) -> dict[str, Any]:
    """Return what every body about a request holds."""
    return {
        "type": delivery.event.value,
        "deliveryId": delivery.delivery_id,
        **request_view(request, request.outcome, only=("requestId", "kind", "state", "why")),
    }


def _policy_change_body(delivery: Delivery, change: PolicyChange) -> dict[str, Any]:
    """Return the body for a change of policy that waits for a second person."""
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


def _note_answer(
    callbacks: Callbacks, delivery: Delivery, answer: DeliveryResult, summary: DeliverySummary, *, now: datetime
) -> None:
    """Remove a delivery that was made; put off one that failed, or give it up after ten attempts."""
    if answer.is_done:
        callbacks.done(delivery)
        summary.delivered += 1
        return
    wait = backoff(delivery.attempts, longest=LONGEST_DELIVERY_BACKOFF)
    after = replace(delivery, error_code=answer.code, next_attempt_at=now + wait)
    if delivery.attempts >= MOST_ATTEMPTS:
        after = replace(after, given_up_at=now)
        summary.given_up += 1
    else:
        summary.put_off += 1
    callbacks.put_off(after)
