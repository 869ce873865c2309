"""Real Linux kernels as clients: User-mode Linux guests that mount what the server shares."""
