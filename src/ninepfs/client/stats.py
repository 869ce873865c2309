"""What a stat of 9P2000 or 9P2000.u tells, in the terms of Unix."""

from __future__ import annotations

import os
import re
import stat as unix
from collections.abc import Callable

from ninepfs.client.attributes import FileStat
from ninepfs.owners import gid_of, uid_of
from ninepfs.wire import Dialect, Stat
from ninepfs.wire.constants import DM, NONUNAME, DirentType
from ninepfs.wire.modes import mode_of

_BLOCK = 512
_SECOND = 1_000_000_000
_DEVICE = re.compile(rb"([bc]) ([0-9]{1,10}) ([0-9]{1,10})\s*")
_LINKS = re.compile(rb"HARDLINKCOUNT ([0-9]{1,10})\s*")


def type_of(stat: Stat, dialect: Dialect) -> DirentType:
    """The kind of file."""
    return DirentType(unix.S_IFMT(mode_of(stat, dialect)) >> 12)


def stat_of(stat: Stat, dialect: Dialect) -> FileStat:
    """The attributes. What a stat does not tell is made up as a client of Linux does: one link, the time of the last
    change is that of the last modification, the space taken is the length. An owner is NONUNAME if the name is not
    known here."""
    device, links = _DEVICE.fullmatch(stat.extension), _LINKS.fullmatch(stat.extension)
    return FileStat(
        stat.qid,
        mode_of(stat, dialect),
        int(links[1]) if links else 1,
        _number(stat.n_uid, stat.uid, uid_of),
        _number(stat.n_gid, stat.gid, gid_of),
        os.makedev(int(device[2]), int(device[3])) if device and stat.mode & DM.DEVICE else 0,
        stat.length,
        4096,
        (stat.length + _BLOCK - 1) // _BLOCK,
        stat.atime * _SECOND,
        stat.mtime * _SECOND,
        stat.mtime * _SECOND,
    )


def _number(number: int, name: bytes, find: Callable[[bytes], int | None]) -> int:
    if number != NONUNAME:
        return number
    found = find(name)
    return NONUNAME if found is None else found
