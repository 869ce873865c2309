"""Tests of the engine: who runs which request, and what becomes of slow ones."""
