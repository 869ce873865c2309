"""Reading directories."""

from __future__ import annotations

import errno
from collections.abc import Iterable
from itertools import islice

from ninepfs.drivers.base import Entry
from ninepfs.server.handlers.registry import handles
from ninepfs.server.qids import QidMap
from ninepfs.server.request import Request, fail
from ninepfs.wire.constants import DIRENT_OVERHEAD, NAME_MAX, DirentType, QidType
from ninepfs.wire.dirents import DIRENT
from ninepfs.wire.messages import Treaddir

_QID_TYPES = [0] * 256
_QID_TYPES[DirentType.DIR] = int(QidType.DIR)
_QID_TYPES[DirentType.LNK] = int(QidType.SYMLINK)


_FOREIGN = 1 << 63
"""Inode numbers from here on do not serve as qid paths."""


_LARGEST = DIRENT_OVERHEAD + NAME_MAX
"""Bytes of an entry with the longest name."""


@handles(Treaddir)
def readdir(request: Request, fid: int, offset: int, count: int) -> int:
    """As many whole entries as fit. Their qids have no version: that would take a system call for each."""
    directory = request.fid(fid)
    handle = directory.handle
    if handle is None:
        fail(errno.EINVAL)
    if not directory.directory:
        fail(errno.ENOTDIR)
    count = min(count, request.session.max_payload, request.space.room)
    if offset >= 1 << 63:
        fail(errno.EINVAL)
    driver, qids = directory.export.driver, directory.export.qids
    entries = _some(driver.readdir(handle, offset, count), count)
    data = _packed(entries, count, qids)
    if entries and not data:
        fail(errno.EINVAL)  # an empty reply would say that this was the end
    # A driver knows but roughly how much room its entries take. One that used most of it may have some for the rest.
    while count // 2 < len(data) <= count - _LARGEST:
        room = count - len(data)
        try:
            entries = _some(driver.readdir(handle, entries[-1][3], room), room)
        except OSError:
            break  # it is an answer to the next question
        if not entries:
            break
        data += _packed(entries, room, qids)
    return request.fill(data)


def _some(entries: Iterable[Entry], room: int) -> list[Entry]:
    """As many as there may be in so much room: a driver may give all there are."""
    return list(islice(entries, max(1, room // (DIRENT_OVERHEAD + 1))))


def _packed(entries: list[Entry], room: int, qids: QidMap) -> bytes:
    """As many of the entries as fit."""
    # The common case in one go, the few others after it: a million entries pass here one by one.
    pack, types, path, device = DIRENT.pack, _QID_TYPES, qids.path, qids.device
    parts = [
        pack(types[kind], 0, ino if ino < _FOREIGN else path(ino, device), cookie, kind, len(name)) + name
        for name, kind, ino, cookie in entries
    ]
    data = b"".join(parts)
    if len(data) > room:
        size = 0
        for taken, part in enumerate(parts):
            size += len(part)
            if size > room:
                return b"".join(parts[:taken])
    return data
