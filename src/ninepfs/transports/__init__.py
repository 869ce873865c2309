"""Ways to clients: each kind makes channels for the server."""
