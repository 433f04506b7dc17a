"""Ask: a deletion request of a customer's server goes through the door; the same one again is the same request.

A server whose call got no answer sends it again. Within a short window that is one request, unless items came in
since that it would cover: those were not hidden by the first one, and are by the second.
"""

from datetime import timedelta

from implio_pipeline.domain.erasure import NamedRule
from implio_pipeline.domain.request import Request, RequestDraft, RequestState, keeps_out
from implio_pipeline.domain.words import RequestId
from implio_pipeline.flows.accept import Refusal, accept, rule_of, scope_text
from implio_pipeline.flows.find import find
from implio_pipeline.ports.world import World


def ask(world: World, draft: RequestDraft, *, same_within: timedelta) -> Request | Refusal:
    """Return the accepted request, new or the same as a moment ago: its items are hidden from every read.

    Args:
        world: What the flow may touch.
        draft: The request; its scope is valid text.
        same_within: How long ago the same one may have been accepted.
    """
    earlier = world.catalog.requests.latest(draft.team, world.keychain.pseudonym(draft.team, scope_text(draft.scope)))
    if (
        earlier is not None
        and earlier.state is not RequestState.CANCELLED
        and (keeps_out(earlier) or not draft.is_standing)
        and earlier.accepted_at > world.clock.now() - same_within
        and not _has_newer_items(world, draft, earlier)
    ):
        return earlier
    return accept(world, [draft])[0]


def _has_newer_items(world: World, draft: RequestDraft, earlier: Request) -> bool:
    """Tell whether a file may hold items of the scope that the earlier request does not reach."""
    named = NamedRule(request_id=RequestId("again"), rule=rule_of(world, draft))
    return any(file.last_submitted_at >= earlier.accepted_at for file, _ in find(world, draft.team, [named]))
