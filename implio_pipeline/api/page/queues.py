"""Moderation queues: what waits, the next ten oldest, and a decision on each.

Items are given out by a form, since giving them out locks them; what a browser asks for by itself changes nothing.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from starlette.responses import Response

from implio_pipeline.api.page.forms import words_in
from implio_pipeline.api.page.guard import Pages
from implio_pipeline.api.page.visit import Visit
from implio_pipeline.domain.access import Act
from implio_pipeline.domain.errors import DecisionRefused, ImplioError, ItemGone
from implio_pipeline.domain.intake import QueueEntry
from implio_pipeline.domain.moderation import AT_ONCE, Approve, Decision, Move, Refuse
from implio_pipeline.domain.trail import Deed
from implio_pipeline.flows.look_up import items_of
from implio_pipeline.flows.moderate import (
    ReadNote,
    add_queue,
    decide,
    give_back,
    next_entries,
    notes_of,
    queues_of,
    remove_queue,
)

pages = Pages()
_SHOWN = ("title", "body", "category_name", "price_amount", "price_currency", "url")


@dataclass(frozen=True, kw_only=True, slots=True)
class Shown:
    """An entry, with as much of its item as a decision needs."""

    entry: QueueEntry
    values: Mapping[str, Any] | None = field(repr=False)
    """`None` when the item is not to be read: it is hidden at this moment, or not in the vault yet."""
    notes: list[ReadNote] = field(repr=False)


@pages.get("/teams/{team}/queues", demands=Act.SEE_QUEUES)
def queues_page(visit: Visit) -> Response:
    """Show the queues and how much waits in each."""
    return _overview(visit)


@pages.post("/teams/{team}/queues/next", demands=Act.DECIDE_ITEMS)
def next_form(visit: Visit) -> Response:
    """Give out the oldest that nobody else is looking at."""
    return _batch(visit, visit.text("queue"))


@pages.post("/teams/{team}/queues/decide", demands=Act.DECIDE_ITEMS)
def decide_form(visit: Visit) -> Response:
    """Take a decision, and show what is left of the batch."""
    task_id, queue = visit.text("task_id"), visit.text("queue")
    try:
        decision = _decision(visit)
        decide(visit.world, visit.team.team, task_id, decision, by=visit.member.name)
    except ItemGone:
        return _batch(visit, queue, status=410, error="This item was deleted meanwhile, so nothing was decided.")
    except ImplioError as error:
        return _batch(visit, queue, status=409, error=f"{error.facts[:1].upper()}{error.facts[1:]}.")
    deed = Deed.MOVED_ITEM if isinstance(decision, Move) else Deed.DECIDED
    visit.note(deed, subject=visit.world.identifiers.task_key(task_id.lower()).hex())
    return _batch(visit, queue, said="Moved." if isinstance(decision, Move) else "Decided.")


@pages.post("/teams/{team}/queues/back", demands=Act.DECIDE_ITEMS)
def back_form(visit: Visit) -> Response:
    """Give back everything that one was given."""
    give_back(visit.world, visit.team.team, by=visit.member.name)
    return visit.back("/queues", done="given-back")


@pages.post("/teams/{team}/queues", demands=Act.MANAGE_QUEUES)
def add_form(visit: Visit) -> Response:
    """Add a queue."""
    try:
        add_queue(visit.world, visit.team.team, visit.text("name"))
    except ImplioError as error:
        return _overview(visit, status=422, error=f"{error.facts[:1].upper()}{error.facts[1:]}.")
    return visit.back("/queues", done="queue")


@pages.post("/teams/{team}/queues/remove", demands=Act.MANAGE_QUEUES)
def remove_form(visit: Visit) -> Response:
    """Remove an empty queue."""
    try:
        remove_queue(visit.world, visit.team.team, visit.text("queue"))
    except ImplioError as error:
        return _overview(visit, status=409, error=f"{error.facts[:1].upper()}{error.facts[1:]}.")
    return visit.back("/queues", done="no-queue")


def _overview(visit: Visit, *, status: int = 200, error: str | None = None) -> Response:
    queues = queues_of(visit.world, visit.team.team)
    return visit.page("queues.html", status=status, error=error, queues=queues, at_once=AT_ONCE)


def _batch(
    visit: Visit, queue: str, *, status: int = 200, error: str | None = None, said: str | None = None
) -> Response:
    world, team = visit.world, visit.team.team
    entries = next_entries(world, team, queue, by=visit.member.name)
    items = items_of(world, team, [entry.task_id for entry in entries])
    shown = [
        Shown(
            entry=entry,
            values=_shown(items.get(entry.task_id)),
            notes=notes_of(world, team, entry.task_id),
        )
        for entry in entries
    ]
    others = [each.queue for each in queues_of(world, team) if each.queue != queue]
    return visit.page("queue.html", status=status, error=error, said=said, queue=queue, shown=shown, others=others)


def _shown(item: Mapping[str, Any] | None) -> Mapping[str, Any] | None:
    return None if item is None else {name: item.get(name) for name in _SHOWN}


def _decision(visit: Visit) -> Decision:
    """Return what the pressed button says.

    Raises:
        DecisionRefused: it says nothing.
    """
    remark = words_in(visit, "note") or None
    match visit.text("decision"):
        case "approve":
            return Approve(note=remark)
        case "refuse":
            reason = words_in(visit, "reason")
            return Refuse(reasons=(reason,) if reason else (), note=remark)
        case "move":
            return Move(queue=visit.text("to"), note=remark)
        case _:
            raise DecisionRefused("nothing was decided")
