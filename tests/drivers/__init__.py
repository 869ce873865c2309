"""Drivers, through a server."""
