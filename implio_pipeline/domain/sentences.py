"""The sentences about deletion requests, in every state, for every edge.

The page, the commands, the API, Dagster, callbacks and receipts describe a request by its state and its
`RequestOutcome`. They add only what they alone know: a link, a command, a button.

1. A sentence is true when it is read. The past tense is only for what has happened.
2. *Hidden*: nobody can read it, and it can come back. *Erased*: gone and checked. *Held back*: hidden, a legal hold
   keeps it. *Stopped*: a person must act.
3. The badge says *Erased* only if the whole request is erased.
4. What is not known is left out. It is never given as 0.
5. No value of an item, no id, and no term that only engineers know.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from enum import StrEnum

from implio_pipeline.domain.epochs import KeysState
from implio_pipeline.domain.ids import RequestKind
from implio_pipeline.domain.intake import ErasedPeople
from implio_pipeline.domain.outcome import RequestOutcome
from implio_pipeline.domain.plan import ErasurePlan
from implio_pipeline.domain.request import Request, RequestState

_S = RequestState


class _Tone(StrEnum):
    """The colour and shape of a badge."""

    GOOD = "good"
    GOING = "going"
    ASKS = "asks"
    """A person or a date must come first."""
    BAD = "bad"
    CALM = "calm"


class StepState(StrEnum):
    """The state of a step."""

    DONE = "done"
    HERE = "here"
    """It is being done, or is next."""
    PART = "part"
    """Done as far as a legal hold allows."""
    STOP = "stop"
    """It waits for a person or a date."""
    BROKE = "broke"
    AHEAD = "ahead"


@dataclass(frozen=True, kw_only=True, slots=True)
class _Badge:
    """A request's state in two or three words."""

    text: str
    tone: _Tone


@dataclass(frozen=True, kw_only=True, slots=True)
class _Step:
    """One step of a request. A future step is an imperative, a finished step is in the past tense."""

    name: str
    state: StepState
    note: str = ""


_BADGES: Mapping[RequestState, tuple[str, _Tone]] = {
    _S.RECEIVED: ("Received", _Tone.GOING),
    _S.REFUSED: ("Refused", _Tone.CALM),
    _S.ACCEPTED: ("Hidden, queued", _Tone.GOING),
    _S.UNAPPROVED: ("Needs approval", _Tone.ASKS),
    _S.WAITING: ("Can be cancelled", _Tone.ASKS),
    _S.CANCELLED: ("Cancelled", _Tone.CALM),
    _S.PLANNED: ("Finding files", _Tone.GOING),
    _S.REWRITING: ("Erasing", _Tone.GOING),
    _S.VERIFIED: ("Checked", _Tone.GOING),
    _S.SHREDDED: ("Writing receipt", _Tone.GOING),
    _S.FAILED: ("Will be tried again", _Tone.BAD),
    _S.QUARANTINED: ("Stopped", _Tone.BAD),
    _S.UNVERIFIED: ("Stopped", _Tone.BAD),
}
_STATE_SENTENCES: Mapping[RequestState, str] = {
    _S.RECEIVED: "The request came in. Nothing is hidden yet.",
    _S.REFUSED: "The request was refused. Nothing was hidden.",
    _S.ACCEPTED: "{hidden} {so_far}",
    _S.UNAPPROVED: "{hidden} {so_far} One person alone may not decide this.",
    _S.WAITING: "{hidden} {so_far} It can still be cancelled.",
    _S.CANCELLED: "The request was cancelled in time. Nothing is erased, and its items can be read again.",
    _S.PLANNED: "{hidden} We are looking for its files. {so_far}",
    _S.REWRITING: "{hidden} We are erasing now. {so_far}",
    _S.VERIFIED: "Every file is checked: nothing that may go is left.",
    _S.SHREDDED: "{result} The receipt is still to be written.",
    _S.HELD: "{held}",
    _S.PARTLY_WITHHELD: "{held}",
    _S.COMPLETED: "{result}",
    _S.FAILED: "The last attempt stopped. {so_far} What is left stays hidden.",
    _S.QUARANTINED: "{so_far} We tried {tries} and do not try again by ourselves. What is left stays hidden.",
    _S.UNVERIFIED: (
        "{so_far} A file that we wrote again did not prove right, so we kept the old one. What is left stays hidden."
    ),
}
"""The present situation in each state; the parts in braces are made from the outcome."""
_NEXT: Mapping[RequestState, str] = {
    _S.RECEIVED: "We accept or refuse it.",
    _S.REFUSED: "Nothing follows.",
    _S.ACCEPTED: "We find the files that hold its items, and erase them.",
    _S.UNAPPROVED: "A second person approves it. We begin only then.",
    _S.WAITING: "We begin when the time to cancel is over, unless somebody cancels it.",
    _S.CANCELLED: "Nothing follows.",
    _S.PLANNED: "We write those files again without its items.",
    _S.REWRITING: "We write the remaining files again, and check each.",
    _S.VERIFIED: "We take the last old keys out of use, then write the receipt.",
    _S.SHREDDED: "We write the receipt.",
    _S.HELD: "We erase what is held back when the hold ends. Tell whoever asked what is held back, and why.",
    _S.PARTLY_WITHHELD: "We erase the rest when the hold ends. Tell whoever asked what is held back, and why.",
    _S.COMPLETED: "Nothing follows: the receipt is written.",
    _S.FAILED: "We try again by ourselves.",
    _S.QUARANTINED: "The people who run the installation remove the cause, then resume it.",
    _S.UNVERIFIED: "The people who run the installation look at the file, then resume it.",
}
_HELD = "A legal hold keeps items that the request covers. They stay hidden until the hold ends."
_ERASED_BEFORE = "Another request erased its items first, and has the receipt for them."
_CHECK_THE_ID = "Check the id: it may be misspelt, or belong to another team."


