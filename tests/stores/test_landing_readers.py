"""Readers of landing files: every format, however it is cut into blocks, with its bounds."""

import gzip
import io
import json
import tempfile
from dataclasses import replace
from datetime import UTC, datetime

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from support.depth import examples

from implio_pipeline.domain.errors import LandingEmpty, LandingInvalid
from implio_pipeline.formats.json_texts import elements
from implio_pipeline.formats.limits import LandingLimits
from implio_pipeline.formats.pieces import WorkerPool, parse_file
from implio_pipeline.formats.sheet import known_columns
from implio_pipeline.formats.spans import lines_in, spans_of

ARRIVED = datetime(2026, 11, 23, tzinfo=UTC)
LIMITS = LandingLimits(chunk_bytes=64, piece_bytes=2000)
GOOD = {"id": "1", "content": {"title": 'a "quoted" [title] {', "body": "x\\"}}


def read(content, suffix=".ndjson", limits=LIMITS, workers=None):
    if suffix.endswith(".gz"):
        content = gzip.compress(content)
    items, rejected = [], []
    with tempfile.TemporaryFile() as file:
        file.write(content)
        file.flush()
        pairs = parse_file(
            file if workers else io.BytesIO(content),
            suffix=suffix,
            size_bytes=len(content),
            limits=limits,
            workers=workers,
            arrived_at=ARRIVED,
            batch_id="b",
        )
        for good, bad in pairs:
            items += good.to_pylist()
            rejected += bad.to_pylist()
    return items, rejected


def lines(*values):
    return b"\n".join(value if isinstance(value, bytes) else json.dumps(value).encode() for value in values)


@pytest.mark.parametrize("mark", [b"", b"\xef\xbb\xbf"])
@pytest.mark.parametrize("zipped", ["", ".gz"])
@pytest.mark.parametrize(
    ("suffix", "content"),
    [
        (".json", json.dumps([GOOD, GOOD], indent=3).encode()),
        (".ndjson", lines(GOOD, b"", b"\r", GOOD, b"")),
        (".jsonl", lines(GOOD, GOOD)),
        (
            ".csv",
            b'id,content.title,content.body\r\n1,"a ""quoted"" [title] {",x\r\n\r\n2,"a ""quoted"" [title] {",x\r\n',
        ),
    ],
)
def test_every_format_is_read(suffix, content, zipped, mark):
    items, rejected = read(mark + content, suffix + zipped)

    assert [one["title"] for one in items] == ['a "quoted" [title] {'] * 2
    assert rejected == []


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text('a"\\[]{},: \n', max_size=6),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text('a"\\[]{},', max_size=3), inner, max_size=3),
    max_leaves=12,
)


@settings(max_examples=examples(300), deadline=None)
@given(st.lists(json_values, max_size=6), st.integers(1, 40), st.sampled_from([None, 1]))
@example([[], {}, "", 0], 1, None)
def test_an_array_cut_anywhere_into_blocks_is_split_into_its_elements(values, block, indent):
    content = f" {json.dumps(values, indent=indent)}\n".encode()

    found = elements(iter([content[at : at + block] for at in range(0, len(content), block)]), max_item_bytes=9999)

    assert [json.loads(one) for one in found] == values


@settings(max_examples=examples(200), deadline=None)
@given(st.lists(json_values, min_size=1, max_size=4), st.data())
def test_an_array_cut_short_is_refused_whole(values, data):
    content = json.dumps(values).encode()
    cut = data.draw(st.integers(0, len(content) - 1))

    with pytest.raises(LandingInvalid):
        list(elements(iter([content[:cut]] if cut else []), max_item_bytes=9999))


@pytest.mark.parametrize(
    "content",
    [
        *[b"", b"  ", b"7", b'"x"', b"[1,]", b"[,1]", b"[1 2]", b"[1]x", b"[}", b"{}{}", b"[1,2", b"nonsense"],
        *[b"[nope]", b"[{]", b'[{"id":}]', b"[[}]", b'["\xff"]'],
    ],
)
def test_a_malformed_json_file_is_refused_whole(content):
    with pytest.raises(LandingInvalid):
        read(content, ".json")


def test_one_object_is_one_item_and_positions_count_from_one():
    items, _ = read(json.dumps(GOOD).encode(), ".json")
    _, rejected = read(json.dumps([GOOD, 5, "x", {"id": 1}]).encode(), ".json")

    assert len(items) == 1
    assert [(one["position"], one["reason"]) for one in rejected] == [
        (2, "invalid-item"),
        (3, "invalid-item"),
        (4, "invalid-item"),
    ]


