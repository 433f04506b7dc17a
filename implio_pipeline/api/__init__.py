"""The HTTPS server: the API for customers' servers. It also serves the pages of `web`."""
