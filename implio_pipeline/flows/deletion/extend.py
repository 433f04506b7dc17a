"""Extend: move the due date of a request once, with a reason (GDPR Art. 12(3))."""

import json
from dataclasses import replace

from implio_pipeline.domain.errors import ExtensionRefused
from implio_pipeline.domain.ids import RequestId
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
    request = services.catalog.requests.get(request_id)
    after = request.extended(days=days, now=agreed_now(services))
    # The reason is free text about a person, so it joins the sealed part.
    if request.sealed is not None:
        parts = json.loads(services.keychain.unseal(request.team, request.sealed, context=request_id))
        text = json.dumps(parts | {"extensionReason": reason}).encode()
        after = replace(after, sealed=services.keychain.seal(request.team, text, context=request_id))
    services.catalog.requests.save([(after, request.state)])
    entry = DueDateExtended(request_id=request_id, team=request.team, due_at=after.due_at, days=days)
    services.ledger.append([entry])
    return after
