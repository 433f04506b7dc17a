"""What callers of all API servers have left of their rate limits, in PostgreSQL.

* A call costs no statement. Each server counts for itself, and some times a second one statement tells what its callers
  have spent and learns what the callers of all servers have left (decision 0098).
* The table (`api_rates`) is unlogged: it is in no log and no replica, and empty after a crash. It holds keyed hashes,
  no address and no key, and rows are deleted when nobody has called for a minute.
"""

from collections.abc import Callable, Mapping

from sqlalchemy import Engine, text

from implio_pipeline.stores.catalog.engine import writing

# In the order of callers, so that two servers never wait for each other's rows. The clock is the database's.
_SPEND = """
INSERT INTO api_rates AS r (caller, tokens, spent_at)
SELECT caller, :burst - spent, clock_timestamp()
FROM unnest(CAST(:callers AS bytea[]), CAST(:spent AS double precision[])) AS each (caller, spent)
ORDER BY caller
ON CONFLICT (caller) DO UPDATE SET
    tokens = greatest(
        -8 * :burst,
        least(:burst, r.tokens + :rate * greatest(0, extract(epoch FROM clock_timestamp() - r.spent_at)))
        - (:burst - excluded.tokens)
    ),
    spent_at = clock_timestamp()
RETURNING caller, tokens
"""
_FORGET = "DELETE FROM api_rates WHERE spent_at < clock_timestamp() - interval '1 minute'"


class SharedRates:
    """The table of what callers have left.

    Args:
        engine: The catalog's, on PostgreSQL.
        hashed: Returns the keyed hash of a text, the same on every server.
    """

    def __init__(self, engine: Engine, hashed: Callable[[str], bytes]) -> None:
        self._engine = engine
        self._hashed = hashed

    def spend(self, limit: str, spent: Mapping[str, float], *, rate: float, burst: float) -> dict[str, float]:
        """Subtract what callers have spent, and return what each has left, below zero for debts.

        Args:
            limit: The name of the limit.
            spent: Tokens by caller.
            rate: Tokens that come back in a second.
            burst: The most that a caller can have.

        Raises:
            CatalogUnavailable: the database does not answer.
        """
        callers = {self._hashed(f"{limit}\0{caller}"): caller for caller in spent}
        values = {"callers": list(callers), "spent": list(spent.values()), "rate": rate, "burst": burst}
        with writing(self._engine) as connection:
            return {callers[bytes(each)]: left for each, left in connection.execute(text(_SPEND), values)}

    def forget(self) -> None:
        """Delete the rows of callers who have not called for a minute: they have all tokens again."""
        with writing(self._engine) as connection:
            connection.execute(text(_FORGET))
