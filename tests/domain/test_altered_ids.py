"""An id that a program has altered on its way is told for what it is, and a true one is let alone."""

import uuid

import pytest
from hypothesis import given
from hypothesis import strategies as st

from implio_pipeline.domain.ids import is_rounded, task_id_fault, user_id_fault

ROUNDED = ["1.23457E+15", "1,23457E+15", "7.2E+09", "-1.5e+20", "1E+015", " 1.23457E+15 "]
MISSING = ["undefined", "null", "None", "NaN", "[object Object]", " NULL "]
MISSING += ["#N/A", "#REF!", "#NAME?", "#DIV/0!", "{{ user.id }}", "${user.id}", " {{userId}} ", "<%= id %>"]
TRUE = [
    "421",
    "00421",
    "1234567890123456",
    "1.5",
    "1e15",
    "jane+ads@mail.example",
    "E+15",
    "1.2E+1",
    "Nona",
    "ann",
    "a1",
    "#421",
    "$ann",
    "{ann}",
]


@pytest.mark.parametrize("text", ROUNDED)
def test_a_number_that_a_spreadsheet_rounded_is_no_id(text):
    assert is_rounded(text)
    assert (user_id_fault(text), task_id_fault(text)) == ("rounded-id", "rounded-id")


@pytest.mark.parametrize("text", MISSING)
def test_a_word_for_a_missing_value_is_no_id(text):
    assert (user_id_fault(text), task_id_fault(text)) == ("placeholder-id", "placeholder-id")


@pytest.mark.parametrize("text", TRUE)
def test_an_id_that_people_have_is_one(text):
    assert user_id_fault(text) is None


@given(st.uuids().map(str), st.sampled_from([str.upper, str.lower, " {} ".format]))
def test_a_task_id_is_a_uuid_in_any_writing(text, written):
    assert task_id_fault(written(text)) is None


@pytest.mark.parametrize("text", ["a-1", "7", uuid.UUID(int=7).hex, f"{{{uuid.UUID(int=7)}}}"])
def test_an_ads_own_id_is_no_task_id(text):
    assert task_id_fault(text) == "no-task-id"
