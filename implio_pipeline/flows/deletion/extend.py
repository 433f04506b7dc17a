"""Extend: put the due date of a request off, once, with a reason that is sealed."""

import json
from dataclasses import replace

from implio_pipeline.domain.errors import ExtensionRefused
from implio_pipeline.domain.ids import RequestId
from implio_pipeline.domain.request import Request
from implio_pipeline.domain.statements import DueDateExtended
from implio_pipeline.flows.clock import agreed_now
from implio_pipeline.ports.services import Services


def extend(services: Services, request_id: RequestId, *, days: int, reason: str) -> Request:
    """Put a due date off and note it in the ledger; the reason lies sealed until the request is completed.

    Raises:
        ClockWrong: the clock disagrees with what the home knows.
        RequestUnknown: there is no such request.
        ExtensionRefused: it may not be, or there is no reason.
        PlanOutdated: somebody else has moved the request.

    Source: GDPR Art. 12(3).
    """
    if not reason.strip():
        raise ExtensionRefused("there is no reason, which whoever asked must be told")
    request = services.catalog.requests.get(request_id)
    after = request.extended(days=days, now=agreed_now(services))
    if request.sealed is not None:
        parts = json.loads(services.keychain.unseal(request.team, request.sealed, context=request_id))
        text = json.dumps(parts | {"extensionReason": reason}).encode()
        after = replace(after, sealed=services.keychain.seal(request.team, text, context=request_id))
    services.catalog.requests.save([(after, request.state)])
    told = DueDateExtended(request_id=request_id, team=request.team, due_at=after.due_at, days=days)
    services.ledger.append([told])
    return after
