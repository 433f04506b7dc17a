"""Hostile files for the watched folders and the readers, read in a child with bounded memory and time."""

import gzip
import json
import os
import random
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

from implio_pipeline.domain.errors import LandingInvalid
from implio_pipeline.domain.ids import Channel, FileKind
from implio_pipeline.domain.request_fields import RequestFieldRefused, request_draft
from implio_pipeline.flows.deletion.take_requests import take_requests
from implio_pipeline.flows.files.ingest import ingest
from implio_pipeline.formats.columns import with_user_keys
from implio_pipeline.formats.limits import LandingLimits
from implio_pipeline.formats.pieces import SUFFIXES, parse_file
from implio_pipeline.formats.request_files import READERS, values_of
from reliability import forks
from reliability.homes import ADS, init, opened_at

MOST_BYTES = 3 << 30
"""Address space of a child; the libraries alone map 1.2 GB."""
MOST_SECONDS = 90
_GOOD = json.dumps({"id": "good", "content": {"title": "good", "body": "b"}, "user": {"id": "u"}}).encode()
_SHEET = b"id,content.title,content.body,user.id,content.price.amount\n1,t,b,u,3\n"
_REQUEST = json.dumps({"team": "ads", "type": "user", "userId": "u"}).encode()
_LIMITS = LandingLimits(max_item_bytes=4096, chunk_bytes=64, piece_bytes=512, max_unzipped_bytes=1 << 16)
_BITS = (
    b"{", b"}", b"[", b"]", b'"', b"\\", b"\\ud800", b"\\u0000", b"\0", b"\xff", b"\xed\xa0\x80", b"1e999", b"-",
    b"9" * 400, b"NaN", b"\n", b"\r", b",", b";", b'""', b"null", b'"id":1', b'"user":{"id":"x"}', b"\xef\xbb\xbf",
    b"=cmd()", b"[" * 2000, b'{"a":' * 500,
)  # fmt: skip


@dataclass(kw_only=True)
class HostileRow:
    """One line of the table."""

    what: str
    runs: int = 0
    peak_bytes: int = 0
    slowest_seconds: float = 0.0
    breaches: list[str] = field(default_factory=list)


def readers(*, runs: int, seed: int = 1) -> HostileRow:
    """Change good files at random and read them: each is ingested in part or whole, or refused with a code."""
    row = HostileRow(what="landing, request and CSV readers, files changed at random", runs=runs)
    ended = forks.run(lambda: _read_changed(runs, random.Random(seed)), seconds=3600, most_bytes=MOST_BYTES)  # noqa: S311
    row.peak_bytes = ended.peak_bytes
    if ended.is_well:
        row.breaches, row.slowest_seconds = ended.answer["breaches"], ended.answer["slowest"]
    else:
        row.breaches = [f"ended with signal {ended.signal}, code {ended.code}: {ended.trace}"]
    return row


def _read_changed(runs: int, chance: random.Random) -> dict[str, Any]:
    found, slowest = [], 0.0
    for _ in range(runs):
        is_landing = chance.random() < 0.7
        suffix = chance.choice(SUFFIXES if is_landing else tuple(READERS))
        content = _changed(suffix, chance, is_landing=is_landing)
        began = time.monotonic()
        try:
            (read_landing if is_landing else read_request)(content, suffix)
        except (LandingInvalid, RequestFieldRefused):
            pass
        except Exception as error:  # noqa: BLE001  # any other is a breach, whatever it is
            found.append(f"{type(error).__name__} of {suffix} {content[:300]!r}: {error}")
        slowest = max(slowest, time.monotonic() - began)
    if slowest > 5:
        found.append(f"a file took {slowest:.1f} s")
    return {"breaches": found[:20], "slowest": slowest}


def _changed(suffix: str, chance: random.Random, *, is_landing: bool) -> bytes:
    one = _GOOD if is_landing else _REQUEST
    if ".csv" in suffix:
        content = _SHEET if is_landing else b"team,type,userId\nads,user,u\n"
    else:
        content = b"[" + one + b"," + one + b"]" if ".json" in suffix and "jsonl" not in suffix else one + b"\n" + one
    text = bytearray(content)
    for _ in range(chance.randrange(1, 6)):
        at = chance.randrange(len(text) + 1)
        match chance.randrange(4):
            case 0:
                text[at:at] = chance.choice(_BITS)
            case 1:
                del text[at : at + chance.randrange(12)]
            case 2:
                text[at : at + 1] = bytes([chance.randrange(256)])
            case 3:
                text[at:at] = text[: chance.randrange(len(text) + 1)]
    if suffix.endswith(".gz"):
        packed = bytearray(gzip.compress(bytes(text), mtime=0))
        if chance.random() < 0.5:
            packed[chance.randrange(len(packed))] ^= 1 << chance.randrange(8)
        return bytes(packed)
    return bytes(text)


