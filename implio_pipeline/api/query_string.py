"""Reads query strings strictly: every name is known and given once, every value is present and in UTF-8.

What a lenient reader passes over (a second `userId`, a byte that is not UTF-8) could erase another person's items.
Refusals never repeat what the caller wrote, only names that the call knows.
"""

from collections import Counter
from collections.abc import Collection
from urllib.parse import parse_qsl

from fastapi import Request

from implio_pipeline.api.failures import ParametersRefused

_MOST_PARAMETERS = 16


def parameters(request: Request, known: Collection[str]) -> dict[str, str]:
    """Return the parameters of a call.

    Args:
        request: The call.
        known: The names that the call takes.

    Raises:
        ParametersRefused: a parameter is unknown, empty, given twice, or not text in UTF-8.
    """
    # 1. Decode. A form's `+` means a blank to some programs and a plus to others: the two may be two people.
    try:
        text = request.scope["query_string"].decode("ascii")
        if "+" in text:
            raise ParametersRefused(
                "a + in a query string can mean a plus sign or a blank",
                remedy="Write %2B for a plus sign, %20 for a blank.",
            )
        pairs = parse_qsl(text, keep_blank_values=True, errors="strict", max_num_fields=_MOST_PARAMETERS)
    except ValueError:
        raise ParametersRefused(
            "the query string is not percent-encoded UTF-8, or has too many parts",
            remedy=f"Percent-encode every value as UTF-8, and give at most {_MOST_PARAMETERS} parameters.",
        ) from None
    found = dict(pairs)
    # 2. Refuse names that the call does not take.
    strange = [name for name in found if name not in known]
    if strange:
        raise _unknown(strange, known)
    # 3. Refuse what is given twice, or empty.
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


def _unknown(strange: Collection[str], known: Collection[str]) -> ParametersRefused:
    if not known:
        return ParametersRefused(
            "this call takes no parameters", remedy="Leave out everything after the question mark."
        )
    meant = [name for name in known if any(name.lower() == each.strip().lower() for each in strange)]
    remedy = (
        f"Write {' and '.join(meant)} exactly so, with the same upper and lower case."
        if meant
        else f"Leave out every parameter but: {', '.join(known)}."
    )
    return ParametersRefused(f"the call has a parameter that is not one of: {', '.join(known)}", remedy=remedy)


def documented(name: str, description: str, **schema: object) -> dict[str, object]:
    """Describe an optional parameter for the OpenAPI document."""
    shape = {"type": "string", "minLength": 1, **schema}
    return {"name": name, "in": "query", "required": False, "description": description, "schema": shape}
