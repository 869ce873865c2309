"""Create as 9P2000 and 9P2000.u have it: one message for every kind of object."""

from __future__ import annotations

import errno
import re
import stat as unix
from collections.abc import Callable
from typing import Any, NamedTuple, TypeAlias

from ninepfs.drivers.base import LEAVE, IdentityFields
from ninepfs.server.fid import Fid
from ninepfs.server.handlers.files import begin_opening, finish_opening, give_up_opening
from ninepfs.server.handlers.names import check_name
from ninepfs.server.handlers.plan9 import (
    check_removable,
    end_with,
    iounit_of,
    open_flags,
    read_as_directory,
)
from ninepfs.server.handlers.registry import handles
from ninepfs.server.marks import MARKS
from ninepfs.server.qids import QidFields
from ninepfs.server.request import Request, fail
from ninepfs.server.stats import qid_of
from ninepfs.wire.constants import DM, GetattrMask, LFlag, OpenMode
from ninepfs.wire.fields import Dialect
from ninepfs.wire.messages import Tcreate
from ninepfs.wire.modes import KINDS, permissions_of

_BASIC = int(GetattrMask.BASIC)
_DEVICE = re.compile(rb"([bc]) ([0-9]{1,10}) ([0-9]{1,10})\n?")
_FID = re.compile(rb"([0-9]{1,10})\n?")


class New(NamedTuple):
    """What is to be made."""

    name: bytes
    permissions: int
    uid: int
    gid: int
    perm: int
    """As the client gave it: DM bits."""
    mode: int
    """How to open it."""
    extension: bytes


@handles(Tcreate, Dialect.BASE, Dialect.U)
def create(request: Request, fid: int, name: bytes, perm: int, mode: int, extension: bytes) -> tuple[QidFields, int]:
    """The fid becomes the new object: opened if it is a file or a directory, else (as QEMU does) only walked to."""
    check_name(name, errno.EEXIST)
    dialect = request.session.dialect
    kind = perm & KINDS
    if kind & (kind - 1) or perm & (DM.MOUNT | DM.AUTH):
        fail(errno.EINVAL)
    if dialect is Dialect.BASE and kind not in (0, DM.DIR):
        fail(errno.EOPNOTSUPP)
    file = begin_opening(request, fid)
    try:
        new = _new(file, name, perm, mode, extension, dialect)
        if kind in _OPENERS:
            handle, identity = _OPENERS[kind](request, file, new)
        else:
            handle, identity = None, _MAKERS[kind](request, file, new)
            _become(file, name)
    except BaseException:
        give_up_opening(request, file)
        raise
    file.name = name
    if handle is None:
        give_up_opening(request, file)
    else:
        finish_opening(request, fid, file, handle)
    return qid_of(file.export, identity, dialect), iounit_of(request.session, file)


def _new(file: Fid, name: bytes, perm: int, mode: int, extension: bytes, dialect: Dialect) -> New:
    """Permissions and owner. In 9P2000 the directory limits the permissions and gives the group (open(5)); a client of
    9P2000.u has computed its own permissions, and the host chooses the group."""
    permissions = permissions_of(perm, dialect)
    gid = LEAVE
    if dialect is Dialect.BASE:
        _, _, directory, _, gid, *_ = file.export.driver.getattr(file.node, None, _BASIC)
        limited = 0o777 if perm & DM.DIR else 0o666
        permissions &= ~limited | directory & limited
    return New(name, permissions, file.user.uid, gid, perm, mode, extension)


def _become(file: Fid, name: bytes) -> None:
    file.node, _ = file.export.driver.lookup(file.node, name)


# --- what can be opened -----------------------------------------------------------------------------------------


def _make_file(request: Request, file: Fid, new: New) -> tuple[Any, IdentityFields]:
    export = file.export
    check_removable(export, new.mode)
    marks = new.perm & MARKS
    flags = open_flags(new.mode, request.session.dialect) | LFlag.EXCL
    if marks & DM.APPEND and flags & LFlag.ACCMODE:
        flags |= LFlag.APPEND
    node, handle, identity = export.driver.create(file.node, new.name, int(flags), new.permissions, new.uid, new.gid)
    file.node = node
    path = export.qids.fields(identity)[2]
    if marks:
        export.marks.create(path, marks)
    end_with(file, new.mode, path if marks else None)
    return handle, identity


def _make_directory(request: Request, file: Fid, new: New) -> tuple[Any, IdentityFields]:
    """Opened for reading, also when the client asks to write, as some do to whatever they create."""
    if new.mode & OpenMode.RCLOSE:
        fail(errno.EISDIR)
    driver, parent = file.export.driver, file.node
    driver.mkdir(parent, new.name, new.permissions, new.uid, new.gid)
    try:
        node, _ = driver.lookup(parent, new.name)
        handle, identity = driver.open(node, int(LFlag.RDONLY))
    except OSError:
        driver.unlink(parent, new.name, True)
        raise
    file.node = node
    read_as_directory(request, file, handle)
    return handle, identity


# --- what cannot ------------------------------------------------------------------------------------------------


def _make_symlink(request: Request, file: Fid, new: New) -> IdentityFields:
    return file.export.driver.symlink(file.node, new.name, new.extension, new.uid, new.gid)


def _make_link(request: Request, file: Fid, new: New) -> IdentityFields:
    """The extension is the number of a fid; Linux ends it with a newline."""
    match = _FID.fullmatch(new.extension)
    if match is None:
        fail(errno.EINVAL)
    target = request.fid(int(match[1]))
    if target.export is not file.export:
        fail(errno.EXDEV)
    driver = file.export.driver
    driver.link(file.node, target.node, new.name)
    return driver.identity(target.node)


def _make_device(request: Request, file: Fid, new: New) -> IdentityFields:
    match = _DEVICE.fullmatch(new.extension)
    if match is None:
        fail(errno.EINVAL)
    return _mknod(file, new, unix.S_IFCHR if match[1] == b"c" else unix.S_IFBLK, int(match[2]), int(match[3]))


def _make_pipe(request: Request, file: Fid, new: New) -> IdentityFields:
    return _mknod(file, new, unix.S_IFIFO)


def _make_socket(request: Request, file: Fid, new: New) -> IdentityFields:
    return _mknod(file, new, unix.S_IFSOCK)


def _mknod(file: Fid, new: New, kind: int, major: int = 0, minor: int = 0) -> IdentityFields:
    return file.export.driver.mknod(file.node, new.name, kind | new.permissions, major, minor, new.uid, new.gid)


Opener: TypeAlias = Callable[[Request, Fid, New], tuple[Any, IdentityFields]]
Maker: TypeAlias = Callable[[Request, Fid, New], IdentityFields]

_OPENERS: dict[int, Opener] = {0: _make_file, int(DM.DIR): _make_directory}
_MAKERS: dict[int, Maker] = {
    int(DM.SYMLINK): _make_symlink,
    int(DM.LINK): _make_link,
    int(DM.DEVICE): _make_device,
    int(DM.NAMEDPIPE): _make_pipe,
    int(DM.SOCKET): _make_socket,
}
