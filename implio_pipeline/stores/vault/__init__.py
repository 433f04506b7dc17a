"""The encrypted lake: standard Parquet Modular Encryption, with its own set of keys for each file."""
