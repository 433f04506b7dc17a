"""Facts about the rows of a file: `describe` makes them for the catalog, `measure` makes them again for the audit.

`describe` runs for every file that is written, so it is fast: it reads the buffers of columns. `measure` does not trust
the catalog: it counts Python values, and checks ranges and filters against them. The two share as little code as
possible, so that the audit finds a fault of `describe`.
"""

from collections import Counter
from collections.abc import Callable, Sequence
from datetime import UTC, date
from hashlib import sha256

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from implio_pipeline.domain.audit import FileMeasurement
from implio_pipeline.domain.columns import OTHER_KEYS
from implio_pipeline.domain.file_changes import NamedRule
from implio_pipeline.domain.files import VaultFile
from implio_pipeline.domain.ids import UNDECIDED, FileId, FileKind, Region, TeamId, UserKey
from implio_pipeline.stores.vault.filters import build_filter, may_contain
from implio_pipeline.stores.vault.predicate import KEY_TYPE, match, octets_of, other_keys_of, task_keys

_USER_ID = "user_id"


def describe(
    rows: pa.Table,
    content: memoryview,
    *,
    file_id: FileId,
    team: TeamId,
    region: Region,
    day: date,
    kind: FileKind,
    task_filter: bytes | None = None,
) -> VaultFile:
    """Return the catalog's facts about a file: ranges, counts, filters and digest.

    Args:
        rows: The file's rows.
        content: The file's bytes.
        file_id: The file's id.
        team: Whose rows they are.
        region: Where the file is stored.
        day: The UTC day of all rows.
        kind: The kind of the rows.
        task_filter: A filter that has all their task ids; built from them when `None`.
    """
    counted = _all_keys(rows).value_counts()
    keys = octets_of(counted.field("values"))
    lowest = highest = None
    if len(keys):
        octets = keys.tolist()  # as `bytes`, which compare octet by octet, as the catalog does
        lowest, highest = UserKey(min(octets)), UserKey(max(octets))
    outcomes = pc.fill_null(rows["outcome"], UNDECIDED).value_counts().to_pylist()
    submitted = pc.min_max(rows["submitted_at"]).as_py()
    return VaultFile(
        file_id=file_id,
        team=team,
        region=region,
        day=day,
        kind=kind,
        rows=rows.num_rows,
        size_bytes=len(content),
        digest=sha256(content).hexdigest(),
        low_key=lowest,
        high_key=highest,
        anonymous_rows=_anonymous_rows(rows),
        most_of_one_user=pc.max(counted.field("counts")).as_py() or 0,
        first_submitted_at=submitted["min"].astimezone(UTC),
        last_submitted_at=submitted["max"].astimezone(UTC),
        outcomes={each["values"]: each["counts"] for each in outcomes},
        user_filter=build_filter(keys),
        task_filter=build_filter(octets_of(task_keys(rows["task_id"]))) if task_filter is None else task_filter,
    )


def measure(
    file: VaultFile, rows: pa.Table, named_rules: Sequence[NamedRule], *, user_key: Callable[[str], UserKey]
) -> FileMeasurement:
    """Count the rows of a file as the catalog does, and count wrong pseudonyms and keys that its filters deny.

    Args:
        file: The file as the catalog lists it.
        rows: Its rows, with the columns that rules compare, and with the user id if rows of the kind have one.
        named_rules: Rules whose rows are counted.
        user_key: Makes the pseudonym of a user id.
    """
    by_user = Counter(_all_keys(rows).to_pylist())
    users = list(by_user)
    tasks = task_keys(rows["task_id"]).to_pylist()
    limits = pc.min_max(rows["submitted_at"]).as_py()
    counts = pc.fill_null(rows["outcome"], UNDECIDED).value_counts().to_pylist()
    matched = match(rows, [named.rule for named in named_rules]).counts
    return FileMeasurement(
        rows=rows.num_rows,
        low_key=min(users, default=None),
        high_key=max(users, default=None),
        anonymous_rows=_anonymous_rows(rows),
        most_of_one_user=max(by_user.values(), default=0),
        first_submitted_at=limits["min"],
        last_submitted_at=limits["max"],
        outcomes={each["values"]: each["counts"] for each in counts},
        users_missed=_missed(file.user_filter, users),
        tasks_missed=_missed(file.task_filter, tasks),
        wrong_pseudonyms=_wrong_pseudonyms(rows, user_key),
        matched=dict(zip((named.request_id for named in named_rules), matched, strict=True)),
    )


def users_missed(file: VaultFile, rows: pa.Table) -> int:
    """Return how many user keys of the rows the file's own filter denies. A deletion would not find those people."""
    return _missed(file.user_filter, octets_of(_all_keys(rows).unique()))


def _missed(membership: bytes, keys: list[bytes] | npt.NDArray[np.void]) -> int:
    try:
        return int(np.count_nonzero(~may_contain(membership, keys)))
    except ValueError:  # a filter of an unknown version finds nobody
        return len(keys)


def _wrong_pseudonyms(rows: pa.Table, user_key: Callable[[str], UserKey]) -> int:
    if _USER_ID not in rows.column_names:
        return 0
    pairs = zip(rows[_USER_ID].to_pylist(), rows["user_key"].to_pylist(), strict=True)
    known: dict[str | None, UserKey | None] = {None: None}
    wrong = 0
    for user_id, key in pairs:
        if user_id not in known:
            known[user_id] = user_key(user_id)
        wrong += known[user_id] != key
    return wrong


def _all_keys(rows: pa.Table) -> pa.ChunkedArray:
    """Return every user key of the rows, once for each row that has it. A rejected row may have several keys."""
    keys = rows["user_key"].drop_null()
    if OTHER_KEYS not in rows.column_names:
        return keys
    return pa.chunked_array([*keys.chunks, other_keys_of(rows)[1]], KEY_TYPE)


def _anonymous_rows(rows: pa.Table) -> int:
    """Return the number of rows without any user key."""
    is_anonymous = pc.is_null(rows["user_key"])
    if OTHER_KEYS in rows.column_names:
        is_anonymous = pc.and_(is_anonymous, pc.is_null(rows[OTHER_KEYS]))
    return pc.sum(is_anonymous).as_py() or 0
