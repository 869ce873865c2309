"""A server whose clients are guests, in one process."""

from __future__ import annotations

import os
import socket
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from ninepfs.address import VhostUserAddress
from ninepfs.server import Exports, Limits, Server
from ninepfs.testing.guest.bridge import Bridge
from ninepfs.testing.guest.link import QueueLink
from ninepfs.testing.guest.machine import Guest, QemuGuest
from ninepfs.testing.pair import Served
from ninepfs.transports.virtio import VhostUserListener
from ninepfs.wire import Dialect
from ninepfs.wire.constants import DEFAULT_MSIZE

GuestMaker = Callable[[socket.socket], Guest]
"""Makes a guest from a connected vhost-user socket: a class of guests, or a function that says more."""


class ServedVirtio(Served):
    """A running server with virtio devices, and the guests that use them. Each connection has a device of its own.

    All clients go through a virtqueue: :attr:`client` and those of :meth:`connect` directly, the sockets of
    :meth:`socket` by a :class:`~ninepfs.testing.guest.bridge.Bridge`.

    Args:
        server: whose devices.
        path: the unix socket on which its back end listens.
        guest: what the clients are in.
        msize: the largest message that its clients offer.
        dialect: the dialect that its clients offer.
    """

    def __init__(
        self,
        server: Server,
        path: str,
        guest: GuestMaker = QemuGuest,
        msize: int = DEFAULT_MSIZE,
        dialect: Dialect = Dialect.L,
    ) -> None:
        super().__init__(server, msize, dialect)
        self.path = path
        self._guest = guest

    def device(self) -> socket.socket:
        """A new connection to a device, on which nothing was said yet: it is the caller's."""
        sock = socket.socket(socket.AF_UNIX)
        sock.connect(self.path)
        return sock

    def guest(self, kind: GuestMaker | None = None) -> Guest:
        """A new guest, booted: it is the caller's.

        Args:
            kind: which, if other than for the clients.
        """
        guest = (kind or self._guest)(self.device())
        try:
            guest.boot()
        except BaseException:
            guest.close()
            raise
        return guest

    def link(self) -> QueueLink:
        return QueueLink(self.guest())

    def socket(self) -> socket.socket:
        ours, theirs = socket.socketpair()
        Bridge(theirs, self.link()).start()
        self._clients.append(ours)
        return ours


@contextmanager
def serve_virtio(
    exports: Exports,
    limits: Limits | None = None,
    *,
    guest: GuestMaker = QemuGuest,
    tag: str = "share",
    msize: int = DEFAULT_MSIZE,
    dialect: Dialect = Dialect.L,
    timeout: float = 20.0,
) -> Iterator[ServedVirtio]:
    """Like :func:`~ninepfs.testing.serve_pair`, over virtqueues of guests without a kernel.

    ::

        with serve_virtio(MyDriver(), guest=UmlGuest) as served:
            served.client.root.listdir()

    Args:
        exports: a driver, an export, or several.
        limits: those of the server.
        guest: what clients are in: :class:`QemuGuest`, :class:`UmlGuest`, or a function of the connected socket that
            makes one with other options.
        tag: the mount tag.
        msize: the largest message that clients offer.
        dialect: the dialect that clients offer.
        timeout: how long the server may take to stop.

    Raises:
        TimeoutError: requests were still running when the time was over.
    """
    server = Server(exports, limits)
    with tempfile.TemporaryDirectory(prefix="9pfs-") as directory:
        path = os.path.join(directory, "device.sock")
        listener = VhostUserListener(server, VhostUserAddress(path, tag))
        listener.start()
        served = ServedVirtio(server, path, guest, msize, dialect)
        try:
            served.client = served.connect(aname=server.exports[0].name)
            yield served
        finally:
            served.close_clients()
            listener.stop()
            stopped = server.stop(timeout)
        if not stopped:
            raise TimeoutError("requests of guests that are gone are still running")
