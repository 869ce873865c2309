"""The requests about the session itself: version, auth, attach, flush."""

from __future__ import annotations

import errno
import logging

from ninepfs.drivers.base import User
from ninepfs.server.fid import Fid
from ninepfs.server.handlers.registry import handles
from ninepfs.server.limits import LONGEST_NAME
from ninepfs.server.request import NamedError, Request, fail
from ninepfs.wire.constants import MIN_MSIZE, NOFID
from ninepfs.wire.messages import (
    Rattach,
    Rauth,
    Rflush,
    Rversion,
    Tattach,
    Tauth,
    Tflush,
    Tversion,
)

log = logging.getLogger("ninepfs.session")


@handles(Tversion)
def version(request: Request, msize: int, version: bytes) -> Rversion:
    """Begin a session. What the connection had before ends first: requests in flight run to their end unanswered, and
    all fids are clunked."""
    old = request.session
    old.close(wait=True)
    server, channel = old.server, old.channel
    size = min(msize, server.limits.msize, channel.msize_limit)
    dialect = server.dialect(version)
    if dialect is None:
        request.session = server.greeting(channel)
        return Rversion(size, b"unknown")
    if size < MIN_MSIZE:
        channel.warn("asks for an msize of %d bytes, less than %d", msize, MIN_MSIZE)
        request.session = server.greeting(channel, dialect)
        fail(errno.EMSGSIZE)
    channel.msize = size
    request.session = server.session(channel, dialect, size)
    log.info("%s: %s, msize %d", channel.peer, dialect.version.decode(), size)
    return Rversion(size, dialect.version)


@handles(Tauth)
def auth(request: Request, afid: int, uname: bytes, aname: bytes, n_uname: int) -> Rauth:
    """There is no authentication; a client that is told so attaches without."""
    raise NamedError(errno.EOPNOTSUPP, b"authentication not required")


@handles(Tattach)
def attach(request: Request, fid: int, afid: int, uname: bytes, aname: bytes, n_uname: int) -> Rattach:
    session = request.session
    if fid in session.fids:
        fail(errno.EINVAL)
    if afid != NOFID:
        fail(errno.EINVAL)
    if len(uname) > LONGEST_NAME:
        fail(errno.ENAMETOOLONG)
    export = session.server.export(aname)
    if export is None:
        session.channel.warn("asks for %s, which is not exported", ascii(aname[:LONGEST_NAME])[1:])
        fail(errno.ENOENT)
    user = User(uname, n_uname)
    root = export.driver.attach(user)
    qid = export.qids.qid(export.driver.identity(root))
    session.add(fid, Fid(export, user, root, root))
    log.info(
        "%s: %s attaches to %s",
        session.channel.peer,
        ascii(uname)[2:-1] or n_uname,  # it could else be more than one line
        export.name or "the export",
    )
    return Rattach(qid)


@handles(Tflush)
def flush(request: Request, oldtag: int) -> Rflush | None:
    """Give up a request. Only those that outlived their turn are still there; everything else is answered already."""
    session = request.session
    # A request that is just being answered is no longer in flight: this waits until its reply is on its way.
    with session.channel.sending, session.lock:
        victim = session.inflight.get(oldtag)
        if victim is None:
            return Rflush()
        request.park(limited=False)  # there is no error reply to a flush; the tags limit how many there are
        victim.flushed = True
        victim.flushes.append(request)
        cancel = victim.cancel
    if cancel is not None:
        cancel()
    return None
