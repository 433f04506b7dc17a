"""A property that nothing says anything about is kept and reported; a result is kept word for word."""

import json
from datetime import UTC, datetime
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from implio_pipeline.formats.ad_shape import ad_shape, landing_line, result_shape
from implio_pipeline.formats.columns import RejectedItem
from implio_pipeline.formats.validate import AcceptedItems, accept_items

NOW = datetime(2026, 11, 28, tzinfo=UTC)


def _taken(*texts: str) -> tuple[AcceptedItems, list[RejectedItem]]:
    return accept_items([text.encode() for text in texts], arrived_at=NOW, batch_id="b")


def _back(items: AcceptedItems) -> list[dict[str, Any]]:
    rows = items.rows.to_pylist()
    return [json.loads(msgspec.json.encode(ad_shape(row) | {"result": result_shape(row)})) for row in rows]


VALUES = st.recursive(
    st.one_of(
        st.none(), st.booleans(), st.integers(), st.floats(allow_nan=False, allow_infinity=False), st.text(max_size=4)
    ),
    lambda below: st.one_of(st.lists(below, max_size=3), st.dictionaries(st.sampled_from("ab/~0"), below, max_size=3)),
    max_leaves=8,
)
NAMES = st.sampled_from(["condition", "a/b", "~", "~1", "0", "", "é", "x y", "content", "src"])
EXTRA = st.dictionaries(NAMES, VALUES, max_size=3)


@given(st.lists(EXTRA, min_size=6, max_size=6), VALUES)
def test_whatever_an_item_comes_with_comes_back_as_it_was_sent(extra: list[dict[str, Any]], more: Any) -> None:
    top, content, price, image, user, result = extra
    sent = top | {
        "id": "a",
        "content": content
        | {"title": "t", "price": price | {"amount": 1.5, "currency": "EUR"}}
        | {"images": [image | {"src": "s"}, {"src": "r"}]},
        "user": user | {"id": "ann"},
        "result": result | {"outcome": "refused", "feedback": [{"id": "1", "name": "n", "more": more}], "more": more},
    }

    items, rejected = _taken(json.dumps(sent))

    assert rejected == []
    assert _back(items) == [sent]
    again, refused = _taken(landing_line(items.rows.to_pylist()[0]).decode())
    assert (_back(again), refused) == ([sent], [])


def test_a_result_is_kept_to_the_character() -> None:
    result = (
        '{ "outcome":"refused", "score":1.50, "big":123456789012345678901234567890,"e":1E2,"n":null,"t":"\\u00e9" }'
    )

    for extra in ("", ',"unknown":1'):
        items, _ = _taken(f'{{"id":"a","content":{{}},"result":{result}{extra}}}')

        assert items.rows["result"].to_pylist() == [result]


def test_a_decision_that_came_later_is_told_instead_of_the_result_that_was_sent() -> None:
    filters = [{"id": "1", "name": "n", "vote": "refuse"}]
    items, _ = _taken(
        json.dumps({"id": "a", "content": {}, "result": {"outcome": "no decision", "matchingFilters": filters}})
    )
    (row,) = items.rows.to_pylist()

    shape = result_shape(row | {"outcome": "approved", "actor_id": "mia"})

    assert shape == {"outcome": "approved", "actorId": "mia", "matchingFilters": filters}


def test_unknown_properties_are_named_and_only_an_item_that_has_some_is() -> None:
    items, rejected = _taken(
        '{"id":"a","content":{"condition":"new","images":[{"src":"s","jane@mail.example":1}]},"x":{}}',
        '{"id":"b","content":{}}',
        '{"id":"c","content":{"title":5},"x":1}',
    )

    assert items.unknown == [["/content/condition", "/content/images/0/(a name of 17 characters)", "/x"], []]
    assert sorted(one["code"] for one in rejected[0].errors) == [0, 303], "what is wrong is told with what is unknown"
    assert rejected[0].original_ad == '{"id":"c","content":{"title":5},"x":1}'


@pytest.mark.parametrize(
    "unknown",
    ['"userId":"u-8"', '"user_id":8', '"extra":{"user":{"id":"u-8"}}', '"author":{"uid":["x","u-8"]}'],
)
def test_a_user_id_at_a_place_where_no_deletion_looks_is_refused_and_found_in_the_rejected_text(unknown: str) -> None:
    items, (rejected,) = _taken(f'{{"id":"a","content":{{}},"user":{{"id":"u-7"}},{unknown}}}')

    assert len(items) == 0
    assert 303 in [one["code"] for one in rejected.errors]
    assert {"u-7", "u-8", "8"} & {rejected.user_id, *rejected.other_ids} >= {"u-7"}
    assert {"u-8", "8"} & {rejected.user_id, *rejected.other_ids}


def test_the_items_own_user_id_at_another_place_too_is_no_reason_to_refuse_it() -> None:
    items, rejected = _taken('{"id":"a","content":{},"user":{"id":"u-8"},"userId":"u-8"}')

    assert (items.rows["user_id"].to_pylist(), rejected) == (["u-8"], [])
