"""What an epoch is closed with: what was deleted in it, and the entry that nothing opens it any more.

`rotate_keys.py` renews and destroys the keys. These functions only say what for, and what may be signed afterwards; the
rules are in `domain/epochs.py`.
"""

from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from heapq import merge

from implio_pipeline.domain.epochs import EpochDestroyed
from implio_pipeline.domain.ids import KeyId, Region, RequestId, TeamId
from implio_pipeline.domain.keys import HOME, ROTATING_PURPOSES, TeamKey, region_of, root_key_names, series_of
from implio_pipeline.domain.receipt import PartialReceipt, Receipt, RepeatedReceipt, WholeReceipt
from implio_pipeline.domain.team import Team
from implio_pipeline.ports.catalog import Catalog
from implio_pipeline.ports.ledger import Ledger
from implio_pipeline.ports.services import Services


@dataclass(frozen=True, kw_only=True, slots=True)
class Closing:
    """What was so when the closing of an epoch began."""

    at: datetime
    last_receipts: Mapping[Region, tuple[RequestId | None, datetime | None]]
    """The request of each region's newest receipt, and its `checked_at`."""
    keys: Mapping[Region, frozenset[KeyId]]
    """The team keys of each region below which something was deleted. While one of them is left, no entry is true.

    For the home there are none: what was deleted there has its own keys, which the home's root key wraps."""


def epoch_open_since(services: Services) -> datetime | None:
    """Return since when deleted keys may be opened with old copies of the catalog; `None` if there are none.

    That is since the last epoch was closed, or since the first team key was made if none was.

    Raises:
        LedgerBroken: the ledger is missing, or an entry cannot be read.
    """
    if services.catalog.destroys_at_once:
        return None
    catalog, regions = services.catalog, regions_in_use(services)
    epochs = _last_epochs(services.ledger, regions | {HOME})
    is_spent = catalog.is_home_spent or catalog.teams.spent()
    if not is_spent and next(_uncovered_receipts(services.ledger, epochs, regions), None) is None:
        return None
    if epochs.keys() >= regions | {HOME}:
        return min(epoch.closed_at for epoch in epochs.values())
    return catalog.teams.first_key_at()


def oldest_deletion_at(services: Services) -> datetime | None:
    """Return when the oldest deletion was checked whose keys wait to be destroyed; `None` if none waits.

    Where only keys wait that no receipt is about, nothing says when they were deleted. Then it is the time since which
    the epoch is open.

    Raises:
        LedgerBroken: the ledger is missing, or an entry cannot be read.
    """
    since = epoch_open_since(services)
    if since is None:
        return None
    regions = regions_in_use(services)
    uncovered = _uncovered_receipts(services.ledger, _last_epochs(services.ledger, regions), regions)
    return min((receipt.checked_at for receipt in uncovered), default=since)


def regions_in_use(services: Services) -> frozenset[Region]:
    """Return the regions that have teams."""
    return frozenset(services.catalog.teams.regions().values())


def _last_epochs(ledger: Ledger, regions: Collection[Region]) -> dict[Region, EpochDestroyed]:
    """Return the newest entry about a destroyed epoch of each region that has one."""
    newest = {
        region: next(ledger.newest_first(EpochDestroyed, chain=region), None) for region in _with_chain(ledger, regions)
    }
    return {region: entry.statement for region, entry in newest.items() if entry is not None}


def _uncovered_receipts(
    ledger: Ledger, epochs: Mapping[Region, EpochDestroyed], regions: Collection[Region]
) -> Iterator[Receipt]:
    """Yield the receipts of regions that no entry about a destroyed epoch covers yet, the newest of a region first.

    Args:
        ledger: The ledger.
        epochs: The newest entry of each region that has one.
        regions: The regions that are asked for.
    """
    for region in _with_chain(ledger, regions):
        epoch = epochs.get(region)
        types = (WholeReceipt, RepeatedReceipt, PartialReceipt)
        each_type = [ledger.newest_first(type_, chain=region) for type_ in types]
        for entry in merge(*each_type, key=lambda entry: -entry.sequence):
            receipt: Receipt = entry.statement
            # The order of the chain decides, and no clock: a receipt is written a while after its erasure was checked.
            if epoch and (epoch.last_receipt, epoch.last_checked_at) == (receipt.request_id, receipt.checked_at):
                break
            yield receipt