def read_landing(content: bytes, suffix: str) -> None:
    with tempfile.TemporaryFile(dir=forks.scratch_root()) as file:
        file.write(content)
        file.seek(0)
        submission = {"arrived_at": datetime.now(UTC), "batch_id": "b"}
        for good, bad in parse_file(file, suffix=suffix, size_bytes=len(content), limits=_LIMITS, **submission):
            for table, kind in ((good, FileKind.ITEMS), (bad, FileKind.REJECTED)):
                with_user_keys(table, kind, lambda user: user.encode()[:1].ljust(16, b"k")).validate(full=True)


def read_request(content: bytes, suffix: str) -> None:
    for _, value in values_of(content, suffix=suffix):
        if not isinstance(value, RequestFieldRefused):
            with suppress(RequestFieldRefused):
                request_draft(value, channel=Channel.FILE, received_at=datetime.now(UTC))


def cases() -> Iterator[HostileRow]:
    """Put each kind of hostile file into a new home, beside a good file that must still be ingested."""
    yield from (_case(words, poison) for words, poison in CASES.items())


def a_million() -> Iterator[HostileRow]:
    """Put a million empty files into one folder: first with names that are not read, then landing files."""
    for words, counts in MILLIONS.items():
        yield _case(words, partial(_many, **counts), most_seconds=3 * 3600)


def _case(words: str, poison: Callable[[Path], None], *, most_seconds: float = MOST_SECONDS) -> HostileRow:
    row = HostileRow(what=words, runs=1)
    with tempfile.TemporaryDirectory(dir=forks.scratch_root()) as folder:
        home, outside = Path(folder) / "home", Path(folder) / "outside"
        outside.mkdir()
        (outside / "secret.json").write_bytes(b"[" + _GOOD + b"]")

        def prepared() -> None:
            init(home)
            (home / "landing" / ADS / "good.json").write_bytes(b"[" + _GOOD + b"]")
            poison(home)

        made = forks.run(prepared, seconds=most_seconds)
        if not made.is_well:
            row.breaches.append(made.trace)
            return row
        ended = forks.run(lambda: _taken(home), seconds=most_seconds, most_bytes=MOST_BYTES)
        row.peak_bytes, row.slowest_seconds = ended.peak_bytes, ended.seconds
        if not ended.is_well:
            row.breaches.append(f"signal {ended.signal}, code {ended.code}: {ended.trace[-1500:]}")
        elif not ended.answer:
            row.breaches.append("the good file beside it did not come in")
        if sorted(path.name for path in Path(folder).iterdir()) != ["home", "outside"]:
            row.breaches.append("something was written outside the home")
        if [path.name for path in outside.iterdir()] != ["secret.json"]:
            row.breaches.append("a file outside the home was touched")
    return row


def _taken(home: Path) -> int:
    with opened_at(home) as opened:
        summary = ingest(opened)
        take_requests(opened)
        return summary.items


def _land(home: Path, name: str, content: bytes) -> None:
    (home / "landing" / ADS / name).write_bytes(content)
    if not name.endswith(".gz"):
        (home / "requests" / "inbox" / name).write_bytes(content)


def _links(home: Path) -> None:
    secret = home.parent / "outside" / "secret.json"
    for folder in (home / "landing" / ADS, home / "requests" / "inbox"):
        (folder / "link.json").symlink_to(secret)
        (folder / "loop.json").symlink_to("loop.json")
        (folder / "up.csv").symlink_to("/etc/passwd")
        (folder / ".rejected").symlink_to(secret.parent)
    (home / "landing" / "evil").symlink_to(secret.parent)
    (home / "landing" / ADS / "bad.json").write_bytes(b'[{"id": 1}]')


