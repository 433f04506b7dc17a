"""A request file is what its bytes say, by the rules of landing files."""

import gzip
from datetime import UTC, datetime

import pytest

from implio_pipeline.domain.ids import Channel
from implio_pipeline.domain.request_fields import RequestFieldRefused, request_draft
from implio_pipeline.domain.scope import ByUser
from implio_pipeline.formats.request_files import values_of

AT = datetime(2026, 11, 27, tzinfo=UTC)
LINE = '{"team": "acme", "type": "user", "userId": "u-1"}'
CSV = "team,type,userId\r\nacme,user,u-1\r\n"

TAKEN: dict[str, tuple[bytes, str]] = {
    "UTF-16 JSON": (LINE.encode("utf-16"), ".json"),
    "UTF-16 NDJSON": (f"{LINE}\r\n".encode("utf-16"), ".ndjson"),
    "UTF-16 CSV": (CSV.encode("utf-16"), ".csv"),
    "UTF-16 JSON without a mark": (LINE.encode("utf-16-le"), ".json"),
    "UTF-16 CSV without a mark, the other way round": (CSV.encode("utf-16-be"), ".csv"),
    "UTF-32": (LINE.encode("utf-32"), ".json"),
    "gzip under its own name": (gzip.compress(LINE.encode()), ".json.gz"),
    "gzip under another name": (gzip.compress(CSV.encode()), ".csv"),
    "plain under the name of gzip": (LINE.encode(), ".ndjson.gz"),
    "a line that names the separator": (b"sep=;\r\n" + CSV.replace(",", ";").encode(), ".csv"),
    "carriage returns alone": (CSV.replace("\n", "").encode(), ".csv"),
    "blank rows and columns": (b"team,type,userId,,\n,,,,\nacme,user,u-1,,\n , ,,,\n\n", ".csv"),
}
REFUSED: dict[str, tuple[bytes, str, str]] = {
    "an archive": (b"PK\x03\x04rest", ".csv", "not-text"),
    "damaged gzip": (gzip.compress(LINE.encode())[:-9], ".json.gz", "not-text"),
    "nothing": (b"\n\n", ".csv", "no-entries"),
    "a bomb": (gzip.compress(bytes(20 << 20)), ".json.gz", "too-large"),
}


@pytest.mark.parametrize(("content", "suffix"), TAKEN.values(), ids=TAKEN)
def test_the_request_of_the_file_is_read(content: bytes, suffix: str) -> None:
    ((position, value),) = values_of(content, suffix=suffix)

    draft = request_draft(value, channel=Channel.FILE, received_at=AT)

    assert draft.scope == ByUser(user_id="u-1")
    assert position


@pytest.mark.parametrize(("content", "suffix", "code"), REFUSED.values(), ids=REFUSED)
def test_what_is_no_text_is_named(content: bytes, suffix: str, code: str) -> None:
    with pytest.raises(RequestFieldRefused) as refusal:
        values_of(content, suffix=suffix)

    assert refusal.value.code in (code, "not-text")


def test_a_value_below_no_name_refuses_its_row_alone() -> None:
    values = values_of(b"team,type,userId,\nacme,user,u-1,x\nacme,user,u-2,\n", suffix=".csv")

    assert isinstance(values[0][1], RequestFieldRefused)
    assert values[1] == (3, {"team": "acme", "type": "user", "userId": "u-2"})


@pytest.mark.parametrize(
    ("value", "is_standing"), [(True, True), ("true", True), ("TRUE", True), (False, False), ("false", False)]
)
def test_a_request_file_says_that_a_deletion_is_standing(value: object, is_standing: bool) -> None:
    asked = {"team": "acme", "type": "user", "userId": "u-1", "standing": value}

    assert request_draft(asked, channel=Channel.FILE, received_at=AT).is_standing is is_standing


@pytest.mark.parametrize("value", ["yes", "", 1, None, []])
def test_a_standing_that_is_neither_true_nor_false_is_refused(value: object) -> None:
    asked = {"team": "acme", "type": "user", "userId": "u-1", "standing": value}

    with pytest.raises(RequestFieldRefused) as refusal:
        request_draft(asked, channel=Channel.FILE, received_at=AT)

    assert refusal.value.code == "bad-flag"


def test_a_stray_quote_refuses_its_row_alone() -> None:
    values = values_of(
        b'team,type,userId\nacme,user,u-1\nacme,user,"u-2\nacme,user,u-3\nacme,user,u"4\n', suffix=".csv"
    )

    assert [(place, getattr(value, "code", None)) for place, value in values] == [
        (2, None),
        (3, "stray-quote"),
        (4, None),
        (5, None),
    ]
