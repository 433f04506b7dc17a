"""What is said of a request: every state, every outcome, at every edge. `sentences.golden.md` is for reading."""

import os
import re
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from io import StringIO
from pathlib import Path
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console, RenderableType
from support.clock import NOW

from implio_pipeline.cli.requests import _list_view, _open_view
from implio_pipeline.cli.results import unfinished
from implio_pipeline.domain.access import Act
from implio_pipeline.domain.callback import CallbackEvent, Delivery
from implio_pipeline.domain.epochs import KeysState
from implio_pipeline.domain.ids import Channel, RequestId, RequestKind, TeamId
from implio_pipeline.domain.outcome import NOT_KNOWN, RequestOutcome
from implio_pipeline.domain.plan import ErasurePlan
from implio_pipeline.domain.request import CARRIED_OUT_STATES, NOT_BEGUN_STATES, WITHHELD_STATES, Request, RequestState
from implio_pipeline.domain.request_view import request_view
from implio_pipeline.domain.sentences import (
    StepState,
    badge,
    in_states,
    keys_text,
    newer_text,
    not_reachable_text,
    plan_files_text,
    plan_order,
    plan_text,
    receipt_proof,
    receipt_title,
    result_text,
    steps,
    what_comes_next,
    what_is_so,
)
from implio_pipeline.flows.moderation.send_webhooks import deletion_body
from implio_pipeline.web.rendering import render

S = RequestState
GOLDEN = Path(__file__).with_name("sentences.golden.md")
OUTCOMES = {
    "not known": NOT_KNOWN,
    "nothing matched": RequestOutcome(matched=0, withheld=0, erased=0, newer=0, not_reachable=0),
    "all erased": RequestOutcome(matched=104, withheld=0, erased=104, newer=2, not_reachable=1947),
    "the one erased": RequestOutcome(matched=1, withheld=0, erased=1, newer=1, not_reachable=1),
    "partly held": RequestOutcome(matched=104, withheld=38, erased=66),
    "all held": RequestOutcome(matched=101, withheld=101, erased=0),
    "the one held": RequestOutcome(matched=1, withheld=1, erased=0),
    "none erased yet": RequestOutcome(matched=104, erased=0),
    "none erased yet, not counted": RequestOutcome(erased=0),
    "some erased": RequestOutcome(matched=104, erased=61),
    "some erased, not counted": RequestOutcome(erased=1_061),
}
JARGON = re.compile(r"tombstone|scope|digest|epoch|payload|shred|idempot|pseudonym|partition|manifest", re.IGNORECASE)
DENIED = re.compile(r"nothing is erased|erased nothing|erase nothing|nothing erased", re.IGNORECASE)
CANARY = "canary.person@example.com"


def a_request(
    state: RequestState, outcome: RequestOutcome = NOT_KNOWN, kind: RequestKind = RequestKind.USER
) -> Request:
    return Request(
        request_id=RequestId("5b2fe41c"),
        team=TeamId("ads"),
        kind=kind,
        channel=Channel.API,
        state=state,
        received_at=NOW,
        accepted_at=NOW,
        due_at=NOW + timedelta(days=31),
        scope_pseudonym="00",
        tombstone_sequence=1,
        attempts=10,
        outcome=outcome,
        erased_at=NOW if outcome.erased else None,
        checked_at=NOW if state in CARRIED_OUT_STATES else None,
        sealed=CANARY.encode(),
    )


def may_be(state: RequestState, outcome: RequestOutcome) -> bool:
    """Tell whether a request in this state can have this outcome."""
    if outcome == NOT_KNOWN:
        return True
    if state in NOT_BEGUN_STATES:
        return outcome.withheld is None and outcome.erased == 0
    if state not in CARRIED_OUT_STATES:
        return outcome.withheld is None
    if outcome.left != 0:
        return False
    match state:
        case S.HELD:
            return outcome.is_everything_withheld
        case S.PARTLY_WITHHELD:
            return bool(outcome.withheld) and outcome.is_anything_erased
        case S.COMPLETED:
            return not outcome.withheld
        case _:
            return True


TABLE = [(state, name) for state in S for name, outcome in OUTCOMES.items() if may_be(state, outcome)]
STORED = [(state, name) for state, name in TABLE if state not in (S.RECEIVED, S.REFUSED)]
counts = st.none() | st.integers(0, 5_000)


