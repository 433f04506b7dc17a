"""What sellers write, one language a file; only words, no logic."""
