"""The numbers of the protocol that are not message layouts.

Values are those of the 9P2000 manual (plan9port, section 9p), of the 9P2000.u and 9P2000.L descriptions, and of
Linux's ``include/net/9p/9p.h``. Flags of 9P2000.L are Linux's *generic* values, whatever the host's architecture.
"""

from __future__ import annotations

from enum import IntEnum, IntFlag
from typing import Final

NOTAG: Final = 0xFFFF
"""The tag of Tversion, and of nothing else."""

NOFID: Final = 0xFFFFFFFF
"""'No afid' in Tattach; never a real fid."""

NONUNAME: Final = 0xFFFFFFFF
"""'No numeric user' in Tattach and Tauth; the same number means 'leave it' for a uid or gid."""

MAXWELEM: Final = 16
"""Most names in one Twalk."""

HEADER_SIZE: Final = 7
"""Bytes of ``size[4] type[1] tag[2]``."""

IOHDRSZ: Final = 24
"""What Linux and QEMU subtract from msize to get the largest payload they ask for."""

READ_OVERHEAD: Final = 11
"""Bytes of an Rread or Rreaddir around its data."""

WRITE_OVERHEAD: Final = 23
"""Bytes of a Twrite around its data."""

DIRENT_OVERHEAD: Final = 24
"""Bytes of a directory entry of Rreaddir around its name."""

MIN_MSIZE: Final = 4096
"""The smallest msize of a session of 9P2000.L (QEMU refuses less, and so does Linux), and to be configured."""

MIN_MSIZE_PLAN9: Final = 256
"""The smallest msize of a session of 9P2000 and 9P2000.u: Plan 9's own servers refuse less, and its clients may ask for
little."""

MAX_MSIZE: Final = 8 << 20
"""The largest msize that the server offers to agree on."""

DEFAULT_MSIZE: Final = 1 << 20
"""What the server offers unless told otherwise (Linux's limit on stream transports)."""

NAME_MAX: Final = 255
"""Longest file name on Linux, in bytes."""

XATTR_NAME_MAX: Final = 255
"""Longest name of an extended attribute on Linux, in bytes (``linux/limits.h``)."""

XATTR_SIZE_MAX: Final = 65536
"""Largest value of an extended attribute on Linux (``linux/limits.h``)."""

DEFAULT_PORT: Final = 5640
"""The TCP port used unless told otherwise (564, the registered one, needs privileges)."""


class QidType(IntFlag):
    """Bits of ``qid.type``: the top byte of the DM mode."""

    DIR = 0x80
    APPEND = 0x40
    EXCL = 0x20
    MOUNT = 0x10
    AUTH = 0x08
    TMP = 0x04
    SYMLINK = 0x02
    LINK = 0x01
    FILE = 0x00


class DM(IntFlag):
    """Mode bits of a 9P2000 or 9P2000.u stat, and of Tcreate's perm."""

    DIR = 0x80000000
    APPEND = 0x40000000
    EXCL = 0x20000000
    MOUNT = 0x10000000
    AUTH = 0x08000000
    TMP = 0x04000000
    SYMLINK = 0x02000000
    LINK = 0x01000000
    DEVICE = 0x00800000
    NAMEDPIPE = 0x00200000
    SOCKET = 0x00100000
    SETUID = 0x00080000
    SETGID = 0x00040000
    SETVTX = 0x00010000


class OpenMode(IntFlag):
    """The mode byte of Topen and Tcreate (9P2000, 9P2000.u). The two lowest bits are a number, not flags."""

    READ = 0
    WRITE = 1
    RDWR = 2
    EXEC = 3
    TRUNC = 0x10
    CEXEC = 0x20
    RCLOSE = 0x40
    APPEND = 0x80


class LFlag(IntFlag):
    """Flags of Tlopen and Tlcreate."""

    RDONLY = 0o0
    WRONLY = 0o1
    RDWR = 0o2
    ACCMODE = 0o3
    CREATE = 0o100
    EXCL = 0o200
    NOCTTY = 0o400
    TRUNC = 0o1000
    APPEND = 0o2000
    NONBLOCK = 0o4000
    DSYNC = 0o10000
    FASYNC = 0o20000
    DIRECT = 0o40000
    LARGEFILE = 0o100000
    DIRECTORY = 0o200000
    NOFOLLOW = 0o400000
    NOATIME = 0o1000000
    CLOEXEC = 0o2000000
    SYNC = 0o4000000


class GetattrMask(IntFlag):
    """``request_mask`` of Tgetattr and ``valid`` of Rgetattr."""

    MODE = 0x1
    NLINK = 0x2
    UID = 0x4
    GID = 0x8
    RDEV = 0x10
    ATIME = 0x20
    MTIME = 0x40
    CTIME = 0x80
    INO = 0x100
    SIZE = 0x200
    BLOCKS = 0x400
    BTIME = 0x800
    GEN = 0x1000
    DATA_VERSION = 0x2000
    BASIC = 0x7FF
    ALL = 0x3FFF


class SetattrMask(IntFlag):
    """``valid`` of Tsetattr."""

    MODE = 0x1
    UID = 0x2
    GID = 0x4
    SIZE = 0x8
    ATIME = 0x10
    MTIME = 0x20
    CTIME = 0x40
    ATIME_SET = 0x80
    MTIME_SET = 0x100


class LockType(IntEnum):
    """``type`` of Tlock and Tgetlock."""

    RDLCK = 0
    WRLCK = 1
    UNLCK = 2


class LockFlag(IntFlag):
    """``flags`` of Tlock."""

    BLOCK = 1
    RECLAIM = 2


class LockStatus(IntEnum):
    """``status`` of Rlock."""

    SUCCESS = 0
    BLOCKED = 1
    ERROR = 2
    GRACE = 3


AT_REMOVEDIR: Final = 0x200
"""The one flag of Tunlinkat: remove a directory."""

XATTR_CREATE: Final = 1
XATTR_REPLACE: Final = 2


class DirentType(IntEnum):
    """``type`` of a directory entry (Linux's d_type)."""

    UNKNOWN = 0
    FIFO = 1
    CHR = 2
    DIR = 4
    BLK = 6
    REG = 8
    LNK = 10
    SOCK = 12