@st.composite
def cases(draw: st.DrawFn) -> tuple[Request, RequestOutcome]:
    state = draw(st.sampled_from([state for state in S if state not in (S.RECEIVED, S.REFUSED)]))
    erased, withheld, newer, lost = (draw(counts) for _ in range(4))
    matched: int | None = (erased or 0) + (withheld or 0) + draw(st.integers(0, 9))
    if state in NOT_BEGUN_STATES:
        erased, withheld = draw(st.sampled_from([0, None])), None
        matched = draw(counts)
    elif state in CARRIED_OUT_STATES:
        erased = 0 if state is S.HELD else max(1, erased or 0) if state is S.PARTLY_WITHHELD else erased or 0
        withheld = max(1, withheld or 0) if state in WITHHELD_STATES else 0
        matched = erased + withheld
    else:
        withheld, matched = None, draw(st.sampled_from([matched, None]))
    outcome = RequestOutcome(matched=matched, withheld=withheld, erased=erased, newer=newer, not_reachable=lost)
    return a_request(state, outcome, draw(st.sampled_from(RequestKind))), outcome


def printed(view: RenderableType) -> str:
    console = Console(file=StringIO(), width=400)
    console.print(view)
    return console.file.getvalue()  # type: ignore[attr-defined]


def page_text(request: Request, outcome: RequestOutcome) -> str:
    values = {
        "context": SimpleNamespace(may=lambda _: False),
        "team": SimpleNamespace(team="ads", grace_hours=0),
        "home": "/teams/ads",
        "now": NOW,
        "act": Act,
        "form_token": "",
        "named": {},
        "is_own": False,
        "has_receipt": request.state in WITHHELD_STATES or request.state is S.COMPLETED,
    }
    html = render("request_progress.html", request=request, outcome=outcome, **values)
    listed = render("requests_lists.html", asking=[], going=[(request, outcome)], done=[], home="/teams/ads", now=NOW)
    return re.sub(r"<[^>]+>", " ", html + listed)


def edges(request: Request, outcome: RequestOutcome) -> dict[str, str]:
    """Return what each edge says of a request."""
    delivery = Delivery(
        delivery_id="d", team=request.team, event=CallbackEvent.DELETION, made_at=NOW, next_attempt_at=NOW
    )
    found = {
        "page": page_text(request, outcome),
        "api, and command with --json": str(request_view(request, outcome)),
        "command": printed(_open_view(request, outcome, 0)) + printed(unfinished(request, outcome)),
        "command, list": printed(_list_view([(request, outcome)], now=NOW)),
        "dagster": str(in_states([(request, outcome)])),
    }
    if request.state is S.COMPLETED:
        found["callback"] = str(deletion_body(delivery, replace(request, outcome=outcome), None))
        found["receipt"] = f"{receipt_title(request.kind, outcome)} {result_text(outcome)}"
    return found


def said(request: Request, outcome: RequestOutcome) -> Iterator[str]:
    """Yield every sentence of the model."""
    yield badge(request, outcome).text
    yield what_is_so(request, outcome)
    yield what_comes_next(request, outcome)
    for step in steps(request, outcome):
        yield step.name
        yield step.note
    yield newer_text(outcome)
    if request.state in CARRIED_OUT_STATES and outcome.matched is not None:
        yield receipt_title(request.kind, outcome)
        yield result_text(outcome)
        yield receipt_proof(outcome) if not outcome.erased else ""


