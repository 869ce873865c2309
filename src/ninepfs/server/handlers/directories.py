"""Reading directories."""

from __future__ import annotations

import errno
from itertools import islice

from ninepfs.server.handlers.registry import handles
from ninepfs.server.request import Request, fail
from ninepfs.wire.constants import DIRENT_OVERHEAD, DirentType, QidType
from ninepfs.wire.dirents import DIRENT
from ninepfs.wire.messages import Treaddir

_QID_TYPES = [0] * 256
_QID_TYPES[DirentType.DIR] = int(QidType.DIR)
_QID_TYPES[DirentType.LNK] = int(QidType.SYMLINK)


_FOREIGN = 1 << 63
"""Inode numbers from here on do not serve as qid paths."""


@handles(Treaddir)
def readdir(request: Request, fid: int, offset: int, count: int) -> int:
    """As many whole entries as fit. Their qids have no version: that would take a system call for each."""
    directory = request.fid(fid)
    if directory.handle is None:
        fail(errno.EINVAL)
    if not directory.directory:
        fail(errno.ENOTDIR)
    count = min(count, request.session.max_payload, request.space.room)
    if offset >= 1 << 63:
        fail(errno.EINVAL)
    export = directory.export
    entries = export.driver.readdir(directory.handle, offset, count)
    path = export.qids.path
    device = export.qids.device
    # The common case in one go, the few others after it: a million entries pass here one by one.
    pack, types = DIRENT.pack, _QID_TYPES
    parts = [
        pack(types[kind], 0, ino if ino < _FOREIGN else path(ino, device), cookie, kind, len(name)) + name
        for name, kind, ino, cookie in islice(entries, max(1, count // (DIRENT_OVERHEAD + 1)))
    ]
    data = b"".join(parts)
    if len(data) > count:
        size = 0
        for taken, part in enumerate(parts):
            size += len(part)
            if size > count:
                if not taken:
                    fail(errno.EINVAL)  # an empty reply would say that this was the end
                data = b"".join(parts[:taken])
                break
    return request.fill(data)
