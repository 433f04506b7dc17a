"""The door for people who read."""

from implio_pipeline.query.door import open_lake
from implio_pipeline.query.lake import Lake
from implio_pipeline.query.result import Result

__all__ = ["Lake", "Result", "open_lake"]