def golden() -> str:
    """Return the table of every state and every outcome, to be read by a person."""
    marks = {"done": "✓", "here": "→", "part": "◐", "stop": "◇", "broke": "■", "ahead": "·"}
    lines = [
        "# What is said of a request",
        "Made by `tests/domain/test_sentences.py`; read it after a change.",
        "",
    ]
    for state in S:
        lines += [f"## {state.value}", "| outcome | badge | what is so | next | steps |", "|---|---|---|---|---|"]
        for name, outcome in OUTCOMES.items():
            if may_be(state, outcome):
                request = a_request(state, outcome)
                path = " ".join(
                    f"{marks[step.state]} {step.name}{f' ({step.note})' if step.note else ''}"
                    for step in steps(request, outcome)
                )
                so, after = what_is_so(request, outcome), what_comes_next(request, outcome)
                lines.append(f"| {name} | {badge(request, outcome).text} | {so} | {after} | {path} |")
        lines.append("")
    lines += ["## The steps where copies of deleted keys are left", "| state | steps |", "|---|---|"]
    for state in S:
        outcome = next(each for each in OUTCOMES.values() if may_be(state, each))
        names = [step.name for step in steps(a_request(state, outcome), outcome, keys=KeysState.DELETED)]
        lines.append(f"| {state.value} | {' → '.join(names)} |")
    lines += ["", f"In a receipt: {keys_text(KeysState.DELETED)}", ""]
    lines += ["## A preview", "| outcome | text | files | button |", "|---|---|---|---|"]
    for name, plan in plans().items():
        lines.append(f"| {name} | {plan_text(plan)} | {plan_files_text(plan)} | {plan_order(plan)} |")
    lines += [
        "",
        "## A receipt",
        "| outcome | title, for a person | first | where no file changed |",
        "|---|---|---|---|",
    ]
    for name, outcome in OUTCOMES.items():
        if may_be(S.SHREDDED, outcome) and outcome != NOT_KNOWN:
            proof = "" if outcome.erased else receipt_proof(outcome)
            lines.append(f"| {name} | {receipt_title(RequestKind.USER, outcome)} | {result_text(outcome)} | {proof} |")
    return "\n".join([*lines, ""])


def a_plan(*, items: int, withheld: int, rewritten: int = 0, dropped: int = 0, approval: bool = False) -> ErasurePlan:
    return ErasurePlan(
        team=TeamId("ads"),
        kind=RequestKind.USER,
        digest="00",
        items=items,
        withheld=withheld,
        queue_entries=0,
        files_rewritten=rewritten,
        files_dropped=dropped,
        size_bytes=0,
        days=(),
        estimated_ms=0,
        needs_approval=approval,
    )


def plans() -> dict[str, ErasurePlan]:
    return {
        "nothing matches": a_plan(items=0, withheld=0),
        "all goes": a_plan(items=104, withheld=0, rewritten=48, dropped=1),
        "one goes": a_plan(items=1, withheld=0, rewritten=1),
        "a hold keeps some": a_plan(items=66, withheld=38, rewritten=30),
        "a hold keeps all": a_plan(items=0, withheld=101),
        "a second person is needed": a_plan(items=8_210, withheld=0, dropped=50, approval=True),
    }


def test_the_table_of_every_state_and_every_outcome_reads_as_it_was_read() -> None:
    if os.environ.get("IMPLIO_WRITE_GOLDEN"):
        GOLDEN.write_text(golden(), encoding="utf-8")

    assert GOLDEN.read_text(encoding="utf-8") == golden(), (
        f"A sentence changed. Run this test with IMPLIO_WRITE_GOLDEN=1, then read what differs in {GOLDEN.name}."
    )


@pytest.mark.parametrize(("state", "name"), STORED)
def test_every_edge_says_what_the_model_says(state: RequestState, name: str) -> None:
    outcome = OUTCOMES[name]
    request = a_request(state, outcome)

    told = edges(request, outcome)

    sentence, mark = what_is_so(request, outcome), badge(request, outcome).text
    for edge in ("page", "api", "command, --json", "command", "callback", "receipt"):
        assert sentence in told.get(edge, sentence), edge
    for edge in ("page", "command", "command, list", "dagster"):
        assert mark in told[edge], edge


@given(case=cases())
def test_erased_is_said_in_the_past_tense_only_of_what_is_gone(case: tuple[Request, RequestOutcome]) -> None:
    request, outcome = case

    claims = [DENIED.sub("", sentence) for sentence in said(request, outcome)]

    if not outcome.erased:
        assert [
            claim for claim in claims if re.search(r"\berased\b|destroyed|are gone|is gone", claim, re.IGNORECASE)
        ] == []
    page = DENIED.sub("", page_text(request, outcome)).replace("\n", " ")
    if not outcome.erased:  # the name of a column is all that is left
        assert re.findall(r"\b[Ee]rased\b", page) == ["Erased"]


