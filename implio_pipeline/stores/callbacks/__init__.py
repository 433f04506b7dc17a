"""Where callbacks leave the house."""
