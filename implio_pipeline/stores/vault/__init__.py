"""The encrypted lake: standard Parquet Modular Encryption, one set of keys a file."""
