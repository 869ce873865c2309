"""File systems that the server can serve, and what a new one is made of."""

from ninepfs.drivers.base import (
    LEAVE,
    Attributes,
    Changes,
    Driver,
    Entry,
    HostLock,
    Identity,
    Statfs,
    User,
)
from ninepfs.drivers.local import LocalDriver
from ninepfs.drivers.wrappers import ReadOnly, Serialized, Wrapper

__all__ = [
    "LEAVE",
    "Attributes",
    "Changes",
    "Driver",
    "Entry",
    "HostLock",
    "Identity",
    "LocalDriver",
    "ReadOnly",
    "Serialized",
    "Statfs",
    "User",
    "Wrapper",
]
