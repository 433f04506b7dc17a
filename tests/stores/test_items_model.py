"""The item model: what is accepted, what is refused and how it is explained."""

import json
import re
from datetime import UTC, datetime, timedelta

import msgspec
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from support.depth import examples

from implio_pipeline.domain.ids import FileKind
from implio_pipeline.formats.columns import rejected_table, with_user_keys
from implio_pipeline.formats.faults import item_faults, item_schema
from implio_pipeline.formats.schema import arrow_schema
from implio_pipeline.formats.validate import _is_item, accept_items

ARRIVED = datetime(2026, 11, 23, 12, tzinfo=UTC)
BOTTOMLESS = 100_000
"""Levels that no Python decodes; newer ones decode some thousands."""
FULL = {
    "id": "ad-1",
    "content": {
        "title": "Bike",
        "body": "A red bike",
        "url": "https://x.example/1",
        "price": {"amount": 12.5, "currency": "EUR"},
        "type": {"id": "sell", "name": "For sale"},
        "category": {"id": "12", "name": "Bikes"},
        "images": [{"src": "https://x.example/1.jpg"}],
        "videos": [],
        "status": "new",
        "createdAt": "yesterday",
        "publishedAt": None,
        "languageExpected": "en",
        "customerSpecific": {"a": 1, "b": None, "c": True, "d": "x", "e": 1.5},
    },
    "user": {
        "id": "u-1",
        "name": "Jane",
        "agent": "curl",
        "phoneNumbers": ["+4670"],
        "emailAddresses": ["jane@mail.example"],
        "customerSpecific": {},
    },
    "location": {
        "city": "Lund",
        "postalCode": "1",
        "region": "S",
        "countryCode": "SE",
        "ipAddress": "10.0.0.1",
        "customerSpecific": {"k": "v"},
    },
    "customerSpecific": {"top": 1},
    "result": {
        "actorId": "mod@mail.example",
        "outcome": "refused",
        "reasons": [{"name": "spam"}],
        "feedback": [{"id": "f1"}, {"id": "f2", "name": "Fraud"}],
        "matchingFilters": ["plain", {"name": "named"}, {"id": "only-id"}, {"x": [1]}, 7],
    },
    "submittedAt": "2026-11-20T10:00:00.123456+01:00",
}

UNKNOWN = 303


def accepted(*values, arrived_at=ARRIVED):
    return accept_items([json.dumps(value).encode() for value in values], arrived_at=arrived_at, batch_id="batch")


def changed(path, value):
    item = json.loads(json.dumps(FULL))
    into = item
    for key in path[:-1]:
        into = into[key]
    into[path[-1]] = value
    return item


def test_a_full_item_reaches_every_column():
    items, rejected = accepted(FULL)

    row = items.rows.to_pylist()[0]

    assert not rejected
    assert items.rows.schema == arrow_schema(FileKind.ITEMS)
    assert row["submitted_at"] == datetime(2026, 11, 20, 9, 0, 0, 123456, tzinfo=UTC)
    assert row["feedback"] == ["f1", "Fraud"]
    assert row["matching_filters"] == ["plain", "named", "only-id", '{"x":[1]}', "7"]
    assert (row["images"], row["videos"], row["reasons"]) == (["https://x.example/1.jpg"], [], ["spam"])
    assert json.loads(row["content_custom"]) == FULL["content"]["customerSpecific"]
    assert row["published_at"] is None
    assert {name for name, value in row.items() if value is None} == {"published_at", "user_key", "unknown_properties"}
    assert json.loads(row["result"]) == FULL["result"]


def test_absent_lists_are_null_and_empty_lists_are_empty():
    items, _ = accepted({"id": "1", "content": {"images": []}, "user": {"phoneNumbers": []}})

    row = items.rows.to_pylist()[0]

    assert (row["images"], row["videos"], row["phone_numbers"], row["email_addresses"]) == ([], None, [], None)


