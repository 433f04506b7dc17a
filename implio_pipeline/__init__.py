"""Keeps user-generated content lawfully: an encrypted lake that can forget, and prove it."""

__version__ = "0.2.0"
