"""Moderation queues: what waits, the ten oldest items, and a decision on each.

A moderator takes items by a form, because taking them locks them, and a GET changes nothing.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from starlette.responses import Response

from implio_pipeline.domain.access import Act
from implio_pipeline.domain.audit_log import AuditAction
from implio_pipeline.domain.errors import DecisionRefused, ImplioError, ItemGone
from implio_pipeline.domain.moderation import ENTRIES_AT_ONCE, Approve, Decision, Move, QueueEntry, Refuse
from implio_pipeline.flows.moderation.decide import (
    ReadNote,
    add_queue,
    decide,
    next_entries,
    notes_of,
    queues_of,
    remove_queue,
    unlock_entries,
)
from implio_pipeline.flows.moderation.get_items import get_items
from implio_pipeline.web.context import PageContext
from implio_pipeline.web.forms import words_in
from implio_pipeline.web.guard import Pages
from implio_pipeline.web.rendering import sentence

pages = Pages()
_SHOWN = ("title", "body", "category_name", "price_amount", "price_currency", "url")


@dataclass(frozen=True, kw_only=True, slots=True)
class _Shown:
    """An entry of a queue, and as much of its item as a decision needs."""

    entry: QueueEntry
    values: Mapping[str, Any] | None = field(repr=False)
    """`None` when the item cannot be read: it is hidden, or not in the vault yet."""
    notes: list[ReadNote] = field(repr=False)


@pages.get("/teams/{team}/queues", demands=Act.SEE_QUEUES)
def _overview(context: PageContext, *, status: int = 200, error: str | None = None) -> Response:
    """Show the queues, and how many items wait in each."""
    queues = queues_of(context.services, context.team.team)
    return context.page("queues.html", status=status, error=error, queues=queues, at_once=ENTRIES_AT_ONCE)


@pages.post("/teams/{team}/queues/next", demands=Act.DECIDE_ITEMS)
def _next_form(context: PageContext) -> Response:
    """Lock the oldest free items for the moderator, and show them."""
    return _batch(context, context.text("queue"))


@pages.post("/teams/{team}/queues/decide", demands=Act.DECIDE_ITEMS)
def _decide_form(context: PageContext) -> Response:
    """Record a decision, and show the rest of the batch."""
    task_id, queue = context.text("task_id"), context.text("queue")
    try:
        decision = _decision(context)
        decide(context.services, context.team.team, task_id, decision, by=context.member.name)
    except ItemGone:
        return _batch(context, queue, status=410, error="This item has been deleted, so nothing was decided.")
    except ImplioError as error:
        return _batch(context, queue, status=409, error=sentence(error))
    action = AuditAction.MOVED_ITEM if isinstance(decision, Move) else AuditAction.DECIDED
    context.note(action, subject=context.services.identifiers.task_key(task_id.lower()).hex())
    return _batch(context, queue, said="Moved." if isinstance(decision, Move) else "Decided.")


@pages.post("/teams/{team}/queues/back", demands=Act.DECIDE_ITEMS)
def _back_form(context: PageContext) -> Response:
    """Return all of the moderator's items to the queue."""
    unlock_entries(context.services, context.team.team, by=context.member.name)
    return context.redirect_in_team("/queues", done="given-back")


@pages.post("/teams/{team}/queues", demands=Act.MANAGE_QUEUES)
def _add_form(context: PageContext) -> Response:
    """Add a queue."""
    try:
        add_queue(context.services, context.team.team, context.text("name"))
    except ImplioError as error:
        return _overview(context, status=422, error=sentence(error))
    return context.redirect_in_team("/queues", done="queue")


@pages.post("/teams/{team}/queues/remove", demands=Act.MANAGE_QUEUES)
def _remove_form(context: PageContext) -> Response:
    """Remove an empty queue."""
    try:
        remove_queue(context.services, context.team.team, context.text("queue"))
    except ImplioError as error:
        return _overview(context, status=409, error=sentence(error))
    return context.redirect_in_team("/queues", done="no-queue")


def _batch(
    context: PageContext, queue: str, *, status: int = 200, error: str | None = None, said: str | None = None
) -> Response:
    services, team = context.services, context.team.team
    entries = next_entries(services, team, queue, by=context.member.name)
    items = get_items(services, team, [entry.task_id for entry in entries])
    shown = [
        _Shown(
            entry=entry,
            values=_shown(items.get(entry.task_id)),
            notes=notes_of(services, team, entry.task_id),
        )
        for entry in entries
    ]
    others = [each.queue for each in queues_of(services, team) if each.queue != queue]
    return context.page("queue.html", status=status, error=error, said=said, queue=queue, shown=shown, others=others)


def _shown(item: Mapping[str, Any] | None) -> Mapping[str, Any] | None:
    return None if item is None else {name: item.get(name) for name in _SHOWN}


def _decision(context: PageContext) -> Decision:
    """Return the decision of the button that was pressed.

    Raises:
        DecisionRefused: no button was pressed.
    """
    remark = words_in(context, "note") or None
    match context.text("decision"):
        case "approve":
            return Approve(note=remark)
        case "refuse":
            reason = words_in(context, "reason")
            return Refuse(reasons=(reason,) if reason else (), note=remark)
        case "move":
            return Move(queue=context.text("to"), note=remark)
        case _:
            raise DecisionRefused("the form names no decision")