def test_no_items_make_an_empty_table_of_the_right_schema():
    items, _ = accept_items([], arrived_at=ARRIVED, batch_id="b")

    assert items.rows.schema == arrow_schema(FileKind.ITEMS)
    assert with_user_keys(rejected_table([], positions=[]), FileKind.REJECTED, str.encode).schema == arrow_schema(
        FileKind.REJECTED
    )


def test_each_distinct_user_is_keyed_once():
    items, _ = accepted(*[changed(["user", "id"], f"u{index % 2}") for index in range(6)], {"id": "x", "content": {}})
    asked = []

    def user_key(user_id):
        asked.append(user_id)
        return user_id.encode().ljust(16, b"\0")

    keys = with_user_keys(items.rows, FileKind.ITEMS, user_key).column("user_key").to_pylist()

    assert asked == ["u0", "u1"]
    assert keys == [*[b"u0".ljust(16, b"\0"), b"u1".ljust(16, b"\0")] * 3, None]


REFUSED = {
    "an id is missing": ({"content": {}}, 302, ""),
    "an id is blank": (changed(["id"], " \t"), 202, "/id"),
    "an id is empty": (changed(["id"], ""), 200, "/id"),
    "an id is too long": (changed(["id"], "x" * 1025), 201, "/id"),
    "an id was rounded by a spreadsheet": (changed(["id"], "7.2E+09"), 500, "/id"),
    "a user id was rounded by a spreadsheet": (changed(["user", "id"], "1,23457E+15"), 500, "/user/id"),
    "an id is a number": (changed(["id"], 7), 0, "/id"),
    "a user id has a NUL": (changed(["user", "id"], "a\0b"), 202, "/user/id"),
    "content is missing": ({"id": "1"}, 302, ""),
    "content is null": ({"id": "1", "content": None}, 0, "/content"),
    "a user id is where none is looked for": (changed(["content", "userId"], "u-8"), 303, "/content"),
    "a title is too long": (changed(["content", "title"], "x" * 10_001), 201, "/content/title"),
    "an amount has no currency": (changed(["content", "price"], {"amount": 1}), 500, "/content/price"),
    "an amount is too large": (changed(["content", "price", "amount"], 10**400), 500, "/content/price/amount"),
    "an amount is a text": (changed(["content", "price", "amount"], "12"), 0, "/content/price/amount"),
    "a currency is not one": (changed(["content", "price", "currency"], "eur"), 1, "/content/price/currency"),
    "a country is not one": (changed(["location", "countryCode"], "Sweden"), 1, "/location/countryCode"),
    "a language is not one": (changed(["content", "languageExpected"], "eng"), 1, "/content/languageExpected"),
    "a type has no name": (changed(["content", "type"], {"id": "1"}), 302, "/content/type"),
    "an outcome is not one": (changed(["result", "outcome"], "maybe"), 1, "/result/outcome"),
    "a customer's value is a list": (changed(["customerSpecific", "k"], [1]), 0, "/customerSpecific/k"),
    "feedback says nothing": (changed(["result", "feedback"], [{}]), 500, "/result/feedback/0"),
    "it was submitted without a zone": (changed(["submittedAt"], "2026-01-01T00:00:00"), 500, "/submittedAt"),
    "it was submitted in the future": (changed(["submittedAt"], "2026-11-23T12:00:01Z"), 500, "/submittedAt"),
    "it was submitted in 1969": (changed(["submittedAt"], "1970-01-01T00:00:00+01:00"), 500, "/submittedAt"),
    "it is no object": ([1], 0, ""),
}


@pytest.mark.parametrize(("value", "code", "path"), REFUSED.values(), ids=REFUSED)
def test_an_item_is_refused_when(value, code, path):
    items, [rejected] = accepted(value)

    assert not len(items)
    assert (code, path) in [(one["code"], one["dataPath"]) for one in rejected.errors]
    assert rejected.reason == "invalid-item"
    assert set(rejected.errors[0]) == {"message", "params", "code", "dataPath", "schemaPath"}


