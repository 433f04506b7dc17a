"""The query string, read strictly: every name known and given once, every value there and in UTF-8.

What a lenient reader passes over (a second `userId`, a byte that is no UTF-8) could erase another person's items.
"""

from collections import Counter
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
        raise ParametersRefused(
            "the query string is not percent-encoded UTF-8, or has too many parts",
            remedy=f"Percent-encode every value as UTF-8, and give at most {_MOST_PARAMETERS} parameters.",
        ) from None
    found = dict(pairs)
    _refuse_unknown(found, known)
    given = Counter(name for name, _ in pairs)
    twice = [name for name in known if given[name] > 1]
    if twice:
        names = " and ".join(twice)
        raise ParametersRefused(f"given more than once: {names}", remedy=f"Leave out all but one {names}.")
    empty = [name for name in known if not found.get(name, "x").strip()]
    if empty:
        raise ParametersRefused(
            f"empty: {', '.join(empty)}", remedy=f"Leave out {' and '.join(empty)}, or give a value."
        )
    return found


def _refuse_unknown(found: Collection[str], known: Collection[str]) -> None:
    """Refuse names that the call does not take; they are the caller's and are not repeated."""
    strange = [name for name in found if name not in known]
    if not strange:
        return
    if not known:
        raise ParametersRefused("this call takes no parameters", remedy="Leave out everything after the question mark.")
    meant = [name for name in known if any(name.lower() == each.strip().lower() for each in strange)]
    remedy = (
        f"Write {' and '.join(meant)} exactly so, small and capital letters too."
        if meant
        else f"Leave out every parameter but: {', '.join(known)}."
    )
    raise ParametersRefused(f"a parameter is none of: {', '.join(known)}", remedy=remedy)


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
