"""The requests about the session itself: version, auth, attach, flush."""

from __future__ import annotations

import errno
import logging

from ninepfs.drivers.base import User
from ninepfs.server.fid import Fid
from ninepfs.server.handlers.registry import handles
from ninepfs.server.limits import LONGEST_NAME
from ninepfs.server.request import NamedError, Request, fail
from ninepfs.wire.constants import NOFID, NONUNAME
from ninepfs.wire.fields import Dialect
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

_SMALL = 8192
"""The msize of old Linux kernels, which nobody wants who copies files."""


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
    if size < dialect.min_msize:
        channel.warn("asks for an msize of %d bytes, less than %d", msize, dialect.min_msize)
        request.session = server.greeting(channel, dialect)
        fail(errno.EMSGSIZE)
    channel.msize = size
    request.session = server.session(channel, dialect, size)
    log.info("%s: %s, msize %d", channel.peer, dialect.version.decode(), size)
    if size <= _SMALL < server.limits.msize and server.first_small():
        log.warning(
            "%s: messages of %d bytes are slow; a client should ask for more, as by the mount option msize=%d"
            " (this is said once)",
            channel.peer,
            size,
            min(server.limits.msize, 1 << 20),
        )
    return Rversion(size, dialect.version)


@handles(Tauth)
def auth(request: Request, afid: int, uname: bytes, aname: bytes, n_uname: int) -> Rauth:
    """There is no authentication; a client that is told so attaches without. In 9P2000.L it knows that by ENOENT, which
    is what diod says and all that diod's own clients take; in the other dialects by the text."""
    number = errno.ENOENT if request.session.dialect is Dialect.L else errno.EOPNOTSUPP
    raise NamedError(number, b"authentication not required")


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
        session.channel.warn("asks for %s, which is not exported", _shown(aname))
        fail(errno.ENOENT)
    user = User(uname, n_uname)
    root = export.driver.attach(user)
    qid = export.qids.qid(export.driver.identity(root))
    session.add(fid, Fid(export, user, root, root))
    log.info(
        "%s: %s attaches to %s",
        session.channel.peer,
        _shown(uname) if uname else f"user {n_uname}" if n_uname != NONUNAME else "nobody in particular",
        export.name or "the export",
    )
    return Rattach(qid)


def _shown(text: bytes) -> str:
    """What a client calls something, for a line of the log: it may be long, and is no text for a terminal."""
    return repr(text[:64].decode(errors="replace")) + ("…" if len(text) > 64 else "")


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
