"""Epochs: when what was deleted from a catalog that keeps deleted rows can be opened by nobody any more.

SQLite destroys a deleted key at once. PostgreSQL does not: the row stays in its heap, its write-ahead log, replicas and
base backups (decision 0101). There a deleted key is useless only when the keys above it are gone. An *epoch* is the
time of one generation of root keys. Closing it:

1. notes the newest receipt;
2. makes new root keys, and new keys for the teams in which something was deleted;
3. wraps what lives under the new keys;
4. destroys the old root keys. From then on nothing opens what was deleted up to that receipt.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum

from implio_pipeline.domain.ids import Region, RequestId
from implio_pipeline.domain.keys import Fingerprints
from implio_pipeline.domain.statements import Statement


class KeysState(StrEnum):
    """What has become of the keys of erased items when the receipt is written."""

    DESTROYED = "destroyed"
    DELETED = "deleted"
    """Deleted, and destroyed when the epoch is closed. The ledger says when that was."""


@dataclass(frozen=True, kw_only=True, slots=True)
class EpochDestroyed(Statement):
    """A closed epoch of a region's root keys was destroyed."""

    region: Region
    closed_at: datetime
    """When the closing began. What was deleted later belongs to the next epoch."""
    destroyed_at: datetime
    root_keys: Fingerprints
    """The root keys that were destroyed, with what identifies them."""
    last_receipt: RequestId | None
    """The request of the region's newest receipt when the closing began: nothing opens what was erased up to it."""
    last_checked_at: datetime | None
    """The `checked_at` of that receipt: a request may have several."""
    pending_until: datetime | None = None
    """When the key service destroys the root keys. Until then they open nothing, unless somebody cancels that there."""


def is_epoch_over(open_since: datetime | None, *, length: timedelta, now: datetime) -> bool:
    """Return whether an epoch in which something was deleted is as old as an epoch may be."""
    return open_since is not None and now >= open_since + length
