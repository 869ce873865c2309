"""Attach, walk, open, read and stat as 9P2000 and 9P2000.u have them."""

from __future__ import annotations

import errno
import stat as unix
from functools import partial
from typing import Any

from ninepfs.owners import uid_of
from ninepfs.server.export import Export
from ninepfs.server.fid import Fid
from ninepfs.server.handlers import files, session, walk
from ninepfs.server.handlers.files import begin_opening, finish_opening, give_up_opening
from ninepfs.server.handlers.registry import handles
from ninepfs.server.listing import Listing
from ninepfs.server.qids import QidFields
from ninepfs.server.request import Request, fail
from ninepfs.server.session import Session
from ninepfs.server.stats import ROOT, describe, qid_of, shown_qid
from ninepfs.wire.codec import pack_stat
from ninepfs.wire.constants import DM, NONUNAME, LFlag, OpenMode
from ninepfs.wire.fields import Dialect
from ninepfs.wire.messages import Rattach, Rstat, Tattach, Topen, Tread, Tstat, Twalk

BASE, U = Dialect.BASE, Dialect.U

_ACCESS = {
    OpenMode.READ: int(LFlag.RDONLY),
    OpenMode.WRITE: int(LFlag.WRONLY),
    OpenMode.RDWR: int(LFlag.RDWR),
    OpenMode.EXEC: int(LFlag.RDONLY),  # whether a file may be executed is for the client to know
}
_APPEND = int(LFlag.APPEND)
_TRUNC = int(LFlag.TRUNC)
_RCLOSE = int(OpenMode.RCLOSE)


@handles(Tattach, BASE)
def attach_by_name(request: Request, fid: int, afid: int, uname: bytes, aname: bytes, n_uname: int) -> Rattach:
    """In 9P2000 a user has a name only; new files belong to who bears it on the host."""
    uid = uid_of(uname) if uname else None
    return session.attach(request, fid, afid, uname, aname, NONUNAME if uid is None else uid)


@handles(Twalk, BASE, U)
def walk_named(request: Request, fid: int, newfid: int, wnames: list[bytes]) -> tuple[list[QidFields]]:
    """A walk after which the fid knows its name."""
    fids, dialect = request.session.fids, request.session.dialect
    source = request.fid(fid)
    name = source.name
    (qids,) = walk.walk(request, fid, newfid, wnames)
    if len(qids) == len(wnames):
        for step in wnames:
            name = b"" if step == b".." else name if step == b"." else step
        walked = fids.get(newfid)
        if walked is not None:
            walked.name = name
    return ([shown_qid(source.export, qid, dialect) for qid in qids],)


def open_flags(mode: int, dialect: Dialect) -> int:
    """A mode byte as flags for a driver.

    Raises:
        OSError: EINVAL: the dialect has no such mode of writing. (To reading it makes no difference.)
    """
    flags = _ACCESS[OpenMode(mode & 3)]
    if mode & OpenMode.TRUNC:
        flags |= _TRUNC
    if mode & OpenMode.APPEND:
        if dialect is not BASE:
            flags |= _APPEND
        elif flags & LFlag.ACCMODE:
            fail(errno.EINVAL)
    return flags


def check_directory_mode(mode: int) -> None:
    """A directory is opened for reading: not for writing, truncated or removed on close.

    Raises:
        OSError: EISDIR.
    """
    if mode & 3 in (OpenMode.WRITE, OpenMode.RDWR) or mode & (OpenMode.TRUNC | OpenMode.RCLOSE):
        fail(errno.EISDIR)


@handles(Topen, BASE, U)
def open(request: Request, fid: int, mode: int) -> tuple[QidFields, int]:  # noqa: A001
    file = begin_opening(request, fid)
    export, dialect = file.export, request.session.dialect
    try:
        identity = export.driver.identity(file.node)
        flags = open_flags(mode, dialect)
        if unix.S_ISDIR(identity[0]):
            check_directory_mode(mode)
            handle, identity = export.driver.open(file.node, flags)
            read_as_directory(request, file, handle)
        else:
            handle, identity = _open_file(export, file, flags, mode, export.qids.fields(identity)[2])
    except BaseException:
        give_up_opening(request, file)
        raise
    finish_opening(request, fid, file, handle)
    return qid_of(export, identity, dialect), iounit_of(request.session, file)


def iounit_of(session: Session, file: Fid) -> int:
    """What Ropen and Rcreate say of a file that is open now."""
    return session.io_room if file.listing else session.iounit


def read_as_directory(request: Request, file: Fid, handle: Any) -> None:
    """What the fid is about to have open is read as stats."""
    session = request.session
    file.listing = Listing(file.export, file.node, handle, session.dialect, session.max_payload)


def _open_file(export: Export, file: Fid, flags: int, mode: int, path: int) -> Any:
    check_removable(export, mode)
    marks = export.marks.enter(path)
    try:
        if marks is not None and marks & DM.APPEND:
            flags = (flags | _APPEND if flags & LFlag.ACCMODE else flags) & ~_TRUNC
        opened = export.driver.open(file.node, flags)
    except BaseException:
        if marks is not None:
            export.marks.leave(path)
        raise
    end_with(file, mode, None if marks is None else path)
    return opened


def check_removable(export: Export, mode: int) -> None:
    """ORCLOSE announces a removal, which is refused now rather than then.

    Raises:
        OSError: EROFS.
    """
    if mode & _RCLOSE and export.readonly:
        fail(errno.EROFS)


def end_with(file: Fid, mode: int, marked: int | None) -> None:
    """Have the fid, when it is clunked or its session ends, do what its mode and its marks ask for."""
    if mode & _RCLOSE or marked is not None:
        file.closing = partial(_closed, file.export, file.node, bool(mode & _RCLOSE), marked)


def _closed(export: Export, node: Any, remove: bool, marked: int | None) -> None:
    if marked is not None:
        export.marks.leave(marked)
    if remove:
        try:
            export.driver.unlink(*export.driver.locate(node), False)
        except OSError as failure:
            if failure.errno not in (errno.ENOENT, errno.ESTALE):  # it was removed before
                raise


@handles(Tread, BASE, U)
def read(request: Request, fid: int, offset: int, count: int) -> int:
    listing = request.fid(fid).listing
    if listing is None:
        return files.read(request, fid, offset, count)
    return request.fill(listing.read(offset, max(0, min(count, request.space.room))))


def name_of(file: Fid) -> bytes:
    """The name of what a fid stands for, as far as it is known."""
    if file.node == file.root:
        return ROOT
    try:
        return file.export.driver.locate(file.node)[1]
    except OSError:  # it was removed, or the driver cannot tell
        return file.name


@handles(Tstat, BASE, U)
def stat(request: Request, fid: int) -> Rstat:
    file = request.fid(fid)
    dialect = request.session.dialect
    found = describe(file.export, file.node, file.handle, name_of(file), dialect)
    if len(pack_stat(found, dialect)) > request.session.msize - 9:
        fail(errno.ENAMETOOLONG)
    return Rstat(found)
