"""Open, create, read, write and fsync."""

from __future__ import annotations

import errno
import struct
from collections.abc import Sequence

from ninepfs.server.fid import Fid
from ninepfs.server.handlers.names import check_name
from ninepfs.server.handlers.registry import handles, handles_apart
from ninepfs.server.qids import QidFields
from ninepfs.server.request import Request, fail
from ninepfs.server.xattr import XattrRead, XattrWrite
from ninepfs.wire.constants import WRITE_OVERHEAD, LFlag
from ninepfs.wire.messages import Rfsync, Tfsync, Tlcreate, Tlopen, Tread, Twrite

SPLICE_FROM = 32768
"""Reads of at least so many bytes go from file to socket without entering the process, where the transport can."""

_HEAD_OF_WRITE = struct.Struct("<IQI")
"""The body of a Twrite up to its data: ``fid[4] offset[8] count[4]``."""

# Plain ints: arithmetic on enum flags takes a microsecond.
_FLAGS = ~int(LFlag.CREATE)
_DIRECTORY = int(LFlag.DIRECTORY)
_CHANGING = int(LFlag.ACCMODE | LFlag.TRUNC)
_FORMAT, _DIR = 0o170000, 0o040000
_LAST = 1 << 63


def begin_opening(request: Request, fid: int) -> Fid:
    """The fid, reserved for being opened, and counted as open."""
    session, file = request.session, request.fid(fid)
    with session.lock:  # a slow request may be at the same fid
        if file.handle is not None or file.xattr is not None or file.busy:
            fail(errno.EINVAL)
        file.busy = True
    try:
        session.server.open_files.count(session, 1)
    except OSError:
        file.busy = False
        raise
    return file


def give_up_opening(request: Request, file: Fid) -> None:
    """Opening failed: the fid is as it was."""
    session = request.session
    file.busy = False
    session.server.open_files.count(session, -1)


def finish_opening(request: Request, fid: int, file: Fid, handle: object) -> None:
    """Give the fid its handle, unless the fid went while a slow request was opening it."""
    session = request.session
    file.handle = handle
    file.busy = False
    if session.closed or session.fids.get(fid) is not file:
        if not file.orphan:
            session.release(file)
        fail(errno.ENOENT)


@handles(Tlopen)
def lopen(request: Request, fid: int, flags: int) -> tuple[QidFields, int]:
    file = begin_opening(request, fid)
    export = file.export
    try:
        handle, identity = export.driver.open(file.node, flags & _FLAGS)
        file.directory = identity[0] & _FORMAT == _DIR
        if flags & (_CHANGING if file.directory else _DIRECTORY):
            export.driver.close(handle)  # of a driver that takes any flags
            fail(errno.EISDIR if file.directory else errno.ENOTDIR)
    except BaseException:
        give_up_opening(request, file)
        raise
    finish_opening(request, fid, file, handle)
    return export.qids.fields(identity), request.session.iounit


@handles(Tlcreate)
def lcreate(request: Request, fid: int, name: bytes, flags: int, mode: int, gid: int) -> tuple[QidFields, int]:
    check_name(name, errno.EEXIST)
    file = begin_opening(request, fid)
    export = file.export
    try:
        node, handle, identity = export.driver.create(
            file.node, name, flags & _FLAGS, mode & 0o7777, file.user.uid, gid
        )
    except BaseException:
        give_up_opening(request, file)
        raise
    file.node = node
    finish_opening(request, fid, file, handle)
    return export.qids.fields(identity), request.session.iounit


@handles(Tread)
def read(request: Request, fid: int, offset: int, count: int) -> int:
    file = request.fid(fid)
    session = request.session
    count = min(count, session.max_payload)
    handle = file.handle
    if handle is None:
        return _read_xattr(request, file, offset, count)
    if offset >= _LAST:
        fail(errno.EINVAL)
    if file.directory:
        fail(errno.EISDIR)
    driver = file.export.driver
    if count >= SPLICE_FROM:
        fileno = driver.fileno(handle)
        if fileno is not None:
            spliced = request.space.splice(fileno, offset, count)
            if spliced is not None:
                return spliced
    buffers = request.space.payload(count)
    while True:
        try:
            size = driver.read(handle, buffers, offset)
        except InterruptedError:
            request.retry()
            continue
        if not 0 <= size <= count:
            raise ValueError(f"the driver says that it read {size} bytes into a place for {count}")
        return size


def _read_xattr(request: Request, file: Fid, offset: int, count: int) -> int:
    xattr = file.xattr
    if not isinstance(xattr, XattrRead):
        fail(errno.EINVAL)
    return request.fill(xattr.value[offset : offset + count])


@handles(Twrite)
def write(request: Request, fid: int, offset: int, data: memoryview) -> tuple[int]:
    file = request.fid(fid)
    handle = file.handle
    if handle is None:
        xattr = file.xattr
        if not isinstance(xattr, XattrWrite):
            fail(errno.EINVAL)
        return (xattr.write(data, offset),)
    return _write(request, file, offset, (data,), len(data))


@handles_apart(Twrite, _HEAD_OF_WRITE.unpack_from)
def write_apart(request: Request, fid: int, offset: int, count: int) -> tuple[int]:
    """The data goes to the file from where the client put it."""
    if count > request.session.msize - WRITE_OVERHEAD:
        fail(errno.EMSGSIZE)
    data = request.space.data(WRITE_OVERHEAD, count)
    file = request.fid(fid)
    if file.handle is None:
        return write(request, fid, offset, memoryview(b"".join(data)))
    return _write(request, file, offset, data, count)


def _write(request: Request, file: Fid, offset: int, buffers: Sequence[memoryview], size: int) -> tuple[int]:
    if offset + size >= _LAST:
        fail(errno.EFBIG)
    write, handle = file.export.driver.write, file.handle
    done = 0
    while True:
        try:
            written = write(handle, buffers, offset + done)
        except OSError as failure:
            if isinstance(failure, InterruptedError) and not request.given_up:
                continue
            if done:
                return (done,)  # what is written is told; the client meets the error when it goes on
            raise
        done += written
        if done >= size or written <= 0:
            return (done,)
        buffers = _without(buffers, written)


def _without(buffers: Sequence[memoryview], count: int) -> list[memoryview]:
    """What is left of the buffers behind the first ``count`` bytes."""
    rest = []
    for buffer in buffers:
        if count < len(buffer):
            rest.append(buffer[count:])
        count = max(0, count - len(buffer))
    return rest


@handles(Tfsync)
def fsync(request: Request, fid: int, datasync: int) -> Rfsync:
    file = request.fid(fid)
    if file.handle is None:
        fail(errno.EBADF)
    file.export.driver.fsync(file.handle, bool(datasync))
    return Rfsync()
