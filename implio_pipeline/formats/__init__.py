"""Read what customers send: ads become checked columns, and request files become entries (JSON, NDJSON or CSV).

* The texts are untrusted. Large ones are read in processes that hold no key (`worker_process`).
* Nothing here stores anything.
* A rejected item never stops the others; only a file that cannot be read at all is refused as a whole.
"""
