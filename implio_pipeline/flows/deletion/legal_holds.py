"""Hold: keep items from being erased for as long as the law needs them; requests go on hiding them."""

import json
from dataclasses import dataclass, replace
from datetime import datetime

from implio_pipeline.domain.errors import HoldRefused
from implio_pipeline.domain.hold import Hold, HoldId, HoldReason
from implio_pipeline.domain.ids import TeamId, sensitive
from implio_pipeline.domain.request import WITHHELD_STATES, Request
from implio_pipeline.domain.scope import FOR_EVER, Scope
from implio_pipeline.domain.statements import HoldPlaced, HoldReleased
from implio_pipeline.flows.clock import agreed_now
from implio_pipeline.flows.deletion.accept import rule_of, scope_text
from implio_pipeline.flows.ledger_state import LedgerState
from implio_pipeline.ports.services import Services


@dataclass(frozen=True, kw_only=True, slots=True)
class HoldDraft:
    """A legal hold as somebody asks for it."""

    team: TeamId
    scope: Scope
    until: datetime
    reason: HoldReason = HoldReason.LEGAL_CLAIM
    words: str = sensitive(default="")
    holder: str = sensitive(default="")


def place_hold(services: Services, draft: HoldDraft) -> Hold:
    """Place a hold: when this returns, no commit erases what it covers, whatever was planned before.

    The ledger is told first, so that a restore knows of every hold.

    Raises:
        ClockWrong: the clock disagrees with what the home knows.
        TeamUnknown: there is no such team.
        HoldRefused: it has ended already, or nobody holds it.
        RequestRefused: the scope names nothing.
    """
    now = agreed_now(services)
    team = services.catalog.teams.get(draft.team).team
    if draft.until <= now:
        raise HoldRefused("it would end before it begins", remedy="Give a day that is still to come.")
    if not draft.holder.strip() or not draft.words.strip():
        raise HoldRefused("a hold needs a reason and somebody who answers for it", remedy="Give both.")
    hold_id = HoldId(services.identifiers.request_id())
    words = json.dumps({"scope": scope_text(draft.scope), "reason": draft.words, "holder": draft.holder})
    hold = Hold(
        hold_id=hold_id,
        team=team,
        rule=rule_of(services, team, draft.scope, before=FOR_EVER),
        scope_pseudonym=services.keychain.pseudonym(team, scope_text(draft.scope)),
        reason=draft.reason,
        placed_at=now,
        until=draft.until,
        sealed=services.keychain.seal(team, words.encode(), context=hold_id),
    )
    services.ledger.append([HoldPlaced.of(hold)])
    return services.catalog.holds.place(hold)


def release_hold(services: Services, hold_id: HoldId) -> list[Request]:
    """Release a hold and return the requests that are ready again: what it withheld is erased by the next run.

    Raises:
        ClockWrong: the clock disagrees with what the home knows.
        HoldRefused: there is no such hold, or it was released before.
    """
    now = agreed_now(services)
    hold = services.catalog.holds.get(hold_id)
    released_at = max(now, hold.placed_at)
    services.catalog.holds.release(replace(hold, released_at=released_at))
    services.ledger.append([HoldReleased(hold_id=hold_id, team=hold.team, released_at=released_at)])
    waiting = [
        request
        for request in services.catalog.requests.all(team=hold.team, states=WITHHELD_STATES)
        if request.withheld is None or any(each == hold_id for each, _, _ in request.withheld.holds)
    ]
    after = [replace(request, next_attempt_at=now) for request in waiting]
    services.catalog.requests.save([(request, request.state) for request in after])
    services.catalog.scrub(is_thorough=False)
    return after


def reinstate_holds(services: Services) -> list[Hold]:
    """Place the holds again that the ledger has and the catalog lost, and return them; a restore does so first.

    Raises:
        LedgerBroken: a hold in the ledger cannot be read.
    """
    known = {hold.hold_id: hold for hold in services.catalog.holds.all()}
    teams = {team.team for team in services.catalog.teams.all()}
    told = LedgerState.readable(services.ledger, HoldPlaced, HoldReleased)
    lost = [each.hold() for each in told.holds.values() if each.hold_id not in known.keys() | told.released.keys()]
    for hold_id, hold in known.items():
        if hold_id in told.released and hold.released_at is None:
            services.catalog.holds.release(replace(hold, released_at=told.released[hold_id]))
    return [services.catalog.holds.place(hold) for hold in lost if hold.team in teams]
