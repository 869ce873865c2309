"""Accepting clients on an address."""

from __future__ import annotations

import logging
import os
import select
import socket
import threading
import time

from ninepfs.address import FdAddress, ListenAddress, TcpAddress, UnixAddress, VhostUserAddress, VsockAddress
from ninepfs.server.server import Server
from ninepfs.transports.stream import sockets
from ninepfs.transports.stream.channel import StreamChannel
from ninepfs.transports.stream.sockets import ListenError, peer_name, reason

log = logging.getLogger("ninepfs.stream")

_SILENCE = 10.0
"""Seconds for which all must have gone well before it is said again that clients cannot be accepted: near a limit, some
can and some cannot."""


class Listener:
    """Accepts clients for a server on one address, in a thread of its own.

    Args:
        server: who serves them.
        address: where to listen. An ``fd://`` address may be a listening socket or a connected one, which is then the
            only client.

    Raises:
        ListenError: that is not possible.
    """

    def __init__(self, server: Server, address: ListenAddress) -> None:
        self._server = server
        self._unlink: tuple[str, int] | None = None
        self._ending = False
        self._wake = os.eventfd(0, os.EFD_CLOEXEC)
        try:
            self._socket = self._open(address)
        except BaseException:
            os.close(self._wake)
            raise
        self.connected = not sockets.listens(self._socket)
        """Whether the socket is a client already; there will be no other."""
        self.address = self._resolved(address)
        """Where it listens: with the address that a name stands for, and the port that was chosen."""
        self._thread: threading.Thread | None = None

    @property
    def busy(self) -> bool:
        """Whether the server has a client, of whatever listener."""
        return bool(self._server.engine.connections)

    def start(self) -> None:
        """Begin to serve."""
        if self.connected:
            self._serve(self._socket)
            return
        self._thread = threading.Thread(target=self._accept, name=f"9pfs {self.address}", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Accept nobody any more. Clients that are being served are left alone."""
        if self._ending:
            return
        self._ending = True
        # Not by shutdown(2): an inherited socket may be somebody else's, too, and a vsock one does not wake up from it.
        os.eventfd_write(self._wake, 1)
        if self._thread is not None:
            self._thread.join()
        os.close(self._wake)
        if self.connected:
            return
        if self._unlink is not None:  # before it looks abandoned, and another server replaces it
            sockets.unlink(*self._unlink)
        self._socket.close()

    def close(self) -> None:
        """After the server has stopped: let go of what is not a session and still connected."""

    # --- opening

    def _open(self, address: ListenAddress) -> socket.socket:
        try:
            match address:
                case UnixAddress(path):
                    return self._open_unix(path)
                case TcpAddress(host, port):
                    return sockets.listen_tcp(host, port)
                case VsockAddress(cid, port):
                    return sockets.listen_vsock(cid, port)
                case FdAddress(fd):
                    return sockets.inherit(fd)
                case VhostUserAddress():
                    raise ListenError(f"{address} is not the address of a stream")
        except socket.gaierror as failure:
            raise ListenError(f"cannot listen on {address}: {failure.strerror}") from None
        except OSError as failure:
            raise ListenError(f"cannot listen on {address}: {reason(failure)}") from None

    def _open_unix(self, path: str) -> socket.socket:
        sock, inode = sockets.listen_unix(path)
        self._unlink = path, inode
        return sock

    def _resolved(self, address: ListenAddress) -> ListenAddress:
        if isinstance(address, TcpAddress):
            host, port, *_ = self._socket.getsockname()
            return TcpAddress(host, port)
        return address

    # --- clients

    def _accept(self) -> None:
        poll = select.poll()
        poll.register(self._socket, select.POLLIN)
        poll.register(self._wake, select.POLLIN)
        quiet_until = 0.0
        while True:
            poll.poll()
            if self._ending:
                return
            try:
                client, _ = self._socket.accept()
            except OSError as failure:
                now = time.monotonic()
                if now >= quiet_until:
                    log.warning("%s: cannot accept a client: %s; trying again", self.address, failure.strerror)
                quiet_until = now + _SILENCE
                time.sleep(0.1)  # out of descriptors, most likely: that passes
                continue
            self._serve(client)

    def _serve(self, client: socket.socket) -> None:
        try:
            if client.family in (socket.AF_INET, socket.AF_INET6):
                _prepare_tcp(client)
            channel = StreamChannel(client, peer_name(client))
        except OSError as failure:  # gone already
            log.info("%s: a client left at once: %s", self.address, failure.strerror)
            client.close()
            return
        if self._server.connect(channel):
            log.info("%s: connected", channel.peer)
        else:
            client.close()


def _prepare_tcp(client: socket.socket) -> None:
    """Replies leave at once, and a client that vanished without a word is noticed in two minutes: its locks would else
    be held for ever."""
    client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    client.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    client.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, 60)
    client.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, 15)
    client.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPCNT, 4)
    client.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, 120_000)