def test_all_errors_are_listed():
    value = {"content": {"price": {"amount": 1}, "title": 5, "nope": 1}, "extra": 1, "submittedAt": "soon"}

    _, [rejected] = accepted(value)

    assert sorted(one["code"] for one in rejected.errors) == [0, 302, 303, 303, 500, 500]


def test_what_is_no_json_or_nested_too_deep_or_too_large_is_refused_with_its_own_reason():
    deep = b'{"id":"1","content":{},"result":{"matchingFilters":' + b"[" * BOTTOMLESS + b"]" * BOTTOMLESS + b"}}"
    less_deep = b'{"id":"1","content":{},"result":{"matchingFilters":' + b"[" * 40 + b"]" * 40 + b"}}"
    raws = [b"{", b'{"id":"\xff","content":{}}', deep, less_deep, b'{"id":"' + b"x" * 2000 + b'"}']

    _, rejected = accept_items(raws[:4], arrived_at=ARRIVED, batch_id="b")
    _, large = accept_items(raws[4:], arrived_at=ARRIVED, batch_id="b", max_item_bytes=1000)

    assert [one.reason for one in (*rejected, *large)] == [
        "not-json",
        "not-json",
        "too-deep",
        "invalid-item",
        "too-large",
    ]
    assert rejected[1].original_ad == '{"id":"\ufffd","content":{}}'


def test_a_repeated_key_rejects_its_item_also_in_a_landing_file():
    texts = [b'{"id":"a","id":"b","content":{}}', b'{"id":"c","content":{}}']

    items, rejected = accept_items(texts, arrived_at=ARRIVED, batch_id="b")

    assert items.rows["item_id"].to_pylist() == ["c"]
    assert [(one.position, one.reason) for one in rejected] == [(0, "repeated-key")]


CANARY = "zqzq-canary"
scalars = (
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=5)
)
scalars |= st.sampled_from(["EUR", "SE", "en", "approved", "2026-01-01T00:00:00Z", "2030-01-01T00:00:00Z", CANARY, " "])


def values_for(node):
    """Return values that mostly fit a part of the schema, with some that do not."""
    if "anyOf" in node:
        right = st.one_of([values_for(one) for one in node["anyOf"]])
    elif "enum" in node:
        right = st.sampled_from(node["enum"])
    elif node.get("type") == "object" and node.get("properties"):
        names = node["properties"]
        right = st.fixed_dictionaries(
            {name: values_for(names[name]) for name in node["required"]},
            optional={name: values_for(child) for name, child in names.items() if name not in node["required"]},
        )
    elif node.get("type") == "object":
        right = st.dictionaries(st.text(max_size=3), values_for(node["additionalProperties"]), max_size=2)
    elif node.get("type") == "array":
        right = st.lists(values_for(node.get("items", {})), max_size=2)
    elif node.get("type") == "number":
        right = st.integers() | st.floats(allow_nan=False, allow_infinity=False)
    elif node.get("format"):
        right = st.datetimes(timezones=st.just(UTC), max_value=datetime(2027, 1, 1)).map(datetime.isoformat)  # noqa: DTZ001
    elif node.get("type") == "string":
        right = st.text(min_size=node.get("minLength", 0), max_size=9)
    else:
        right = scalars
    return st.integers(0, 40).flatmap(lambda dice: scalars if dice == 0 else right)


@settings(max_examples=examples(300), deadline=None)
@given(st.deferred(lambda: values_for(item_schema())), st.booleans())
def test_the_fast_path_accepts_exactly_what_the_slow_path_finds_no_error_in(value, has_extra):
    if has_extra and isinstance(value, dict):
        value = {**value, "extra": 1}
    raw = msgspec.json.encode(value)

    strict = _is_item(raw, claimed_at=ARRIVED)
    fast, _ = accept_items([raw], arrived_at=ARRIVED, batch_id="b")
    slow = item_faults(msgspec.json.decode(raw), claimed_at=ARRIVED)

    assert strict == (slow == [])
    assert len(fast) == ([one for one in slow if one["code"] != UNKNOWN] == [])


