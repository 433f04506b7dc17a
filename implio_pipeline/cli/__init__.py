"""`implio …`: the command line, one module for each group of commands."""

from implio_pipeline.cli.app import app, main

__all__ = ["app", "main"]
