"""The inbox: each request file is claimed, read, and destroyed when its requests are accepted.

A request file names people, so none of its text is kept in clear. A file of refusals, written beside it, lists the
refused entries by position, with reasons. A file that cannot be parsed at all is set aside, sealed under its own key.
"""

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager
from datetime import datetime
from itertools import count, islice
from pathlib import Path, PurePath
from typing import Any, Self

import msgspec
from typing_extensions import override

from implio_pipeline.domain.claims import Claim
from implio_pipeline.domain.errors import ImplioError
from implio_pipeline.domain.ids import Channel
from implio_pipeline.domain.request import RequestDraft
from implio_pipeline.domain.request_fields import RequestFieldRefused, request_draft
from implio_pipeline.formats.request_files import MAX_FILE_BYTES, SUFFIXES, Value, values_of
from implio_pipeline.ports.claims import Claiming
from implio_pipeline.ports.clock import Clock
from implio_pipeline.ports.exports import Origin
from implio_pipeline.ports.inbox import Inbox, InboxEntry, InboxFile
from implio_pipeline.stores.set_aside import SetAside
from implio_pipeline.stores.watched import CLAIMED, WatchedFolder
from implio_pipeline.stores.watched_place import TakenFile, UnclaimedFile, WatchedPlace

REFUSED_SUFFIX = ".refused.json"
_MAX_WAITING = 10_000
"""How many waiting files are listed; a folder may hold millions."""
_MAX_NAME_BYTES = 255 - len(REFUSED_SUFFIX) - len(".12345678")
"""File systems accept names of 255 octets. The suffix and a number must fit as well."""


class WatchedInbox(Inbox):
    """The inbox.

    Args:
        watched: Where people put request files: a folder or a bucket.
        set_aside: Where a file goes if it cannot be parsed at all.
    """

    def __init__(self, watched: WatchedPlace, set_aside: SetAside) -> None:
        self._watched = watched
        self._set_aside = set_aside

    @override
    def waiting(self) -> list[PurePath]:
        return [
            PurePath(CLAIMED if file.is_left_over else file.group, file.name)
            for file in islice(self._watched.ready(), _MAX_WAITING)
        ]

    @override
    def waiting_since(self) -> datetime | None:
        return self._watched.waiting_since()

    @override
    def passed_over(self) -> Iterator[str]:
        return self._watched.passed_over()

    @override
    def refusals(self) -> int:
        return self._watched.count_reports(REFUSED_SUFFIX)

    @override
    def claim(self, worker: Claiming) -> Iterator[AbstractContextManager[InboxFile]]:
        for file in self._watched.claim(worker):
            yield file if isinstance(file, UnclaimedFile) else _ClaimedRequests(file, self._set_aside)


def inbox_folder(root: Path, *, clock: Clock, settle_seconds: float = 2.0) -> WatchedFolder:
    """Return a folder of request files; the folder must exist.

    Args:
        root: Where people put request files.
        clock: The present.
        settle_seconds: How long a file must not have been written to.
    """
    return WatchedFolder(
        root, root / CLAIMED, suffixes=SUFFIXES, clock=clock, settle_seconds=settle_seconds, is_ignored=is_refusal
    )


def is_refusal(name: str) -> bool:
    """Return whether a name is that of a report on refused requests."""
    return name.endswith(REFUSED_SUFFIX)


class _ClaimedRequests(InboxFile):
    """One claimed request file; made by `WatchedInbox.claim`. Leaving its context without `finish` releases it."""

    def __init__(self, file: TakenFile, set_aside: SetAside) -> None:
        self._file = file
        self._set_aside = set_aside
        self._refusal: RequestFieldRefused | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.release()

    @property
    @override
    def claims(self) -> tuple[Claim, ...]:
        return self._file.claims

    @override
    def entries(self) -> list[InboxEntry]:
        # 1. Read the file. If somebody writes to it at the same time, it may be a mixture of old and new content.
        with self._file.open() as file:
            content = file.read(MAX_FILE_BYTES + 1)
        self._refusal = RequestFieldRefused("changed-while-read") if self._file.has_changed() else None
        # 2. Parse it. A file that cannot be parsed at all is one refused entry.
        values: list[Value] = []
        if self._refusal is None:
            try:
                values = values_of(content, suffix=self._file.suffix)
            except RequestFieldRefused as refusal:
                self._refusal = refusal
        if self._refusal is not None:
            return [InboxEntry(position=0, draft=self._refusal)]
        # 3. Turn each value into a draft, or into the reason why it is refused. The file's owner asks.
        received_at = self._file.received_at
        return [InboxEntry(position=position, draft=self._draft(value, received_at)) for position, value in values]

    def _draft(self, value: object, received_at: datetime) -> RequestDraft | ImplioError:
        if isinstance(value, RequestFieldRefused):
            return value
        try:
            return request_draft(value, channel=Channel.FILE, received_at=received_at, asked_by=self._file.owner)
        except RequestFieldRefused as refusal:
            return refusal

    @override
    def finish(self, refused: Sequence[tuple[int, ImplioError]]) -> None:
        text: dict[str, Any] = {
            "refused": [
                {"position": position, "code": why.code, "reason": why.facts, "remedy": why.remedy}
                for position, why in refused
            ]
        }
        # 1. Set aside a file that could not be parsed at all, so that an operator can read it and ask again.
        if self._refusal:
            code, reason = self._refusal.code, self._refusal.facts
            with self._file.open() as file:
                blocks = iter(lambda: file.read(1 << 20), b"")
                text["setAside"] = self._set_aside.seal(
                    blocks, origin=Origin.REQUEST, team=None, code=code, reason=reason
                )
        # 2. Write the refusals, durable before the request file is removed: after a crash between the two, it is read
        #    again.
        if refused or self._refusal:
            names = self._names_beside()
            content = msgspec.json.format(msgspec.json.encode(text)) + b"\n"
            self._file.report(next(names), content, others=names)
        # 3. Destroy the request file.
        self._file.remove()

    def _names_beside(self) -> Iterator[str]:
        """Yield names for the refusals: the file's own name with a suffix, then with numbers too.

        Refusals of an earlier file with the same name are kept, since nobody may have read them yet. If the file's own
        name is too long for a suffix, its claimed name is used.
        """
        is_short = len(self._file.name.encode(errors="surrogateescape")) <= _MAX_NAME_BYTES
        name = self._file.name if is_short else self._file.claimed_name
        yield f"{name}{REFUSED_SUFFIX}"
        for number in count(2):
            yield f"{name}.{number}{REFUSED_SUFFIX}"
