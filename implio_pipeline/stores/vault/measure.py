"""What a vault file holds, measured row by row for the self-audit; no range and no filter is believed."""

from collections import Counter
from collections.abc import Callable, Sequence

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from implio_pipeline.domain.audit import Measured
from implio_pipeline.domain.columns import columns_by_class, columns_of, rule_columns
from implio_pipeline.domain.file_changes import NamedRule
from implio_pipeline.domain.files import VaultFile
from implio_pipeline.domain.ids import UNDECIDED, FileKind, UserKey
from implio_pipeline.stores.vault.filters import may_contain
from implio_pipeline.stores.vault.predicate import all_keys, anonymous_rows, match, octets_of, task_keys

_USER_ID = "user_id"


def measured_columns(kind: FileKind) -> list[str]:
    """Return what is read: the columns rules look at, the user id, and one of each class, so that its key is used."""
    one_of_each = [names[-1] for names in columns_by_class(kind).values()]
    wanted = {*rule_columns(kind), *one_of_each, _USER_ID}
    return [column.name for column in columns_of(kind) if column.name in wanted]


def measure(
    file: VaultFile, rows: pa.Table, named_rules: Sequence[NamedRule], *, user_key: Callable[[str], UserKey]
) -> Measured:
    """Return what the rows of a file are, and where its filters and pseudonyms fail them."""
    by_user = Counter(all_keys(rows).to_pylist())
    users = list(by_user)
    tasks = task_keys(rows["task_id"]).to_pylist()
    limits = pc.min_max(rows["submitted_at"]).as_py()
    counts = pc.fill_null(rows["outcome"], UNDECIDED).value_counts().to_pylist()
    matched = match(rows, [named.rule for named in named_rules]).counts
    return Measured(
        rows=rows.num_rows,
        low_key=min(users, default=None),
        high_key=max(users, default=None),
        anonymous_rows=anonymous_rows(rows),
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
    """Return how many user keys of a file's rows its own filter denies."""
    return _missed(file.user_filter, octets_of(all_keys(rows).unique()))


def _missed(membership: bytes, keys: list[bytes] | npt.NDArray[np.void]) -> int:
    try:
        return int(np.count_nonzero(~may_contain(membership, keys)))
    except ValueError:  # of a form that is not known, so that it answers nothing
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
