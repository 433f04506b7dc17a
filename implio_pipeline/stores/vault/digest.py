"""The order-free digest of rows that a rewrite is proven with."""

import atexit

import duckdb
import numpy as np
import numpy.typing as npt
import pyarrow as pa

from implio_pipeline.domain.erasure import RowDigest

_KEPT = "is_kept"


class Digester:
    """Hashes whole rows with DuckDB's `hash`, which tells null from empty and minds the order of lists.

    The hash is not cryptographic: it finds faults, not forgers. Safe to use from many threads.
    """

    def __init__(self) -> None:
        self._connection = duckdb.connect(":memory:", config={"threads": 1})
        atexit.register(self.close)

    def digest(self, rows: pa.Table, kept: npt.NDArray[np.bool_] | None = None) -> RowDigest:
        """Return the digest of the rows, or of those that are kept."""
        names = ", ".join(f'"{name}"' for name in rows.column_names)
        where = "" if kept is None else f"where {_KEPT}"
        table = rows if kept is None else rows.append_column(_KEPT, pa.array(kept))
        query = (
            "select count(*), coalesce(sum(h), 0)::varchar, coalesce(bit_xor(h), 0) "
            f"from (select hash({names}) as h from vault_rows {where})"
        )
        with self._connection.cursor() as cursor:
            cursor.register("vault_rows", table)
            (found,) = cursor.execute(query).fetchall()
            cursor.unregister("vault_rows")
        count, total, mixed = found
        return RowDigest(rows=count, hash_sum=int(total), hash_xor=mixed)

    def close(self) -> None:
        """Close the connection; an open one makes DuckDB complain when the interpreter ends."""
        self._connection.close()
        atexit.unregister(self.close)
