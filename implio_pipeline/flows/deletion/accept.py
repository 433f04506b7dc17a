"""Accept a draft: it becomes a request, and its items are hidden at once. There is no other way to ask for an erasure.

Rules:

* Nothing is erased here, and nothing is erased that was not accepted here. Request files, API, page, command line and
  retention all call `accept`.
* When `accept` returns, no read shows the items (GDPR Art. 17, erasure without undue delay; the rewriting may follow).
* A request that exceeds what its asker may decide alone is hidden too, but waits for a second person before anything
  is erased. If what it covers cannot be counted, it counts as everything the team has.
* The personal part of a request is sealed; everything else about it is a keyed pseudonym.

The steps of `accept` are numbered in the code. A crash between two of them loses nothing: `note_tombstones` completes
the ledger, and an uncounted request waits for a second person.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from functools import partial
from typing import Any

from implio_pipeline.domain.errors import ImplioError, RequestIdReused, RequestRefused
from implio_pipeline.domain.file_changes import FileWork, NamedRule
from implio_pipeline.domain.ids import RequestId, RequestKind, TeamId, UserKey
from implio_pipeline.domain.instants import due_at, instant_text, next_instant
from implio_pipeline.domain.replan import replan, reread
from implio_pipeline.domain.request import PreparedRequest, Request, RequestDraft, RequestState
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
from implio_pipeline.domain.team import Team
from implio_pipeline.flows.clock import agreed_now
from implio_pipeline.flows.files.find import find
from implio_pipeline.flows.identity import identity_by
from implio_pipeline.ports.catalog import Catalog, Manifest
from implio_pipeline.ports.clock import Identifiers
from implio_pipeline.ports.ledger import Ledger
from implio_pipeline.ports.requests import Requests
from implio_pipeline.ports.services import Services
from implio_pipeline.ports.vault import Vault

_SORTED = json.JSONEncoder(sort_keys=True)
_Counts = dict[RequestId, int]
_UserKey = Callable[[str], UserKey]
_Pseudonym = Callable[[str], str]


@dataclass(frozen=True, kw_only=True, slots=True)
class _OpenTeam:
    """A team, and what its keys make."""

    team: Team
    seal: Callable[[bytes, str], bytes]
    user_key: _UserKey
    pseudonym: _Pseudonym


def accept(
    services: Services,
    drafts: Sequence[RequestDraft],
    *,
    policy: str | None = None,
    same_within: timedelta | None = None,
    is_paused: bool = False,
) -> list[Request | ImplioError]:
    """Accept requests: when this returns, the items of each accepted one are hidden from every read.

    The same request sent again returns the request that it made before. A different request under a used id is refused,
    and so is a cancelled one that is sent again: to accept either silently would lose a request.

    Args:
        services: What the flow may use.
        drafts: The requests.
        policy: The retention policy that they follow, in words.
        same_within: A request of the same scope accepted this recently is the same request (decision 0022): a server
            whose call got no answer sends it again. Items that came in since then make it a new request.
        is_paused: Leave every request unapproved; the caller releases or cancels it.

    Returns:
        For each draft, in order, the request or the reason why it was refused. One refusal does not affect the others.

    Raises:
        ClockWrong: the clock disagrees with what the home knows; nothing was accepted.
    """
    now = agreed_now(services)
    # 1. to 3. Prepare, judge and store; again if a rotation has destroyed the key that sealed them. From here on, the
    #    items are hidden.
    answers, asked, stored = replan(
        lambda: _stored(services, drafts, now=now, policy=policy, same_within=same_within, is_paused=is_paused),
        about="the keys of the teams",
    )
    # 4. Write the tombstones into the ledger, so that no backup of the catalog can undo the deletion.
    rules = {each.request.request_id: each.rule for each in asked}
    new = [
        (each, _ending(rules[each.request_id], each.accepted_at))  # the catalog decided where the rule ends
        for each in {each.request_id: each for each in stored}.values()  # one may be asked for twice at once
        if each.request_id in rules
    ]
    # A request that was sent again may be one whose process was killed here. Then the ledger lacks its tombstone, and
    # only the catalog knows. Otherwise nothing that was just written is read back: that took a fifth of the time.
    if any(each.request_id not in rules for each in stored):
        _note_placed(services.catalog.requests, services.ledger)
    else:
        _note_new(services.catalog.requests, services.ledger, new)
    # 5. Count by reading, and release those that need no second person.
    unapproved = [(each, rule) for each, rule in new if each.state is RequestState.UNAPPROVED]
    if unapproved and not is_paused:
        released = release(services, unapproved)
        stored = [released.get(each.request_id, each) for each in stored]
    # 6. Answer in the order of the drafts.
    accepted = iter(stored)
    return [_answer(each, next(accepted)) if isinstance(each, PreparedRequest) else each for each in answers]


def _stored(
    services: Services,
    drafts: Sequence[RequestDraft],
    *,
    now: datetime,
    policy: str | None,
    same_within: timedelta | None,
    is_paused: bool,
) -> tuple[list[PreparedRequest | Request | ImplioError], list[PreparedRequest], list[Request]]:
    """Prepare, judge and store requests.

    Returns:
        For each draft what it became, in order; what was asked of the catalog; and the requests that this made or made
        before.

    Raises:
        PlanOutdated: the key that sealed one of them was renewed. Nothing was stored.
    """
    # 1. Prepare: express each scope in keyed pseudonyms, and seal its personal part. A team is looked up once, however
    #    many drafts name it, and also if there is no such team: a request file may hold thousands of misspelt lines.
    teams = {name: _open_team(services, name) for name in {draft.team for draft in drafts}}
    answers: list[PreparedRequest | Request | ImplioError] = []
    for draft in drafts:
        opened = teams[draft.team]
        if isinstance(opened, ImplioError):
            answers.append(opened)
            continue
        try:
            # The team's logical time, not the clock's: a clock that is behind would leave the newest items out.
            present = next_instant(opened.team.newest_at, now=now)
            prepared = _prepare(services.identifiers, opened, draft, now=present, policy=policy)
            if same_within is None:
                answers.append(prepared)
            else:
                answers.append(_same_lately(services.catalog, services.vault, prepared, since=now - same_within))
        except ImplioError as error:
            answers.append(error)
    # 2. Judge by what the catalog knows whether a second person must approve. What is not counted yet waits.
    asked = [each for each in answers if isinstance(each, PreparedRequest)]
    known = {name: opened.team for name, opened in teams.items() if not isinstance(opened, ImplioError)}
    asked = _judged(services, asked, known, is_paused=is_paused)
    # 3. Store request, tombstone and queue removals in one transaction, which adds up what each person decided alone.
    return answers, asked, services.catalog.requests.accept(asked, approvals=services.approvals)


def release(services: Services, unapproved: Sequence[tuple[Request, Rule]]) -> dict[RequestId, Request]:
    """Count what each unapproved request covers, by reading, and release those that need no second person.

    Returns:
        The requests as they were stored, by id; those that exceed the cap are still unapproved.
    """
    requests, manifest = services.catalog.requests, services.catalog.manifest
    stored: dict[RequestId, Request] = {}
    for name in sorted({request.team for request, _ in unapproved}):
        of_team = [(request, rule) for request, rule in unapproved if request.team == name]
        # 1. Count earlier requests that were only estimated. An estimate is never too low, so it may use up more of a
        #    person's cap than the request covers. Only an exact count may make a person wait for approval.
        since = services.clock.now() - timedelta(days=services.approvals.window_days)
        if estimated := requests.estimated(name, since=since):
            in_force = requests.tombstones_of([each.request_id for each in estimated])
            known = [(each, in_force[each.request_id].rule) for each in estimated if each.request_id in in_force]
            earlier = _counts(services, name, known)
            if earlier is not None:
                requests.counted({each.request_id: earlier.get(each.request_id, 0) for each, _ in known})
        # 2. Count these requests. One that cannot be counted may cover everything the team has.
        live = manifest.items(name)
        counts = _counts(services, name, [each for each in of_team if each[0].kind is not RequestKind.TEAM])
        # 3. Release what fits the cap. The transaction adds up all that the same person decided alone, so that two
        #    doors at once do not each release up to the cap.
        free: list[Request] = []
        team = services.catalog.teams.get(name)
        for request, _ in of_team:
            is_team = request.kind is RequestKind.TEAM  # removing a team always takes two people
            items = live if counts is None or is_team else counts.get(request.request_id, 0)
            after_count = replace(request, covered_items=items, is_exact=counts is not None, is_alone=not is_team)
            if not is_team or not services.approvals.is_asked:
                grace = _grace_of(team, request)
                after_count = after_count.accepted(needs_approval=False, grace=grace)
            free.append(after_count)
        stored |= {each.request_id: each for each in requests.release(free, approvals=services.approvals)}
    return stored


def approved(services: Services, request: Request, *, by: str | None) -> Request:
    """Return an unapproved request as approved, in what is left of its grace period; nothing is stored."""
    grace = _grace_of(services.catalog.teams.get(request.team), request)
    if request.accepted_at + grace <= services.clock.now():
        grace = timedelta()
    return replace(request.accepted(needs_approval=False, grace=grace), approved_by=by)


def person_of(pseudonym: _Pseudonym, draft: RequestDraft) -> str | None:
    """Return the keyed pseudonym of the person who asks; `None` when nobody is known.

    Args:
        pseudonym: Returns the pseudonym of a text (`Keychain.pseudonym_maker`).
        draft: What they ask for.
    """
    if draft.acts_for is not None:
        return draft.acts_for
    return None if draft.asked_by is None else identity_by(pseudonym, draft.asked_by)


def note_tombstones(services: Services) -> None:
    """Write into the ledger every tombstone, cancellation and lifting that it lacks, also those that a crash left out.

    The catalog marks an entry as written only afterwards. So a crash between the two may write it twice, but never
    leave it out.
    """
    requests, ledger = services.catalog.requests, services.ledger
    _note_placed(requests, ledger)
    if cancelled := requests.lifted_without_ledger():
        now = services.clock.now()
        ledger.append(
            [
                # `max`: the clock may be behind the logical time at which the request was accepted.
                TombstoneLifted(request_id=each.request_id, team=each.team, lifted_at=max(now, each.accepted_at))
                for each in cancelled
            ]
        )
        requests.in_ledger([request.tombstone_sequence for request in cancelled], is_lifting=True)
    if lifted := requests.liftings_without_ledger():
        ledger.append(
            [
                StandingLifted(
                    request_id=RequestId(each.request_id),
                    team=TeamId(each.team),
                    lifted_at=each.lifted_at,
                    lifted_by=each.lifted_by,
                )
                for each in lifted
            ]
        )
        requests.lifting_in_ledger([RequestId(each.request_id) for each in lifted])


def rule_of(user_key: _UserKey, identifiers: Identifiers, scope: Scope, *, before: datetime) -> Rule:
    """Return a scope in keyed pseudonyms, limited to items submitted before an instant.

    Args:
        user_key: Returns the pseudonym of a user id (`Keychain.user_key_maker`).
        identifiers: Knows the ids of tasks.
        scope: What is asked for.
        before: The instant.

    Raises:
        RequestRefused: the dates are inverted or an id is empty.
    """
    match scope:
        case ByUser(user_id=user_id):
            if not user_id.strip():
                raise RequestRefused("the user id is empty")
            return UserRule(user_key=user_key(user_id), before=before)
        case ByTask(task_id=task_id):
            if not task_id.strip():
                raise RequestRefused("the task id is empty")
            name = task_id.strip().lower()
            # A task id of ours names its day, so that files of other days need not be searched.
            return TaskRule(task_key=identifiers.task_key(name), before=before, submitted_on=identifiers.task_day(name))
        case ByDates(start=start, end=end):
            if start >= end:
                raise RequestRefused("the range of dates is empty: its start is not before its end")
            return DatesRule(start=start, end=end, before=before)
        case ByTeam():
            return TeamRule(before=before)
        case Overdue(cutoffs=cutoffs):
            return OverdueRule(cutoffs=cutoffs, before=before)


def scope_text(scope: Scope) -> str:
    """Return a scope as JSON, the same text for the same scope. It holds personal values: seal it, never log it."""
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
    return _SORTED.encode({"kind": kind_of(scope).value, **values})


def _grace_of(team: Team, request: Request) -> timedelta:
    """Return how long a request may be cancelled; a retention request cannot be, since the policy decided it."""
    return timedelta() if request.kind is RequestKind.RETENTION else timedelta(hours=team.grace_hours)


def _open_team(services: Services, name: TeamId) -> _OpenTeam | ImplioError:
    """Return a team with what its keys make, or the reason why its drafts are refused."""
    keychain = services.keychain
    try:
        return _OpenTeam(
            team=services.catalog.teams.get(name),
            seal=keychain.sealer(name),
            user_key=keychain.user_key_maker(name),
            pseudonym=keychain.pseudonym_maker(name),
        )
    except ImplioError as error:
        return error


def _prepare(
    identifiers: Identifiers, opened: _OpenTeam, draft: RequestDraft, *, now: datetime, policy: str | None
) -> PreparedRequest:
    pseudonym = opened.pseudonym
    if draft.is_standing and not isinstance(draft.scope, ByUser):
        raise RequestRefused("only a deletion of one user's items can be standing")
    try:
        rule = rule_of(opened.user_key, identifiers, draft.scope, before=now)
        text = scope_text(draft.scope)
        request_id, kind = identifiers.request_id(), kind_of(rule)
        received_at = min(draft.received_at, now)  # a request file may be dated in the future
        sealed = {"scope": text, "askedBy": draft.asked_by, "reason": draft.reason, "requestId": draft.idempotency_key}
        request = Request(
            request_id=request_id,
            team=draft.team,
            kind=kind,
            channel=draft.channel,
            state=RequestState.ACCEPTED,
            received_at=received_at,
            accepted_at=now,
            due_at=due_at(received_at),  # GDPR Art. 12(3): one month from receipt, not from acceptance
            scope_pseudonym=pseudonym(text),
            tombstone_sequence=0,
            policy=policy,
            asked_by=person_of(pseudonym, draft),
            is_exact=kind is RequestKind.TASK,
            is_alone=kind is not RequestKind.RETENTION,
            is_standing=draft.is_standing,
            sealed=opened.seal(json.dumps(sealed).encode(), request_id),
        )
        # What makes two requests the same: the sender's own id, or scope and instant of receipt.
        own, word = draft.idempotency_key, "standing" if draft.is_standing else "scope"
        same = f"key {own}" if own is not None else f"{word} {text} {instant_text(draft.received_at)}"
        return PreparedRequest(request=request, rule=rule, key=pseudonym(same))
    except UnicodeEncodeError:  # JSON can spell half a surrogate pair, which no key can be computed for
        raise RequestRefused("an id is not valid text") from None


def _same_lately(
    catalog: Catalog, vault: Vault, asked: PreparedRequest, *, since: datetime
) -> Request | PreparedRequest:
    """Return the request of the same scope accepted after `since`, if no covered item came in after it.

    Otherwise the request is to be stored, unless another call, here or at another server, stores the same one first.
    """
    earlier = catalog.requests.latest(asked.request.team, asked.request.scope_pseudonym)
    new = replace(asked, same_after=earlier.tombstone_sequence if earlier else 0)
    if earlier is None or not earlier.is_same_as(asked.request) or earlier.accepted_at <= since:
        return new
    claim = NamedRule(request_id=asked.request.request_id, rule=asked.rule)
    team = asked.request.team

    def is_newer() -> bool:
        files = find(catalog.manifest, vault, team, [claim])
        return any(file.last_submitted_at >= earlier.accepted_at for file, _ in files)

    # Decision 0022: an answer always means that every item acknowledged before the call is hidden.
    return new if replan(is_newer, about=f"the files of team {team}") else earlier


def _judged(
    services: Services, asked: Sequence[PreparedRequest], teams: Mapping[TeamId, Team], *, is_paused: bool
) -> list[PreparedRequest]:
    """Return each request in the state in which to store it, judged by what the catalog alone knows.

    A request that one person may decide alone carries the most items that it may cover. The transaction that stores it
    compares this with what the same person had erased within the window.
    """
    is_asked = services.approvals.is_asked
    most = {} if is_paused or not is_asked else _most_items(services.catalog.manifest, services.vault, asked)
    found: list[PreparedRequest] = []
    for each in asked:
        request = each.request
        must_wait = is_paused or (is_asked and request.kind is RequestKind.TEAM)
        judged = request
        if must_wait or request.request_id in most:  # else nothing changes; copying a thousand requests takes 10 ms
            items, is_alone = most.get(request.request_id, 0), request.is_alone and not must_wait
            judged = replace(request, covered_items=items, is_alone=is_alone)
        judged = judged.accepted(needs_approval=must_wait, grace=_grace_of(teams[request.team], request))
        found.append(each if judged is request else replace(each, request=judged))
    return found


def _most_items(manifest: Manifest, vault: Vault, asked: Sequence[PreparedRequest]) -> _Counts:
    """Return how many items each request covers at most; no file is opened, and the number is never too low.

    Whole teams and retention are left out: a whole team always needs two people, retention never does.
    """
    most: _Counts = {}
    by_team: dict[TeamId, list[NamedRule]] = {}
    for each in asked:
        request = each.request
        if request.kind is RequestKind.TASK:
            most[request.request_id] = 1
        elif request.kind in (RequestKind.USER, RequestKind.DATES):
            named = NamedRule(request_id=request.request_id, rule=each.rule)
            by_team.setdefault(request.team, []).append(named)
    for team, named_rules in by_team.items():
        first = named_rules[0]
        if len(named_rules) == 1 and isinstance(first.rule, UserRule):
            # One query instead of a pass over the files: a caller of the API waits for this (decision 0023).
            most[first.request_id] = manifest.most_items(team, first.rule)
            continue
        count = partial(_most_of_team, manifest, vault, team, named_rules)
        most |= replan(count, about=f"the files of team {team}")
    return most


def _most_of_team(manifest: Manifest, vault: Vault, team: TeamId, named_rules: Sequence[NamedRule]) -> _Counts:
    most: _Counts = {}
    reaches = vault.reaches(named_rules)
    for file in manifest.candidates(team, named_rules):
        for named in reaches(file):
            rows = file.most_of_one_user if isinstance(named.rule, UserRule) else file.rows
            most[named.request_id] = most.get(named.request_id, 0) + rows
    return most


def _counts(services: Services, team: TeamId, asked: Sequence[tuple[Request, Rule]]) -> _Counts | None:
    """Return how many items each request covers, counted by reading; `None` when they cannot be counted."""
    manifest, vault = services.catalog.manifest, services.vault
    named_rules = [NamedRule(request_id=request.request_id, rule=rule) for request, rule in asked]

    def count() -> _Counts:
        counts: _Counts = {}
        for file, reached in list(find(manifest, vault, team, named_rules)):
            (sealed,) = manifest.sealed([file])
            matched = vault.matched(FileWork(sealed=sealed, named_rules=reached, is_whole=False))
            for request_id, rows in matched.items():
                counts[request_id] = counts.get(request_id, 0) + rows
        return counts

    with suppress(ImplioError):  # whatever the fault is: the requests wait for a second person
        return reread(count, about=f"the files of team {team}", again=lambda: services.keychain.forget(team))
    return None


def _note_placed(requests: Requests, ledger: Ledger) -> None:
    if missing := requests.without_ledger():
        ledger.append([TombstonePlaced.of(request, each.rule, has_gate=True) for request, each in missing])
        requests.in_ledger([tombstone.sequence for _, tombstone in missing])


def _note_new(requests: Requests, ledger: Ledger, new: Sequence[tuple[Request, Rule]]) -> None:
    if new:
        ledger.append([TombstonePlaced.of(request, rule, has_gate=True) for request, rule in new])
        requests.in_ledger([request.tombstone_sequence for request, _ in new])


def _ending(rule: Rule, before: datetime) -> Rule:
    return rule if rule.before == before else replace(rule, before=before)


def _answer(asked: PreparedRequest, accepted: Request) -> Request | ImplioError:
    """Return the accepted request, or the refusal if the same id made a different request before."""
    if accepted.scope_pseudonym != asked.request.scope_pseudonym:
        return RequestIdReused("another request was made under the same id")
    if asked.request.is_standing and not accepted.keeps_out:
        words = "was lifted" if accepted.is_standing else "is not standing"
        return RequestIdReused(f"the request made under the same id {words}")
    if accepted.state is RequestState.CANCELLED:
        # A person may have sent it again, or a crash may have had it read again: which of the two is not known.
        return RequestIdReused("the request made under the same id was cancelled")
    return accepted
