"""Deletion requests that come as files: their words, their formats, and the watched folder."""
