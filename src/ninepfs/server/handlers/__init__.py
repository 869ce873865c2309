"""One handler for each T-message, by topic. Importing this package registers them all."""

from ninepfs.server.handlers import (
    attributes,
    create,
    directories,
    files,
    locking,
    names,
    plan9,
    session,
    walk,
    wstat,
    xattrs,
)
from ninepfs.server.handlers.registry import HANDLERS, table

__all__ = [
    "HANDLERS",
    "attributes",
    "create",
    "directories",
    "files",
    "locking",
    "names",
    "plan9",
    "session",
    "table",
    "walk",
    "wstat",
    "xattrs",
]
