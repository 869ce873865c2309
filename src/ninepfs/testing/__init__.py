"""What people who write drivers, servers or clients need for their tests, and what the project's own are made of.

Everything is real: :func:`serve_pair` runs a whole server and a client in one process, over a connected pair of
sockets; drivers around a driver make it slow (:class:`BlockingDriver`) or check that the server keeps its promises
(:class:`WatchedDriver`). :func:`serve_virtio` does the same through the virtqueues of guests without a kernel
(:mod:`ninepfs.testing.guest`). :func:`check_driver` tries a driver by what it promises.
"""

from ninepfs.testing.drivers import BlockingDriver, FailingDriver, WatchedDriver
from ninepfs.testing.guest import ServedVirtio, serve_virtio
from ninepfs.testing.pair import Served, serve_pair
from ninepfs.testing.process import Census
from ninepfs.testing.promises import check_driver

__all__ = [
    "BlockingDriver",
    "Census",
    "FailingDriver",
    "Served",
    "ServedVirtio",
    "WatchedDriver",
    "check_driver",
    "serve_pair",
    "serve_virtio",
]
