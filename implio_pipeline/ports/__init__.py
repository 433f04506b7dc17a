"""What the flows need from the world: protocols, which the stores inherit.

A method is documented here and nowhere else. The ports know no library, so that flows can be read and tested without
one. `catalog`, `requests`, `moderation` and `access` are the parts of one database.
"""
