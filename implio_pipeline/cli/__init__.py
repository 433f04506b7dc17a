"""`implio …`: the command line, one module for each group of commands."""

from implio_pipeline.late_pandas import put_off_pandas

put_off_pandas()

from implio_pipeline.cli.app import app, main  # noqa: E402

__all__ = ["app", "main"]
