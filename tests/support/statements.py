"""Statements that are compiled once for all homes of a process.

SQLAlchemy keeps compiled statements for each engine and dialect. Every home has an engine, so a test compiled all of
its statements again: 30 % of the processor time of flows (measured). Here all SQLite catalogs of a process share one
dialect and what was compiled for it. The pool, its connections and all settings of an engine stay its own.
"""

from collections.abc import Callable, Mapping
from typing import Any

from sqlalchemy import URL, Engine, create_engine

from implio_pipeline.stores.catalog import sqlite

_MOST_STATEMENTS = 5_000


def share_statements() -> None:
    """From now on, catalogs on SQLite share what is compiled."""
    connect: Callable[[URL, Mapping[str, Any]], Engine] = sqlite.connect
    shared: Engine | None = None
    known: Mapping[str, Any] = {}

    def connect_and_share(location: URL, options: Mapping[str, Any]) -> Engine:
        nonlocal shared, known
        if shared is None:
            shared, known = create_engine("sqlite://", query_cache_size=_MOST_STATEMENTS, **options), options
            shared.connect().close()  # the dialect learns SQLite's version
        assert options == known, "engines with other options compile other statements"
        engine = connect(location, options)
        engine.dialect = shared.dialect
        engine._compiled_cache = shared._compiled_cache
        return engine

    sqlite.connect = connect_and_share
