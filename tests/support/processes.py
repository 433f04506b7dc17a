"""Processes of their own for tests, which start at once.

Pytest's process has threads, so it must not fork. A new interpreter first imports for 2 s of processor time. So a
server that has only imported forks the processes. They share no memory, connection or lock with pytest or each other.
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
