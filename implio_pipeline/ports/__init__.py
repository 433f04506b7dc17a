"""What the flows need from the world, one port or a few that belong together a file; `stores` has the real thing."""
