"""Reading directories."""

from __future__ import annotations

import errno

from ninepfs.server.handlers.registry import handles
from ninepfs.server.request import Request, fail
from ninepfs.wire.constants import DIRENT_OVERHEAD, DirentType, QidType
from ninepfs.wire.dirents import DIRENT
from ninepfs.wire.messages import Treaddir

_QID_TYPES = [0] * 256
_QID_TYPES[DirentType.DIR] = int(QidType.DIR)
_QID_TYPES[DirentType.LNK] = int(QidType.SYMLINK)


@handles(Treaddir)
def readdir(request: Request, fid: int, offset: int, count: int) -> int:
    """As many whole entries as fit. Their qids have no version: that would take a system call for each."""
    directory = request.fid(fid)
    if directory.handle is None:
        fail(errno.EINVAL)
    count = min(count, request.session.max_payload)
    if offset >= 1 << 63:
        fail(errno.EINVAL)
    export = directory.export
    entries = export.driver.readdir(directory.handle, offset, count)
    path = export.qids.path
    device = export.qids.device
    parts: list[bytes] = []
    add = parts.append
    pack = DIRENT.pack
    types = _QID_TYPES
    room = count
    for name, kind, ino, cookie in entries:
        size = len(name)
        room -= DIRENT_OVERHEAD + size
        if room < 0:
            if not parts:
                fail(errno.EINVAL)  # an empty reply would say that this was the end
            break
        add(pack(types[kind], 0, ino if ino < 0x8000000000000000 else path(ino, device), cookie, kind, size))
        add(name)
    data = b"".join(parts)
    done = 0
    for buffer in request.space.payload(len(data)):
        part = data[done : done + len(buffer)]
        buffer[: len(part)] = part
        done += len(part)
    return len(data)
