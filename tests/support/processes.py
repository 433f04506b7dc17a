"""Child processes for tests, which start fast.

Pytest's process has threads, so it must not fork, and a new interpreter spends 2 s of processor time on imports. So a
fork server, which has only imported, forks them. They share no memory, connection or lock with pytest or each other.
Their environment is that of the moment when the first of them started.
"""

import multiprocessing
from multiprocessing.context import ForkServerContext

_IMPORTED_ONCE = ["pytest", "hypothesis", "implio_pipeline.wiring", "implio_pipeline.stores.catalog.postgresql"]


def own_processes() -> ForkServerContext:
    """Return what starts such processes: `Process`, `Barrier`, `Queue`, …"""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(_IMPORTED_ONCE)
    return context
