"""A server and its clients in one process."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TypeAlias

from ninepfs.client import Client, Connection
from ninepfs.client.link import Link
from ninepfs.server import Exports, Limits, Server
from ninepfs.transports.stream import StreamChannel
from ninepfs.wire import Dialect
from ninepfs.wire.constants import DEFAULT_MSIZE, NONUNAME

Way: TypeAlias = "socket.socket | Link"
"""What a client can be made of."""


class Served:
    """A running server and the clients that are connected to it.

    Args:
        server: what :meth:`connect` connects to.
        msize: the largest message that its clients offer.
        dialect: the dialect that its clients offer.
    """

    def __init__(self, server: Server, msize: int = DEFAULT_MSIZE, dialect: Dialect = Dialect.L) -> None:
        self.server = server
        self._msize = msize
        self._dialect = dialect
        self._clients: list[Client | Connection | socket.socket] = []
        self.client: Client
        """The first client, attached to the default export. Its root is ``client.root.fid``."""

    def socket(self) -> socket.socket:
        """A new connection to the server, without a session: for arbitrary bytes."""
        ours, theirs = socket.socketpair()
        if not self.server.connect(StreamChannel(theirs, f"pair {theirs.fileno()}")):
            ours.close()
            theirs.close()
            raise ConnectionRefusedError("the server takes no more clients")
        self._clients.append(ours)
        return ours

    def link(self) -> Way:
        """A new connection to the server, for a client, which closes it."""
        return self.socket()

    def connection(self) -> Connection:
        """A new connection to the server, without a session: for messages in any order and number."""
        connection = Connection(self.link(), msize=self._msize)
        self._clients.append(connection)
        return connection

    def connect(
        self,
        *,
        msize: int | None = None,
        dialect: Dialect | None = None,
        aname: str = "",
        uname: str = "",
        n_uname: int = NONUNAME,
        attach: bool = True,
    ) -> Client:
        """A further client, with a session of its own.

        Args:
            msize: the largest message to offer, if other than for the others.
            dialect: the dialect to offer, if other than for the others.
            aname: which export.
            uname: the user's name.
            n_uname: the user's uid.
            attach: whether to attach; without, there is no ``client.root``.
        """
        client = Client.over(
            self.link(),
            msize=self._msize if msize is None else msize,
            dialect=self._dialect if dialect is None else dialect,
            aname=aname,
            uname=uname,
            n_uname=n_uname,
            attach=attach,
        )
        self._clients.append(client)
        return client

    def close_clients(self) -> None:
        """End the connections of all clients."""
        for client in self._clients:
            client.close()


@contextmanager
def serve_pair(
    exports: Exports,
    limits: Limits | None = None,
    *,
    msize: int = DEFAULT_MSIZE,
    dialect: Dialect = Dialect.L,
    timeout: float = 20.0,
) -> Iterator[Served]:
    """A server for these exports, and a client that has attached to the first, connected by a pair of sockets.

    At the end all connections are closed and the server is stopped, which must succeed within ``timeout`` seconds: a
    driver that blocks has to be released before.

    Args:
        exports: a driver, an export, or several.
        limits: those of the server.
        msize: the largest message that clients offer.
        dialect: the dialect that clients offer.
        timeout: how long the server may take to stop.

    Raises:
        TimeoutError: requests were still running when the time was over.
    """
    server = Server(exports, limits)
    served = Served(server, msize, dialect)
    try:
        served.client = served.connect(aname=server.exports[0].name)
        yield served
    finally:
        served.close_clients()
        stopped = server.stop(timeout)
    if not stopped:
        raise TimeoutError("requests of clients that are gone are still running")
