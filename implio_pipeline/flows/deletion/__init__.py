"""Deletion: accept, approve, preview, erase and receipt requests; retention, legal holds, policy changes."""