def test_a_malformed_line_is_one_rejected_item_with_its_text_and_line():
    items, rejected = read(lines(GOOD, b"", b'{"user":{"id":"u7"}, oops', GOOD, {"id": "2"}))

    assert len(items) == 2
    assert [(one["position"], one["reason"], one["user_id"]) for one in rejected] == [
        (3, "not-json", "u7"),
        (5, "invalid-item", None),
    ]
    assert rejected[0]["original_ad"] == '{"user":{"id":"u7"}, oops'
    assert rejected[0]["task_id"]


def test_lines_of_which_none_is_json_refuse_the_file():
    with pytest.raises(LandingInvalid):
        read(b"PK\x03\x04\nnot at all\n")


@pytest.mark.parametrize("content", [b"", b"\n\n", b"\xef\xbb\xbf", b" \r\n"])
@pytest.mark.parametrize("suffix", [".ndjson", ".json", ".csv", ".csv.gz"])
def test_a_file_with_nothing_in_it_is_told_as_empty(content, suffix):
    with pytest.raises(LandingEmpty):
        read(content, suffix)


HEAD, ROW = "id,content.title,content.body,user.id", "{},Bike,Red,ann"
SHEET = "\n".join([HEAD, ROW.format(1), ROW.format(2), ""])


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-16-be"])
@pytest.mark.parametrize(
    ("suffix", "text"),
    [(".csv", SHEET), (".ndjson", json.dumps(GOOD) + "\n" + json.dumps(GOOD)), (".json", json.dumps([GOOD, GOOD]))],
)
@pytest.mark.parametrize("has_mark", [True, False])
def test_utf_16_is_taken_in_with_its_mark_or_without(suffix, text, encoding, has_mark):
    content = ("" if encoding == "utf-16" or not has_mark else "\ufeff") + text

    items, rejected = read(content.encode(encoding), suffix)

    assert (len(items), rejected) == (2, [])


def test_the_bytes_say_whether_a_file_is_zipped_and_not_its_name():
    text = SHEET.encode()
    assert len(read(gzip.compress(text), ".csv")[0]) == 2
    limits = replace(LIMITS, chunk_bytes=64)
    tables = parse_file(
        io.BytesIO(text), suffix=".csv.gz", size_bytes=len(text), limits=limits, arrived_at=ARRIVED, batch_id="b"
    )
    assert sum(good.num_rows for good, _ in tables) == 2


@pytest.mark.parametrize(
    ("content", "word"),
    [
        (gzip.compress(gzip.compress(b"x" * 99)), "within"),
        (b"PK\x03\x04" + b"x" * 99, "zip"),
        (gzip.compress(b"PK\x03\x04" + b"x" * 99), "zip"),
        (gzip.compress(b"{}\n") + b"garbage", "other bytes follow"),
        (b"\xff\xfea", "UTF-16"),
    ],
    ids=["gzip in gzip", "zip", "zip in gzip", "gzip and more", "half of UTF-16"],
)
def test_what_is_no_text_is_told_for_what_it_is(content, word):
    with pytest.raises(LandingInvalid, match=word):
        read(content, ".csv")


@pytest.mark.parametrize(
    "sheet",
    [
        SHEET.replace("\n", "\r"),
        "sep=,\r\n" + SHEET,
        "sep=;\n" + SHEET.replace(",", ";"),
        SHEET + ",,,\n" * 3,
        SHEET.replace("\n", ",,,\r\n") + ",,,,,,\r\n",
        SHEET + " , ,,\n",
    ],
    ids=["carriage returns", "sep= line", "sep=; line", "blank rows", "blank columns", "rows of blanks"],
)
def test_what_spreadsheets_put_around_a_sheet_costs_no_row(sheet):
    items, rejected = read(sheet.encode(), ".csv")

    assert ([item["item_id"] for item in items], rejected) == (["1", "2"], [])


@pytest.mark.parametrize("bad", ['3,"Bike" nice,Red,ann', '3,"Bike,Red,ann', '3,"Bike,Red,ann"', '"'])
def test_a_stray_quote_costs_its_own_row_alone(bad):
    sheet = "\n".join([HEAD, ROW.format(1), bad, ROW.format(2), '4,24" tv,Red,ann', ""])

    items, rejected = read(sheet.encode(), ".csv")

    assert [item["item_id"] for item in items] == ["1", "2", "4"]
    assert [one["position"] for one in rejected] == [3]


def test_a_value_below_no_name_is_no_value_of_an_item():
    sheet = f"{HEAD},\n{ROW.format(1)},\n{ROW.format(2)},x\n"

    items, rejected = read(sheet.encode(), ".csv")

    assert ([item["item_id"] for item in items], [one["reason"] for one in rejected]) == (["1"], ["nameless-cell"])


