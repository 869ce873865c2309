"""A session with a server: version and attach, then files."""

from __future__ import annotations

import errno
import os
import pwd
import socket
from types import TracebackType
from typing import Self

from ninepfs.address import Address
from ninepfs.client.connection import Connection, connect_socket
from ninepfs.client.link import Link
from ninepfs.client.paths import Path, about, split_path
from ninepfs.client.requests import Name, Requests
from ninepfs.client.tree import Tree, not_found, walk_names
from ninepfs.wire import Dialect, ProtocolError
from ninepfs.wire.constants import DEFAULT_MSIZE, NOFID
from ninepfs.wire.messages import Rversion


class Client(Requests):
    """A client of a 9P server: files by their paths in :attr:`root`, and every request as a method.

    ::

        with Client.connect("tcp://127.0.0.1:5640") as client:
            print(client.root.read_bytes("etc/motd"))

    Use :meth:`connect`, or :meth:`over` for a socket that is connected already. ``Client(connection)`` sends nothing by
    itself: version and attach are the caller's. A client belongs to one thread.
    """

    def __init__(self, connection: Connection) -> None:
        super().__init__(connection)
        self._root: Tree | None = None

    @classmethod
    def connect(
        cls,
        address: Address | str,
        *,
        msize: int = DEFAULT_MSIZE,
        dialect: Dialect = Dialect.L,
        aname: Name = b"",
        uname: Name | None = None,
        n_uname: int | None = None,
        timeout: float | None = None,
    ) -> Self:
        """Connects, agrees on a version, and attaches.

        Args:
            address: an address or its URL (:mod:`ninepfs.address`).
            msize: largest message to offer, in bytes.
            dialect: the dialect to offer. A server may choose a lesser one, see :attr:`dialect`.
            aname: which export; empty for the server's default.
            uname: the user's name, None for that of this process.
            n_uname: the user's uid, None for that of this process, ``NONUNAME`` for none.
            timeout: seconds that connecting may take, and then each answer until the client has attached; None for as
                long as it takes. Later waits are not limited, see :attr:`Connection.timeout`.

        Raises:
            AddressError: the URL is not an address.
            OSError: there is no connection, or the server refuses the attach.
            ProtocolError: what answers is not a 9P server.
            TimeoutError: the time is over.
        """
        sock = connect_socket(address, timeout)
        return cls.over(sock, msize=msize, dialect=dialect, aname=aname, uname=uname, n_uname=n_uname, timeout=timeout)

    @classmethod
    def over(
        cls,
        sock: socket.socket | Link,
        *,
        msize: int = DEFAULT_MSIZE,
        dialect: Dialect = Dialect.L,
        aname: Name = b"",
        uname: Name | None = None,
        n_uname: int | None = None,
        attach: bool = True,
        timeout: float | None = None,
    ) -> Self:
        """Like :meth:`connect`, over a connected socket, which the client owns from now on.

        Args:
            sock: the socket, blocking, or another way of messages (:mod:`ninepfs.client.link`).
            msize: see :meth:`connect`, as for the others.
            dialect: the dialect to offer.
            aname: which export.
            uname: the user's name.
            n_uname: the user's uid.
            attach: whether to attach; without, there is no :attr:`root`.
            timeout: seconds that each answer may take until it has attached.
        """
        client = cls(Connection(sock, msize=msize, timeout=timeout))
        try:
            client.negotiate(msize, dialect)
            if attach:
                client._root = client.tree(aname, uname, n_uname)
            client.connection.timeout = None
        except BaseException:
            client.close()
            raise
        return client

    def version(self, msize: int, version: Name) -> Rversion:
        """Begins a new session: whatever was in flight is dropped and all fids are clunked, :attr:`root` with them."""
        reply = super().version(msize, version)
        self._root = None
        return reply

    def negotiate(self, msize: int = DEFAULT_MSIZE, dialect: Dialect = Dialect.L) -> None:
        """Offers a version, and obeys the answer: a smaller msize, a lesser dialect.

        Raises:
            OSError: EPROTONOSUPPORT, the server speaks none that is known here, or what the server says to refuse.
            ProtocolError: the answer is not one, or the msize too small to work with.
        """
        reply = self.version(msize, dialect.version)
        agreed = Dialect.of(reply.version)
        if agreed is None or agreed > dialect:
            offer, answer = dialect.version.decode(), reply.version.decode(errors="replace")
            raise OSError(errno.EPROTONOSUPPORT, f"the server does not speak {offer}, it answers {answer!r}")
        if reply.msize < min(agreed.min_msize, msize):
            raise ProtocolError(
                f"the server's msize of {reply.msize} bytes is too small, {agreed.min_msize} are needed"
            )

    @property
    def root(self) -> Tree:
        """The files of the export that the client attached to.

        Raises:
            ValueError: the client has not attached.
        """
        if self._root is None:
            raise ValueError("the client has not attached to an export")
        return self._root

    def tree(self, aname: Name = b"", uname: Name | None = None, n_uname: int | None = None) -> Tree:
        """Attaches once more, to another export or as another user; see :meth:`connect` for the arguments.

        Raises:
            OSError: the server refuses, or there are no paths in the session's dialect.
        """
        n_uname = os.geteuid() if n_uname is None else n_uname
        fid = self.new_fid()
        try:
            self.attach(fid, NOFID, _user_name() if uname is None else uname, aname, n_uname)
        except OSError:
            self.free_fid(fid)
            raise
        try:
            return Tree(self, fid)
        except OSError:
            self.release(fid)
            raise

    def walk_path(self, path: Path, fid: int | None = None) -> int:
        """A new fid for the file at ``path`` below ``fid`` or the root; the caller clunks it. No symlink is followed.

        Raises:
            OSError: there is no such file.
        """
        with about(path):
            newfid, qids, error = walk_names(self, self.root.fid if fid is None else fid, split_path(path))
            if newfid is None:
                raise error or not_found(qids)
            return newfid

    def close(self) -> None:
        """Ends the connection; all fids end with it."""
        self.connection.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _user_name() -> str:
    try:
        return pwd.getpwuid(os.geteuid()).pw_name
    except KeyError:
        return ""
