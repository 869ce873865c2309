"""Extended attributes."""

from __future__ import annotations

import errno

from ninepfs.server.handlers.registry import handles
from ninepfs.server.request import Request, fail
from ninepfs.server.xattr import XattrRead, XattrWrite
from ninepfs.wire.constants import XATTR_CREATE, XATTR_NAME_MAX, XATTR_REPLACE, XATTR_SIZE_MAX
from ninepfs.wire.messages import Rxattrcreate, Rxattrwalk, Txattrcreate, Txattrwalk


@handles(Txattrwalk)
def xattrwalk(request: Request, fid: int, newfid: int, name: bytes) -> Rxattrwalk:
    session = request.session
    file = request.fid(fid)
    if newfid in session.fids or file.xattr is not None:
        fail(errno.EINVAL)
    driver = file.export.driver
    if name:
        value = driver.getxattr(file.node, file.handle, name)
    else:
        value = b"".join(name + b"\0" for name in driver.listxattr(file.node, file.handle))
    session.charge_xattr(len(value))
    made = file.clone(file.node)
    made.xattr = XattrRead(value)
    try:
        session.add(newfid, made)
    except OSError:
        session.release_xattr(len(value))
        raise
    return Rxattrwalk(len(value))


@handles(Txattrcreate)
def xattrcreate(request: Request, fid: int, name: bytes, attr_size: int, flags: int) -> Rxattrcreate:
    if flags & ~(XATTR_CREATE | XATTR_REPLACE):
        fail(errno.EINVAL)
    if len(name) > XATTR_NAME_MAX:
        fail(errno.ERANGE)  # as setxattr(2) has it
    if attr_size > XATTR_SIZE_MAX:
        fail(errno.E2BIG)
    session, file = request.session, request.fid(fid)
    with session.lock:  # a slow request may be at the same fid
        if not name or file.handle is not None or file.xattr is not None or file.busy:
            fail(errno.EINVAL)
        if file.export.readonly:
            fail(errno.EROFS)
        session.charge_xattr(attr_size)
        file.xattr = XattrWrite(name, attr_size, flags)
    return Rxattrcreate()
