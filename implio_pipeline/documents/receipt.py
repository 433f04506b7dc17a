"""The receipt for the person who asked: what happened to their data, in plain words, on paper or on a screen.

The rules:

* It names nobody, so the person may keep it and show it to anyone. Everything in it comes from the signed entry.
* It says "cannot be undone" only after it has said what a backup could still undo.
* It loads nothing: it reads the same in ten years, and nobody learns who opens it.
"""

import json
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from functools import cache
from hashlib import sha256

from jinja2 import Environment, PackageLoader, StrictUndefined, Template

from implio_pipeline.domain import sentences
from implio_pipeline.domain.ids import Channel, RequestKind
from implio_pipeline.domain.receipt import Receipt
from implio_pipeline.ports.ledger import LedgerEntry

_MOST_FILES = 60
"""Files that are listed one by one. The signed record has all of them."""
_MOST_RECORD_BYTES = 24_000
"""A longer signed record would fill pages of paper, so the receipt says where to get it instead."""

_ASKED: Mapping[RequestKind, str] = {
    RequestKind.USER: "to erase every item of one user",
    RequestKind.TASK: "to erase one submission",
    RequestKind.DATES: "to erase every item submitted between two dates",
    RequestKind.TEAM: "to erase every item submitted to the team until then",
    RequestKind.RETENTION: "to erase every item kept longer than the team's policy allows",
}
_CHANNELS: Mapping[Channel, str] = {
    Channel.FILE: "by a request file",
    Channel.API: "through the API",
    Channel.PAGE: "on the Data & Privacy page",
    Channel.CLI: "through an administrator",
    Channel.RETENTION: "by the team's retention policy",
}


def receipt_page(
    entry: LedgerEntry[Receipt],
    *,
    public_key_pem: bytes,
    standing_lifted_at: datetime | None = None,
) -> str:
    """Return a receipt as one HTML page, ready to be printed.

    Args:
        entry: The entry of the ledger. It may be a partial receipt, while a legal hold keeps some of the items.
        public_key_pem: The key that checks the signature.
        standing_lifted_at: When the standing deletion was lifted. The ledger says so in another entry.
    """
    receipt = entry.statement
    kind, outcome = receipt.kind, receipt.outcome
    record = json.dumps(entry.shape(), sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return _template().render(
        entry=entry,
        receipt=receipt,
        kind=kind.value,
        title=sentences.receipt_title(kind, outcome),
        outcome=outcome,
        withheld=receipt.withheld,
        standing=_standing(receipt, standing_lifted_at),
        asked=_ASKED[kind],
        channel=_CHANNELS[receipt.channel],
        steps=_steps(receipt),
        size=sentences.size_text(receipt.erased.bytes_shredded),
        files=receipt.files[:_MOST_FILES],
        files_left_out=max(0, len(receipt.files) - _MOST_FILES),
        record=record if len(record.encode()) <= _MOST_RECORD_BYTES else None,
        public_key=public_key_pem.decode().strip(),
        key_fingerprint=_grouped(sha256(public_key_pem).hexdigest()),
        digest=_grouped(entry.digest),
    )


def _steps(receipt: Receipt) -> list[dict[str, str]]:
    """Return the four moments of a request, each with its name, its time and a sentence."""
    received, hidden, checked, due = receipt.received_at, receipt.hidden_at, receipt.checked_at, receipt.due_at
    outcome = receipt.outcome
    is_late = checked > due
    margin = _span(abs(due - checked))
    name = "Erased and checked" if outcome.is_anything_erased and not outcome.withheld else "Checked"
    words = f"{'Gone and proven' if name != 'Checked' else 'Searched and counted'} {_after(checked - hidden)}."
    last = f"Missed by {margin}." if is_late else f"The last day that the law allows. Done {margin} before."
    if outcome.withheld:
        last = "The day by which you must be told what is held back, and why."
    moments = (
        ("Received", received, f"The request arrived {_CHANNELS[receipt.channel]}."),
        ("Hidden", hidden, f"Accepted {_after(hidden - received)}. From this moment nobody could read the items."),
        (name, checked, words),
        ("Due", due, last),
    )
    return [{"name": name, "at": _words(at), "words": words} for name, at, words in moments]


def _standing(receipt: Receipt, lifted_at: datetime | None) -> str | None:
    if receipt.standing is None:
        return None
    since = _words(receipt.standing.from_)
    lifted_at = lifted_at or receipt.standing.lifted_at
    if lifted_at is None:
        return f"This deletion is standing: we do not store what you submit from {since} on, until the team lifts it."
    until = _words(lifted_at)
    return f"This deletion was standing from {since} until the team lifted it on {until}. What you submit since is new."


def _words(instant: datetime) -> str:
    instant = instant.astimezone(UTC)
    return f"{instant.day} {instant:%B %Y, %H:%M}\N{NO-BREAK SPACE}UTC"


def _after(time: timedelta) -> str:
    return "at once" if time < timedelta(seconds=1) else f"{_span(time)} later"


def _span(time: timedelta) -> str:
    seconds = int(time.total_seconds())
    for size, noun in ((86_400, "day"), (3_600, "hour"), (60, "minute"), (1, "second")):
        if seconds >= size:
            count = seconds // size
            return f"{count:,} {noun}" if count == 1 else f"{count:,} {noun}s"
    return "less than a second"


def _grouped(digits: str) -> str:
    return " ".join(digits[start : start + 8] for start in range(0, len(digits), 8))


@cache
def _template() -> Template:
    environment = Environment(
        loader=PackageLoader("implio_pipeline.documents", ""),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["count"] = sentences.count
    environment.globals["say"] = sentences
    return environment.get_template("receipt.html.j2")
