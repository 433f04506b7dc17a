"""One claimed landing file: read into rows, then removed, archived, set aside or returned to its folder.

A report below the team's folder says which items were rejected. It has positions and errors, and no values: the folder
is not encrypted, and others may read it.
"""

import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import datetime
from functools import partial
from hashlib import file_digest
from typing import Any, Self

import msgspec
import pyarrow as pa
from typing_extensions import override

from implio_pipeline.domain.claims import Claim
from implio_pipeline.domain.errors import LandingInvalid
from implio_pipeline.domain.ids import FileKind, TeamId
from implio_pipeline.domain.instants import instant_text
from implio_pipeline.formats.columns import with_user_keys
from implio_pipeline.formats.limits import LandingLimits, LandingPolicy
from implio_pipeline.formats.pieces import WorkerPool, parse_file
from implio_pipeline.formats.unknown import count_names
from implio_pipeline.ports.exports import Origin
from implio_pipeline.ports.keychain import Keychain
from implio_pipeline.ports.landing import LandingClaim, LandingFile, LandingRemarks, ParsedRows
from implio_pipeline.stores.set_aside import SetAside
from implio_pipeline.stores.watched_place import TakenFile

REPORTS = ".rejected"
"""The folder of reports below a team's folder."""
_BLOCK_BYTES = 1 << 20


class ClaimedLanding(LandingFile, LandingClaim):
    """One claimed landing file; made by `Landing.claim`.

    Args:
        file: The file.
        team: Whose folder it was in.
        keychain: Makes the pseudonym of the file's digest.
        user_key: Makes the pseudonym of a user id.
        set_aside: Where the file goes if it cannot be read.
        limits: Bounds of parsing.
        policy: What happens to the plaintext, and the earliest instant that is accepted as a file's own date.
        workers: Processes that parse large files.
    """

    def __init__(
        self,
        file: TakenFile,
        team: TeamId,
        *,
        keychain: Keychain,
        user_key: Callable[[str], bytes],
        set_aside: SetAside,
        limits: LandingLimits,
        policy: LandingPolicy,
        workers: WorkerPool,
    ) -> None:
        self._file = file
        self._team = team
        self._pseudonym = partial(keychain.pseudonym, team)
        self._user_key = user_key
        self._set_aside = set_aside
        self._limits = limits
        self._policy = policy
        self._workers = workers
        self._accepted = self._rejected = 0
        self._unknown: dict[str, int] = {}
        self._digest: str | None = None
        self.batch_id = ""
        """The batch of the items that were read last."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.release()

    @property
    @override
    def mark(self) -> str:
        return self._file.mark

    @property
    @override
    def words(self) -> str:
        return f"{self.size_bytes} bytes, of {instant_text(self.arrived_at)}"

    @property
    @override
    def claims(self) -> tuple[Claim, ...]:
        return self._file.claims

    @property
    @override
    def size_bytes(self) -> int:
        return self._file.size_bytes

    @property
    @override
    def arrived_at(self) -> datetime:
        return self._file.arrived_at(first_at=self._policy.first_at)

    @override
    def digest(self) -> str:
        # A plain digest would let somebody test a guess at the file's content, so only its keyed pseudonym is stored.
        if self._digest is None:
            plain = file_digest(self._file.open(), "sha256").hexdigest()
            self._digest = self._pseudonym(f"landing {plain}")
        return self._digest

    @override
    def pieces(self) -> Iterator[ParsedRows]:
        # 1. Start from nothing: the file may be read again after a failure.
        self._accepted = self._rejected = listed = 0
        self._unknown = {}
        self.batch_id = str(uuid.uuid4())
        # 2. Parse piece by piece; a file may be larger than memory.
        tables = parse_file(
            self._file.open(),
            suffix=self._file.suffix,
            size_bytes=self.size_bytes,
            limits=self._limits,
            workers=self._workers,
            arrived_at=self.arrived_at,
            claimed_at=self._file.claimed_at,
            batch_id=self.batch_id,
        )
        for items, rejected in tables:
            report = _report_entries(rejected, count=self._limits.max_reported - listed)
            listed += len(report)
            self._accepted += items.num_rows
            self._rejected += rejected.num_rows
            unknown = items["unknown_properties"]
            count_names(unknown, into=self._unknown)
            # 3. User ids become pseudonyms here: the processes that parse have no keys (decision 0008).
            yield ParsedRows(
                items=with_user_keys(items, FileKind.ITEMS, self._user_key),
                rejected=with_user_keys(rejected, FileKind.REJECTED, self._user_key),
                report=report,
                with_unknown=len(unknown) - unknown.null_count,
            )
        # 4. If somebody wrote to the file after it was claimed, its rows may be a mixture of old and new content.
        if self._file.has_changed():
            raise LandingInvalid("the file was written to while it was read")

    @override
    def finish(self, report: Sequence[Mapping[str, Any]], remarks: LandingRemarks | None = None) -> None:
        remarks = remarks or LandingRemarks()
        # The report is durable before the file is removed. After a crash between the two, the file is taken again.
        if report or self._unknown or remarks != LandingRemarks():
            self._write_report(report, remarks)
        if self._policy.archive is None:
            self._file.remove()
        else:
            self._file.move(self._policy.archive / self._team)

    @override
    def set_aside(self, reason: str) -> None:
        code, _, words = reason.partition(": ")
        with self._file.open() as content:
            blocks = iter(lambda: content.read(_BLOCK_BYTES), b"")
            self._set_aside.seal(blocks, origin=Origin.LANDING, team=self._team, code=code, reason=words)
        self._file.remove()

    @override
    def release(self) -> None:
        self._file.release()

    def _write_report(self, report: Sequence[Mapping[str, Any]], remarks: LandingRemarks) -> None:
        listed = report[: self._limits.max_reported]
        text = {
            "landing": self.digest(),
            "accepted": self._accepted,
            "erasedBefore": remarks.erased_before,
            "keptOut": remarks.kept_out,
            "tooOld": remarks.too_old,
            "returned": {"items": remarks.returned_items, "people": remarks.returned_people},
            "unknownProperties": self._unknown,
            "rejectedTotal": max(self._rejected, len(report)),
            "rejectedListed": len(listed),
            "rejected": list(listed),
        }
        content = msgspec.json.format(msgspec.json.encode(text))
        self._file.report(f"{self.digest()[:16]}.json", content, below=REPORTS)


def _report_entries(rejected: pa.Table, *, count: int) -> tuple[Mapping[str, Any], ...]:
    """Return the position, reason and errors of the first `count` rejected items."""
    columns = rejected.select(["position", "reason", "errors"]).slice(0, count).to_pylist()
    return tuple(
        {"position": int(one["position"]), "reason": one["reason"], "errors": msgspec.json.decode(one["errors"])}
        for one in columns
    )
