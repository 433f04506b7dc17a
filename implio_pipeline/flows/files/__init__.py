"""Vault files: bring items in, find files, replace and merge them, renew their keys."""