@settings(max_examples=examples(100), deadline=None)
@given(
    st.sampled_from(sorted(REFUSED)), st.sampled_from([["id"], ["content", "body"], ["user", "name"], ["user", "id"]])
)
def test_no_error_shows_a_value_of_the_item(name, path):
    value = REFUSED[name][0]
    if isinstance(value, dict):
        value = json.loads(json.dumps(value))
        value.setdefault("user", {})
        value["user"]["jane@mail.example"] = CANARY
        value["content"] = {**(value.get("content") or {}), "title": [CANARY], "status": {"a": CANARY}}
        value["location"] = {"countryCode": CANARY, "city": 5}
        if path[0] == "id":
            value["id"] = CANARY * 1000

    _, rejected = accepted(value)

    text = json.dumps([one.errors for one in rejected]) + repr(rejected)
    assert CANARY not in text
    assert not re.search(r"jane|mail\.example", json.dumps([one.errors for one in rejected]))


def test_errors_of_one_item_are_bounded():
    _, [rejected] = accepted(changed(["user", "phoneNumbers"], [1] * 5000))

    assert len(rejected.errors) == 100


def test_a_text_nested_beyond_what_can_be_decoded_or_described_is_too_deep():
    def called_from(height, raw):
        if height:
            return called_from(height - 1, raw)
        return accept_items([raw], arrived_at=ARRIVED, batch_id="b")

    reasons = set()
    for depth in (*range(200, 960, 7), BOTTOMLESS):
        _, (rejected,) = called_from(50, b'{"id":"x","content":{"title":%s1%s}}' % (b"[" * depth, b"]" * depth))
        reasons.add(rejected.reason)

    assert reasons == {"invalid-item", "too-deep"}


@given(
    st.datetimes(min_value=datetime(1971, 1, 1), max_value=datetime(2026, 11, 23)),  # noqa: DTZ001
    st.text("0123456789", min_size=1, max_size=12),
    st.sampled_from(["Z", "+00:00", "-00:00"]),
    st.sampled_from([str, lambda text: text.replace(".", "\\u002e"), lambda text: f"{text[:-1]}\\u005a"]),
)
@settings(deadline=None)
def test_an_items_instant_is_cut_to_the_microsecond_and_stays_in_its_second(naive, digits, zone, spelt):
    # given an instant with any number of decimals, its text written plain or with an escape
    second = naive.replace(microsecond=0, tzinfo=UTC)
    text = spelt(f"{naive.replace(microsecond=0).isoformat()}.{digits}{zone}")
    if text.endswith("u005a"):
        assume(zone == "Z")
    raw = f'{{"id": "x", "content": {{"title": "t"}}, "submittedAt": "{text}"}}'.encode()

    # when the item is taken in, alone and beside one that sends its batch the slow way
    taken = [
        accept_items(raws, arrived_at=ARRIVED, batch_id="b")[0].rows["submitted_at"][0].as_py()
        for raws in ([raw], [raw, b"no item"], [raw[:-1] + b', "strange": 1}'])
    ]

    # then its instant is never later than it was written
    assert taken == [second + timedelta(microseconds=int(digits[:6].ljust(6, "0")))] * 3


def test_an_item_of_the_last_moment_of_a_day_stays_in_its_day():
    raw = b'{"id": "x", "content": {"title": "t"}, "submittedAt": "2026-01-31T23:59:59.9999999Z"}'

    (items, _), at = accept_items([raw], arrived_at=ARRIVED, batch_id="b"), datetime(2026, 1, 31, tzinfo=UTC)

    assert items.rows["submitted_at"][0].as_py() == at + timedelta(days=1, microseconds=-1)
