"""What people read: a team's items through DuckDB, and the results of their statements."""