@given(case=cases())
def test_the_badge_says_erased_only_when_all_of_the_request_is(case: tuple[Request, RequestOutcome]) -> None:
    request, outcome = case

    is_all = request.state is S.COMPLETED and outcome.is_everything_erased
    assert (badge(request, outcome).text == "Erased") is is_all


@given(case=cases())
def test_what_is_not_known_is_never_worded_as_nothing(case: tuple[Request, RequestOutcome]) -> None:
    request, outcome = case

    for sentence in said(request, outcome):
        assert not re.search(r"\b0\b|None|\bnull\b", sentence), sentence
    if outcome.erased is None:
        assert "Nothing is erased" not in what_is_so(request, outcome) or request.state is S.CANCELLED
    parts = request_view(request, outcome)["outcome"]
    assert parts == outcome.parts()
    assert RequestOutcome.read(parts) == outcome


@given(case=cases())
def test_counts_in_one_sentence_add_up(case: tuple[Request, RequestOutcome]) -> None:
    request, outcome = case

    assert outcome.adds_up
    if request.state is S.PARTLY_WITHHELD:
        numbers = [int(each.replace(",", "")) for each in re.findall(r"\d[\d,]*", what_is_so(request, outcome))]
        gone, whole, kept = numbers
        assert gone + kept == whole


@given(case=cases())
def test_a_sentence_is_short_whole_and_without_jargon_or_a_person(case: tuple[Request, RequestOutcome]) -> None:
    request, outcome = case

    for text in said(request, outcome):
        assert CANARY not in text
        assert not JARGON.search(text), text
        assert "  " not in text
        assert all(len(sentence.split()) < 21 for sentence in re.split(r"(?<=[.:]) ", text)), text
    assert not JARGON.search(page_text(request, outcome))
    assert CANARY not in "".join(edges(request, outcome).values())


@given(case=cases())
def test_a_step_ahead_is_an_order_and_a_step_done_is_past(case: tuple[Request, RequestOutcome]) -> None:
    for step in steps(*case):
        first = step.name.split()[0].rstrip(":")
        is_past = first in ("Hidden", "Erased", "Checked", "Destroyed", "Wrote", "Searched", "Carried")
        assert is_past is (step.state in (StepState.DONE, StepState.PART)), step


@given(items=st.integers(0, 5_000), withheld=st.integers(0, 5_000), files=st.integers(0, 9))
def test_a_preview_promises_no_more_than_it_will_do(items: int, withheld: int, files: int) -> None:
    plan = a_plan(items=items, withheld=withheld, rewritten=files if items else 0)

    told = f"{plan_text(plan)} {plan_order(plan)}"

    assert plan.matched == items + withheld
    assert plan.outcome.left == items
    assert ("Hide and erase" in told) is bool(items and not withheld)
    if not items:
        assert plan_files_text(plan) == "No file would be changed."
        assert "be erased" not in told
        assert ("hidden" in told) is bool(withheld)


@given(erased=counts, matched=counts)
def test_a_pass_under_way_forgets_what_holds_kept_before(erased: int | None, matched: int | None) -> None:
    before = RequestOutcome(matched=matched, withheld=0, erased=0)

    now = before.under_way(erased=erased)

    assert (now.erased, now.withheld, now.left) == (erased, None, None)
    assert now.adds_up


@pytest.mark.parametrize(("lost", "text"), [(None, ""), (0, ""), (1, "1 item of"), (1947, "1,947 items of")])
def test_what_cannot_be_reached_is_said_when_it_is_known(lost: int | None, text: str) -> None:
    assert not_reachable_text(RequestOutcome(not_reachable=lost)).startswith(text)
    assert bool(not_reachable_text(RequestOutcome(not_reachable=lost))) is bool(text)


@pytest.mark.parametrize(("items", "is_exact", "is_told"), [(20, True, True), (20, False, False), (0, True, False)])
def test_where_another_request_erased_the_items_first_nobody_is_told_to_check_the_id(
    items: int, is_exact: bool, is_told: bool
) -> None:
    outcome = RequestOutcome(matched=0, withheld=0, erased=0, newer=0, not_reachable=0)
    request = replace(a_request(S.COMPLETED, outcome), covered_items=items, is_exact=is_exact)

    assert ("Another request erased its items first" in what_comes_next(request, outcome)) == is_told
    assert ("Check the id" in what_comes_next(request, outcome)) != is_told
