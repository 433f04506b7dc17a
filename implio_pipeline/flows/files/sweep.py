"""Sweep: what a commit replaced is unlinked, and what the catalog's own files remember of its keys is scrubbed.

A file that cannot be unlinked stays on the list, without keys, and is tried again by the next sweep.
"""

from implio_pipeline.flows.alone import Faults
from implio_pipeline.ports.services import Services


def unlink_doomed(services: Services, faults: Faults | None = None) -> int:
    """Unlink files that a commit has replaced, and return how many there were; `faults` is told of those that stay."""
    left = Faults() if faults is None else faults
    gone = []
    for file in services.catalog.manifest.doomed():
        with left.alone(f"replaced file {file.file_id}", about=file.file_id, day=file.day):
            services.vault.delete(file)
            gone.append(file)
    if gone:
        services.catalog.manifest.unlinked(gone)
    return len(gone)


def sweep_doomed(services: Services, faults: Faults | None = None) -> int:
    """Unlink files that a commit has replaced, and scrub what the catalog's own files remember of their keys."""
    count = unlink_doomed(services, faults)
    if count:
        services.catalog.scrub(is_thorough=False)
    return count
