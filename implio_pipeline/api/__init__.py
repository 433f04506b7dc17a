"""The HTTPS edge: the API for customers' servers, and the Data & Privacy page for administrators."""
