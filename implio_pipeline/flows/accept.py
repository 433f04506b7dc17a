"""The one guarded door: a draft becomes an accepted request, and its items are hidden at once.

Nothing is erased here, and nothing is ever erased that did not come through here.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date, datetime
from functools import cache
from typing import Any

from implio_pipeline.domain.clock import after
from implio_pipeline.domain.days import due_at, instant_text
from implio_pipeline.domain.errors import (
    CatalogTampered,
    ImplioError,
    LedgerBroken,
    RequestIdReused,
    RequestRefused,
    TeamUnknown,
)
from implio_pipeline.domain.request import Request, RequestDraft, RequestState, keeps_out
from implio_pipeline.domain.scope import (
    ByDates,
    ByTask,
    ByTeam,
    ByUser,
    Cutoffs,
    DatesRule,
    Overdue,
    OverdueRule,
    Rule,
    Scope,
    StandingErasure,
    TaskRule,
    TeamRule,
    Tombstone,
    UserRule,
    kind_of,
)
from implio_pipeline.domain.words import Channel, RequestId, RequestKind, TaskKey, TeamId, UserKey
from implio_pipeline.flows.clock import agreed_now
from implio_pipeline.flows.gates import at_gates, person_of, release
from implio_pipeline.ports.world import World

STANDING_LIFTED = "standing-lifted"
"""The kind of the ledger's entry that says who lifted a standing deletion, and when."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Refusal:
    """Why a draft was not accepted; free of its values."""

    code: str
    reason: str
    remedy: str


def accept(
    world: World, drafts: Sequence[RequestDraft], *, policy: str | None = None, is_paused: bool = False
) -> list[Request | Refusal]:
    """Accept requests: when this returns, the items of each accepted one are hidden from every read.

    A draft that cannot be accepted gets a refusal in its place and does not stop the others. The same request again
    returns the request it made before. Refused is what would be lost silently: another request under the same id of the
    sender's, and the same one after it was cancelled.

    Args:
        world: What the flow may touch.
        drafts: The requests.
        policy: The retention policy they follow, in words.
        is_paused: Leave every request unapproved; who asks so lets it through, or cancels it.

    Raises:
        ClockWrong: the clock disagrees with what the home knows; nothing was accepted.
    """
    prepared: list[tuple[Request, Rule, str] | Refusal] = []
    now = agreed_now(world)
    teams = {team.team: team for team in world.catalog.teams.all()}
    sealer = cache(world.keychain.sealer)
    for draft in drafts:
        try:
            if draft.team not in teams:
                raise TeamUnknown("there is no such team")
            if teams[draft.team].is_altered:  # refused alone, so that it stops no other team's
                raise CatalogTampered(f"the catalog's row of team {draft.team} is not as it was written")
            present = after(teams[draft.team].newest_at, now=now)
            prepared.append(_prepare(world, draft, now=present, policy=policy, seal=sealer(draft.team)))
        except UnicodeEncodeError:  # half a surrogate pair, which JSON can spell
            prepared.append(_refusal(RequestRefused("an id is not valid text")))
        except ImplioError as error:
            prepared.append(_refusal(error))
    # 1. Hide. What may need a second person waits for one until it was counted: a crash between leaves it waiting.
    asked = at_gates(world, [each for each in prepared if not isinstance(each, Refusal)], teams, is_paused=is_paused)
    accepted = world.catalog.requests.accept(asked, approvals=world.approvals)
    _note_standing(world)
    # 2. Count, and let through what needs nobody.
    new = {request.request_id for request, _, _ in asked}
    suspects = [each for each in accepted if each.request_id in new and each.state is RequestState.UNAPPROVED]
    if suspects and not is_paused:
        rules = {request.request_id: rule for request, rule, _ in asked}
        passed = release(world, [(each, rule_as_accepted(each, rules[each.request_id])) for each in suspects], teams)
        accepted = [passed.get(each.request_id, each) for each in accepted]
    answers = iter(accepted)
    return [each if isinstance(each, Refusal) else _same(each[0], next(answers)) for each in prepared]


def rule_as_accepted(request: Request, rule: Rule) -> Rule:
    """Return the rule of an accepted request: the catalog says where it ends."""
    return replace(rule, before=request.accepted_at)


def note_tombstones(world: World) -> None:
    """Write into the ledger every tombstone and lifting that it does not have yet; also mends a crash between them."""
    _note_standing(world)
    lifted = world.catalog.requests.lifted_without_ledger()
    if lifted:
        now = world.clock.now()
        bodies = [
            {"requestId": each.request_id, "team": each.team, "liftedAt": instant_text(max(now, each.accepted_at))}
            for each in lifted
        ]
        world.ledger.append([("lifted", body) for body in bodies])
        world.catalog.requests.in_ledger([request.tombstone_sequence for request in lifted])
    note_liftings(world)