def _with_chain(ledger: Ledger, regions: Iterable[Region]) -> list[Region]:
    # A team may name a region that the settings do not have: that fails where its keys are renewed, and nowhere else.
    return sorted(set(regions) & set(ledger.chains()))


def begin_closing(services: Services, now: datetime) -> Closing:
    """Note what is so before any key is renewed. Whatever is deleted from here on belongs to the next epoch."""
    regions = regions_in_use(services)
    epochs = _last_epochs(services.ledger, regions)
    # A receipt is written after its deletions are committed, so those of every receipt that is here are.
    last = {region: (epoch.last_receipt, epoch.last_checked_at) for region, epoch in epochs.items()}
    newest: dict[Region, tuple[RequestId | None, datetime | None]] = {}
    touched: set[TeamId] = set()
    for receipt in _uncovered_receipts(services.ledger, epochs, regions):
        newest.setdefault(receipt.region, (receipt.request_id, receipt.checked_at))
        touched.add(receipt.team)
    touched |= services.catalog.teams.spent()
    keys = {region: _rotating_keys_of(services.catalog, region, touched) for region in regions}
    return Closing(at=now, last_receipts=last | newest, keys=keys | {HOME: frozenset()})


def _rotating_keys_of(catalog: Catalog, region: Region, teams: Collection[TeamId]) -> frozenset[KeyId]:
    keys = keys_of_region(catalog, region)
    return frozenset(key.key_id for key in keys if key.purpose in ROTATING_PURPOSES and key.team in teams)


def with_touched(services: Services, teams: Iterable[Team], regions: Collection[Region]) -> list[Team]:
    """Return teams, and those of the regions in which something was deleted since the last epoch was closed."""
    listed = list(teams)
    epochs = _last_epochs(services.ledger, regions)
    # Where no file changed, too, the sealed part of a completed request was deleted.
    touched = services.catalog.teams.spent() | {
        receipt.team for receipt in _uncovered_receipts(services.ledger, epochs, regions)
    }
    known = {team.team for team in listed}
    more = services.catalog.teams.all()
    return listed + [each for each in more if each.region in regions and each.team in touched - known]


def note_epochs(
    services: Services,
    closing: Closing,
    regions: Iterable[Region],
    *,
    destroyed: Mapping[str, str],
    pending_until: Mapping[str, datetime],
) -> int:
    """Record in the ledger, for each region and for the home, if its old root keys were destroyed, what nothing opens.

    Only what is so is recorded: a root key of each class was renewed and the older ones destroyed, and of the teams in
    which something was deleted none has a key of before. Otherwise the next closing does what is left.

    Args:
        services: What the flow may use.
        closing: What was so when the closing began.
        regions: The regions of which nothing failed.
        destroyed: Fingerprints of the destroyed root keys, by id.
        pending_until: Root keys that the key service destroys later, and when.

    Returns:
        The number of regions that got an entry, the home included.
    """
    statements = []
    for region in regions:
        gone = {each: print_ for each, print_ in destroyed.items() if region_of(each) == region}
        is_whole = {series_of(each) for each in gone} == {f"{region}/{name}" for name in root_key_names(region)}
        left = {key.key_id for key in keys_of_region(services.catalog, region)}
        if is_whole and left.isdisjoint(closing.keys[region]):
            last_receipt, last_checked_at = closing.last_receipts.get(region, (None, None))
            pending = [pending_until[each] for each in gone if each in pending_until]
            statements.append(
                EpochDestroyed(
                    region=region,
                    closed_at=closing.at,
                    destroyed_at=services.clock.now(),
                    root_keys=gone,
                    last_receipt=last_receipt,
                    last_checked_at=last_checked_at,
                    pending_until=max(pending, default=None),
                )
            )
    if statements:
        services.ledger.append(statements)
    return len(statements)


def keys_of_region(catalog: Catalog, region: Region) -> list[TeamKey]:
    """Return the keys of all teams of a region."""
    regions, keys = catalog.teams.regions(), catalog.teams.keys()
    return [key for key in keys if regions.get(key.team) == region]
