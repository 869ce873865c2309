"""Getattr, setattr, readlink and statfs."""

from __future__ import annotations

import errno
from typing import Any

from ninepfs.drivers.base import Changes
from ninepfs.server.handlers.registry import handles
from ninepfs.server.request import Request, fail
from ninepfs.wire.messages import Rreadlink, Rsetattr, Rstatfs, Tgetattr, Treadlink, Tsetattr, Tstatfs


@handles(Tgetattr)
def getattr(request: Request, fid: int, request_mask: int) -> list[Any]:  # noqa: A001
    file = request.file(fid)
    export = file.export
    # The fields of Rgetattr, with what the driver says of identity and block size replaced.
    attributes: list[Any] = list(export.driver.getattr(file.node, file.handle, request_mask))
    attributes[1] = export.qids.fields(attributes[1])
    attributes[8] = request.session.blksize(attributes[8])
    return attributes


@handles(Tsetattr)
def setattr(  # noqa: A001
    request: Request,
    fid: int,
    valid: int,
    mode: int,
    uid: int,
    gid: int,
    size: int,
    atime_sec: int,
    atime_nsec: int,
    mtime_sec: int,
    mtime_nsec: int,
) -> Rsetattr:
    file = request.file(fid)
    changes = Changes(valid & 0x1FF, mode, uid, gid, size, atime_sec, atime_nsec, mtime_sec, mtime_nsec)
    file.export.driver.setattr(file.node, file.handle, changes)
    return Rsetattr()


@handles(Treadlink)
def readlink(request: Request, fid: int) -> Rreadlink:
    file = request.file(fid)
    target = file.export.driver.readlink(file.node)
    if len(target) > request.session.msize - 9:
        fail(errno.ENAMETOOLONG)
    return Rreadlink(target)


@handles(Tstatfs)
def statfs(request: Request, fid: int) -> Rstatfs:
    """Block counts are scaled so that a block fits a message: clients derive their I/O size from it (as QEMU does)."""
    file = request.file(fid)
    kind, bsize, blocks, bfree, bavail, files, ffree, fsid, namelen = file.export.driver.statfs(file.node)
    factor = max(1, request.session.io_room // bsize) if bsize else 1
    return Rstatfs(
        kind, bsize * factor, blocks // factor, bfree // factor, bavail // factor, files, ffree, fsid, namelen
    )
