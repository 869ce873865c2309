"""A session: from one Tversion to the next, or to the end of the connection."""

from __future__ import annotations

import errno
import logging
import threading
from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeAlias

from ninepfs.server.channel import Channel, NoRoomError, Space
from ninepfs.server.fid import Fid
from ninepfs.server.request import NamedError, Request, fail
from ninepfs.server.xattr import XattrRead, XattrWrite
from ninepfs.wire.codec import CODECS, PackInto, UnpackBody
from ninepfs.wire.constants import IOHDRSZ, READ_OVERHEAD, XATTR_REPLACE
from ninepfs.wire.errors import ename
from ninepfs.wire.fields import Dialect, ProtocolError
from ninepfs.wire.messages import NUMBERS, Rerror, Rflush, Rlerror

if TYPE_CHECKING:
    from ninepfs.server.server import Server

log = logging.getLogger("ninepfs.session")

Handler: TypeAlias = Callable[..., Any]
Entry: TypeAlias = tuple[UnpackBody, Handler, PackInto | None]
"""(unpack the body, handle, pack the reply); the last is None when the handler fills the reply's data in place."""
Table: TypeAlias = list[Entry | None]
"""By message number; from :data:`ninepfs.server.channel.APART` on, those of requests that come without their data."""


class Session:
    """The state that a client has with the server: fids, and requests in flight."""

    def __init__(self, server: Server, channel: Channel, dialect: Dialect, msize: int, table: Table) -> None:
        self.server = server
        self.channel = channel
        self.dialect = dialect
        self.msize = msize
        self.table = table
        self.limits = server.limits
        self.fids: dict[int, Fid] = {}
        self.inflight: dict[int, Request] = {}
        """Requests that outlived their turn, by tag: slow ones, and parked ones."""
        self.lock = threading.RLock()
        """Guards inflight, what is held, and closing."""
        self._drained = threading.Condition(self.lock)
        self.slow = 0
        """How many of the requests in flight occupy a thread."""
        self.closed = False
        self.xattr_fids = 0
        self.xattr_bytes = 0
        self.open_files = 0
        self.lock_count = 0
        self.max_payload = msize - READ_OVERHEAD
        self.io_room = msize - IOHDRSZ
        """What clients expect one read or write to carry, in bytes. It is also the iounit of directories that are read
        as stats: Linux fills its buffer in pieces of an iounit, and there are clients that read nothing without one."""
        # Whole pages, so that clients whose requests follow it ask for aligned blocks.
        self.iounit = self.io_room // 4096 * 4096 or self.io_room
        codecs = CODECS[dialect]
        self._pack_error = codecs[NUMBERS[Rlerror if dialect is Dialect.L else Rerror]].pack_into
        self._pack_flush = codecs[NUMBERS[Rflush]].pack_into
        self._blksizes: dict[int, int] = {}
        self._late: deque[tuple[Request, PackInto | None, Any]] = deque()
        self._telling = False

    # --- answers

    def error(self, failure: OSError) -> tuple[PackInto, tuple[Any, ...]]:
        """The reply that tells of a failure, in the session's dialect."""
        code = failure.errno or errno.EIO
        if self.dialect is Dialect.L:
            return self._pack_error, (code,)
        text = failure.ename if isinstance(failure, NamedError) else ename(code)
        return self._pack_error, (text, code)

    def finish(self, request: Request, pack: PackInto | None, reply: Any, number: int = 0) -> None:
        """Answer a request that outlived its turn, and the flushes that wait for it.

        A ``reply`` of None means that the request was given up and has no answer.
        """
        orphans: list[Fid] = []
        if self.closed:  # nothing is sent any more, and nobody waits for those who still do
            self._answer(request, None, None, number, [], orphans)
            self._release_all(orphans)
            return
        with self.channel.sending:
            # The tag leaves the table and the reply leaves for the client in one step: a Tflush that comes in between
            # would else be answered first.
            spaces: list[Space] = []
            try:
                self._answer(request, pack, reply, number, spaces, orphans)
                for space in spaces:
                    space.send()
            except OSError as failure:
                log.debug("%s: could not send: %s", self.channel.peer, failure)
            except ProtocolError as failure:
                log.warning("%s: session ended: %s", self.channel.peer, failure)
                self.channel.refuse()
                for space in spaces:  # there was no room for the first reply, so none has been put
                    space.drop()
        self._release_all(orphans)

    def let_go(self, request: Request) -> None:
        """A slow request occupies its thread no longer, but has no reply yet: it waits without its fids."""
        orphans: list[Fid] = []
        with self.lock:
            self._not_slow(request, orphans)
        self._release_all(orphans)

    def _not_slow(self, request: Request, orphans: list[Fid]) -> None:
        if request.slow:
            request.slow = False
            self.slow -= 1
            if not self.slow:
                self._drained.notify_all()
        for fid in request.held:
            fid.held -= 1
            if fid.orphan and not fid.held:
                orphans.append(fid)
        request.held = []

    def _release_all(self, orphans: list[Fid]) -> None:
        """Release fids whose client cannot be told any more what went wrong."""
        for fid in orphans:
            try:
                self.release(fid)
            except OSError as failure:
                log.debug("%s: closing a file that is clunked already: %s", self.channel.peer, failure)
            except Exception:
                log.exception("%s: closing a file that is clunked already", self.channel.peer)

    def finish_later(self, request: Request, pack: PackInto | None, reply: Any) -> None:
        """:meth:`finish` from a thread that must not wait for this client to take its replies."""
        self._late.append((request, pack, reply))
        with self.lock:
            if self._telling:
                return
            self._telling = True
        self.server.engine.start(self._tell)

    def _tell(self) -> None:
        while True:
            with self.lock:
                if not self._late:
                    self._telling = False
                    return
            self.finish(*self._late.popleft())

    def _answer(
        self,
        request: Request,
        pack: PackInto | None,
        reply: Any,
        number: int,
        spaces: list[Space],
        orphans: list[Fid],
    ) -> None:
        answered: list[Request] = []
        with self.lock:
            closed = self.closed
            waiting = deque([request])
            while waiting:  # a loop, not recursion: flushes of flushes make a chain as long as the client likes
                done = waiting.popleft()
                answered.append(done)
                if self.inflight.get(done.tag) is done:
                    del self.inflight[done.tag]
                self._not_slow(done, orphans)
                waiting += done.flushes
                done.flushes = []
        spaces += [done.space for done in answered]
        if closed:
            for space in spaces:
                space.drop()
            return
        try:
            if reply is None:
                request.space.drop()
            elif pack is None:
                request.space.put_payload(number, request.tag, reply)
            else:
                request.space.put(pack, request.tag, reply)
        except OSError:
            raise
        except NoRoomError as failure:
            request.space.put(*self._numbered(request.tag, OSError(errno.EMSGSIZE, str(failure))))
        except Exception:  # numbers out of range: the driver's fault, not the client's
            log.exception("%s: the reply to message %d cannot be packed", self.channel.peer, number - 1)
            request.space.put(*self._numbered(request.tag, OSError(errno.EIO, "defect")))
        for flush in answered[1:]:
            flush.space.put(self._pack_flush, flush.tag, ())

    def _numbered(self, tag: int, failure: OSError) -> tuple[PackInto, int, tuple[Any, ...]]:
        pack, reply = self.error(failure)
        return pack, tag, reply

    # --- fids

    def add(self, number: int, fid: Fid) -> None:
        """Give a fid its number.

        Raises:
            OSError: EINVAL when the number is in use, EMFILE when there are too many.
        """
        if number == 0xFFFFFFFF:
            fail(errno.EINVAL)
        if len(self.fids) >= self.limits.fids:
            fail(errno.EMFILE)
        if self.fids.setdefault(number, fid) is not fid:
            fail(errno.EINVAL)
        if self.closed and self.fids.pop(number, None) is fid:  # ended while a slow request was at it
            self.release(fid)

    def take(self, number: int) -> Fid:
        """Take a fid from the table: no other request finds it any more. The caller releases it, unless it is an orphan
        then: the last slow request that uses it does that.

        Raises:
            OSError: ENOENT for no such fid.
        """
        fid = self.fids.pop(number, None)
        if fid is None:
            fail(errno.ENOENT)
        if self.inflight:
            with self.lock:
                fid.orphan = fid.held > 0
        return fid

    def clunk(self, number: int) -> None:
        """End a fid. What it has open is closed now, or after the last slow request that uses it.

        Raises:
            OSError: ENOENT for no such fid; else what closing reported. The fid is gone all the same.
        """
        fid = self.take(number)
        if not fid.orphan:
            self.release(fid)

    def release(self, fid: Fid) -> None:
        """Give back what a fid has that is no longer in the table."""
        if fid.locked:
            self.server.locks.forget_fid(fid)
        handle = fid.handle
        if handle is not None:
            fid.handle = None
            self.server.open_files.count(self, -1)
            try:
                fid.export.driver.close(handle)
            finally:
                if fid.closing is not None:
                    fid.closing()
        elif fid.xattr is not None:
            xattr = self.forget_xattr(fid)
            if isinstance(xattr, XattrWrite) and not self.closed:
                self._set_xattr(fid, xattr)

    def forget_xattr(self, fid: Fid) -> XattrRead | XattrWrite | None:
        """Take from a fid the attribute that was read or written through it."""
        xattr, fid.xattr = fid.xattr, None
        if xattr is not None:
            self.release_xattr(xattr.charge)
        return xattr

    @staticmethod
    def _set_xattr(fid: Fid, xattr: XattrWrite) -> None:
        driver = fid.export.driver
        if len(xattr.value) != xattr.size:
            fail(errno.EINVAL)
        if not xattr.size and xattr.flags == XATTR_REPLACE:
            # This is how Linux sends removexattr(2). Without the flag an empty value is a value like any other, which
            # in place of an ACL takes that away, on the host as well.
            driver.removexattr(fid.node, None, xattr.name)
        else:
            driver.setxattr(fid.node, None, xattr.name, bytes(xattr.value), xattr.flags)

    def charge_xattr(self, size: int) -> None:
        """Count a fid that will hold so many bytes of an extended attribute.

        Raises:
            OSError: ENOSPC, too many of either.
        """
        limits = self.limits
        with self.lock:
            if 0 < limits.xattr_fids <= self.xattr_fids or self.xattr_bytes + size > limits.xattr_bytes:
                fail(errno.ENOSPC)
            self.xattr_fids += 1
            self.xattr_bytes += size

    def release_xattr(self, size: int) -> None:
        """It does not hold them any more."""
        with self.lock:
            self.xattr_fids -= 1
            self.xattr_bytes -= size

    def blksize(self, size: int) -> int:
        """The block size to tell for a file of the host's block size ``size``: the largest multiple that one message
        carries, so that programs that go by it read and write in full messages."""
        told = self._blksizes.get(size)
        if told is None:
            room = self.io_room
            told = room // size * size or room if size else room
            if len(self._blksizes) < 64:
                self._blksizes[size] = told
        return told

    # --- the end

    def drain(self) -> None:
        """Wait until the slow requests have ended, and the last of the replies has left."""
        with self.lock:
            while self.slow:
                self._drained.wait(1.0)
        with self.channel.sending:
            pass

    def close(self, *, wait: bool) -> None:
        """End the session: nothing in flight is answered any more, and all fids go.

        With ``wait``, returns only when everything in flight has ended.
        """
        with self.lock:
            self.closed = True
            pending = list(self.inflight.values())
            for request in pending:
                request.flushed = True
        for request in pending:
            if request.cancel is not None:
                request.cancel()
        if wait:
            self.drain()
        self.server.locks.forget_session(self)
        for number in list(self.fids):
            try:
                fid = self.take(number)
            except OSError:  # a slow request was faster
                continue
            if not fid.orphan:
                self._release_all([fid])
