"""The assets: thin shells around flows that put counts and codes into metadata, and never a value of anybody's."""
