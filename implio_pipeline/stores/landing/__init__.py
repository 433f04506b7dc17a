"""Items on their way in: their model, their readers, and the watched landing folder."""
