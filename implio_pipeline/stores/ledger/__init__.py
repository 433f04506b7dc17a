"""The ledger: an append-only log of tombstones and receipts, kept apart from catalog and vault."""
