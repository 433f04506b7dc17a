"""The one guarded door: a draft becomes an accepted request, and its items are hidden at once.

Nothing is erased here, and nothing is ever erased that did not come through here.
"""

import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from functools import cache
from typing import Any

from implio_pipeline.domain.errors import CatalogTampered, ImplioError, RequestIdReused, RequestRefused, TeamUnknown
from implio_pipeline.domain.file_changes import NamedRule
from implio_pipeline.domain.ids import RequestId, TeamId
from implio_pipeline.domain.instants import due_at, instant_text, next_instant
from implio_pipeline.domain.request import Prepared, Request, RequestDraft, RequestState
from implio_pipeline.domain.scope import (
    ByDates,
    ByTask,
    ByTeam,
    ByUser,
    DatesRule,
    Overdue,
    OverdueRule,
    Rule,
    Scope,
    TaskRule,
    TeamRule,
    UserRule,
    kind_of,
)
from implio_pipeline.domain.statements import StandingLifted, TombstoneLifted, TombstonePlaced
from implio_pipeline.flows.clock import agreed_now
from implio_pipeline.flows.deletion.approval import judged, person_of, release
from implio_pipeline.flows.files.find import find
from implio_pipeline.ports.services import Services


def accept(
    services: Services,
    drafts: Sequence[RequestDraft],
    *,
    policy: str | None = None,
    same_within: timedelta | None = None,
    is_paused: bool = False,
) -> list[Request | ImplioError]:
    """Accept requests: when this returns, the items of each accepted one are hidden from every read.

    A draft that cannot be accepted gets its error in its place and does not stop the others. The same request again
    returns the request it made before. Refused is what would be lost silently: another request under the same id of the
    sender's, and the same one after it was cancelled.

    Args:
        services: What the flow may touch.
        drafts: The requests.
        policy: The retention policy they follow, in words.
        same_within: A request of the same scope that was accepted so recently is the same request: a server whose call
            got no answer sends it again. Items that came in since would not be hidden by it, so they make it a new one.
        is_paused: Leave every request unapproved; who asks so releases it, or cancels it.

    Raises:
        ClockWrong: the clock disagrees with what the home knows; nothing was accepted.
    """
    # 1. Prepare: what each draft covers, in keyed pseudonyms, with its personal part sealed.
    now = agreed_now(services)
    teams = {team.team: team for team in services.catalog.teams.all()}
    sealer = cache(services.keychain.sealer)
    answers: list[Prepared | Request | ImplioError] = []
    for draft in drafts:
        try:
            if draft.team not in teams:
                raise TeamUnknown("there is no such team")
            if teams[draft.team].is_altered:  # refused alone, so that it stops no other team's
                raise CatalogTampered(f"the catalog's row of team {draft.team} is not as it was written")
            present = next_instant(teams[draft.team].newest_at, now=now)
            prepared = _prepare(services, draft, now=present, policy=policy, seal=sealer(draft.team))
            same = None if same_within is None else _same_lately(services, prepared, since=now - same_within)
            answers.append(same or prepared)
        except ImplioError as error:
            answers.append(error)
    # 2. Judge approval by what the catalog can tell. What may need a second person waits for one until it was counted:
    #    a crash between leaves it waiting.
    asked = judged(services, [each for each in answers if isinstance(each, Prepared)], teams, is_paused=is_paused)
    # 3. Store: request, tombstone and queues in one transaction. From here on the items are hidden.
    stored = services.catalog.requests.accept(asked, approvals=services.approvals)
    # 4. Tell the ledger.
    _note_standing(services)
    # 5. Count by reading, and release what needs nobody.
    new = {each.request.request_id: each.rule for each in asked}
    unapproved = [each for each in stored if each.request_id in new and each.state is RequestState.UNAPPROVED]
    if unapproved and not is_paused:
        ruled = [(each, rule_as_accepted(each, new[each.request_id])) for each in unapproved]
        released = release(services, ruled, teams)
        stored = [released.get(each.request_id, each) for each in stored]
    # 6. Answer, in the order asked.
    accepted = iter(stored)
    return [_answer(each, next(accepted)) if isinstance(each, Prepared) else each for each in answers]


def rule_as_accepted(request: Request, rule: Rule) -> Rule:
    """Return the rule of an accepted request: the catalog says where it ends."""
    return replace(rule, before=request.accepted_at)


def note_tombstones(services: Services) -> None:
    """Write into the ledger every tombstone and lifting that it does not have yet; also mends a crash between them."""
    _note_standing(services)
    lifted = services.catalog.requests.lifted_without_ledger()
    if lifted:
        now = services.clock.now()
        services.ledger.append(
            [
                TombstoneLifted(request_id=each.request_id, team=each.team, lifted_at=max(now, each.accepted_at))
                for each in lifted
            ]
        )
        services.catalog.requests.in_ledger([request.tombstone_sequence for request in lifted])
    note_liftings(services)


