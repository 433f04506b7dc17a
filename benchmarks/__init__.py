"""Generated lakes, the rivals, and one table of results. Nothing in the product imports this."""
