"""What a client learns about files, whatever the dialect."""

from __future__ import annotations

import stat
from typing import AnyStr, Generic, NamedTuple

from ninepfs.wire import Qid
from ninepfs.wire.constants import DirentType, GetattrMask, QidType
from ninepfs.wire.messages import Rgetattr

_SECOND = 1_000_000_000


class FileStat(NamedTuple):
    """The attributes of a file. ``mode`` is a Linux st_mode, type bits included; times are nanoseconds since 1970.

    Fields are None when the server says nothing about them.
    """

    qid: Qid
    mode: int
    nlink: int
    uid: int
    gid: int
    rdev: int
    size: int
    """Bytes."""
    blksize: int
    """What the server suggests as a unit to read and write, in bytes."""
    blocks: int
    """Space taken, in units of 512 bytes."""
    atime_ns: int
    mtime_ns: int
    ctime_ns: int
    btime_ns: int | None = None
    """When the file was made."""
    gen: int | None = None
    data_version: int | None = None

    @property
    def is_dir(self) -> bool:
        """Whether it is a directory."""
        return stat.S_ISDIR(self.mode)

    @property
    def is_file(self) -> bool:
        """Whether it is a regular file."""
        return stat.S_ISREG(self.mode)

    @property
    def is_symlink(self) -> bool:
        """Whether it is a symbolic link."""
        return stat.S_ISLNK(self.mode)

    @property
    def is_device(self) -> bool:
        """Whether it is a block or a character device, so that ``major`` and ``minor`` mean something."""
        return stat.S_ISBLK(self.mode) or stat.S_ISCHR(self.mode)

    @property
    def major(self) -> int:
        """Major number of a device."""
        return (self.rdev & 0xFFF00) >> 8

    @property
    def minor(self) -> int:
        """Minor number of a device."""
        return (self.rdev & 0xFF) | ((self.rdev >> 12) & 0xFFF00)

    @classmethod
    def of_getattr(cls, reply: Rgetattr) -> FileStat:
        """From the answer to a Tgetattr."""
        valid = reply.valid
        return cls(
            reply.qid,
            reply.mode,
            reply.nlink,
            reply.uid,
            reply.gid,
            reply.rdev,
            reply.size,
            reply.blksize,
            reply.blocks,
            reply.atime_sec * _SECOND + reply.atime_nsec,
            reply.mtime_sec * _SECOND + reply.mtime_nsec,
            reply.ctime_sec * _SECOND + reply.ctime_nsec,
            reply.btime_sec * _SECOND + reply.btime_nsec if valid & GetattrMask.BTIME else None,
            reply.gen if valid & GetattrMask.GEN else None,
            reply.data_version if valid & GetattrMask.DATA_VERSION else None,
        )


class DirEntry(NamedTuple, Generic[AnyStr]):
    """An entry of a directory: its name, and what the server tells about it without being asked."""

    name: AnyStr
    qid: Qid
    type: DirentType
    """What kind of file it is; UNKNOWN when the server does not say."""

    @property
    def is_dir(self) -> bool:
        """Whether it is known to be a directory."""
        return self.type == DirentType.DIR

    @property
    def is_symlink(self) -> bool:
        """Whether it is known to be a symbolic link."""
        return self.type == DirentType.LNK


def entry_type(qid: Qid, type_: int) -> DirentType:
    """The kind of an entry: what it says, else what its qid says (QEMU leaves the type out)."""
    try:
        known = DirentType(type_)
    except ValueError:
        known = DirentType.UNKNOWN
    if known is DirentType.UNKNOWN:
        if qid.type & QidType.DIR:
            return DirentType.DIR
        if qid.type & QidType.SYMLINK:
            return DirentType.LNK
    return known
