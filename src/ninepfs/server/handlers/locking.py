"""Lock and getlock."""

from __future__ import annotations

import errno

from ninepfs.server.fid import Fid
from ninepfs.server.handlers.registry import handles
from ninepfs.server.limits import LONGEST_NAME
from ninepfs.server.locks import END, Owner, Wait
from ninepfs.server.request import Request, fail
from ninepfs.wire.codec import CODECS
from ninepfs.wire.constants import LockFlag, LockStatus, LockType
from ninepfs.wire.fields import Dialect
from ninepfs.wire.messages import NUMBERS, Rgetlock, Rlock, Tgetlock, Tlock

_FLAGS = int(
    LockFlag.BLOCK | LockFlag.RECLAIM
)  # a plain int: enum flags turned round lose the bits that they do not know
_pack_lock = CODECS[Dialect.L][NUMBERS[Rlock]].pack_into


def _open_file(request: Request, fid: int) -> Fid:
    file = request.fid(fid)
    if file.handle is None:
        fail(errno.EBADF)
    return file


def _check_client(client_id: bytes) -> None:
    """Others are told who has a lock, in a message that must not be longer than theirs may be."""
    if len(client_id) > LONGEST_NAME:
        fail(errno.ENAMETOOLONG)


def _key(file: Fid) -> tuple[object, int]:
    return file.export, file.export.qids.qid(file.export.driver.getattr(file.node, file.handle, 0)[1]).path


def _range(start: int, length: int) -> tuple[int, int]:
    end = start + length if length else END
    if start >= 1 << 63 or (length and end > 1 << 63):
        fail(errno.EINVAL)
    return start, end


@handles(Tlock)
def lock(
    request: Request,
    fid: int,
    type: int,
    flags: int,
    start: int,
    length: int,
    proc_id: int,
    client_id: bytes,
) -> Rlock | None:
    if flags & ~_FLAGS or type > LockType.UNLCK:
        fail(errno.EINVAL)
    _check_client(client_id)
    file = _open_file(request, fid)
    session = request.session
    table = session.server.locks
    key = _key(file)
    first, end = _range(start, length)

    def granted(status: LockStatus) -> None:
        session.finish_later(request, _pack_lock, Rlock(status))

    wait = Wait(first, end, LockType(type), Owner(session, client_id, proc_id), file, granted)

    def cancel() -> None:
        if table.cancel(key, wait):
            session.finish(request, None, None)

    def blocking() -> None:
        with session.lock:
            if session.closed:
                fail(errno.EINTR)
            request.park(cancel)

    driver, handle = file.export.driver, file.handle
    status = table.lock(key, lambda: driver.lock(handle), wait, blocking if flags & LockFlag.BLOCK else None)
    return None if status is None else Rlock(status)


@handles(Tgetlock)
def getlock(
    request: Request,
    fid: int,
    type: int,
    start: int,
    length: int,
    proc_id: int,
    client_id: bytes,
) -> Rgetlock:
    """Who stands in the way. Linux always asks with type UNLCK and means "of a write lock"."""
    if type > LockType.UNLCK:
        fail(errno.EINVAL)
    _check_client(client_id)
    file = _open_file(request, fid)
    session = request.session
    first, end = _range(start, length)
    kind = LockType.RDLCK if type == LockType.RDLCK else LockType.WRLCK
    host = file.export.driver.lock(file.handle)
    try:
        found = session.server.locks.test(_key(file), host, kind, first, end, Owner(session, client_id, proc_id))
    finally:
        if host is not None:
            host.close()
    if found is None:
        return Rgetlock(LockType.UNLCK, start, length, proc_id, client_id)
    kind, first, end, process, client = found
    return Rgetlock(kind, first, 0 if end == END else end - first, process, client)
