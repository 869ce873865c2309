"""System calls that Python's os module lacks, or gives only in part.

ctypes releases the interpreter lock during each call, as the os module does. The argument objects that never change
are made once: converting them anew doubles the cost of a statx (0.7 of 1.4 microseconds).
"""

from __future__ import annotations

import ctypes
import errno
import os
import struct
import threading
from typing import Any, NamedTuple

_libc = ctypes.CDLL(None, use_errno=True)
_quiet = ctypes.CDLL(None)  # does not save errno at each call; for the hot path, which asks again on failure

AT_FDCWD = -100
AT_SYMLINK_NOFOLLOW = 0x100
AT_NO_AUTOMOUNT = 0x800
AT_EMPTY_PATH = 0x1000

UTIME_NOW = 0x3FFFFFFF
UTIME_OMIT = 0x3FFFFFFE


def _fail() -> OSError:
    code = ctypes.get_errno()
    return OSError(code, os.strerror(code))


# --- statx(2) ---------------------------------------------------------------------------------------------------

STATX_BTIME = 0x800
_STATX_BASIC_AND_BTIME = 0xFFF


class Statx(NamedTuple):
    """The fields of struct statx that a 9P server has a use for; times are (seconds, nanoseconds)."""

    mask: int
    blksize: int
    nlink: int
    uid: int
    gid: int
    mode: int
    ino: int
    size: int
    blocks: int
    atime_sec: int
    atime_nsec: int
    btime_sec: int
    btime_nsec: int
    ctime_sec: int
    ctime_nsec: int
    mtime_sec: int
    mtime_nsec: int
    rdev_major: int
    rdev_minor: int
    dev: int
    """Major and minor number in one (:func:`major`); it serves to tell devices apart."""


IDENTITY = struct.Struct("=28xH2xQQ32xQI20xQI12xQ")
"""What tells an object apart, and its version: mode, ino, size, birth (s, ns), mtime (s, ns), device."""

# Seconds are unpacked unsigned: a time before 1970 travels as 9P has it, in two's complement.
STATX = struct.Struct("=II8xIIIH2xQQQ8xQI4xQI4xQI4xQI4xIIQ")
_unpack_statx = STATX.unpack_from

statx = _quiet.statx
statx.restype = ctypes.c_int
BY_NAME = ctypes.c_int(AT_SYMLINK_NOFOLLOW | AT_NO_AUTOMOUNT)
_BY_FD = ctypes.c_int(AT_EMPTY_PATH | AT_SYMLINK_NOFOLLOW | AT_NO_AUTOMOUNT)
MASK = ctypes.c_uint(_STATX_BASIC_AND_BTIME)


class _Buffer(threading.local):
    """Each thread's place for a struct statx: the memory, and its address as an argument. Together, so that a call asks
    once for what belongs to its thread."""

    def __init__(self) -> None:
        memory = ctypes.create_string_buffer(256)
        self.place = memory, ctypes.c_void_p(ctypes.addressof(memory))


buffer = _Buffer()

_TRIES = 100
"""A name may come and go; but after so many times that statx(2) has failed and stat(2) has not, it does not work."""


def major(dev: int) -> int:
    """The major number of a device; 0 for file systems that are on none."""
    return dev & 0xFFFFFFFF


def same_object(one: tuple[int, ...], other: tuple[int, ...]) -> bool:
    """Whether two results of statx are of one object: inode number, time of birth, device."""
    return (one[6], one[11], one[12], one[19]) == (other[6], other[11], other[12], other[19])


def statx_at(directory: int, name: bytes) -> tuple[int, ...]:
    """The fields of :class:`Statx`, as a plain tuple, of the entry ``name``, not followed if it is a symlink."""
    memory, address = buffer.place
    if statx(directory, name, BY_NAME, MASK, address):
        return _again(directory, name, BY_NAME)
    return _unpack_statx(memory)


_statx_at_once = ctypes.PyDLL(None).statx
_statx_at_once.restype = ctypes.c_int


def statx_fd_at_once(fd: int) -> tuple[int, ...]:
    """:func:`statx_fd` without letting other threads run meanwhile: only for file systems that need not wait.

    Giving the interpreter lock away and taking it back costs an eighth of a Tgetattr, and a fifth when two sessions are
    busy.
    """
    memory, address = buffer.place
    if _statx_at_once(fd, b"", _BY_FD, MASK, address):
        return _again(fd, b"", _BY_FD)
    return _unpack_statx(memory)


def statx_fd(fd: int) -> tuple[int, ...]:
    """The same of an open descriptor, also an O_PATH one."""
    memory, address = buffer.place
    if statx(fd, b"", _BY_FD, MASK, address):
        return _again(fd, b"", _BY_FD)
    return _unpack_statx(memory)


def _again(fd: int, name: bytes, how: ctypes.c_int) -> tuple[int, ...]:
    """After a statx that failed: raise its error; or its result, for what is there now."""
    memory, address = buffer.place
    for _ in range(_TRIES):
        if name:
            os.stat(name, dir_fd=fd, follow_symlinks=False)  # raises the error
        else:
            os.fstat(fd)
        if not statx(fd, name, how, MASK, address):
            return _unpack_statx(memory)
    raise error(errno.ENOSYS)