@settings(max_examples=examples(100), deadline=None)
@given(st.lists(st.integers(0, 300), max_size=12), st.integers(1, 90), st.booleans())
def test_lines_keep_their_numbers_when_some_are_far_too_long(lengths, block, ends):
    limits = replace(LIMITS, max_item_bytes=100, chunk_bytes=block)
    content = b"\n".join(b"x" * length for length in lengths) + (b"\n" if ends else b"")

    try:
        _, rejected = read(lines(GOOD) + b"\n" + content, limits=limits)
    except LandingInvalid:
        raise AssertionError from None

    expected = [(at, "too-large" if length > 100 else "not-json") for at, length in enumerate(lengths, 2) if length]
    assert [(one["position"], one["reason"]) for one in rejected] == expected


def test_an_element_far_too_large_refuses_the_json_file():
    with pytest.raises(LandingInvalid):
        read(json.dumps([{"id": "x" * 500}]).encode(), ".json", replace(LIMITS, max_item_bytes=100))


def test_a_gzip_file_that_unzips_to_too_much_or_is_damaged_is_refused():
    content = b"\n" * 500_000
    whole = gzip.compress(lines(*[GOOD] * 50))
    cases = [
        (gzip.compress(content), replace(LIMITS, max_unzipped_bytes=1000)),
        (gzip.compress(content), replace(LIMITS, gzip_ratio_from_bytes=1000)),
        (whole[:-20], LIMITS),
        (b"no gzip", LIMITS),
        (whole[:40] + b"\0" * 30 + whole[70:], LIMITS),
    ]

    for packed, limits in cases:
        with pytest.raises(LandingInvalid):
            list(
                parse_file(
                    io.BytesIO(packed),
                    suffix=".ndjson.gz",
                    size_bytes=9,
                    limits=limits,
                    arrived_at=ARRIVED,
                    batch_id="b",
                )
            )


def test_every_column_of_a_sheet_finds_its_place():
    header = (
        "id,content.title,content.body,content.price.amount,content.price.currency,content.images,user.phoneNumbers,"
        "user.emailAddresses,result.reasons,result.feedback,customerSpecific.k,user.customerSpecific.level,submittedAt"
    )
    row = '1,T,"B\nB",12.50,SEK,a.jpg; b.jpg,"[""+1"",""+2""]",a@x;b@x,spam,"[{""id"":""f""}]",v,5,2026-01-01T00:00:00Z'

    [item], rejected = read(f"{header}\n{row}\n".encode(), ".csv")

    assert rejected == []
    assert (item["price_amount"], item["images"], item["phone_numbers"]) == (12.5, ["a.jpg", "b.jpg"], ["+1", "+2"])
    assert (item["email_addresses"], item["reasons"], item["feedback"]) == (["a@x", "b@x"], ["spam"], ["f"])
    assert (item["custom"], item["user_custom"]) == ('{"k":"v"}', '{"level":"5"}')
    assert item["body"] == "B\nB"
    assert item["submitted_at"].year == 2026
    assert item["url"] is None


@pytest.mark.parametrize(
    ("word", "hint"),
    [("jane_doe", "docs/FORMAT.md"), ("4915112345678", "docs/FORMAT.md"), ("user.idd", "did you mean user.id?")],
)
def test_a_column_with_another_name_is_told_by_its_place_and_never_by_its_word(word, hint):
    with pytest.raises(LandingInvalid) as refused:
        read(f"id,,content.title,content.body,{word}\n1,,t,b,x\n".encode(), ".csv")

    assert "column 5" in refused.value.facts
    assert hint in refused.value.facts
    assert word not in refused.value.facts.replace("user.id?", "")


@pytest.mark.parametrize("name", ["4915112345678", "user_123456", "u-1234", "jane@x.example"])
def test_a_property_whose_name_may_be_somebodys_number_or_address_is_not_named(name):
    _, (rejected,) = read(lines({**GOOD, "user": {"id": 1, name: 1}}))

    assert name not in rejected["errors"]


def test_a_sheet_knows_the_columns_of_the_item():
    assert {"id", "content.category.name", "location.countryCode", "result.matchingFilters"} <= set(known_columns())


def test_a_bad_row_is_rejected_alone():
    sheet = b"id,content.title,content.body,content.price.amount\n1,a,b,cheap\n2,a\n3,a,b,\n,a,b,\n4,a,b,1e999\n"

    items, rejected = read(sheet, ".csv")

    assert [one["item_id"] for one in items] == ["3"]
    assert [(one["position"], one["reason"]) for one in rejected] == [
        (2, "invalid-item"),
        (3, "wrong-cell-count"),
        (5, "invalid-item"),
        (6, "invalid-item"),
    ]


