"""Random and mutated messages."""
