"""Reading what customers send: ads as JSON, NDJSON and CSV become checked columns.

Texts are untrusted: large ones are read by processes that have no key (`worker_process`). Nothing here keeps anything.
"""
