"""Malformed JSON, CSV and gzip files, made by hypothesis: each is ingested in part or whole, or refused with a code.

Short runs are in the suite; `python -m reliability fuzz` makes the long ones. Hypothesis shrinks what it finds.
"""

import gzip
import json
import time
from typing import Any

from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from implio_pipeline.domain.errors import LandingInvalid
from implio_pipeline.domain.request_fields import RequestFieldRefused
from implio_pipeline.formats.pieces import SUFFIXES
from implio_pipeline.formats.request_files import READERS
from reliability.hostile import HostileRow, read_landing, read_request

_NAMES = st.sampled_from(
    ["id", "content", "title", "body", "user", "emailAddresses", "price", "amount", "team", "type", "userId", "taskId",
     "from", "to", "confirm", "reason", "submittedAt", "result", "outcome", "customerSpecific", "__proto__", "", "\0"]
)  # fmt: skip
_TEXTS = st.text(max_size=8) | st.sampled_from(
    ["\0", "\ud800", "\udfff\ud800", "=cmd()", "../../x", "\u202e", "\ufeff", "a" * 5_000]
)
_NUMBERS = (
    st.integers() | st.floats() | st.sampled_from([10**400, -(10**400), 2**63, 2**64, 5e-324, 1.7976931348623157e308])
)
_LEAVES = st.none() | st.booleans() | _NUMBERS | _TEXTS
_VALUES = st.recursive(
    _LEAVES, lambda inner: st.lists(inner, max_size=4) | st.lists(st.tuples(_NAMES, inner), max_size=5), max_leaves=20
)


def _text(value: Any) -> str:
    """Return a value as JSON. A list of pairs is an object that may have a key twice. Surrogates are escaped."""
    if isinstance(value, list) and value and all(isinstance(each, tuple) for each in value):
        return "{" + ",".join(f"{json.dumps(name)}:{_text(inner)}" for name, inner in value) + "}"
    if isinstance(value, list):
        return "[" + ",".join(map(_text, value)) + "]"
    return json.dumps(value)


def _nested(pair: tuple[str, int]) -> str:
    value, depth = pair
    return "[" * depth + value + "]" * depth


_JSON = _VALUES.map(_text) | st.tuples(_VALUES.map(_text), st.integers(1, 3_000)).map(_nested)
_CELLS = _TEXTS.map(lambda text: text.replace("\ud800", "").replace("\udfff", ""))
_SHEETS = st.lists(st.lists(_CELLS, max_size=6), max_size=6).map(
    lambda rows: "\n".join(["id,content.title,user.id,team,type", *(",".join(row) for row in rows)])
)
_BYTES = st.one_of(
    st.binary(max_size=200),
    _JSON.map(str.encode),
    st.lists(_JSON, max_size=5).map(lambda values: ("[" + ",".join(values) + "]").encode()),
    st.lists(_JSON, max_size=5).map(lambda values: "\n".join(values).encode()),
    _SHEETS.map(lambda text: text.encode("utf-8", "surrogatepass")),
)


@st.composite
def hostile_files(draw: st.DrawFn, *, suffixes: tuple[str, ...]) -> tuple[str, bytes]:
    """Return a suffix and bytes for it: well-formed but strange, truncated or changed; perhaps compressed."""
    suffix, content = draw(st.sampled_from(suffixes)), bytearray(draw(_BYTES))
    for _ in range(draw(st.integers(0, 2))):
        at = draw(st.integers(0, len(content)))
        content[at : at + draw(st.integers(0, 3))] = draw(st.binary(max_size=3))
    if suffix.endswith(".gz") and draw(st.integers(0, 9)):
        return suffix, gzip.compress(bytes(content), mtime=0)
    return suffix, bytes(content)


landing_files = hostile_files(suffixes=tuple(SUFFIXES))
request_files = hostile_files(suffixes=tuple(READERS))


def check_landing(file: tuple[str, bytes]) -> None:
    suffix, content = file
    try:
        read_landing(content, suffix)
    except LandingInvalid:
        return


def check_request(file: tuple[str, bytes]) -> None:
    suffix, content = file
    try:
        read_request(content, suffix)
    except RequestFieldRefused:
        return


def fuzzed(*, examples: int) -> list[HostileRow]:
    """Run both many times, and return what failed."""
    return [
        _run("landing readers, files made by hypothesis", check_landing, landing_files, examples),
        _run("request readers, files made by hypothesis", check_request, request_files, examples),
    ]


def _run(what: str, check: Any, files: Any, examples: int) -> HostileRow:
    row = HostileRow(what=what)

    @settings(
        max_examples=examples,
        deadline=None,
        database=None,
        phases=[Phase.generate, Phase.shrink],
        suppress_health_check=list(HealthCheck),
    )
    @given(files)
    def run(file: tuple[str, bytes]) -> None:
        began = time.monotonic()
        row.runs += 1
        check(file)
        row.slowest_seconds = max(row.slowest_seconds, time.monotonic() - began)

    try:
        run()
    except Exception as error:  # noqa: BLE001  # any other exception is a breach
        row.breaches.append(f"{type(error).__name__}: {error}; {getattr(error, '__notes__', '')}")
    return row
