"""A judge of posts in a process of its own: what it answers, how it fails, and that it is replaced."""

import os
import signal
from datetime import UTC, datetime

import pytest

from implio_pipeline.api.batch import judged
from implio_pipeline.api.failures import BodyRefused, JudgeGone
from implio_pipeline.api.validators import ValidatorBeside

NOW = datetime(2026, 11, 25, tzinfo=UTC)
BODY = b'[{"id": "a", "content": {"title": "t"}}, {"id": 7}, {"id": "b", "content": {}, "user": {"id": "u"}}]'


@pytest.fixture(scope="module")
def validator():
    beside = ValidatorBeside()
    yield beside
    beside.close()


def test_a_judge_beside_says_what_one_here_says(validator):
    there, here = (act(BODY, arrived_at=NOW, max_items=10) for act in (validator.judged, judged))

    unlike = ("task_id", "batch_id")
    assert there.rows.drop_columns(unlike).equals(here.rows.drop_columns(unlike))
    assert (there.rejected, there.rows.num_rows) == ((1,), 2)
    assert there.answer.count(b"taskId") == 2


def test_what_it_refuses_is_refused_here_with_its_remedy(validator):
    with pytest.raises(BodyRefused) as refused:
        validator.judged(b"{}", arrived_at=NOW, max_items=10)

    assert refused.value.remedy == "Send an array of items, also for one."
    assert validator.judged(BODY, arrived_at=NOW, max_items=10).rejected == (1,)


def test_one_that_was_killed_is_replaced(validator):
    os.kill(validator._process._process.pid, signal.SIGKILL)

    assert validator.judged(BODY, arrived_at=NOW, max_items=10).rejected == (1,)


def test_a_post_whose_judge_is_killed_twice_is_refused_for_now_and_the_next_is_judged(validator, monkeypatch):
    started, another = [], validator._another

    def killed_at_once():
        process = another()
        if not started:
            os.kill(process._process.pid, signal.SIGKILL)
        started.append(process)
        return process

    monkeypatch.setattr(validator, "_another", killed_at_once)
    os.kill(validator._process._process.pid, signal.SIGKILL)

    with pytest.raises(JudgeGone) as refused:
        validator.judged(BODY, arrived_at=NOW, max_items=10)
    assert refused.value.status == 503
    assert validator.judged(BODY, arrived_at=NOW, max_items=10).rejected == (1,)
