"""Lakes we generate, the rivals in them, and one table; nothing in the product imports this."""
