"""Listening on addresses, and taking over sockets that somebody else opened."""

from __future__ import annotations

import errno
import logging
import os
import select
import socket
import stat
import threading
import time

from ninepfs.address import FdAddress, ListenAddress, TcpAddress, UnixAddress, VhostUserAddress, VsockAddress
from ninepfs.server.server import Server
from ninepfs.transports.stream.channel import StreamChannel

log = logging.getLogger("ninepfs.stream")

_BACKLOG = 128

_SILENCE = 10.0
"""Seconds for which all must have gone well before it is said again that clients cannot be accepted: near a limit, some
can and some cannot."""


class ListenError(Exception):
    """An address cannot be listened on; the text is one plain sentence."""


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
        self.connected = not _listens(self._socket)
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
        self._socket.close()
        if self._unlink is not None:
            path, inode = self._unlink
            try:
                if os.stat(path).st_ino == inode:
                    os.unlink(path)
            except OSError:
                pass

    def close(self) -> None:
        """After the server has stopped: let go of what is not a session and still connected."""

    # --- opening

    def _open(self, address: ListenAddress) -> socket.socket:
        try:
            match address:
                case UnixAddress(path):
                    return self._open_unix(path)
                case TcpAddress(host, port):
                    return _open_tcp(host, port)
                case VsockAddress(cid, port):
                    sock = socket.socket(socket.AF_VSOCK, socket.SOCK_STREAM)
                    sock.bind((socket.VMADDR_CID_ANY if cid is None else cid, port))
                    sock.listen(_BACKLOG)
                    return sock
                case FdAddress(fd):
                    return _inherit(fd)
                case VhostUserAddress():
                    raise ListenError(f"{address} is not the address of a stream")
        except socket.gaierror as failure:
            raise ListenError(f"cannot listen on {address}: {failure.strerror}") from None
        except OSError as failure:
            raise ListenError(f"cannot listen on {address}: {reason(failure)}") from None

    def _open_unix(self, path: str) -> socket.socket:
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            try:
                sock.bind(path)
            except OSError as failure:
                if failure.errno != errno.EADDRINUSE:
                    raise
                if not stat.S_ISSOCK(os.lstat(path).st_mode):
                    raise ListenError(
                        f"cannot listen on {UnixAddress(path)}: there is a file that is no socket"
                    ) from None
                if not _abandoned(path):
                    raise
                os.unlink(path)  # left behind by a server that is gone
                sock.bind(path)
            sock.listen(_BACKLOG)
            self._unlink = path, os.stat(path).st_ino
        except BaseException:
            sock.close()
            raise
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


def _open_tcp(host: str, port: int) -> socket.socket:
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    # A name may have addresses of both kinds (localhost mostly does), and Linux 6.1 mounts from the older one only.
    family, _, _, _, where = min(found, key=lambda one: one[0] != socket.AF_INET)
    sock = socket.socket(family, socket.SOCK_STREAM)
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        sock.bind(where)
        sock.listen(_BACKLOG)
    except BaseException:
        sock.close()
        raise
    return sock


def _prepare_tcp(client: socket.socket) -> None:
    """Replies leave at once, and a client that vanished without a word is noticed in two minutes: its locks would else
    be held for ever."""
    client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    client.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    client.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, 60)
    client.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, 15)
    client.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPCNT, 4)
    client.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, 120_000)


def _inherit(fd: int) -> socket.socket:
    try:
        mode = os.fstat(fd).st_mode
    except OSError:
        raise ListenError(f"descriptor {fd} is not open; pass an open socket, or use another address") from None
    if not stat.S_ISSOCK(mode):
        raise ListenError(f"descriptor {fd} is not a socket")
    sock = socket.socket(fileno=fd)
    wrong = "is not a stream socket" if sock.type != socket.SOCK_STREAM else _alone(sock)
    if wrong:
        sock.detach()
        raise ListenError(f"descriptor {fd} {wrong}")
    os.set_inheritable(fd, False)
    return sock


def _alone(sock: socket.socket) -> str:
    """What is wrong with a socket that nobody is or can be connected to."""
    if not _listens(sock):
        try:
            sock.getpeername()
        except OSError:
            return "is a socket that neither listens nor is connected"
    return ""


def _listens(sock: socket.socket) -> bool:
    return bool(sock.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN))


def _abandoned(path: str) -> bool:
    """Whether nobody listens on a unix socket that exists."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.settimeout(1)
        try:
            probe.connect(path)
        except ConnectionRefusedError:
            return True
        except OSError:
            return False
    return False


def reason(failure: OSError) -> str:
    """Why an address cannot be had, for the end of a sentence."""
    if failure.errno == errno.EADDRINUSE:
        return "the address is in use; stop the other server or choose another address"
    if failure.errno == errno.ECONNREFUSED:
        return "nobody listens there; start the virtual machine first"
    if failure.errno == errno.EADDRNOTAVAIL:
        return "this machine has no such address"
    return (failure.strerror or str(failure)).lower()


def peer_name(client: socket.socket) -> str:
    """What to call a client in the log."""
    match client.family:
        case socket.AF_INET:
            host, port = client.getpeername()
            return f"{host}:{port}"
        case socket.AF_INET6:
            host, port, *_ = client.getpeername()
            return f"[{host}]:{port}"
        case socket.AF_UNIX:
            pid, uid, _ = _credentials(client)
            return f"process {pid} of user {uid}"
        case socket.AF_VSOCK:
            cid, port = client.getpeername()
            return f"vsock {cid}:{port}"
    return "client"


def _credentials(client: socket.socket) -> tuple[int, int, int]:
    raw = client.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12)
    return tuple(int.from_bytes(raw[i : i + 4], "little") for i in (0, 4, 8))  # type: ignore[return-value]
