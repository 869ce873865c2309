"""Transports, over what their clients really use."""
