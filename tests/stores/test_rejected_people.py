"""A rejected text keeps the ids of people in every place a sender may have put them."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from implio_pipeline.formats.people import MOST_IDS, MOST_WORDS, user_id_candidates

AT_THEIR_PLACE = {
    "a text": ('{"user":{"id":"ann"},"x":1}', ("ann",)),
    "white space around it": ('{"user":{"id":" ann "}}', ("ann",)),
    "a whole number": ('{"user":{"id":9007199254740993}}', ("9007199254740993",)),
    "a negative number": ('{"user":{"id":-7}}', ("-7",)),
    "a number beyond 64 bits": (
        '{"user":{"id":340282366920938463463374607431768211456}}',
        ("340282366920938463463374607431768211456",),
    ),
    "a number with an exponent": ('{"user":{"id":1e15}}', ("1e15", "1000000000000000")),
    "a number with a point": ('{"user":{"id":1000000000000000.0}}', ("1000000000000000.0", "1000000000000000")),
    "a number that is not whole": ('{"user":{"id":1.5}}', ("1.5",)),
    "an id that is an object": (
        '{"user":{"id":{"$oid":"ann","mail":"ann@mail.example"}}}',
        ("ann", "ann@mail.example"),
    ),
    "an id that is a list": ('{"user":{"id":["ann",[7]]}}', ("ann", "7")),
    "beside the user": ('{"userId":"ann","user_id":"ann","User-ID":"bob"}', ("bob", "ann")),
    "a flat name": ('{"user.id":"ann"}', ("ann",)),
    "a user that is the id": ('{"user":"ann"}', ("ann",)),
    "several users": ('{"user":[{"id":"ann","name":"Ann"},"bob"]}', ("ann", "bob")),
    "one object too deep": ('{"ad":{"content":{},"user":{"id":"ann"}}}', ("ann",)),
    "one list too many": ('[{"user":{"id":"ann"}}]', ("ann",)),
    "a key given twice": ('{"user":{"id":"ann"},"user":{"id":"bob"}}', ("bob", "ann")),
    "cut short behind a nested object": ('{"id":"1","user":{"profile":{"a":1},"id":"ann"', ("ann",)),
    "cut short within the id": ('{"user":{"id":"ann', ("ann",)),
    "cut short behind an escape": ('{"user":{"name":"x","id":"u\\"1","na', ('u"1',)),
    "a number in a broken text": ('{"user":{"id":1e3,,', ("1e3", "1000")),
    "quotes of another language": ("{'id': 'n-1', 'user': {'id': 'ann of york', 'name': 'x'}}", ("ann of york",)),
    "encoded twice": ('{"user":{"id":"{\\"id\\": \\"ann\\"}"}}', ('{"id": "ann"}', "ann")),
    "names and values without quotes": ("id=5 user.id=ann of york title=x", ("ann", "ann of york")),
    "a backslash without quotes": ("user.id=x\\43y title=x", ("x\\43y",)),
    "a quote within, without quotes": ('user.id=q"5"q title=x', ('q"5"q',)),
    "no quotes at all": ("{userId: ann, title: x", ("ann",)),
}


@pytest.mark.parametrize(("text", "ids"), AT_THEIR_PLACE.values(), ids=AT_THEIR_PLACE)
def test_the_ids_of_a_rejected_text_are_read_wherever_they_were_put(text, ids):
    found = user_id_candidates(text)

    assert (set(found.plain), found.others) == (set(ids), ())


WITHOUT_A_PLACE = {
    "a row of shifted cells": ('["1","Bike","it, is red","ann"]', "ann"),
    "another word for the user": ('{"id":"1","seller":{"number":12.0}}', "12"),
    "a text that is no JSON": ("1;Bike;ann;red", "ann"),
    "a cell of several words": ("1,Bike,red,ann of york", "ann of york"),
    "a cell with quotes in it": ('1,Bike,red,q"5"q', 'q"5"q'),
    "the quotes of another language": ("{'seller': {'number': 'ann of york'}}", "ann of york"),
    "a text within quotes": ('x "ann of york" y', "ann of york"),
}


@pytest.mark.parametrize(("text", "own"), WITHOUT_A_PLACE.values(), ids=WITHOUT_A_PLACE)
def test_of_a_text_that_names_nobody_plainly_every_word_may_be_an_id(text, own):
    found = user_id_candidates(text)

    assert found.plain == ()
    assert own in found.others


def test_a_shifted_row_is_anybodys_even_where_a_cell_looks_like_a_user():
    assert user_id_candidates('["userId", "ann"]', is_row=True) == ((), ("userId", "ann"))


def test_what_is_too_much_to_be_kept_or_was_cut_off_leads_to_nobody():
    assert user_id_candidates(json.dumps([f"w{number}" for number in range(MOST_WORDS + 1)])) == ((), ())
    assert user_id_candidates(json.dumps({"userId": [f"w{number}" for number in range(MOST_IDS + 1)]})).plain == ()
    assert user_id_candidates('{"title": "ann', is_cut=True) == ((), ())
    assert user_id_candidates('{"user":{"id":"ann"},"title": "', is_cut=True) == (("ann",), ())


values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=6),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=12,
)
ids = st.text(min_size=1, max_size=9).filter(lambda text: text.strip() and "\0" not in text)


@given(values, ids, st.sampled_from(["userId", "user_id", "USER ID", "user"]), st.integers(0, 3))
def test_an_id_at_its_place_is_found_at_any_depth_whatever_stands_around_it(around, own, name, depth):
    value = {name: {"id": own} if name == "user" else own, "zz": around}
    for _ in range(depth):
        value = {"ad": [around, value]}

    assert own.strip() in user_id_candidates(json.dumps(value)).plain


plain_ids = st.text(
    st.characters(min_codepoint=33, exclude_categories=["Z", "C"], exclude_characters="\"'\\,;:={}[]"),
    min_size=1,
    max_size=9,
)


@given(values, plain_ids, st.sampled_from([repr, json.dumps]), st.data())
def test_an_id_is_found_in_a_text_that_is_cut_anywhere_behind_it_or_quoted_as_in_another_language(
    around, own, write, data
):
    text = write({"zz": around, "user": {"id": own, "tail": "x"}})
    end = data.draw(st.integers(text.rindex("tail"), len(text)))
    found = user_id_candidates(text[:end])

    assert own in (*found.plain, *found.others)


@given(st.text(max_size=60) | st.binary(max_size=60).map(lambda raw: raw.decode("utf-8", "replace")))
def test_any_text_at_all_is_answered_within_bounds(text):
    found = user_id_candidates(text)

    assert len(found.plain) <= MOST_IDS
    assert len(found.others) <= MOST_WORDS
