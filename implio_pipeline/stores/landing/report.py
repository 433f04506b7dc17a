"""What a team reads about the items of its landing file that were rejected: positions and errors, no values."""

from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import msgspec
import pyarrow as pa

from implio_pipeline.ports.landing import LandingRemarks
from implio_pipeline.stores.claimed_file import write_beside

REPORTS = ".rejected"


def entries_of(rejected: pa.Table, *, most: int) -> tuple[Mapping[str, Any], ...]:
    """Return the position, reason and errors of the first rejected items."""
    columns = rejected.select(["position", "reason", "errors"]).slice(0, most).to_pylist()
    return tuple(
        {"position": int(one["position"]), "reason": one["reason"], "errors": msgspec.json.decode(one["errors"])}
        for one in columns
    )


def write_report(
    folder: Path,
    *,
    digest: str,
    accepted: int,
    rejected: int,
    entries: Sequence[Mapping[str, Any]],
    remarks: LandingRemarks,
    unknown: Mapping[str, int],
) -> None:
    """Write the report below the team's folder, mode 0600; what stands in its place and is no folder is removed."""
    place = folder / REPORTS
    if place.is_symlink() or place.is_file():
        place.unlink()
    with suppress(FileExistsError):
        place.mkdir(mode=0o700)
    text = {
        "landing": digest,
        "accepted": accepted,
        "erasedBefore": remarks.erased_before,
        "keptOut": remarks.kept_out,
        "tooOld": remarks.too_old,
        "returned": {"items": remarks.returned_items, "people": remarks.returned_people},
        "unknownProperties": dict(unknown),
        "rejectedTotal": rejected,
        "rejectedListed": len(entries),
        "rejected": list(entries),
    }
    write_beside(place, f"{digest[:16]}.json", msgspec.json.format(msgspec.json.encode(text)))
