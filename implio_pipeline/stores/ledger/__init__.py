"""The ledger: chains of signed batches of tombstones, receipts and statements, kept apart from catalog and vault.

`batches` makes the bytes of a batch. `storage` says what keeps the batches of a chain; `batch_file` and `batch_objects`
are its two worlds. `index` finds entries. `chain` appends to one chain and reads it, `ledger` connects the chains.
"""