@pytest.mark.parametrize(
    ("sheet", "word"),
    [
        (b"id,content.title\n", "content.body"),
        (b"id,content.title,content.body,colour\n", "column 4"),
        (b"id,content.title,content.body,jane@mail.example\n", "column 4"),
        (b"id,id,content.title,content.body\n", "twice"),
        (b"id;content.title;content.body\n1;b;c\n", "commas"),
        (b"id\tcontent.title\tcontent.body\n", "commas"),
        (b'id,"content.title"x,content.body\n', "CSV"),
        (b"id,content.title,content.body\n1,\xff,c\n", "UTF-8"),
    ],
)
def test_a_sheet_that_cannot_be_read_names_the_cause(sheet, word):
    with pytest.raises(LandingInvalid, match=word):
        read(sheet, ".csv")


def test_worker_processes_give_the_same_rows_in_the_same_order():
    values = [{**GOOD, "id": f"ad-{index}"} if index % 7 else {"id": index} for index in range(300)]
    here = replace(LIMITS, chunk_bytes=2000)
    there = replace(here, parallel_from_bytes=0)
    assert WorkerPool(there).are_worth(2000)

    workers = WorkerPool(there)
    alone, parallel = read(lines(*values), limits=here), read(lines(*values), limits=there, workers=workers)
    workers.close()

    assert [one["item_id"] for one in parallel[0]] == [one["item_id"] for one in alone[0]]
    assert [one["position"] for one in parallel[1]] == [one["position"] for one in alone[1]]
    assert [one["errors"] for one in parallel[1]] == [one["errors"] for one in alone[1]]


@given(
    st.lists(st.sampled_from([b"a", b"\n", b"\r\n", b"bcd", b"e" * 30, b"\xef\xbb\xbf"]), max_size=60).map(b"".join),
    st.integers(1, 40),
)
@example(b"a\nb\n", 2)
@example(b"\xef\xbb\xbfa", 3)
@example(b"a" * 90 + b"\nb", 7)
def test_every_line_is_in_the_span_it_begins_in_and_in_no_other(content, chunk_bytes):
    with tempfile.TemporaryFile() as file:
        file.write(content)
        file.flush()
        spans = spans_of(len(content), limits=replace(LIMITS, chunk_bytes=chunk_bytes))
        bodies = [lines_in(file.fileno(), span, max_line=1000) for span in spans]

    found = [line for body in bodies if body is not None for line in body.split(b"\n")]
    text = content.removesuffix(b"\n").removeprefix(b"\xef\xbb\xbf")
    assert found == (text.split(b"\n") if content else [])


def test_of_a_line_that_is_too_long_a_span_reads_no_more_than_tells_so():
    with tempfile.TemporaryFile() as file:
        file.write(b"a" * 5000 + b"\nb\n")
        file.flush()
        spans = list(spans_of(5003, limits=LIMITS))
        bodies = [lines_in(file.fileno(), span, max_line=100) for span in spans]

    assert len(bodies[0]) == LIMITS.chunk_bytes + 101
    assert [body for body in bodies[1:] if body is not None] == [b"b"]


@pytest.mark.parametrize("long_bytes", [3000, 9000])
def test_worker_processes_reject_a_line_that_is_too_long_and_go_on_after_it(long_bytes):
    limits = replace(LIMITS, chunk_bytes=1000, parallel_from_bytes=0, max_item_bytes=2500)
    content = lines(GOOD, b"", b"x" * long_bytes, GOOD, {"id": 3})
    workers = WorkerPool(limits)
    alone, parallel = read(content, limits=limits), read(content, limits=limits, workers=workers)
    workers.close()

    assert [(one["position"], one["reason"]) for one in alone[1]] == [(3, "too-large"), (5, "invalid-item")]
    assert [(one["position"], one["reason"]) for one in parallel[1]] == [(3, "too-large"), (5, "invalid-item")]
    assert len(parallel[0]) == 2


def test_a_parsing_process_that_was_killed_is_replaced():
    limits = replace(LIMITS, chunk_bytes=2000, parallel_from_bytes=0)
    content = lines(*({**GOOD, "id": f"ad-{index}"} for index in range(300)))
    workers = WorkerPool(limits)
    before = read(content, limits=limits, workers=workers)
    idle = [workers._idle.get() for _ in range(limits.worker_processes)]
    for worker in idle:
        worker._process.kill()
        worker._process.wait()
        workers._idle.put(worker)

    after = read(content, limits=limits, workers=workers)
    workers.close()

    assert [one["item_id"] for one in after[0]] == [one["item_id"] for one in before[0]]
