"""What a name may be, and the requests that make, move and remove names."""

from __future__ import annotations

import errno

from ninepfs.server.fid import Fid
from ninepfs.server.handlers.registry import handles
from ninepfs.server.request import Request, fail
from ninepfs.wire.constants import AT_REMOVEDIR, NAME_MAX, NOFID
from ninepfs.wire.messages import (
    Rlink,
    Rmkdir,
    Rmknod,
    Rremove,
    Rrename,
    Rrenameat,
    Rsymlink,
    Runlinkat,
    Tlink,
    Tmkdir,
    Tmknod,
    Tremove,
    Trename,
    Trenameat,
    Tsymlink,
    Tunlinkat,
)


def check_name(name: bytes, dots: int) -> None:
    """Refuse what is no name of an entry; ``dots`` is the errno for ``.`` and ``..``.

    Raises:
        OSError: ENOENT for an empty name or one with a slash (as QEMU answers), ENAMETOOLONG, or ``dots``.
    """
    if not name or b"/" in name:
        fail(errno.ENOENT)
    if name in (b".", b".."):
        fail(dots)
    if len(name) > NAME_MAX:
        fail(errno.ENAMETOOLONG)


def _owner(fid: Fid) -> int:
    """Whom a new object in this directory belongs to: the user of the attach."""
    return fid.user.uid


@handles(Tmkdir)
def mkdir(request: Request, dfid: int, name: bytes, mode: int, gid: int) -> Rmkdir:
    check_name(name, errno.EEXIST)
    fid = request.file(dfid)
    return Rmkdir(fid.export.qids.qid(fid.export.driver.mkdir(fid.node, name, mode, _owner(fid), gid)))


@handles(Tsymlink)
def symlink(request: Request, dfid: int, name: bytes, symtgt: bytes, gid: int) -> Rsymlink:
    check_name(name, errno.EEXIST)
    fid = request.file(dfid)
    return Rsymlink(fid.export.qids.qid(fid.export.driver.symlink(fid.node, name, symtgt, _owner(fid), gid)))


@handles(Tmknod)
def mknod(request: Request, dfid: int, name: bytes, mode: int, major: int, minor: int, gid: int) -> Rmknod:
    check_name(name, errno.EEXIST)
    fid = request.file(dfid)
    made = fid.export.driver.mknod(fid.node, name, mode, major, minor, _owner(fid), gid)
    return Rmknod(fid.export.qids.qid(made))


@handles(Tlink)
def link(request: Request, dfid: int, fid: int, name: bytes) -> Rlink:
    check_name(name, errno.EEXIST)
    directory = request.file(dfid)
    target = request.file(fid)
    if target.export is not directory.export:
        fail(errno.EXDEV)
    directory.export.driver.link(directory.node, target.node, name)
    return Rlink()


@handles(Trenameat)
def renameat(request: Request, olddirfid: int, oldname: bytes, newdirfid: int, newname: bytes) -> Rrenameat:
    check_name(oldname, errno.EISDIR)
    check_name(newname, errno.EISDIR)
    old = request.file(olddirfid)
    new = old if newdirfid == NOFID else request.file(newdirfid)
    if new.export is not old.export:
        fail(errno.EXDEV)
    old.export.driver.rename(old.node, oldname, new.node, newname)
    return Rrenameat()


@handles(Trename)
def rename(request: Request, fid: int, dfid: int, name: bytes) -> Rrename:
    check_name(name, errno.EISDIR)
    moved = request.file(fid)
    driver = moved.export.driver
    parent, oldname = driver.locate(moved.node)
    new = parent
    if dfid != NOFID:
        directory = request.file(dfid)
        if directory.export is not moved.export:
            fail(errno.EXDEV)
        new = directory.node
    driver.rename(parent, oldname, new, name)
    return Rrename()


@handles(Tunlinkat)
def unlinkat(request: Request, dirfid: int, name: bytes, flags: int) -> Runlinkat:
    check_name(name, errno.EINVAL if name == b"." else errno.ENOTEMPTY)
    if flags & ~AT_REMOVEDIR:
        fail(errno.EINVAL)
    fid = request.file(dirfid)
    fid.export.driver.unlink(fid.node, name, bool(flags & AT_REMOVEDIR))
    return Runlinkat()


@handles(Tremove)
def remove(request: Request, fid: int) -> Rremove:
    """The fid is clunked also when nothing can be removed."""
    session = request.session
    removed = session.take(fid)
    try:
        if removed.xattr is not None:
            session.forget_xattr(removed)
            fail(errno.EINVAL)
        if removed.node == removed.root:
            fail(errno.EBUSY)
        driver = removed.export.driver
        mode, *_ = driver.identity(removed.node)
        parent, name = driver.locate(removed.node)
        driver.unlink(parent, name, mode & 0o170000 == 0o040000)
    finally:
        if not removed.orphan:
            session.release(removed)
    return Rremove()
