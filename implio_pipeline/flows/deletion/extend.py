"""Extend: move the due date of a request once, with a reason (GDPR Art. 12(3))."""

import json
from datetime import datetime

from implio_pipeline.domain.errors import ExtensionRefused, KeyMissing, PlanOutdated
from implio_pipeline.domain.ids import RequestId
from implio_pipeline.domain.keys import Seal
from implio_pipeline.domain.replan import replan
from implio_pipeline.domain.request import Request
from implio_pipeline.domain.statements import DueDateExtended
from implio_pipeline.flows.clock import agreed_now
from implio_pipeline.ports.services import Services


def extend(services: Services, request_id: RequestId, *, days: int, reason: str) -> Request:
    """Extend a due date and note it in the ledger; the sealed reason is destroyed when the erasure is carried out.

    Raises:
        ClockWrong: the clock disagrees with what the home knows.
        RequestUnknown: there is no such request.
        ExtensionRefused: the request may not be extended, or no reason is given.
        PlanOutdated: another process has moved the request.

    Source: GDPR Art. 12(3): two further months at most, and the person must be told the reason within the first month.
    """
    if not reason.strip():
        raise ExtensionRefused("no reason is given, and the person who asked must be told one")
    now, text = agreed_now(services), reason.strip()
    about = f"request {request_id}"
    # 1. The reason is free text about a person, so it joins the sealed part. Whether the request may be extended is
    #    known first.
    replan(lambda: _add_reason(services, request_id, text, days=days, now=now), about=about)
    # 2. Then the due date.
    request = services.catalog.requests.get(request_id)
    after = request.extended(days=days, now=now)
    services.catalog.requests.save([(after, request.state)])
    entry = DueDateExtended(request_id=request_id, team=request.team, due_at=after.due_at, days=days)
    services.ledger.append([entry])
    return after


def _add_reason(services: Services, request_id: RequestId, reason: str, *, days: int, now: datetime) -> None:
    request = services.catalog.requests.get(request_id)
    request.extended(days=days, now=now)
    if request.sealed is None:
        return
    was = Seal(kind="request", key=request_id, context=request_id, sealed=request.sealed)
    try:
        parts = json.loads(services.keychain.unseal(request.team, request.sealed, context=request_id))
    except KeyMissing:
        services.keychain.forget(request.team)
        if services.catalog.requests.get(request_id).sealed == request.sealed:
            raise
        raise PlanOutdated("a rotation has sealed the request again") from None
    text = json.dumps(parts | {"extensionReason": reason}).encode()
    sealed = services.keychain.seal(request.team, text, context=request_id)
    if not services.catalog.teams.replace_seals(request.team, [(was, sealed)]):
        raise PlanOutdated("the request was sealed again, or moved")
