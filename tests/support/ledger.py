"""Raw entries for the ledger: a kind with a body that no flow would write."""

from typing import Any

from implio_pipeline.domain.statements import UnknownStatement


def raw(kind: str, body: dict[str, Any]) -> UnknownStatement:
    """Return a statement that is signed as it is, whatever its kind says of its body."""
    return UnknownStatement(kind=kind, body=body)
