"""A request on its way through a handler, and what becomes of it when it takes long."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from typing import TYPE_CHECKING, NoReturn

from ninepfs.server.fid import Fid

if TYPE_CHECKING:
    from ninepfs.server.channel import Space
    from ninepfs.server.session import Session


def fail(code: int) -> NoReturn:
    """Answer the request with this errno."""
    raise OSError(code, os.strerror(code))


class NamedError(OSError):
    """An error with a text of its own, which clients of 9P2000 and 9P2000.u know. Others see the errno only."""

    def __init__(self, code: int, ename: bytes) -> None:
        super().__init__(code, ename.decode())
        self.ename = ename


class Request:
    """What a handler gets beside the fields of the message.

    One object serves request after request; only one that outlives its turn (it is slow, or answered later) keeps it
    for good, and the session goes on with a new one.
    """

    __slots__ = ("cancel", "flushed", "flushes", "held", "parked", "session", "slow", "space", "tag")

    def __init__(self, session: Session) -> None:
        self.session = session
        self.tag = 0
        self.space: Space
        self.slow = False
        """A successor leads the session while this is still in its handler."""
        self.parked = False
        """The handler returned without a reply; it is given later."""
        self.flushed = False
        """The client gave up."""
        self.flushes: list[Request] = []
        """The Tflush requests to answer when this one is done."""
        self.cancel: Callable[[], None] | None = None
        """Ends the wait of a parked request early."""
        self.held: list[Fid] = []
        """Fids kept alive for a slow request."""

    def fid(self, number: int) -> Fid:
        """The fid of that number.

        Raises:
            OSError: ENOENT, there is none.
        """
        fid = self.session.fids.get(number)
        if fid is None:
            fail(errno.ENOENT)
        return fid

    def file(self, number: int) -> Fid:
        """The same, if it stands for a file and not for one of its extended attributes.

        Raises:
            OSError: ENOENT, there is none; EINVAL, it is an attribute.
        """
        fid = self.session.fids.get(number)
        if fid is None:
            fail(errno.ENOENT)
        if fid.xattr is not None:
            fail(errno.EINVAL)
        return fid

    def fill(self, data: bytes) -> int:
        """Put the data of an Rread or Rreaddir into its place, as far as there is room; returns how much that is."""
        done = 0
        for buffer in self.space.payload(len(data)):
            part = data[done : done + len(buffer)]
            buffer[: len(part)] = part
            done += len(part)
        return done

    @property
    def given_up(self) -> bool:
        """Nobody waits for the reply any more."""
        return self.flushed or self.session.closed

    def retry(self) -> None:
        """A driver was interrupted: asking it again is right unless the client gave up.

        Raises:
            InterruptedError: it did.
        """
        if self.given_up:
            raise InterruptedError(errno.EINTR, os.strerror(errno.EINTR))

    def park(self, cancel: Callable[[], None] | None = None, *, limited: bool = True) -> None:
        """The reply comes later, by :meth:`Session.finish`: the handler must then return None.

        The caller holds ``session.lock``, so that nobody can finish or flush the request before it is in its place.
        """
        session = self.session
        if limited and len(session.inflight) >= session.limits.parked_requests:
            fail(errno.ENOLCK)
        self.parked = True
        self.cancel = cancel
        self.space = session.channel.space(self.space)
        session.inflight[self.tag] = self