# --- the generation of an inode ---------------------------------------------------------------------------------

_name_to_handle_at = _quiet.name_to_handle_at

EXT4, BTRFS, XFS, TMPFS = 0xEF53, 0x9123683E, 0x58465342, 0x01021994
"""Types of file systems, as statfs(2) tells them."""


class _HandleBuffer(threading.local):
    """Each thread's place for a struct file_handle and the mount id that comes with it."""

    def __init__(self) -> None:
        self.memory = ctypes.create_string_buffer(8 + _HANDLE_ROOM)
        self.mount = ctypes.c_int()
        self.mount_address = ctypes.byref(self.mount)


_HANDLE_ROOM = 128
_set_room = struct.Struct("=I").pack_into
_unpack_handle = struct.Struct("=Ii").unpack_from
_handle_buffer = _HandleBuffer()
_NAMED = ctypes.c_int(0)  # a symlink is not followed unless that is asked for
_BARE = ctypes.c_int(AT_EMPTY_PATH)

# Where the generation is, by file system and handle type. FILEID_INO32_GEN and FILEID_INO32_GEN_PARENT hold (ino u32,
# gen u32), xfs' own types (ino u64, gen u32), btrfs' (objectid u64, root u64, gen u32) (Linux,
# include/linux/exportfs.h).
_GENERATIONS = {
    (EXT4, 1): 12,
    (EXT4, 2): 12,
    (XFS, 1): 12,
    (XFS, 2): 12,
    (XFS, 0x81): 16,
    (XFS, 0x82): 16,
    (BTRFS, 0x4D): 24,
    (BTRFS, 0x4E): 24,
    (BTRFS, 0x4F): 24,
}
_unpack_generation = struct.Struct("=I").unpack_from


def generation(fd: int, name: bytes, filesystem: int) -> int | None:
    """The inode generation of the entry ``name`` (or, if that is empty, of ``fd`` itself) from its file handle.

    None if it has none that we know of. A file handle needs no privilege to read, nor the file to be opened, as
    FS_IOC_GETVERSION does.
    """
    buffer = _handle_buffer
    memory = buffer.memory
    _set_room(memory, 0, _HANDLE_ROOM)
    if _name_to_handle_at(fd, name, memory, buffer.mount_address, _NAMED if name else _BARE):
        return None
    _, kind = _unpack_handle(memory)
    at = _GENERATIONS.get((filesystem, kind))
    return None if at is None else int(_unpack_generation(memory, at)[0])


# --- changing ---------------------------------------------------------------------------------------------------

_utimensat = _libc.utimensat


def utimens(path: bytes, atime: tuple[int, int], mtime: tuple[int, int]) -> None:
    """utimensat(2), with UTIME_NOW and UTIME_OMIT as nanoseconds. Seconds beyond 63 bits are taken as negative."""
    times = struct.pack("=QqQq", atime[0], atime[1], mtime[0], mtime[1])
    if _utimensat(AT_FDCWD, path, times, 0):
        raise _fail()


_fchownat = _libc.fchownat


def chown_fd(fd: int, uid: int, gid: int) -> None:
    """Change the owner of what ``fd`` refers to (O_PATH is enough); 0xFFFFFFFF leaves that side."""
    if _fchownat(fd, b"", ctypes.c_uint32(uid), ctypes.c_uint32(gid), AT_EMPTY_PATH):
        raise _fail()


# --- directories and file systems -------------------------------------------------------------------------------

_getdents64 = _libc.getdents64
_getdents64.restype = ctypes.c_ssize_t


def getdents(fd: int, buffer: Any, room: int) -> int:
    """Fill up to ``room`` bytes of a ctypes buffer with struct linux_dirent64; returns the bytes used, 0 at the end."""
    size = _getdents64(fd, buffer, ctypes.c_size_t(room))
    if size < 0:
        raise _fail()
    return int(size)


_fstatfs = _libc.fstatfs
_STATFS = struct.Struct("@lLQQQQQiill")


def fstatfs(fd: int) -> tuple[int, int, int, int, int, int, int, int, int]:
    """fstatfs(2): (type, bsize, blocks, bfree, bavail, files, ffree, fsid, namelen)."""
    buffer = ctypes.create_string_buffer(256)
    if _fstatfs(fd, buffer):
        raise _fail()
    kind, bsize, blocks, bfree, bavail, files, ffree, fsid0, fsid1, namelen, _ = _STATFS.unpack_from(buffer)
    fsid = (fsid1 & 0xFFFFFFFF) << 32 | fsid0 & 0xFFFFFFFF
    return kind & 0xFFFFFFFF, bsize, blocks, bfree, bavail, files, ffree, fsid, namelen


def error(code: int) -> OSError:
    """An OSError with its usual text."""
    return OSError(code, os.strerror(code))


def is_missing(failure: OSError) -> bool:
    """Whether the error says that the name is not there (or what leads to it is none)."""
    return failure.errno in (errno.ENOENT, errno.ENOTDIR, errno.ELOOP)
