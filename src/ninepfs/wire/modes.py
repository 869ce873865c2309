"""Between the modes of Unix (st_mode) and those of 9P2000 and 9P2000.u (DM bits)."""

from __future__ import annotations

import stat as unix

from ninepfs.wire.constants import DM
from ninepfs.wire.fields import Dialect, Stat

_DIR = int(DM.DIR)
_KINDS = {
    unix.S_IFDIR: _DIR,
    unix.S_IFLNK: int(DM.SYMLINK),
    unix.S_IFCHR: int(DM.DEVICE),
    unix.S_IFBLK: int(DM.DEVICE),
    unix.S_IFIFO: int(DM.NAMEDPIPE),
    unix.S_IFSOCK: int(DM.SOCKET),
}
_SPECIAL = (
    (unix.S_ISUID, int(DM.SETUID)),
    (unix.S_ISGID, int(DM.SETGID)),
    (unix.S_ISVTX, int(DM.SETVTX)),
)

KINDS = sum({*_KINDS.values(), int(DM.LINK)})
"""The DM bits that say what kind of object it is."""


def dm_of(mode: int, dialect: Dialect) -> int:
    """A st_mode as DM bits. 9P2000 knows files and directories only, and no setuid, setgid and sticky bits."""
    dm = mode & 0o777
    if dialect is Dialect.BASE:
        return dm | _DIR if unix.S_ISDIR(mode) else dm
    for bit, special in _SPECIAL:
        if mode & bit:
            dm |= special
    return dm | _KINDS.get(unix.S_IFMT(mode), 0)


def permissions_of(dm: int, dialect: Dialect, before: int = 0) -> int:
    """The permissions in DM bits; what the dialect cannot say stays as it was before."""
    permissions = dm & 0o777
    if dialect is Dialect.BASE:
        return permissions | before & 0o7000
    for bit, special in _SPECIAL:
        if dm & special:
            permissions |= bit
    return permissions


def mode_of(stat: Stat, dialect: Dialect) -> int:
    """The st_mode that a stat tells, type bits included."""
    mode = permissions_of(stat.mode, dialect)
    if stat.mode & DM.DEVICE:
        return mode | (unix.S_IFBLK if stat.extension.startswith(b"b") else unix.S_IFCHR)
    return mode | next((kind for kind, bit in _KINDS.items() if stat.mode & bit), unix.S_IFREG)
