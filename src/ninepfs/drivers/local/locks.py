"""Locks on host files: open file description locks, so that programs of the host conflict with clients."""

from __future__ import annotations

import errno
import fcntl
import os
import struct

from ninepfs.drivers.base import HostLock
from ninepfs.drivers.local.descriptor import Descriptor, reopen
from ninepfs.wire.constants import LockType

_FLOCK = struct.Struct("@hhqqi4x")
"""struct flock: l_type, l_whence, l_start, l_len, l_pid."""

_KINDS = {LockType.RDLCK: fcntl.F_RDLCK, LockType.WRLCK: fcntl.F_WRLCK, LockType.UNLCK: fcntl.F_UNLCK}
_NAMES = {host: kind for kind, host in _KINDS.items()}

_LAST = (1 << 63) - 1


class FileLock(HostLock):
    """OFD locks (fcntl(2)) held through a descriptor of their own.

    It is opened for reading and writing if the server may; otherwise only for reading, and then what a client locks
    for writing is locked for reading on the host, which still keeps writers of the host out.
    """

    def __init__(self, file: Descriptor) -> None:
        try:
            self._fd: Descriptor | None = reopen(file, os.O_RDWR | os.O_CLOEXEC | os.O_NOCTTY)
            self._writable = True
        except OSError:
            self._fd = reopen(file, os.O_RDONLY | os.O_CLOEXEC | os.O_NOCTTY)
            self._writable = False

    def set(self, kind: LockType, start: int, end: int) -> bool:
        if kind is LockType.WRLCK and not self._writable:
            kind = LockType.RDLCK
        try:
            self._control(fcntl.F_OFD_SETLK, kind, start, end)
        except OSError as failure:
            if failure.errno in (errno.EAGAIN, errno.EACCES):
                return False
            raise
        return True

    def conflict(self, kind: LockType, start: int, end: int) -> tuple[LockType, int, int, int] | None:
        if kind is LockType.WRLCK and not self._writable:
            kind = LockType.RDLCK
        found, _, first, length, pid = self._control(fcntl.F_OFD_GETLK, kind, start, end)
        if found == fcntl.F_UNLCK:
            return None
        return _NAMES[found], first, first + length if length else 0, max(pid, 0)

    def _control(self, command: int, kind: LockType, start: int, end: int) -> tuple[int, int, int, int, int]:
        if self._fd is None:
            raise OSError(errno.EBADF, os.strerror(errno.EBADF))
        start = min(start, _LAST)
        length = end - start if end and end <= _LAST else 0
        flock = fcntl.fcntl(self._fd, command, _FLOCK.pack(_KINDS[kind], os.SEEK_SET, start, length, 0))
        return _FLOCK.unpack(flock)

    def close(self) -> None:
        self._fd = None