def count(number: int, noun: str) -> str:
    """Return a count with its noun: `1 item`, `1,204 items`, `2 entries`."""
    if number == 1:
        return f"1 {noun}"
    plural = f"{noun}es" if noun.endswith("ch") else f"{noun}s"
    if noun.endswith("y") and noun[-2] not in "aeo":
        plural = f"{noun[:-1]}ies"
    return f"{number:,} {plural}"


def size_text(size_bytes: float) -> str:
    """Return a size in decimal units: `999 bytes`, `1.5 kB`, `2.5 MB`."""
    for unit in ("bytes", "kB", "MB", "GB"):
        if size_bytes < 1000:  # noqa: PLR2004
            return f"{size_bytes:.0f} {unit}" if unit == "bytes" else f"{size_bytes:.1f} {unit}"
        size_bytes /= 1000
    return f"{size_bytes:.1f} TB"


# The present situation, and what comes next


def badge(request: Request, outcome: RequestOutcome) -> _Badge:
    """Return a request's state in two or three words, and how it looks."""
    if request.state in _BADGES:
        text, tone = _BADGES[request.state]
        return _Badge(text=text, tone=tone)
    if outcome.withheld or request.state is not _S.COMPLETED:
        return _Badge(text="Partly held back" if outcome.is_anything_erased else "Held back", tone=_Tone.ASKS)
    if outcome.is_nothing_matched:
        return _Badge(text="Nothing matched", tone=_Tone.CALM)
    return _Badge(text="Erased" if outcome.is_everything_erased else "Done", tone=_Tone.GOOD)


def what_is_so(request: Request, outcome: RequestOutcome) -> str:
    """Return the present situation of a request, in one to three sentences."""
    parts = {
        "hidden": _hidden(outcome),
        "so_far": _so_far(outcome),
        "result": result_text(outcome),
        "held": result_text(outcome) if outcome.withheld else _HELD,
        "tries": count(request.attempts, "time"),
    }
    return " ".join(_STATE_SENTENCES[request.state].format(**parts).split())


def what_comes_next(request: Request, outcome: RequestOutcome) -> str:
    """Return what happens next and who does it, without a command or a button."""
    if request.state is _S.COMPLETED and request.kind in (RequestKind.USER, RequestKind.TASK):
        if outcome.is_nothing_matched:
            return _ERASED_BEFORE if request.is_exact and request.covered_items else _CHECK_THE_ID
        if request.kind is RequestKind.USER:
            return "Tell the person who asked. The receipt is ready."
    return _NEXT[request.state]


def newer_text(outcome: RequestOutcome) -> str:
    """Describe the items that came in after the request; empty if there are none or if that is not known."""
    if not outcome.newer:
        return ""
    items, them = count(outcome.newer, "newer item"), "it" if outcome.newer == 1 else "them"
    return f"{items} came in after the request. It does not cover {them}. Another request can."


