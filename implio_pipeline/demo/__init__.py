"""Believable items and requests to try the pipeline on; nobody in them exists."""
