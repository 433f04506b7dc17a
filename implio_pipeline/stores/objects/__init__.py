"""Objects by key, in a folder of this machine or in a bucket of an object storage."""
