"""Moderation queues: what waits, the next ten, and a decision on each."""

from typing import Any

from starlette.responses import Response

from implio_pipeline.api.page.forms import words_in
from implio_pipeline.api.page.guard import Pages
from implio_pipeline.api.page.visit import Visit
from implio_pipeline.domain.access import Act
from implio_pipeline.domain.errors import DecisionRefused, ImplioError, ItemGone
from implio_pipeline.domain.intake import QueueEntry
from implio_pipeline.domain.moderation import LOCK_LASTS, Approve, Decision, Move, Refuse
from implio_pipeline.domain.trail import Deed
from implio_pipeline.flows.look_up import items_of
from implio_pipeline.flows.moderate import (
    add_queue,
    decide,
    give_back,
    next_entries,
    notes_of,
    queues_of,
    remove_queue,
)

pages = Pages()
_GONE = 410


@pages.get("/teams/{team}/queues", demands=Act.SEE_QUEUES)
def queues_page(visit: Visit) -> Response:
    """Show the queues with how much waits in each."""
    return _page(visit)


@pages.post("/teams/{team}/queues", demands=Act.MANAGE_QUEUES)
def queue_form(visit: Visit) -> Response:
    """Add a queue."""
    try:
        add_queue(visit.world, visit.team.team, visit.text("queue"))
    except ImplioError as error:
        return _page(visit, status=422, error=_sentence(error))
    return visit.back("/queues", done="queue")


@pages.post("/teams/{team}/queues/remove", demands=Act.MANAGE_QUEUES)
def remove_form(visit: Visit) -> Response:
    """Remove an empty queue."""
    try:
        remove_queue(visit.world, visit.team.team, visit.text("queue"))
    except ImplioError as error:
        return _page(visit, status=409, error=_sentence(error))
    return visit.back("/queues", done="no-queue")


@pages.post("/teams/{team}/queues/next", demands=Act.DECIDE_ITEMS)
def next_form(visit: Visit) -> Response:
    """Give out the ten oldest items of a queue, locked for whoever asks."""
    return _review(visit, visit.text("queue"))


@pages.post("/teams/{team}/queues/give-back", demands=Act.DECIDE_ITEMS)
def give_back_form(visit: Visit) -> Response:
    """Unlock what the moderator has locked."""
    give_back(visit.world, visit.team.team, by=visit.member.name)
    return visit.back("/queues")


@pages.post("/teams/{team}/queues/decide", demands=Act.DECIDE_ITEMS)
def decide_form(visit: Visit) -> Response:
    """Take one decision, and show what is next."""
    queue, task_id = visit.text("queue"), visit.text("task_id")
    try:
        decision = _decision(visit)
        decide(visit.world, visit.team.team, task_id, decision, by=visit.member.name)
    except ItemGone as error:
        return _review(visit, queue, status=_GONE, error=f"{_sentence(error)} It was deleted, and takes no decision.")
    except ImplioError as error:
        return _review(visit, queue, status=409, error=_sentence(error))
    visit.note(Deed.MOVED_ITEM if isinstance(decision, Move) else Deed.DECIDED, subject=task_id)
    return _review(visit, queue)


def _decision(visit: Visit) -> Decision:
    note = words_in(visit, "note") or None
    match visit.text("decision"):
        case "approve":
            return Approve(note=note)
        case "refuse":
            reason = words_in(visit, "reason")
            return Refuse(reasons=(reason,) if reason else (), note=note)
        case "move":
            return Move(queue=visit.text("to"), note=note)
        case _:
            raise DecisionRefused("it is not said what to do with the item")


def _page(visit: Visit, *, status: int = 200, error: str | None = None) -> Response:
    found = queues_of(visit.world, visit.team.team)
    return visit.page("queues.html", status=status, error=error, queues=found)


def _review(visit: Visit, queue: str, *, status: int = 200, error: str | None = None) -> Response:
    world, team = visit.world, visit.team.team
    entries = next_entries(world, team, queue, by=visit.member.name)
    rows = items_of(world, team, [entry.task_id for entry in entries])
    shown = [_shown(visit, entry, rows[entry.task_id]) for entry in entries if entry.task_id in rows]
    others = [each.queue for each in queues_of(world, team) if each.queue != queue]
    until = visit.now + LOCK_LASTS
    return visit.page("review.html", status=status, error=error, queue=queue, others=others, shown=shown, until=until)


def _shown(visit: Visit, entry: QueueEntry, row: Any) -> dict[str, Any]:
    price = "" if row["price_amount"] is None else f"{row['price_amount']:g} {row['price_currency']}"
    return {
        "entry": entry,
        "title": row["title"] or "Without a title",
        "body": row["body"],
        "price": price,
        "pictures": len(row["images"] or ()),
        "notes": notes_of(visit.world, visit.team.team, entry.task_id),
    }


def _sentence(error: ImplioError) -> str:
    return f"{error.facts[:1].upper()}{error.facts[1:]}."
