"""Ids that a program has altered on their way to us: what they are is told before anything is done by them.

Two people may share such an id, and the true one finds nothing. One judgement serves every door: landing files, request
files, API, page and command line.
"""

import re

_ROUNDED = re.compile(r"\s*[+-]?\d(?:[.,]\d+)?[eE]\+\d{2,3}\s*", re.ASCII)
"""How spreadsheets write a number that is too long for a cell: `1.23457E+15`."""
_PLACEHOLDERS = frozenset({"undefined", "null", "none", "nil", "nan", "[object object]", "n/a"})
"""What programs write for a value that is not there."""
_UNFILLED = re.compile(r"#(n/a|ref!|name\?|value!|div/0!|null!|num!)|\{\{.*\}\}|\$\{.*\}|<%.*%>", re.ASCII | re.DOTALL)
"""A spreadsheet's error, and a place in a template that nothing was put into."""
_UUID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}", re.ASCII)
ROUNDED = "is a number that a spreadsheet has rounded; format the column as text and export it again"


def is_rounded(text: str) -> bool:
    """Tell whether an id is a number that a spreadsheet has rounded."""
    return _ROUNDED.fullmatch(text) is not None


def user_id_fault(text: str) -> str | None:
    """Return the code of what is wrong with a user id that something is asked for by; `None` when nothing is."""
    if is_rounded(text):
        return "rounded-id"
    word = text.strip().lower()
    return "placeholder-id" if word in _PLACEHOLDERS or _UNFILLED.fullmatch(word) else None


def task_id_fault(text: str) -> str | None:
    """Return the code of what is wrong with a task id that something is asked for by; `None` when nothing is."""
    fault = user_id_fault(text)
    if fault is not None:
        return fault
    return None if _UUID.fullmatch(text.strip().lower()) else "no-task-id"
