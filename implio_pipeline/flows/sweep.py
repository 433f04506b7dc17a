"""Sweep: what a commit replaced is unlinked, and what the catalog's own files remember of its keys is scrubbed.

A file that cannot be unlinked stays on the list, without keys, and is tried again by the next sweep.
"""

from implio_pipeline.flows.alone import Faults
from implio_pipeline.ports.world import World


def unlink_doomed(world: World, faults: Faults | None = None) -> int:
    """Unlink files that a commit has replaced, and return how many there were; `faults` is told of those that stay."""
    left = Faults() if faults is None else faults
    gone = []
    for file in world.catalog.manifest.doomed():
        with left.alone(f"replaced file {file.file_id}", about=file.file_id, day=file.day):
            world.vault.delete(file)
            gone.append(file)
    if gone:
        world.catalog.manifest.unlinked(gone)
    return len(gone)


def sweep_doomed(world: World, faults: Faults | None = None) -> int:
    """Unlink files that a commit has replaced, and scrub what the catalog's own files remember of their keys."""
    count = unlink_doomed(world, faults)
    if count:
        world.catalog.scrub(is_thorough=False)
    return count