def not_reachable_text(outcome: RequestOutcome) -> str:
    """Describe the items that a request by user cannot find; empty if there are none or if that is not known."""
    if not outcome.not_reachable:
        return ""
    one = outcome.not_reachable == 1
    tail = "It may be theirs" if one else "Some may be theirs"
    return f"{count(outcome.not_reachable, 'item')} of the team came without a user id. {tail}."


def in_states(requests: Iterable[tuple[Request, RequestOutcome]]) -> dict[str, int]:
    """Return how many requests have each badge, in the order of a request's life."""
    order = {state: place for place, state in enumerate(RequestState)}
    found: dict[str, int] = {}
    for request, outcome in sorted(requests, key=lambda each: order[each[0].state]):
        text = badge(request, outcome).text
        found[text] = found.get(text, 0) + 1
    return found


# The steps of a request


def steps(request: Request, outcome: RequestOutcome, *, keys: KeysState = KeysState.DESTROYED) -> tuple[_Step, ...]:
    """Return the steps of a request; none for one that was cancelled or never began.

    Args:
        request: The request.
        outcome: Its outcome.
        keys: What becomes of the keys of erased items in this home when its receipt is written.
    """
    found = _steps(request, outcome)
    if keys is not KeysState.DELETED:
        return found
    return tuple(replace(step, name=_KEPT_IN_COPIES.get(step.name, step.name)) for step in found)


def _steps(request: Request, outcome: RequestOutcome) -> tuple[_Step, ...]:
    if request.state in (_S.CANCELLED, _S.REFUSED, _S.RECEIVED):
        return ()
    hidden = _Step(name="Hidden", state=StepState.DONE, note="Nobody can read what the request covers.")
    if request.state in (_S.HELD, _S.PARTLY_WITHHELD, _S.COMPLETED):
        return (hidden, *_last_steps(request, outcome))
    erase = _erase_step(request, outcome)
    match request.state:
        case _S.VERIFIED:
            return (hidden, erase, _done("Checked every file"), _here("Destroy the last keys"), _ahead(_RECEIPT))
        case _S.SHREDDED:
            return (hidden, erase, _done("Checked every file"), _here(_RECEIPT))
        case _S.UNAPPROVED:
            wait = _Step(name="Waits for a second person", state=StepState.STOP)
            return (hidden, wait, erase, *_REST)
        case _S.WAITING:
            wait = _Step(name="Waits until the time to cancel is over", state=StepState.STOP)
            return (hidden, wait, erase, *_REST)
        case _:
            return (hidden, erase, *_REST)


def _last_steps(request: Request, outcome: RequestOutcome) -> tuple[_Step, ...]:
    """Return the steps after hiding, for a request that was carried out as far as legal holds allow."""
    wrote = _done("Wrote the receipt")
    if outcome.is_nothing_matched:
        return (_done("Searched: nothing matched"), wrote)
    if outcome.withheld is None and request.state is not _S.COMPLETED:
        return (_Step(name="Stopped by a legal hold", state=StepState.STOP), _ahead("Erase what is held back"), *_REST)
    if outcome.withheld and not outcome.is_anything_erased:
        kept = f"The hold keeps {_all(outcome.withheld)}."
        stop = _Step(name="Stopped by a legal hold", state=StepState.STOP, note=kept)
        return (stop, _ahead(f"Erase {count(outcome.withheld, 'item')}"), *_REST)
    if outcome.withheld:
        held = f"{count(outcome.withheld, 'item')} held back."
        part = _Step(name=_erased_name(outcome), state=StepState.PART, note=held)
        last = _ahead(f"Erase the other {outcome.withheld:,}, then write the last receipt", note="When the hold ends.")
        return (part, _done("Checked what we wrote"), _done("Destroyed the old keys"), _done(_FIRST), last)
    if not outcome.is_everything_erased:
        return (_done("Carried out"), wrote)
    return (_done(_erased_name(outcome)), _done("Checked: none is left"), _done("Destroyed the old keys"), wrote)


