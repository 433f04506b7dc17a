"""Make this process like one of the command line: importing this chooses Arrow's allocator and forbids pandas."""

from implio_pipeline.no_pandas import forbid_pandas

forbid_pandas()
