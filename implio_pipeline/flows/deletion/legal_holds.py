"""Legal holds: keep items from being erased for as long as the law needs them.

Rules:

* A hold keeps items, it does not show them: a request goes on hiding what it covers (GDPR Art. 17(3)(b) and (e) and
  Art. 18(1)(c)).
* After `place_hold` returns, no commit erases what the hold covers, whatever was planned before.
* A hold has an end, a reason and somebody who answers for it. When it ends, what it withheld is erased.
"""

import json
from dataclasses import dataclass, replace
from datetime import datetime

from implio_pipeline.domain.errors import HoldRefused
from implio_pipeline.domain.hold import Hold, HoldId, HoldReason
from implio_pipeline.domain.ids import TeamId, sensitive
from implio_pipeline.domain.replan import replan
from implio_pipeline.domain.request import WITHHELD_STATES, Request
from implio_pipeline.domain.scope import FOR_EVER, Scope
from implio_pipeline.domain.statements import HoldPlaced, HoldReleased
from implio_pipeline.flows.clock import agreed_now
from implio_pipeline.flows.deletion.accept import rule_of, scope_text
from implio_pipeline.flows.ledger_state import LedgerState
from implio_pipeline.ports.services import Services


@dataclass(frozen=True, kw_only=True, slots=True)
class HoldDraft:
    """A legal hold that somebody asks for."""

    team: TeamId
    scope: Scope
    until: datetime
    reason: HoldReason = HoldReason.LEGAL_CLAIM
    words: str = sensitive(default="")
    holder: str = sensitive(default="")
    """The person who answers for the hold."""


def place_hold(services: Services, draft: HoldDraft) -> Hold:
    """Place a hold and return it.

    Raises:
        ClockWrong: the clock disagrees with what the home knows.
        TeamUnknown: there is no such team.
        HoldRefused: it would have ended already, or its reason or its holder is missing.
        RequestRefused: the scope names nothing.
    """
    now = agreed_now(services)
    team = services.catalog.teams.get(draft.team).team
    if draft.until <= now:
        raise HoldRefused("it would end before it begins", remedy="Give a day that is still to come.")
    if not draft.holder.strip() or not draft.words.strip():
        raise HoldRefused("a hold needs a reason and somebody who answers for it", remedy="Give both.")
    # 1. Express the scope in keyed pseudonyms, with no end: a hold also covers items that come in later.
    keychain, hold_id = services.keychain, HoldId(services.identifiers.request_id())
    scope = scope_text(draft.scope)
    words = json.dumps({"scope": scope, "reason": draft.words, "holder": draft.holder})
    hold = Hold(
        hold_id=hold_id,
        team=team,
        rule=rule_of(keychain.user_key_maker(team), services.identifiers, draft.scope, before=FOR_EVER),
        scope_pseudonym=keychain.pseudonym(team, scope),
        reason=draft.reason,
        placed_at=now,
        until=draft.until,
    )
    # 2. The ledger comes first: a hold that only the catalog knew would be lost with it, and its items erased.
    services.ledger.append([HoldPlaced.of(hold)])

    # 3. Place it. A commit that was planned before fails, since it names an older hold. It is sealed again if a
    #    rotation has destroyed the key.
    def place() -> Hold:
        sealed = keychain.seal(team, words.encode(), context=hold_id)
        return services.catalog.holds.place(replace(hold, sealed=sealed))

    return replan(place, about=f"the keys of team {team}")


def release_hold(services: Services, hold_id: HoldId) -> list[Request]:
    """Release a hold and return the requests that are ready again; the next run erases what it withheld.

    Raises:
        ClockWrong: the clock disagrees with what the home knows.
        HoldRefused: there is no such hold, or it was released before.
    """
    now = agreed_now(services)
    hold = services.catalog.holds.get(hold_id)
    released_at = max(now, hold.placed_at)  # the clock may be behind the one that placed it
    # 1. Release it, catalog first: after a crash in between, a restore places the hold again, which loses no item.
    services.catalog.holds.release(replace(hold, released_at=released_at))
    services.ledger.append([HoldReleased(hold_id=hold_id, team=hold.team, released_at=released_at)])
    # 2. Make the requests ready that it withheld something of.
    waiting = [
        request
        for request in services.catalog.requests.all(team=hold.team, states=WITHHELD_STATES)
        if request.withheld is None or any(each == hold_id for each, _, _ in request.withheld.holds)
    ]
    after = [replace(request, next_attempt_at=now) for request in waiting]
    services.catalog.requests.save([(request, request.state) for request in after])
    # 3. Scrub the hold's sealed part, which is destroyed with the release.
    services.catalog.scrub(is_thorough=False)
    return after


def reinstate_holds(services: Services) -> list[Hold]:
    """Place the holds again that the ledger has and a restored catalog lost; return them.

    A restore does this before anything else, so that it erases nothing that a hold covers.

    Raises:
        LedgerBroken: a hold in the ledger cannot be read.
    """
    known = {hold.hold_id: hold for hold in services.catalog.holds.all()}
    teams = {team.team for team in services.catalog.teams.all()}
    ledger = LedgerState.readable(services.ledger, HoldPlaced, HoldReleased)
    lost = [each.hold() for each in ledger.holds.values() if each.hold_id not in known.keys() | ledger.released.keys()]
    for hold_id, hold in known.items():
        if hold_id in ledger.released and hold.released_at is None:
            services.catalog.holds.release(replace(hold, released_at=ledger.released[hold_id]))
    return [services.catalog.holds.place(hold) for hold in lost if hold.team in teams]