def note_liftings(world: World) -> None:
    """Write into the ledger who lifted which standing deletion, where it does not say so yet."""
    untold = world.catalog.requests.liftings_without_ledger()
    if untold:
        world.ledger.append([(STANDING_LIFTED, lifting_body(each)) for each in untold])
        world.catalog.requests.lifting_in_ledger([RequestId(each.request_id) for each in untold])


def lifting_body(standing: StandingErasure) -> dict[str, Any]:
    """Return the lifting of a standing deletion as the ledger keeps it."""
    return {
        "requestId": standing.request_id,
        "team": standing.team,
        "liftedAt": None if standing.lifted_at is None else instant_text(standing.lifted_at),
        "liftedBy": standing.lifted_by,
    }


def _note_standing(world: World) -> None:
    missing = world.catalog.requests.without_ledger()
    if missing:
        entries = [("tombstone", tombstone_body(request, each) | _gate_of(request)) for request, each in missing]
        world.ledger.append(entries)
        world.catalog.requests.in_ledger([tombstone.sequence for _, tombstone in missing])


def _gate_of(request: Request) -> dict[str, Any]:
    """Return what a restore must know of the gate that a request had to pass."""
    alone = {"itemsAlone": request.covered_items} if request.is_alone else {}
    if request.state is RequestState.UNAPPROVED:
        return {"gate": request.state.value}
    if request.state is RequestState.WAITING and request.next_attempt_at is not None:
        return {"gate": request.state.value, "notBefore": instant_text(request.next_attempt_at)} | alone
    return alone


def tombstone_body(request: Request, tombstone: Tombstone) -> dict[str, Any]:
    """Return a tombstone as the ledger keeps it: keyed pseudonyms and times, enough to erase again."""
    rule = tombstone.rule
    body: dict[str, Any] = {
        "requestId": request.request_id,
        "team": request.team,
        "kind": request.kind.value,
        "channel": request.channel.value,
        "scope": request.scope_pseudonym,
        "receivedAt": instant_text(request.received_at),
    }
    if request.policy is not None:
        body["policy"] = request.policy
    if request.asked_by is not None:
        body["askedBy"] = request.asked_by
    if request.is_standing:
        body["standing"] = True
    return body | rule_parts(rule)


def rule_parts(rule: Rule) -> dict[str, Any]:
    """Return a rule as the ledger keeps it."""
    parts: dict[str, Any] = {"kind": kind_of(rule).value, "before": instant_text(rule.before)}
    match rule:
        case UserRule(user_key=key):
            return parts | {"userKey": key.hex()}
        case TaskRule(task_key=key, submitted_on=day):
            return parts | {"taskKey": key.hex(), "submittedOn": None if day is None else day.isoformat()}
        case DatesRule(start=start, end=end):
            return parts | {"from": instant_text(start), "to": instant_text(end)}
        case TeamRule():
            return parts
        case OverdueRule(cutoffs=cutoffs):
            limits = {
                "every": None if cutoffs.every is None else cutoffs.every.isoformat(),
                "byOutcome": [[outcome, day.isoformat()] for outcome, day in cutoffs.by_outcome],
            }
            return parts | {"cutoffs": limits}


def tombstone_of(body: Mapping[str, Any]) -> tuple[Request, Rule]:
    """Return the request, as it was just accepted, and the rule that the ledger keeps: `tombstone_body` read back.

    Raises:
        LedgerBroken: it is not the body of a tombstone.
    """
    try:
        rule = rule_in(body)
        received_at = datetime.fromisoformat(body["receivedAt"])
        request = Request(
            request_id=RequestId(body["requestId"]),
            team=TeamId(body["team"]),
            kind=kind_of(rule),
            channel=Channel(body["channel"]),
            state=RequestState.ACCEPTED,
            received_at=received_at,
            accepted_at=rule.before,
            due_at=due_at(received_at),
            scope_pseudonym=body["scope"],
            tombstone_sequence=0,
            policy=body.get("policy"),
            asked_by=body.get("askedBy"),
            covered_items=body.get("itemsAlone", 0),
            is_alone="itemsAlone" in body,
            is_standing=body.get("standing", False) is True,
        )
    except (KeyError, TypeError, ValueError, AttributeError):
        raise LedgerBroken("a tombstone in the ledger cannot be read") from None
    return request, rule


def rule_in(body: Mapping[str, Any]) -> Rule:
    """Return the rule that a body in the ledger keeps: `rule_parts` read back."""
    before = datetime.fromisoformat(body["before"])
    match RequestKind(body["kind"]):
        case RequestKind.USER:
            return UserRule(user_key=UserKey(bytes.fromhex(body["userKey"])), before=before)
        case RequestKind.TASK:
            day = body["submittedOn"]
            submitted_on = None if day is None else date.fromisoformat(day)
            return TaskRule(task_key=TaskKey(bytes.fromhex(body["taskKey"])), before=before, submitted_on=submitted_on)
        case RequestKind.DATES:
            start, end = datetime.fromisoformat(body["from"]), datetime.fromisoformat(body["to"])
            return DatesRule(start=start, end=end, before=before)
        case RequestKind.TEAM:
            return TeamRule(before=before)
        case RequestKind.RETENTION:
            return OverdueRule(cutoffs=_cutoffs_in(body["cutoffs"]), before=before)


