"""Sweep: what a commit replaced is unlinked, and what the catalog's own files remember of its keys is scrubbed."""

from implio_pipeline.ports.world import World


def unlink_doomed(world: World) -> int:
    """Unlink files that a commit has replaced, and return how many there were."""
    doomed = world.catalog.manifest.doomed()
    for file in doomed:
        world.vault.delete(file)
    if doomed:
        world.catalog.manifest.unlinked(doomed)
    return len(doomed)


def sweep_doomed(world: World) -> int:
    """Unlink files that a commit has replaced, and scrub what the catalog's own files remember of their keys."""
    count = unlink_doomed(world)
    if count:
        world.catalog.scrub(is_thorough=False)
    return count