def _erase_step(request: Request, outcome: RequestOutcome) -> _Step:
    """Return the step of erasing, for a request that is not carried out yet."""
    gone = "" if not outcome.erased else f": {_some(outcome)}"
    match request.state:
        case _S.UNAPPROVED | _S.WAITING:
            return _ahead(f"Erase {_what(outcome)}")
        case _S.VERIFIED | _S.SHREDDED if outcome.is_anything_erased:
            return _done(_erased_name(outcome))
        case _S.VERIFIED | _S.SHREDDED:
            return _done("Searched every file")
        case _S.QUARANTINED | _S.UNVERIFIED | _S.FAILED:
            so_far = "" if outcome.erased is None else _so_far(outcome)
            return _Step(name=f"Stopped{gone} gone" if gone else "Stopped", state=StepState.BROKE, note=so_far)
        case _S.REWRITING:
            return _here(f"Erasing{gone}" if gone else f"Erasing {_what(outcome)}")
        case _:
            return _here(f"Erase {_what(outcome)}")


def _done(name: str) -> _Step:
    return _Step(name=name, state=StepState.DONE)


def _here(name: str) -> _Step:
    return _Step(name=name, state=StepState.HERE)


def _ahead(name: str, *, note: str = "") -> _Step:
    return _Step(name=name, state=StepState.AHEAD, note=note)


_RECEIPT, _FIRST = "Write the receipt", "Wrote the first receipt"
_REST = (_ahead("Check that nothing is left"), _ahead("Destroy the last keys"), _ahead(_RECEIPT))


# Keys

_KEPT_IN_COPIES: Mapping[str, str] = {
    "Destroyed the old keys": "Deleted the old keys",
    "Destroy the last keys": "Delete the last keys",
}
"""What is said instead where copies of a deleted key are left, until the epoch ends."""


def keys_text(state: KeysState) -> str:
    """Describe what has become of the keys of erased items; empty if they are destroyed."""
    if state is KeysState.DESTROYED:
        return ""
    return (
        "Their keys are deleted. Copies of the database from before still hold them, and open with the root keys of "
        "their time until these are destroyed. The ledger says when that was."
    )


# Plans


def plan_text(plan: ErasurePlan) -> str:
    """Describe what a request would do, in one to three sentences."""
    outcome = plan.outcome
    if outcome.is_nothing_matched:
        return "Nothing that is stored now matches."
    if outcome.is_everything_withheld:
        return (
            f"A legal hold keeps {_all(plan.withheld)}. {_they(plan.withheld)} would be hidden, "
            "and we would erase nothing before the hold ends."
        )
    if plan.withheld:
        return (
            f"{count(plan.matched, 'item')} would be hidden at once. We would erase {plan.items:,}. A legal hold keeps "
            f"the other {plan.withheld:,}."
        )
    return f"{count(plan.items, 'item')} would be hidden at once, then erased."


def plan_files_text(plan: ErasurePlan) -> str:
    """Describe what would happen to files."""
    if not plan.files_rewritten + plan.files_dropped:
        return "No file would be changed."
    parts = []
    if plan.files_rewritten:
        parts.append(f"{count(plan.files_rewritten, 'file')} would be written again without these items")
    if plan.files_dropped:
        parts.append(f"{count(plan.files_dropped, 'file')} would be dropped whole")
    return f"{', '.join(parts)}."


def plan_order(plan: ErasurePlan) -> str:
    """Return the label of the button that confirms a plan."""
    if plan.outcome.is_nothing_matched:
        return "Ask all the same"
    if plan.outcome.is_everything_withheld:
        return f"Hide {count(plan.withheld, 'item')}"
    if plan.needs_approval:
        return f"Hide {count(plan.matched, 'item')}, ask for approval"
    if plan.withheld:
        return f"Hide {count(plan.matched, 'item')}, erase {plan.items:,}"
    return f"Hide and erase {count(plan.items, 'item')}"


# Standing deletions


def standing_text(request: Request) -> str:
    """Describe whether the person's new items stay out; empty for a request that was never standing."""
    if not request.is_standing or request.state is RequestState.CANCELLED:
        return ""
    since = _moment(request.accepted_at)
    if request.standing_lifted_at is None:
        return f"New items of this person stay out, from {since} until somebody lifts that."
    until = _moment(request.standing_lifted_at)
    return f"New items of this person stayed out from {since} to {until}. Then it was lifted."


