"""Implementations of the ports: everything that touches disk, database, network or clock."""