def _cutoffs_in(body: Mapping[str, Any]) -> Cutoffs:
    return Cutoffs(
        every=None if body["every"] is None else date.fromisoformat(body["every"]),
        by_outcome=tuple((outcome, date.fromisoformat(day)) for outcome, day in body["byOutcome"]),
    )


def rule_of(world: World, draft: RequestDraft, *, now: datetime | None = None) -> Rule:
    """Return the draft's scope in keyed pseudonyms, bound to items submitted before `now`.

    When it is `None` the rule covers every item that the team has.

    Raises:
        RequestRefused: the dates are inverted or an id is empty.
    """
    now = now or after(world.catalog.teams.get(draft.team).newest_at, now=world.clock.now())
    match draft.scope:
        case ByUser(user_id=user_id):
            if not user_id.strip():
                raise RequestRefused("the user id is empty")
            return UserRule(user_key=world.keychain.user_key(draft.team, user_id), before=now)
        case ByTask(task_id=task_id):
            if not task_id.strip():
                raise RequestRefused("the task id is empty")
            name = task_id.strip().lower()
            return TaskRule(
                task_key=world.identifiers.task_key(name), before=now, submitted_on=world.identifiers.task_day(name)
            )
        case ByDates(start=start, end=end):
            if start >= end:
                raise RequestRefused("the range of dates is empty: its start is not before its end")
            return DatesRule(start=start, end=end, before=now)
        case ByTeam():
            return TeamRule(before=now)
        case Overdue(cutoffs=cutoffs):
            return OverdueRule(cutoffs=cutoffs, before=now)


def _refusal(error: ImplioError) -> Refusal:
    return Refusal(code=error.code, reason=error.facts, remedy=error.remedy)


def _same(asked: Request, accepted: Request) -> Request | Refusal:
    if accepted.scope_pseudonym != asked.scope_pseudonym:
        return _refusal(RequestIdReused("another request was made under the same id"))
    if asked.is_standing and not keeps_out(accepted):
        words = "was lifted" if accepted.is_standing else "is not standing"
        return _refusal(RequestIdReused(f"the request made under the same id {words}"))
    if accepted.state is RequestState.CANCELLED:  # whether it was sent again, or read again after a crash, is not known
        return _refusal(RequestIdReused("the request made under the same id was cancelled"))
    return accepted


def _prepare(
    world: World, draft: RequestDraft, *, now: datetime, policy: str | None, seal: Callable[[bytes, str], bytes]
) -> tuple[Request, Rule, str]:
    team = draft.team
    if draft.is_standing and not isinstance(draft.scope, ByUser):
        raise RequestRefused("only a deletion of one user's items can be standing")
    rule = rule_of(world, draft, now=now)
    text = scope_text(draft.scope)
    request_id = world.identifiers.request_id()
    request = Request(
        request_id=request_id,
        team=team,
        kind=kind_of(draft.scope),
        channel=draft.channel,
        state=RequestState.ACCEPTED,
        received_at=min(draft.received_at, rule.before),
        accepted_at=rule.before,
        due_at=due_at(min(draft.received_at, rule.before)),
        scope_pseudonym=world.keychain.pseudonym(team, text),
        tombstone_sequence=0,
        policy=policy,
        asked_by=person_of(world, draft),
        is_standing=draft.is_standing,
        sealed=seal(_sealed_part(draft, text), request_id),
    )
    return request, rule, _idempotency(world, team, draft, text)


def _idempotency(world: World, team: TeamId, draft: RequestDraft, scope: str) -> str:
    """Return what makes two requests the same: the sender's own key, or scope and instant of receipt."""
    own = draft.idempotency_key
    kind = "standing" if draft.is_standing else "scope"
    text = f"key {own}" if own is not None else f"{kind} {scope} {instant_text(draft.received_at)}"
    return world.keychain.pseudonym(team, text)


def scope_text(scope: Scope) -> str:
    """Return a scope as one text, the same for the same scope; it holds personal values."""
    match scope:
        case ByUser(user_id=user_id):
            values: dict[str, Any] = {"userId": user_id}
        case ByTask(task_id=task_id):
            values = {"taskId": task_id}
        case ByDates(start=start, end=end):
            values = {"from": instant_text(start), "to": instant_text(end)}
        case ByTeam():
            values = {}
        case Overdue(cutoffs=cutoffs):
            values = {"cutoffs": [str(cutoffs.every), *(f"{name} {day}" for name, day in cutoffs.by_outcome)]}
    return json.dumps({"kind": kind_of(scope).value, **values}, sort_keys=True)


def _sealed_part(draft: RequestDraft, scope: str) -> bytes:
    parts = {"scope": scope, "askedBy": draft.asked_by, "reason": draft.reason, "requestId": draft.idempotency_key}
    return json.dumps(parts).encode()
