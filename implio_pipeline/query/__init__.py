"""How people read the items of teams: SQL statements in DuckDB, and their results."""
