"""The receipt of a completed request: what was erased and how it was proven, free of personal data."""

from collections.abc import Sequence
from typing import Any

from implio_pipeline.domain.days import instant_text
from implio_pipeline.domain.erasure import FileOutcome
from implio_pipeline.domain.outcome import outcome_parts
from implio_pipeline.domain.request import Request
from implio_pipeline.domain.words import FileKind

FORMAT = "implio-receipt/1"


def receipt_body(
    request: Request,
    outcomes: Sequence[FileOutcome],
    *,
    region: str,
    unreachable_items: int,
    versions: dict[str, str],
) -> dict[str, Any]:
    """Return a receipt as JSON values: strings, whole numbers, lists and objects only.

    Args:
        request: The request, with every file of it verified and its old keys destroyed.
        outcomes: What happened to each file the request covered a row of.
        region: Where the team's items lie.
        unreachable_items: Items of the team without a user id, which no deletion by user can reach.
        versions: What carried the erasure out.

    Raises:
        ValueError: the request was not carried out, so there is nothing to receipt.
    """
    if request.checked_at is None:
        raise ValueError("a request that was not carried out has no receipt")
    items = [outcome for outcome in outcomes if outcome.kind is FileKind.ITEMS]
    rejected = [outcome for outcome in outcomes if outcome.kind is FileKind.REJECTED]
    body: dict[str, Any] = {
        "format": FORMAT,
        "requestId": request.request_id,
        "kind": request.kind.value,
        "team": request.team,
        "region": region,
        "channel": request.channel.value,
        "scope": request.scope_pseudonym,
        "receivedAt": instant_text(request.received_at),
        "acceptedAt": instant_text(request.accepted_at),
        "hiddenAt": instant_text(request.accepted_at),
        "checkedAt": instant_text(request.checked_at),
        "dueAt": instant_text(request.due_at),
        "outcome": outcome_parts(request.outcome),
        "erased": {
            "items": sum(outcome.matched for outcome in items),
            "rejectedItems": sum(outcome.matched for outcome in rejected),
            "queueEntries": request.queue_removed,
            "filesRewritten": sum(outcome.digest_after is not None for outcome in outcomes),
            "filesDropped": sum(outcome.digest_after is None for outcome in outcomes),
            "keysDestroyed": sum(outcome.keys_destroyed for outcome in outcomes),
            "bytesShredded": sum(outcome.size_before_bytes for outcome in outcomes),
        },
        "verification": {
            "survivors": 0,
            "filesReadBack": sum(outcome.is_read_back for outcome in outcomes),
            "rowsReadBack": sum(outcome.rows_after for outcome in outcomes),
            "keptRowsUnchanged": True,
        },
        "files": [_line(outcome) for outcome in outcomes],
        "notReachable": {"itemsWithoutUserId": unreachable_items},
        "versions": versions,
    }
    if request.erased_at is not None:
        body["erasedAt"] = instant_text(request.erased_at)
    if request.is_standing:
        body["standing"] = {"from": instant_text(request.accepted_at)}
        if request.standing_lifted_at is not None:
            body["standing"]["liftedAt"] = instant_text(request.standing_lifted_at)
    if request.policy is not None:
        body["policy"] = request.policy
    if request.withheld is not None:
        body["withheld"] = {
            "items": request.withheld.items,
            "holds": [
                {"holdId": hold_id, "reason": reason, "items": items}
                for hold_id, reason, items in request.withheld.holds
            ],
        }
    return body


def _line(outcome: FileOutcome) -> dict[str, Any]:
    return {
        "before": f"sha256:{outcome.digest_before}",
        "after": None if outcome.digest_after is None else f"sha256:{outcome.digest_after}",
        "rowsBefore": outcome.rows_before,
        "rowsAfter": outcome.rows_after,
        "matched": outcome.matched,
    }
