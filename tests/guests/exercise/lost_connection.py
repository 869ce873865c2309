"""A connection that ends while files are open and locked; test_tcp.py looks what the server makes of it."""

from __future__ import annotations

import ctypes
import errno
import fcntl
import os
import socket
import tempfile

from .common import hear, refused, step, tell

if __name__ == "__main__":
    address, port, name = os.environ["ADDRESS"], int(os.environ["PORT"]), os.environ["ANAME"]
    step("mount over a socket of our own")
    connection = socket.create_connection((address, port))
    options = f"trans=fd,rfdno={connection.fileno()},wfdno={connection.fileno()},version=9p2000.L,aname={name}"
    directory = tempfile.mkdtemp(dir="/mnt")
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.mount(address.encode(), directory.encode(), b"9p", 0, options.encode()):
        raise OSError(ctypes.get_errno(), f"mount -o {options}")

    step("lock a file, and end the connection")
    fd = os.open(f"{directory}/orphan", os.O_RDWR)
    fcntl.lockf(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    tell("locked")
    hear("tried")
    connection.shutdown(socket.SHUT_RDWR)
    tell("ended")
    hear("done")
    with refused(errno.EIO, errno.ECONNRESET, errno.EPIPE):
        os.pread(fd, 1, 0)
