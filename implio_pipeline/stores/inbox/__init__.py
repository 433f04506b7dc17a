"""The watched folder of request files, and the formats of these files."""
