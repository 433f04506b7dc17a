"""Find the user ids in a rejected text, so that a deletion of the user covers the text too.

A rejected text is not an item, so no schema says where its user id is. Ids are searched in this order:

1. at places that are meant for a user id, at any depth: `user.id`, `userId`, `user_id` and similar names;
2. if there are none, or if the cells of a row are shifted: every short scalar of the text, since each may be an id.

A number counts in the form in which it is written and as the integer it means: 1000000000000000 finds `1e15` too.
"""

import json
import re
from collections.abc import Iterable, Iterator
from decimal import Decimal, InvalidOperation
from typing import NamedTuple

MOST_IDS = 64
"""Ids at places meant for them. A text with more counts as a text without ids."""
MOST_WORDS = 256
"""Scalars of a text without an id, or of a shifted row. Each costs 2 µs and 33 bytes (measured)."""
_LONGEST_ID = 1024
_MOST_DIGITS = 64
_USER_ID = frozenset({"userid", "useridentifier", "uid"})
_ID = _USER_ID | {"id", "identifier"}
_NOT_LETTERS = re.compile(r"[^a-z]")
_QUOTED = r""""((?:[^"\\]|\\.){1,1024})"?|'((?:[^'\\]|\\.){1,1024})'?"""
_PAIR = re.compile(rf"""["']?([A-Za-z][A-Za-z_.\- ]{{0,30}})["']?\s*[:=]\s*(?:{_QUOTED})?""", re.DOTALL)
"""A name and its quoted value, in a text that is not valid JSON or was cut."""
_BARE = re.compile(r"[^\s,;{}\[\]]{1,1024}")
_BARE_TO_NEXT_NAME = re.compile(r"[^,;{}\[\]\n]{1,1024}?(?=\s+[A-Za-z_.]{1,31}\s*[:=]|[,;{}\[\]\n]|\Z)")
"""Values without quotes: up to the next blank, and up to the next name."""
_WORD = re.compile(rf"""{_QUOTED}|([^\s"\\,;:={{}}\[\]]{{1,1024}})""", re.DOTALL)
_TOKEN = re.compile(r"[^\s,;:={}\[\]]{1,1024}")
_CELL = re.compile(r"[^,;\t|]{1,1024}")
_USER_NAME = re.compile(r"""["']user["']""", re.IGNORECASE)
_QUOTES = " \t\r\n\"'"
_ESCAPE = re.compile(r"\\(?:u[0-9a-fA-F]{4}|.)", re.DOTALL)


class _Candidates(NamedTuple):
    """The distinct user ids that a rejected text may contain."""

    plain: tuple[str, ...]
    """From places that are meant for user ids."""
    others: tuple[str, ...]
    """Every short scalar, if no place is meant for ids. Empty if there are too many."""


class _Number(str):
    """A JSON number in the form in which it is written."""

    __slots__ = ()


def user_id_candidates(text: str, *, is_row: bool = False, is_cut: bool = False) -> _Candidates:
    """Return the user ids that a rejected text may contain.

    Args:
        text: The text that is kept of the rejected item.
        is_row: The text is a JSON array of cells that are not below their column names.
        is_cut: Only the beginning of the text is kept, so its id may be missing.
    """
    try:
        value = _decoded(text)
    except (ValueError, RecursionError):
        named, words = _pairs_in(text), _words_in(text)
    else:
        named, words = iter(()) if is_row else _named(value), _scalars(value)
    plain = _distinct(named, most=MOST_IDS)
    return _Candidates(plain, () if plain or is_cut else _distinct(words, most=MOST_WORDS))


def _named(value: object) -> Iterator[str]:
    """Yield the scalars at places meant for a user id. Objects are tuples of pairs."""
    stack = [value]
    while stack:
        node = stack.pop()
        for name, child in _pairs(node):
            key = _plain_name(name)
            if key in _USER_ID:
                yield from _scalars(child)
            elif key == "user":
                for user in child if isinstance(child, list) else [child]:
                    ids = [one for below, one in _pairs(user) if _plain_name(below) in _ID]
                    yield from _scalars(ids if _pairs(user) else user)
            stack.append(child)
        if isinstance(node, list):
            stack.extend(node)


def _scalars(value: object) -> Iterator[str]:
    """Yield every text and every number in a value, numbers in each of their forms."""
    stack = [value]
    while stack:
        node = stack.pop()
        if isinstance(node, _Number):
            yield from _forms(node)
        elif isinstance(node, str):
            yield node
            stack.extend(_within(node))
        elif isinstance(node, list):
            stack.extend(reversed(node))
        else:
            stack.extend(child for _, child in reversed(_pairs(node)))


def _within(text: str) -> list[object]:
    """Return the value of a text that is itself JSON: some senders encode twice."""
    if not text.lstrip().startswith(("{", "[", '"')):
        return []
    try:
        return [_decoded(text)]
    except (ValueError, RecursionError):
        return []


def _decoded(text: str) -> object:
    value: object = json.loads(text, parse_int=_Number, parse_float=_Number, object_pairs_hook=tuple)
    return value


def _pairs(node: object) -> tuple[tuple[str, object], ...]:
    return node if isinstance(node, tuple) else ()


def _pairs_in(text: str) -> Iterator[str]:
    """Yield the values of names meant for a user id in a broken text. After `user`, `id` is such a name too."""
    user = _USER_NAME.search(text)
    for found in _PAIR.finditer(text):
        name = _plain_name(found[1])
        if name in _USER_ID or name == "user" or (name == "id" and user and user.start() < found.start()):
            quoted = found[2] or found[3]
            if quoted:
                yield from _forms(_unescaped(quoted))
            for bare in (_BARE, _BARE_TO_NEXT_NAME) if not quoted else ():
                if value := bare.match(text, found.end()):
                    yield from _forms(value[0].strip(_QUOTES))


def _words_in(text: str) -> Iterator[str]:
    """Yield everything that may be a word: quoted, between blanks and punctuation, or a cell between separators."""
    for found in _WORD.finditer(text):
        quoted = found[1] or found[2]
        yield from _forms(_unescaped(quoted) if quoted else found[3])
    for pattern in (_TOKEN, _CELL):
        for found in pattern.finditer(text):
            yield from _forms(found[0].strip(_QUOTES))


def _forms(written: str) -> Iterator[str]:
    """Yield a number as it is written and as the integer it means. Yield any other text unchanged."""
    yield str(written)
    if not written[:1].isdecimal() and written[:1] not in "+-":
        return
    try:
        number = Decimal(written)
        if number.is_finite() and number.adjusted() < _MOST_DIGITS and number == number.to_integral_value():
            yield str(int(number))
    except InvalidOperation:
        return


def _distinct(ids: Iterable[str], *, most: int) -> tuple[str, ...]:
    """Return the distinct texts that could be ids, or none of them if there are more than `most`."""
    found: dict[str, None] = {}
    for one in ids:
        if one.strip() and len(one) <= _LONGEST_ID and "\0" not in one and _is_text(one):
            found[one.strip()] = None
            if len(found) > most:
                return ()
    return tuple(found)


def _is_text(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _plain_name(name: str) -> str:
    return _NOT_LETTERS.sub("", name.lower())


def _unescaped(text: str) -> str:
    """Return the value of a JSON string, as far as the text is one."""
    try:
        return str(json.loads(f'"{text}"', strict=False))
    except ValueError:
        return _ESCAPE.sub(lambda found: found[0][1:], text)
