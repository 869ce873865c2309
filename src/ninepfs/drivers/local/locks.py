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

    It is opened for reading and writing if the server may and wants to; otherwise only for reading, and then what a
    client locks for writing is locked for reading on the host, which still keeps writers of the host out. If it may not
    be opened at all any more, the client's own open file serves as well.

    Args:
        file: open.
        writable: whether it may be opened for writing.
    """

    def __init__(self, file: Descriptor, writable: bool = True) -> None:
        for mode in (os.O_RDWR, os.O_RDONLY) if writable else (os.O_RDONLY,):
            try:
                self._fd: Descriptor | None = reopen(file, mode | os.O_CLOEXEC | os.O_NOCTTY)
                break
            except OSError:
                pass
        else:
            self._fd = Descriptor(fcntl.fcntl(file, fcntl.F_DUPFD_CLOEXEC, 0))
            mode = fcntl.fcntl(file, fcntl.F_GETFL) & os.O_ACCMODE
        self._kinds = dict(_KINDS)
        if mode == os.O_RDONLY:
            self._kinds[LockType.WRLCK] = fcntl.F_RDLCK
        elif mode == os.O_WRONLY:
            self._kinds[LockType.RDLCK] = fcntl.F_WRLCK

    def set(self, kind: LockType, start: int, end: int) -> bool:
        try:
            self._control(fcntl.F_OFD_SETLK, kind, start, end)
        except OSError as failure:
            if failure.errno in (errno.EAGAIN, errno.EACCES):
                return False
            raise
        return True

    def conflict(self, kind: LockType, start: int, end: int) -> tuple[LockType, int, int, int] | None:
        found, _, first, length, pid = self._control(fcntl.F_OFD_GETLK, kind, start, end)
        if found == fcntl.F_UNLCK:
            return None
        return _NAMES[found], first, first + length if length else 0, max(pid, 0)

    def _control(self, command: int, kind: LockType, start: int, end: int) -> tuple[int, int, int, int, int]:
        if self._fd is None:
            raise OSError(errno.EBADF, os.strerror(errno.EBADF))
        start = min(start, _LAST)
        length = end - start if end and end <= _LAST else 0
        flock = fcntl.fcntl(self._fd, command, _FLOCK.pack(self._kinds[kind], os.SEEK_SET, start, length, 0))
        return _FLOCK.unpack(flock)

    def close(self) -> None:
        self._fd = None
