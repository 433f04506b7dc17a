"""Keys: root keys in a ring, team keys wrapped under them, file keys wrapped under those."""
