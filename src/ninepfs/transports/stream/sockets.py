"""Sockets to listen on: opened here, or taken over from somebody else."""

from __future__ import annotations

import errno
import fcntl
import os
import socket
import stat
import time
from collections.abc import Iterator
from contextlib import contextmanager

from ninepfs.address import UnixAddress

_BACKLOG = 128

_TURN = 1.0
"""Seconds to wait for our turn in a directory. A server is done within some milliseconds; but anybody may lock it."""


class ListenError(Exception):
    """An address cannot be listened on; the text is one plain sentence."""


def listen_tcp(host: str, port: int) -> socket.socket:
    """Listen on an address of the internet.

    Raises:
        OSError: as getaddrinfo(3), bind(2) or listen(2).
    """
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


def listen_vsock(cid: int | None, port: int) -> socket.socket:
    """Listen on a vsock port, of any or of one of the machine's context ids.

    Raises:
        OSError: as bind(2) or listen(2).
    """
    sock = socket.socket(socket.AF_VSOCK, socket.SOCK_STREAM)
    try:
        sock.bind((socket.VMADDR_CID_ANY if cid is None else cid, port))
        sock.listen(_BACKLOG)
    except BaseException:
        sock.close()
        raise
    return sock


# --- unix sockets


def listen_unix(path: str) -> tuple[socket.socket, int]:
    """Listen on a unix socket; one that a server left behind is replaced. Returns also its inode number.

    Raises:
        ListenError: there is a file that is no socket.
        OSError: as bind(2) or listen(2).
    """
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        with _turn(path):
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
                os.unlink(path)
                sock.bind(path)
            sock.listen(_BACKLOG)
            return sock, os.stat(path).st_ino
    except BaseException:
        sock.close()
        raise


def unlink(path: str, inode: int) -> None:
    """Remove a unix socket that we still hold, unless somebody has put something else in its place."""
    with _turn(path):
        try:
            if os.stat(path).st_ino == inode:
                os.unlink(path)
        except OSError:
            pass


@contextmanager
def _turn(path: str) -> Iterator[None]:
    """One server at a time does something about sockets in a directory, which has a lock for that: else two may find
    one abandoned, and the second remove what the first has put in its place. So would one that finds a socket that is
    bound and not listened on yet."""
    try:
        directory = os.open(os.path.dirname(path) or ".", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError:  # it may be that we can write to it and not read it
        yield
        return
    try:
        until = time.monotonic() + _TURN
        while True:
            try:
                fcntl.flock(directory, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except OSError:
                if time.monotonic() > until:
                    break
                time.sleep(0.005)
        yield
    finally:
        os.close(directory)


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


# --- inherited sockets


def inherit(fd: int) -> socket.socket:
    """A socket that was passed to the process: one that listens, or one that is connected.

    Raises:
        ListenError: it is neither.
    """
    try:
        mode = os.fstat(fd).st_mode
    except OSError:
        raise ListenError(f"descriptor {fd} is not open; pass an open socket, or use another address") from None
    if not stat.S_ISSOCK(mode):
        raise ListenError(f"descriptor {fd} is not a socket")
    sock = socket.socket(fileno=fd)
    wrong = "is not a stream socket" if sock.type != socket.SOCK_STREAM else _fault(sock)
    if wrong:
        sock.detach()
        raise ListenError(f"descriptor {fd} {wrong}")
    os.set_inheritable(fd, False)
    return sock


def _fault(sock: socket.socket) -> str:
    """What is wrong with a socket that nobody is or can be connected to."""
    if not listens(sock):
        try:
            sock.getpeername()
        except OSError:
            return "is a socket that neither listens nor is connected"
    return ""


def listens(sock: socket.socket) -> bool:
    """Whether it accepts connections."""
    return bool(sock.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN))


# --- words


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