def note_liftings(services: Services) -> None:
    """Write into the ledger who lifted which standing deletion, where it does not say so yet."""
    untold = services.catalog.requests.liftings_without_ledger()
    if untold:
        services.ledger.append(
            [
                StandingLifted(
                    request_id=RequestId(each.request_id),
                    team=TeamId(each.team),
                    lifted_at=each.lifted_at,
                    lifted_by=each.lifted_by,
                )
                for each in untold
            ]
        )
        services.catalog.requests.lifting_in_ledger([RequestId(each.request_id) for each in untold])


def _note_standing(services: Services) -> None:
    missing = services.catalog.requests.without_ledger()
    if missing:
        services.ledger.append([TombstonePlaced.of(request, each.rule).at_gate(request) for request, each in missing])
        services.catalog.requests.in_ledger([tombstone.sequence for _, tombstone in missing])


def rule_of(services: Services, team: TeamId, scope: Scope, *, before: datetime) -> Rule:
    """Return a scope in keyed pseudonyms, bound to items submitted before an instant.

    Raises:
        RequestRefused: the dates are inverted or an id is empty.
    """
    match scope:
        case ByUser(user_id=user_id):
            if not user_id.strip():
                raise RequestRefused("the user id is empty")
            return UserRule(user_key=services.keychain.user_key(team, user_id), before=before)
        case ByTask(task_id=task_id):
            if not task_id.strip():
                raise RequestRefused("the task id is empty")
            name = task_id.strip().lower()
            day = services.identifiers.task_day(name)
            return TaskRule(task_key=services.identifiers.task_key(name), before=before, submitted_on=day)
        case ByDates(start=start, end=end):
            if start >= end:
                raise RequestRefused("the range of dates is empty: its start is not before its end")
            return DatesRule(start=start, end=end, before=before)
        case ByTeam():
            return TeamRule(before=before)
        case Overdue(cutoffs=cutoffs):
            return OverdueRule(cutoffs=cutoffs, before=before)


def present_rule(services: Services, draft: RequestDraft) -> Rule:
    """Return the draft's scope in keyed pseudonyms, over every item that the team has now.

    Raises:
        TeamUnknown: there is no such team.
        RequestRefused: the dates are inverted or an id is empty.
    """
    newest = services.catalog.teams.get(draft.team).newest_at
    return rule_of(services, draft.team, draft.scope, before=next_instant(newest, now=services.clock.now()))


def _prepare(
    services: Services, draft: RequestDraft, *, now: datetime, policy: str | None, seal: Callable[[bytes, str], bytes]
) -> Prepared:
    if draft.is_standing and not isinstance(draft.scope, ByUser):
        raise RequestRefused("only a deletion of one user's items can be standing")
    try:
        rule = rule_of(services, draft.team, draft.scope, before=now)
        text = scope_text(draft.scope)
        request_id = services.identifiers.request_id()
        received_at = min(draft.received_at, now)
        request = Request(
            request_id=request_id,
            team=draft.team,
            kind=kind_of(draft.scope),
            channel=draft.channel,
            state=RequestState.ACCEPTED,
            received_at=received_at,
            accepted_at=now,
            due_at=due_at(received_at),
            scope_pseudonym=services.keychain.pseudonym(draft.team, text),
            tombstone_sequence=0,
            policy=policy,
            asked_by=person_of(services, draft),
            is_standing=draft.is_standing,
            sealed=seal(_sealed_part(draft, text), request_id),
        )
        return Prepared(request=request, rule=rule, key=_idempotency(services, draft, text))
    except UnicodeEncodeError:  # half a surrogate pair, which JSON can spell
        raise RequestRefused("an id is not valid text") from None


def _same_lately(services: Services, asked: Prepared, *, since: datetime) -> Request | None:
    """Return the request of the same scope that was accepted a moment ago, if it covers every item that is there."""
    earlier = services.catalog.requests.latest(asked.request.team, asked.request.scope_pseudonym)
    if (
        earlier is None
        or earlier.state is RequestState.CANCELLED
        or earlier.accepted_at <= since
        or (asked.request.is_standing and not earlier.keeps_out)
    ):
        return None
    claim = NamedRule(request_id=asked.request.request_id, rule=asked.rule)
    files = find(services.catalog.manifest, services.vault, asked.request.team, [claim])
    return None if any(file.last_submitted_at >= earlier.accepted_at for file, _ in files) else earlier


def _answer(asked: Prepared, accepted: Request) -> Request | ImplioError:
    """Return the accepted request, unless it is another one than was asked for."""
    if accepted.scope_pseudonym != asked.request.scope_pseudonym:
        return RequestIdReused("another request was made under the same id")
    if asked.request.is_standing and not accepted.keeps_out:
        words = "was lifted" if accepted.is_standing else "is not standing"
        return RequestIdReused(f"the request made under the same id {words}")
    if accepted.state is RequestState.CANCELLED:  # whether it was sent again, or read again after a crash, is not known
        return RequestIdReused("the request made under the same id was cancelled")
    return accepted


def _idempotency(services: Services, draft: RequestDraft, scope: str) -> str:
    """Return what makes two requests the same: the sender's own key, or scope and instant of receipt."""
    own = draft.idempotency_key
    kind = "standing" if draft.is_standing else "scope"
    text = f"key {own}" if own is not None else f"{kind} {scope} {instant_text(draft.received_at)}"
    return services.keychain.pseudonym(draft.team, text)


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
