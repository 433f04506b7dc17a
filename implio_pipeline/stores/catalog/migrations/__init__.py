"""Alembic's room: how the tables came to be."""
