"""ninepfs: a 9P file server and toolkit.

Serve a directory, or any tree of your own, to every 9P client::

    from ninepfs import LocalDriver, serve

    serve(LocalDriver("/srv/share"), "unix:///run/share.sock")

and look into what others serve::

    from ninepfs import Client

    with Client.connect("unix:///run/share.sock") as client:
        print(client.root.listdir())

What is in ``__all__`` is the public API, and so are :mod:`ninepfs.testing` for tests of one's own and
:mod:`ninepfs.wire` for the messages themselves. Names are imported when they are first used, since programs seldom
need both sides, and loading all of them takes a tenth of a second.
"""

TYPE_CHECKING = False  # as type checkers know it; typing itself would be most of the time that this module takes
if TYPE_CHECKING:
    from ninepfs.address import AddressError, parse_address
    from ninepfs.client import Client, DirEntry, FileStat, LockHolder, RemoteFile, ServerClosedError, Tree
    from ninepfs.drivers import (
        LEAVE,
        Attributes,
        Changes,
        Driver,
        Entry,
        HostLock,
        Identity,
        LocalDriver,
        ReadOnly,
        Serialized,
        Statfs,
        User,
        Wrapper,
    )
    from ninepfs.server import Export, Limits, Server
    from ninepfs.service import serve, serving
    from ninepfs.transports.stream import Listener, ListenError
    from ninepfs.wire import ProtocolError
    from ninepfs.wire.constants import DirentType, GetattrMask, LFlag, LockType, SetattrMask

__version__ = "0.1.0"

__all__ = [
    "LEAVE",
    "AddressError",
    "Attributes",
    "Changes",
    "Client",
    "DirEntry",
    "DirentType",
    "Driver",
    "Entry",
    "Export",
    "FileStat",
    "GetattrMask",
    "HostLock",
    "Identity",
    "LFlag",
    "Limits",
    "ListenError",
    "Listener",
    "LocalDriver",
    "LockHolder",
    "LockType",
    "ProtocolError",
    "ReadOnly",
    "RemoteFile",
    "Serialized",
    "Server",
    "ServerClosedError",
    "SetattrMask",
    "Statfs",
    "Tree",
    "User",
    "Wrapper",
    "parse_address",
    "serve",
    "serving",
]

_CLIENT = {"Client", "DirEntry", "FileStat", "LockHolder", "RemoteFile", "ServerClosedError", "Tree"}
_SERVER = {"Export", "Limits", "Server"}
_CONSTANTS = {"DirentType", "GetattrMask", "LFlag", "LockType", "SetattrMask"}
_HOMES = {
    "AddressError": "ninepfs.address",
    "ListenError": "ninepfs.transports.stream",
    "Listener": "ninepfs.transports.stream",
    "ProtocolError": "ninepfs.wire",
    "parse_address": "ninepfs.address",
    "serve": "ninepfs.service",
    "serving": "ninepfs.service",
    **dict.fromkeys(_CLIENT, "ninepfs.client"),
    **dict.fromkeys(_SERVER, "ninepfs.server"),
    **dict.fromkeys(_CONSTANTS, "ninepfs.wire.constants"),
}
"""Where the names come from; those that are not here are of :mod:`ninepfs.drivers`."""


def __getattr__(name: str) -> object:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    import importlib

    value: object = getattr(importlib.import_module(_HOMES.get(name, "ninepfs.drivers")), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