def erased_people_text(counts: ErasedPeople, *, days: int) -> list[str]:
    """Describe the items of people whose deletion was asked for: those kept out and those that came in."""
    said = []
    if counts.kept_out:
        said.append(f"In {days} days, {count(counts.kept_out, 'item')} kept out: a deletion of their user is standing.")
    if counts.returned:
        said.append(
            f"In {days} days, {count(counts.returned, 'item')} came in of people who were erased before. Ask the "
            "sender whether that is meant, or make their deletions standing."
        )
    return said


def _moment(at: datetime) -> str:
    return f"{at.day} {at:%b %Y, %H:%M} UTC"


# Receipts

_TITLES: Mapping[RequestKind, str] = {
    RequestKind.USER: "Your data is erased",
    RequestKind.TASK: "The submission is erased",
    RequestKind.DATES: "The items of this period are erased",
    RequestKind.TEAM: "The team's items are erased",
    RequestKind.RETENTION: "Items past their time are erased",
}


def receipt_title(kind: RequestKind, outcome: RequestOutcome) -> str:
    """Return the heading of a receipt."""
    if outcome.is_nothing_matched:
        return "Nothing matched"
    if outcome.withheld:
        held = f"{count(outcome.withheld, 'item')}"
        return f"Erased in part: {held} held back" if outcome.is_anything_erased else f"Held back: {held}"
    return _TITLES[kind] if outcome.is_everything_erased else "What was done"


def receipt_proof(outcome: RequestOutcome) -> str:
    """Explain why a receipt lists no file."""
    if outcome.is_everything_withheld:
        return (
            f"We read the files and counted: a legal hold keeps {_all(outcome.withheld or 0)} that the request covers. "
            "So no file was changed, and nothing is erased."
        )
    return "We looked in every file that may hold such an item. We found none, so no file was changed."


# Legal holds

_HOLD_REASONS: Mapping[str, str] = {
    "legal-claim": "a legal claim",
    "legal-duty": "a legal duty",
    "investigation": "an investigation",
}


def hold_reason(code: str) -> str:
    """Return the reason of a legal hold in words, to follow "because of"."""
    return _HOLD_REASONS.get(code, "another legal reason")


# Parts of sentences


def result_text(outcome: RequestOutcome) -> str:
    """Describe the result of a request that was carried out as far as legal holds allow."""
    if outcome.is_nothing_matched:
        return "Nothing matched. We looked in every file that may hold such an item."
    if outcome.withheld:
        stay = f"{_they(outcome.withheld)} {'stays' if outcome.withheld == 1 else 'stay'} hidden until the hold ends."
        if outcome.is_anything_erased:
            return f"We erased {_some(outcome)}. A legal hold keeps {outcome.withheld:,}. {stay}"
        return f"We erased nothing. A legal hold keeps {_all(outcome.withheld)}. {stay}"
    if not outcome.is_everything_erased:
        return "The request is carried out."
    if outcome.erased == 1:
        return "The item is erased. We checked: it is gone."
    return f"All {count(outcome.erased or 0, 'item')} are erased. We checked: none is left."


def _hidden(outcome: RequestOutcome) -> str:
    if outcome.matched is None:
        return "What the request covers is hidden."
    if outcome.is_nothing_matched:
        return "Nothing that is stored matches."
    left = outcome.matched - (outcome.erased or 0)
    return f"{count(left, 'item')} {'is' if left == 1 else 'are'} hidden." if left > 0 else ""


def _so_far(outcome: RequestOutcome) -> str:
    if outcome.erased is None:
        return ""
    return f"We erased {_some(outcome)} so far." if outcome.erased else "Nothing is erased yet."


def _erased_name(outcome: RequestOutcome) -> str:
    return f"Erased {_some(outcome)}"


def _some(outcome: RequestOutcome) -> str:
    """Return how much is erased, of how much. Only for an outcome with erased items."""
    erased = outcome.erased or 0
    if outcome.matched is None or outcome.matched == erased:
        return count(erased, "item")
    return f"{erased:,} of {count(outcome.matched, 'item')}"


def _what(outcome: RequestOutcome) -> str:
    left = (outcome.matched or 0) - (outcome.erased or 0)
    return count(left, "item") if left > 0 else "what the request covers"


def _all(number: int) -> str:
    return "the 1 item" if number == 1 else f"all {count(number, 'item')}"


def _they(number: int) -> str:
    return "It" if number == 1 else "They"
