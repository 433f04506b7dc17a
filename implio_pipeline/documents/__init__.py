"""Documents that people print or keep: HTML without scripts, fonts or anything else to load."""
