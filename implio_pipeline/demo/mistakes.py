"""Items that validation must reject, one mistake each."""

from collections.abc import Callable
from copy import deepcopy

from implio_pipeline.demo.content import Item


def _without_id(item: Item) -> None:
    del item["id"]


def _price_without_currency(item: Item) -> None:
    content = item["content"]
    if isinstance(content, dict):
        content["price"] = {"amount": 250}


def _title_is_number(item: Item) -> None:
    content = item["content"]
    if isinstance(content, dict):
        content["title"] = 4711


def _images_are_text(item: Item) -> None:
    content = item["content"]
    if isinstance(content, dict):
        content["images"] = "front.jpg"


MISTAKES: tuple[Callable[[Item], None], ...] = (
    _without_id,
    _price_without_currency,
    _title_is_number,
    _images_are_text,
)


def spoiled(item: Item, *, turn: int) -> Item:
    """Return a copy of the item with a mistake; each turn makes another of the four."""
    copy = deepcopy(item)
    MISTAKES[turn % len(MISTAKES)](copy)
    return copy
