"""Whatever lies in a watched folder is read or refused by name: no other error, no hang."""

import pytest
from hypothesis import HealthCheck, example, given, settings
from reliability.fuzzed import check_landing, check_request, landing_files, request_files
from support.depth import examples

short = settings(max_examples=examples(40), deadline=None, suppress_health_check=[HealthCheck.too_slow])
DEEP = b"[" * 100_000
TWICE = b'{"team":"ads","team":"cars","type":"user","userId":"u"}'


@short
@example((".json", DEEP))
@example((".ndjson", b'{"a":' * 50_000))
@example((".json.gz", b"\x1f\x8b"))
@given(landing_files)
def test_any_landing_file_is_taken_or_refused(file: tuple[str, bytes]) -> None:
    check_landing(file)


@short
@example((".json", DEEP))
@example((".ndjson", TWICE))
@example((".csv", b"team,type,userId\nads,user,\0\n"))
@given(request_files)
def test_any_request_file_is_taken_or_refused(file: tuple[str, bytes]) -> None:
    check_request(file)


def test_the_check_itself_notices_a_reader_that_lets_something_through(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("reliability.fuzzed.read_request", lambda *_: 1 / 0)

    with pytest.raises(ZeroDivisionError):
        check_request((".json", b"{}"))
