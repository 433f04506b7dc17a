"""Use cases: one in each file, written against the ports. They import no library and no store."""