def _devices(home: Path) -> None:
    for folder in (home / "landing" / ADS, home / "requests" / "inbox"):
        os.mkfifo(folder / "pipe.json")
        (folder / "folder.json").mkdir()
        if os.geteuid() == 0:
            for minor, name in ((5, "zero.json"), (9, "random.csv"), (7, "full.ndjson")):
                os.mknod(folder / name, 0o20600, os.makedev(1, minor))


def _names(home: Path) -> None:
    names = [b"..%2f..%2fx.json", b"a\nb.json", b"\xff\xfe.json", b"-rf.json", b"x" * 250 + b".json", b"..json",
             b" .json", b"\xe2\x80\xae.json", b"$(id).json", b"..\\..\\x.json"]  # fmt: skip
    for name in names:
        for folder in (home / "landing" / ADS, home / "requests" / "inbox"):
            Path(os.fsdecode(os.fsencode(folder) + b"/" + name)).write_bytes(b"{")


def _bombs(home: Path) -> None:
    block = b"[" + b" " * (1 << 20)
    with gzip.open(home / "landing" / ADS / "bomb.json.gz", "wb", compresslevel=9) as file:
        for _ in range(1024):
            file.write(block[1:])
    with gzip.open(home / "landing" / ADS / "line.ndjson.gz", "wb", compresslevel=9) as file:
        for _ in range(256):
            file.write(b"a" * (1 << 20))


def _deep(home: Path) -> None:
    _land(home, "deep.json", b"[" * 3_000_000)
    _land(home, "deeper.json", b'[{"id":"x","content":' + b'{"a":' * 400_000 + b"1" + b"}" * 400_000 + b"}]")
    _land(home, "deep.ndjson", b'{"a":' * 900_000 + b"\n" + _GOOD)


def _numbers(home: Path) -> None:
    price = b'{"id":"p","content":{"title":"t","body":"b","price":{"amount":%s}}}'
    listed = [price % number for number in (b"1e999", b"-1e999", b"9" * 100_000, b"0." + b"0" * 100_000 + b"1", b"NaN")]
    _land(home, "numbers.ndjson", b"\n".join(listed))
    _land(home, "numbers.csv", b"id,content.title,content.body,content.price.amount\n1,t,b," + b"9" * 200_000 + b"\n")


def _texts(home: Path) -> None:
    spelled = (b"\\ud800", b"\\u0000", b"\\udfff\\ud800", b"\\ud83d\\ude00")
    lines = [b'{"id":"s","content":{"title":"%s","body":"b"},"user":{"id":"%s"}}' % (each, each) for each in spelled]
    raw = b'{"id":"s","id":"t","content":{"title":"\xed\xa0\x80","body":"\0"},"user":{"id":"a"},"user":{"id":"b"}}'
    _land(home, "texts.ndjson", b"\n".join([*lines, raw]))
    _land(home, "nul.csv", b"id,content.title,content.body\n1,\0,b\n")


def _sparse(home: Path) -> None:
    for name in ("sparse.json", "sparse.ndjson", "sparse.csv"):
        with (home / "landing" / ADS / name).open("wb") as file:
            file.truncate(256 << 20)
    with (home / "requests" / "inbox" / "sparse.json").open("wb") as file:
        file.truncate(4 << 30)


def _many(home: Path, *, landing: int = 2_000, others: int = 98_000) -> None:
    for number in range(landing):
        (home / "landing" / ADS / f"n{number}.json").write_bytes(b"[]")
    for number in range(others):
        (home / "landing" / ADS / f"n{number}.txt").write_bytes(b"")


CASES: dict[str, Callable[[Path], None]] = {
    "links out of the folder, loops, a linked report folder": _links,
    "pipes, devices, folders called .json": _devices,
    "names: `..%2f`, line breaks, no UTF-8, 250 bytes, `$(id)`": _names,
    "gzip bombs: 1 GiB of blanks, one line of 256 MiB": _bombs,
    "JSON 3,000,000 deep": _deep,
    "numbers of 100,000 digits, 1e999, NaN": _numbers,
    "NUL, lone surrogates, keys twice": _texts,
    "sparse files of 256 MiB and 4 GiB": _sparse,
    "100,000 tiny files in one folder": _many,
}
MILLIONS: dict[str, dict[str, int]] = {
    "1,000,000 tiny files in one folder, of which 2,000 are landing files": {"landing": 2_000, "others": 998_000},
    "1,000,000 tiny landing files in one folder": {"landing": 1_000_000, "others": 0},
}
