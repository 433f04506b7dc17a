"""The validator of posts in a process of its own: what it answers, how it fails, and that it is replaced."""

import os
import signal
from datetime import UTC, datetime

import pytest

from implio_pipeline.api.failures import BodyRefused, ValidatorGone
from implio_pipeline.api.post_body import validate_post
from implio_pipeline.api.validator import ValidatorProcess

NOW = datetime(2026, 11, 25, tzinfo=UTC)
BODY = b'[{"id": "a", "content": {"title": "t"}}, {"id": 7}, {"id": "b", "content": {}, "user": {"id": "u"}}]'


@pytest.fixture(scope="module")
def validator():
    beside = ValidatorProcess()
    yield beside
    beside.close()


def test_a_validator_process_answers_what_this_process_answers(validator):
    there, here = (act(BODY, arrived_at=NOW, max_items=10) for act in (validator.validate, validate_post))

    unlike = ("task_id", "batch_id")
    assert there.rows.drop_columns(unlike).equals(here.rows.drop_columns(unlike))
    assert (there.rejected, there.rows.num_rows) == ((1,), 2)
    assert there.answer.count(b"taskId") == 2


def test_what_it_refuses_is_refused_here_with_its_remedy(validator):
    with pytest.raises(BodyRefused) as refused:
        validator.validate(b"{}", arrived_at=NOW, max_items=10)

    assert refused.value.remedy == "Send an array of items, also for one."
    assert validator.validate(BODY, arrived_at=NOW, max_items=10).rejected == (1,)


def test_one_that_was_killed_is_replaced(validator):
    os.kill(validator._process._process.pid, signal.SIGKILL)

    assert validator.validate(BODY, arrived_at=NOW, max_items=10).rejected == (1,)


def test_a_post_whose_validator_is_killed_twice_is_refused_for_now_and_the_next_is_judged(validator, monkeypatch):
    started, restart = [], validator._process._restart

    def killed_at_once():
        restart()
        if not started:
            os.kill(validator._process._process.pid, signal.SIGKILL)
        started.append(True)

    monkeypatch.setattr(validator._process, "_restart", killed_at_once)
    os.kill(validator._process._process.pid, signal.SIGKILL)

    with pytest.raises(ValidatorGone) as refused:
        validator.validate(BODY, arrived_at=NOW, max_items=10)
    assert refused.value.status == 503
    assert validator.validate(BODY, arrived_at=NOW, max_items=10).rejected == (1,)
