"""What the flows need from the world: protocols that the stores inherit, grouped by what they serve."""
