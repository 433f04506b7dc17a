"""The query string, read strictly: every name known and given once, every value there and in UTF-8.

What a lenient reader passes over (a second `userId`, a byte that is no UTF-8) could erase another person's items.
"""

from collections.abc import Collection
from urllib.parse import parse_qsl

from fastapi import Request

from implio_pipeline.api.failures import ParametersRefused

_MOST_PARAMETERS = 16


def parameters(request: Request, known: Collection[str]) -> dict[str, str]:
    """Return the parameters of a call.

    Raises:
        ParametersRefused: one is unknown, empty, given twice, or not text in UTF-8.
    """
    try:
        text = request.scope["query_string"].decode("ascii")
        _refuse_plus(text)
        pairs = parse_qsl(text, keep_blank_values=True, errors="strict", max_num_fields=_MOST_PARAMETERS)
    except ValueError:
        raise ParametersRefused("the query string is not percent-encoded UTF-8, or has too many parts") from None
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ParametersRefused("a parameter is given twice")
    if not found.keys() <= set(known):
        raise ParametersRefused(f"a parameter is none of: {', '.join(known)}")
    empty = [name for name in known if not found.get(name, "x").strip()]
    if empty:
        raise ParametersRefused(
            f"empty: {', '.join(empty)}", remedy=f"Leave out {' and '.join(empty)}, or give a value."
        )
    return found


def _refuse_plus(text: str) -> None:
    """Refuse a `+` as it is: forms mean a blank by it and people a plus, and the two may be two people."""
    if "+" in text:
        raise ParametersRefused(
            "a + in a query string can mean a plus sign or a blank",
            remedy="Write %2B for a plus sign, %20 for a blank.",
        )


def documented(name: str, description: str, **schema: object) -> dict[str, object]:
    """Return a parameter's entry in the OpenAPI document."""
    shape = {"type": "string", "minLength": 1, **schema}
    return {"name": name, "in": "query", "required": False, "description": description, "schema": shape}
