"""Makes a process as the command line is: importing this chooses Arrow's allocator and keeps pandas out."""

from implio_pipeline.no_pandas import forbid_pandas

forbid_pandas()
