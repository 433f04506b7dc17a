"""What the catalog keeps of a file, so that it is found, proven and dropped without being read."""

from collections.abc import Mapping
from datetime import UTC, date

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from implio_pipeline.domain.files import VaultFile
from implio_pipeline.domain.ids import UNDECIDED, FileId, FileKind, Region, TeamId, UserKey
from implio_pipeline.stores.vault.filters import build_filter
from implio_pipeline.stores.vault.predicate import all_keys, anonymous_rows, octets_of
from implio_pipeline.stores.vault.storage import digest_of


def describe(
    rows: pa.Table, content: memoryview, *, file_id: FileId, team: TeamId, region: Region, day: date, kind: FileKind
) -> VaultFile:
    """Return what the catalog keeps of a file: ranges, counts, filters and digest."""
    counted = all_keys(rows).value_counts()
    present = octets_of(counted.field("values"))
    low_key, high_key = _ends(present)
    limits = pc.min_max(rows["submitted_at"]).as_py()
    return VaultFile(
        file_id=file_id,
        team=team,
        region=region,
        day=day,
        kind=kind,
        rows=rows.num_rows,
        size_bytes=len(content),
        digest=digest_of(content),
        low_key=low_key,
        high_key=high_key,
        anonymous_rows=anonymous_rows(rows),
        most_of_one_user=pc.max(counted.field("counts")).as_py() or 0,
        first_submitted_at=limits["min"].astimezone(UTC),
        last_submitted_at=limits["max"].astimezone(UTC),
        outcomes=_outcomes(rows["outcome"]),
        user_filter=build_filter(present),
        task_filter=b"",
    )


def _ends(keys: npt.NDArray[np.void]) -> tuple[UserKey, UserKey] | tuple[None, None]:
    """Return the smallest and the largest key, compared octet by octet."""
    if not len(keys):
        return None, None
    octets = keys.tolist()
    return UserKey(min(octets)), UserKey(max(octets))


def _outcomes(outcomes: pa.ChunkedArray) -> Mapping[str, int]:
    counts = pc.fill_null(outcomes, UNDECIDED).value_counts()
    return {each["values"]: each["counts"] for each in counts.to_pylist()}
