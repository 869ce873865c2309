"""Getattr, setattr, readlink and statfs."""

from __future__ import annotations

import errno

from ninepfs.drivers.base import Changes
from ninepfs.server.handlers.registry import handles
from ninepfs.server.request import Request, fail
from ninepfs.wire.constants import SetattrMask
from ninepfs.wire.messages import Rreadlink, Rsetattr, Rstatfs, Tgetattr, Treadlink, Tsetattr, Tstatfs


@handles(Tgetattr)
def getattr(request: Request, fid: int, request_mask: int) -> tuple[object, ...]:  # noqa: A001
    file = request.fid(fid)
    if file.xattr is not None:
        fail(errno.EINVAL)
    export = file.export
    attributes = export.driver.getattr(file.node, file.handle, request_mask)
    # valid, qid, mode … size, blksize, blocks … (Rgetattr, as a plain tuple: a microsecond less)
    return (
        attributes[0],
        export.qids.qid(attributes[1]),
        *attributes[2:8],
        request.session.blksize(attributes[8]),
        *attributes[9:],
    )


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
    file = request.fid(fid)
    if file.xattr is not None:
        fail(errno.EINVAL)
    changes = Changes(SetattrMask(valid & 0x1FF), mode, uid, gid, size, atime_sec, atime_nsec, mtime_sec, mtime_nsec)
    file.export.driver.setattr(file.node, file.handle, changes)
    return Rsetattr()


@handles(Treadlink)
def readlink(request: Request, fid: int) -> Rreadlink:
    file = request.fid(fid)
    target = file.export.driver.readlink(file.node)
    if len(target) > request.session.msize - 9:
        fail(errno.ENAMETOOLONG)
    return Rreadlink(target)


@handles(Tstatfs)
def statfs(request: Request, fid: int) -> Rstatfs:
    """Block counts are scaled so that a block fits a message: clients derive their I/O size from it (as QEMU does)."""
    file = request.fid(fid)
    kind, bsize, blocks, bfree, bavail, files, ffree, fsid, namelen = file.export.driver.statfs(file.node)
    factor = max(1, (request.session.msize - 24) // bsize) if bsize else 1
    return Rstatfs(
        kind, bsize * factor, blocks // factor, bfree // factor, bavail // factor, files, ffree, fsid, namelen
    )
