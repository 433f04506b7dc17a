"""The laws that hold when all work is done, whatever happened before. Each breach is one line of text."""

from collections import Counter
from collections.abc import Collection
from datetime import timedelta
from pathlib import Path

from support.catalogs import octets_of

from implio_pipeline import wiring
from implio_pipeline.domain.ids import FileKind
from implio_pipeline.domain.request import RequestState
from implio_pipeline.flows.operations.audit import audit
from implio_pipeline.flows.operations.housekeep import housekeep
from reliability.homes import rows_of

_ANY_AGE = timedelta(days=-36_500)

LITTER = "litter"
"""Unfinished files of a crash that nobody uses and that hold no personal data. They are counted separately."""

Kept = Collection[tuple[str, str]]
"""Team and name of items."""


def breaches_on_waking(opened: wiring.OpenHome, always: Kept) -> list[str]:
    """Return what is wrong between a crash and the next run: no item that must stay may be missing or doubled."""
    held = Counter((row["team"], row["title"]) for row in rows_of(opened, FileKind.ITEMS, columns=["title"]))
    missing = sorted(set(always) - set(held))
    doubled = sorted(name for name, times in held.items() if times > 1)
    return _told("missing before the next run", missing) + _told("doubled before the next run", doubled)


def breaches(
    opened: wiring.OpenHome,
    *,
    kept: Kept,
    rejected: int | None,
    requests: int,
    cancelled: int = 0,
    is_at_least: bool = False,
    file_keys: dict[str, list[str]] | None = None,
) -> list[str]:
    """Return what is wrong after all work is done.

    Args:
        opened: The home, at rest.
        kept: The items that must be there, and no other.
        rejected: How many rejected items must be there; not looked at when `None`.
        requests: How many requests must be completed, each with one receipt.
        cancelled: How many requests must be cancelled.
        is_at_least: Whether there may be more: retention asks again each time it finds something overdue.
        file_keys: Wrapped keys, hexadecimal, of the files there once were.
    """
    services = opened
    housekeep(services, stray_age=_ANY_AGE)
    rows = rows_of(opened, FileKind.ITEMS, columns=["task_id", "title", "outcome"])
    held = Counter((row["team"], row["title"]) for row in rows)
    found = _told("lost", sorted(set(kept) - set(held)))
    found += _told("survivor or stranger", sorted(set(held) - set(kept)))
    found += _told("doubled", sorted(name for name, times in held.items() if times > 1))
    bad = len(rows_of(opened, FileKind.REJECTED, columns=["task_id"]))
    if rejected is not None and bad != rejected:
        found.append(f"{bad} rejected items, not {rejected}")
    waiting = Counter(entry.task_id for entry in services.catalog.moderation.entries())
    due = Counter(row["task_id"] for row in rows if row["outcome"] in (None, "no decision"))
    if waiting != due:
        found.append(f"the queues hold {len(waiting - due)} entries too many and {len(due - waiting)} too few")
    states = Counter(request.state.value for request in services.catalog.requests.all())
    if is_at_least and states.total() > requests:
        requests = states.total()
    if states != +Counter({RequestState.COMPLETED.value: requests, RequestState.CANCELLED.value: cancelled}):
        found.append(f"{requests} requests should be completed: {dict(states)}")
    told = Counter(str(entry.body["requestId"]) for entry in services.ledger.entries() if entry.kind == "receipt")
    noted = Counter(str(entry.body["requestId"]) for entry in services.ledger.entries() if entry.kind == "tombstone")
    if len(told) != requests or set(told.values()) - {1}:
        found.append(f"{sum(told.values())} receipts for {requests} requests")
    if len(noted) != requests + cancelled:
        found.append(f"{len(noted)} tombstones in the ledger for {requests + cancelled} requests")
    found += [f"ledger {fault.chain} batch {fault.batch}: {fault.problem}" for fault in services.ledger.check()]
    found += [f"audit: {each.kind} {each.words}" for each in audit(services, is_full=True).findings]
    found += _on_disk(opened, file_keys or {})
    return found


def keys_of_files(opened: wiring.OpenHome) -> dict[str, list[str]]:
    files = list(opened.catalog.manifest.files())
    return {
        sealed.file.file_id: [key.wrapped.hex() for key in sealed.keys]
        for sealed in opened.catalog.manifest.sealed(files)
    }


def _on_disk(opened: wiring.OpenHome, file_keys: dict[str, list[str]]) -> list[str]:
    home = opened.settings.home
    live = {file.file_id for file in opened.catalog.manifest.files()}
    stored = [path.stem for path in _files_below(home / "vault")]
    found = _told("stray in the vault", sorted(set(stored) - live))
    found += _told("in no folder", sorted(live - set(stored)))
    for place in (home / "landing", home / "requests" / "inbox"):
        left = [path.name for path in _files_below(place) if not _is_report(path)]
        found += _told(f"{LITTER} in {place.name}", sorted(name for name in left if name.endswith(".tmp")))
        found += _told(f"left in {place.name}", sorted(name for name in left if not name.endswith(".tmp")))
    catalog = octets_of(home)
    destroyed = [key for file_id, keys in file_keys.items() if file_id not in live for key in keys]
    readable = [key[:16] for key in destroyed if bytes.fromhex(key) in catalog]
    found += _told("a destroyed key is in the catalog's bytes", readable)
    found += _told(f"{LITTER} in keys", sorted(path.name for path in (home / "keys").glob("*/.*")))
    found += _told("left of an export", sorted(path.name for path in _files_below(home / "exports")))
    return found


def _files_below(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file() or path.is_symlink()]


def _is_report(path: Path) -> bool:
    return (path.parent.name == ".rejected" and path.suffix == ".json") or path.name.endswith(".refused.json")


def _told(what: str, names: list[object]) -> list[str]:
    return [f"{what}: {len(names)}, such as {names[0]}"] if names else []
