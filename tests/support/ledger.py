"""Raw ledger entries: a kind with a body that no flow would write."""

from typing import Any

from implio_pipeline.domain.statements import UnknownStatement


def raw(kind: str, body: dict[str, Any]) -> UnknownStatement:
    """Return a statement that is signed unchanged, even if its body does not match its kind."""
    return UnknownStatement(kind=kind, body=body)
