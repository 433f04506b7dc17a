"""A key that is there twice is found cheaply, and as surely as by a parse of its own."""

import json
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from implio_pipeline.formats import repeated_keys
from implio_pipeline.formats.repeated_keys import _has_repeated_key, has_repeated_key
from implio_pipeline.formats.validate import accept_items

NOW = datetime(2026, 11, 28, tzinfo=UTC)
BLANKS = st.sampled_from(["", " ", "\n", "\t "])
CHARACTERS = st.sampled_from(
    ["a", ":", "::", "é", "\\\\", '\\"', "\\u003a", "\\u003A", "\\u0061", "\\ud83d\\ude00", "{", ","]
)
WORDS = st.lists(CHARACTERS, max_size=4).map(lambda parts: f'"{"".join(parts)}"')
NAMES = st.one_of(WORDS, st.sampled_from(['"id"', '"\\u0069d"', '"user"', '"content"', '"a"']))
SCALARS = st.one_of(WORDS, st.sampled_from(["null", "true", "1", "-0.0", "1e400", "1" * 30, "NaN", "1E5", "2.50"]))


def _objects(values: st.SearchStrategy[str], names: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    pair = st.tuples(BLANKS, names, BLANKS, values).map(lambda each: f"{each[0]}{each[1]}{each[2]}:{each[0]}{each[3]}")
    return st.lists(pair, max_size=4).map(lambda pairs: f"{{{','.join(pairs)}}}")


VALUES = st.recursive(
    SCALARS,
    lambda below: st.one_of(
        st.lists(below, max_size=3).map(lambda all_: f"[{','.join(all_)}]"), _objects(below, NAMES)
    ),
)
BROKEN = st.tuples(VALUES, st.sampled_from(["", "}", ":", "\\", '"'])).map("".join)


@given(st.one_of(VALUES, BROKEN))
@example('{"a":1,"a":"\\u003a"}')
@example('{"a:":1,"a\\u003a":2}')
@example('{"a":{"b":1,"b":2},"c":"\\\\u003a"}')
def test_counting_colons_finds_what_a_parse_of_its_own_finds(text: str) -> None:
    assert has_repeated_key(text.encode()) == _has_repeated_key(text.encode())


TEXTS = st.one_of(WORDS, st.just("null"))
ZONES = ["Z", "+00:00", "-0500", "+05:30", "z"]
PARTS: dict[str, st.SearchStrategy[str]] = {
    "id": st.sampled_from(['"a"', '"a:b"', '"a\\u003ab"']),
    "content": _objects(TEXTS, st.sampled_from(['"title"', '"body"', '"\\u0062ody"'])),
    "user": _objects(st.sampled_from(['"ann"', '"bob"', "null"]), st.sampled_from(['"id"', '"name"', '"\\u0069d"'])),
    "customerSpecific": _objects(SCALARS, NAMES),
    "submittedAt": st.sampled_from([f'"2021-05-04T12:31:18{zone}"' for zone in ZONES]),
    "result": st.sampled_from(['{"matchingFilters":[{"a":1,"a":2}]}', '{"matchingFilters":[{"a":":"}]}', "null"]),
}
MEMBERS = st.one_of(*(value.map(lambda text, name=name: f'"{name}":{text}') for name, value in PARTS.items()))
ITEMS = st.lists(MEMBERS, max_size=5).map(
    lambda more: f'{{"id":"x","content":{{}}{"".join("," + one for one in more)}}}'
)


@given(st.lists(ITEMS, min_size=1, max_size=4))
@example(['{"id":"x","content":{},"submittedAt":"2021-05-04T12:31:18Z","submittedAt":"2021-05-04T12:31:18-0500"}'])
def test_items_with_a_key_twice_are_rejected_whatever_stands_beside_them(texts: list[str]) -> None:
    raws = [text.encode() for text in texts]

    accepted, rejected = accept_items(raws, arrived_at=NOW, batch_id="b")

    refused = {one.position for one in rejected if one.reason == "repeated-key"}
    assert refused == {index for index, raw in enumerate(raws) if _has_repeated_key(raw)}
    assert len(accepted) + len(rejected) == len(raws)


def test_common_items_are_not_parsed_a_second_time(monkeypatch: pytest.MonkeyPatch) -> None:
    def parsed_again(_: Any) -> bool:
        raise AssertionError("counting was not enough")

    monkeypatch.setattr(repeated_keys, "_has_repeated_key", parsed_again)
    monkeypatch.setattr("implio_pipeline.formats.validate.has_repeated_key", parsed_again)
    item = {"id": "a:1", "content": {"url": "https://x.example"}, "submittedAt": "2021-05-04T12:31:18Z"}

    accepted, _ = accept_items([json.dumps(item).encode()] * 3, arrived_at=NOW, batch_id="b")

    assert len(accepted) == 3
