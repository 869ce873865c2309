"""ninepfs."""
