"""One handler for each T-message, by topic. Importing this package registers them all."""

from ninepfs.server.handlers import attributes, directories, files, locking, names, session, walk, xattrs
from ninepfs.server.handlers.registry import HANDLERS, table

__all__ = [
    "HANDLERS",
    "attributes",
    "directories",
    "files",
    "locking",
    "names",
    "session",
    "table",
    "walk",
    "xattrs",
]
