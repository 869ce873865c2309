"""A connection to a server: messages out, replies in, each with its tag. It knows no fids and no files."""

from __future__ import annotations

import errno
import os
import socket
import time
from collections import deque
from types import TracebackType
from typing import Self, TypeVar, cast

from ninepfs.address import Address, FdAddress, TcpAddress, UnixAddress, parse_address
from ninepfs.client.errors import ServerClosedError, error_of
from ninepfs.client.link import Link, StreamLink
from ninepfs.wire import (
    MESSAGES,
    NUMBERS,
    Buffer,
    Dialect,
    Message,
    ProtocolError,
    describe,
    pack,
    unpack,
)
from ninepfs.wire.constants import DEFAULT_MSIZE, NOTAG
from ninepfs.wire.messages import Rerror, Rlerror, Tversion

_VSOCK_CID_LOCAL = 1
_RERROR, _RLERROR = NUMBERS[Rerror], NUMBERS[Rlerror]

ReplyT = TypeVar("ReplyT", bound=Message)


def connect_socket(address: Address | str, timeout: float | None = None) -> socket.socket:
    """A blocking socket that is connected to ``address``.

    Args:
        address: an address or its URL. ``fd://N`` is duplicated: the descriptor itself stays open.
        timeout: seconds that connecting may take, None for as long as the system tries.

    Raises:
        AddressError: the URL is not an address.
        OSError: there is no connection.
    """
    address = parse_address(address) if isinstance(address, str) else address
    if isinstance(address, FdAddress):
        sock = socket.socket(fileno=os.dup(address.fd))
    elif isinstance(address, TcpAddress):
        sock = socket.create_connection((address.host, address.port), timeout)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    else:
        unix = isinstance(address, UnixAddress)
        sock = socket.socket(socket.AF_UNIX if unix else socket.AF_VSOCK, socket.SOCK_STREAM)
        try:
            sock.settimeout(timeout)
            if isinstance(address, UnixAddress):
                sock.connect(address.path)
            else:
                sock.connect((_VSOCK_CID_LOCAL if address.cid is None else address.cid, address.port))
        except BaseException:
            sock.close()
            raise
    sock.settimeout(None)
    return sock


class Connection:
    """A way to a server: gives out tags and keeps replies until they are asked for.

    Requests may be sent one after another without waiting (:meth:`send`); the server may answer them in any order.
    A connection belongs to one thread. An exception that interrupts a wait (Ctrl-C, a timeout) leaves it usable.

    Args:
        link: a connected stream socket, or another way of messages (:mod:`ninepfs.client.link`). The connection owns it
            from now on and closes it.
        msize: largest message in bytes, of either direction.
        dialect: what the messages mean. Tversion decides both anew, see :meth:`negotiated`.
        timeout: seconds to wait for a message where a method is not told how long, None for as long as it takes.
    """

    def __init__(
        self,
        link: socket.socket | Link,
        *,
        msize: int = DEFAULT_MSIZE,
        dialect: Dialect = Dialect.BASE,
        timeout: float | None = None,
    ) -> None:
        self._link = StreamLink(link) if isinstance(link, socket.socket) else link
        self.timeout = timeout
        self.msize = msize
        self.dialect = dialect
        self.busy = False
        """Whether a message is being sent or awaited right now: true inside signal handlers and finalizers only."""
        self._sent: dict[int, int] = {}  # tag -> number of the request
        self._abandoned: set[int] = set()
        self._replies: dict[int, Message] = {}
        self._unexpected: deque[tuple[int, Message]] = deque()
        self._next_tag = 0
        self._why_closed: str | None = None

    @property
    def socket(self) -> socket.socket:
        """The stream socket.

        Raises:
            ValueError: the connection is made of something else.
        """
        if not isinstance(self._link, StreamLink):
            raise ValueError("the connection has no socket")
        return self._link.socket

    # --- sending --------------------------------------------------------------------------------------------------

    def send(self, message: Message, tag: int | None = None) -> int:
        """Sends a request and returns its tag, without waiting for the reply.

        If the server does not read because its replies are not read either, replies are taken in meanwhile.

        Args:
            message: a T-message of the session's dialect.
            tag: which tag to use, None for a free one. A tag that is in use is sent all the same.

        Raises:
            ProtocolError: the message cannot be put into bytes, or is larger than msize.
            ServerClosedError: there is no connection any more.
        """
        if tag is None:
            tag = NOTAG if isinstance(message, Tversion) else self._free_tag()
        data = pack(message, tag, self.dialect)
        if len(data) > self.msize:
            raise ProtocolError(f"{type(message).__name__} takes {len(data)} bytes, but msize is {self.msize}")
        self._check_open()
        self.busy = True
        try:
            self._link.send(memoryview(data), self.msize, self._store)
        except ServerClosedError as error:
            raise self._closed(str(error)) from error
        except BaseException:
            # Half of a request may be out: nothing that follows would be understood.
            self._closed("a request was interrupted while it was being sent")
            raise
        finally:
            self.busy = False
        self._sent[tag] = NUMBERS[type(message)]
        return tag

    def send_raw(self, data: Buffer) -> None:
        """Sends bytes as they are, for tests of servers; replies come out of :meth:`receive`.

        Raises:
            ServerClosedError: there is no connection any more.
        """
        self._check_open()
        try:
            self._link.send_raw(data)
        except ServerClosedError as error:
            raise self._closed(str(error)) from error

    def _free_tag(self) -> int:
        if len(self._sent) >= NOTAG:
            raise OSError(errno.EBUSY, "all tags of the connection are in use")
        tag = self._next_tag
        while tag in self._sent:
            tag = (tag + 1) % NOTAG
        self._next_tag = (tag + 1) % NOTAG
        return tag

    # --- receiving ------------------------------------------------------------------------------------------------

    def receive(self, timeout: float | None = None) -> tuple[int, Message]:
        """The next reply and its tag: one that was stored, else the next that arrives, whatever it answers.

        Args:
            timeout: seconds to wait for it, None for those of the connection.

        Raises:
            ProtocolError: what arrived is not a reply of the session's dialect.
            ServerClosedError: there is no connection any more.
            TimeoutError: nothing arrived in time. What arrived in part is kept.
        """
        deadline = self._deadline(timeout)
        while not self._replies and not self._unexpected:
            self._store(self._receive_message(deadline))
        if not self._replies:
            return self._unexpected.popleft()
        tag = next(iter(self._replies))
        del self._sent[tag]
        return tag, self._replies.pop(tag)

    def wait(self, tag: int) -> Message:
        """The reply to the request with this tag, error replies included; replies to others are stored meanwhile.

        Raises:
            ProtocolError: what arrived is not a reply, or answers nothing that was asked. The connection is closed.
            ServerClosedError: there is no connection any more.
            TimeoutError: it did not come within the connection's timeout, if there is one.
        """
        if tag not in self._sent:
            raise ValueError(f"no request with tag {tag} is waiting for its reply")
        while tag not in self._replies:
            self._store(self._receive_message(self._deadline(None)))
            if self._unexpected:
                other, message = self._unexpected.popleft()
                raise self._broken(f"the server answered a request that was not sent: tag {other}, {describe(message)}")
        request = self._sent.pop(tag)
        reply = self._replies.pop(tag)
        if NUMBERS[type(reply)] not in (request + 1, _RERROR, _RLERROR):
            raise self._broken(f"the server answered {MESSAGES[request][0].__name__} with {describe(reply)}")
        return reply

    def call(self, message: Message, expected: type[ReplyT], tag: int | None = None) -> ReplyT:
        """Sends a request and waits for its reply, which is of the type ``expected``.

        Raises:
            OSError: the server answered with an error.
            ProtocolError: the reply is not one, or answers something else. The connection is closed.
            ServerClosedError: there is no connection any more.
        """
        return self.result(self.send(message, tag), expected)

    def result(self, tag: int, expected: type[ReplyT]) -> ReplyT:
        """Like :meth:`call`, for a request that was sent before."""
        try:
            reply = self.wait(tag)
        except BaseException:
            self.abandon(tag)
            raise
        error = error_of(reply)
        if error is not None:
            raise error
        return cast(ReplyT, reply)

    def pending(self, tag: int) -> bool:
        """Whether the reply to this request is still to be had."""
        return tag in self._sent and tag not in self._abandoned

    def abandon(self, tag: int) -> None:
        """Drops the reply to this request when it arrives; until then the tag stays in use."""
        if self._replies.pop(tag, None) is not None:
            del self._sent[tag]
        elif tag in self._sent:
            self._abandoned.add(tag)

    def flushed(self, oldtag: int) -> None:
        """Notes that the server confirmed a flush: no reply to ``oldtag`` can come any more, and it may be reused.

        A reply that came before is still there for :meth:`wait` and :meth:`receive`.
        """
        if oldtag not in self._replies:
            self._sent.pop(oldtag, None)
            self._abandoned.discard(oldtag)

    def negotiated(self, msize: int, dialect: Dialect) -> None:
        """Begins a new session, as after Rversion: with this msize and dialect, and nothing in flight."""
        self.msize = msize
        self.dialect = dialect
        self._sent.clear()
        self._abandoned.clear()
        self._replies.clear()
        self._unexpected.clear()

    def _store(self, raw: memoryview) -> None:
        """Puts a message where those who wait look for it."""
        try:
            tag, message = unpack(raw, self._dialect_of(raw[4]))
            if not type(message).__name__.startswith("R"):
                raise ProtocolError(f"the server sent a request: {describe(message)}")
        except ProtocolError as error:
            raise self._broken(str(error)) from error
        if tag in self._abandoned:
            self._abandoned.discard(tag)
            del self._sent[tag]
        elif tag in self._sent and tag not in self._replies:
            self._replies[tag] = message
        else:
            self._unexpected.append((tag, message))

    def _dialect_of(self, number: int) -> Dialect:
        # Some servers refuse a Tversion with the error of the dialect they prefer.
        if number == _RLERROR:
            return Dialect.L
        if number == _RERROR and self.dialect is Dialect.L:
            return Dialect.BASE
        return self.dialect

    def _deadline(self, timeout: float | None) -> float | None:
        timeout = self.timeout if timeout is None else timeout
        return None if timeout is None else time.monotonic() + timeout

    def _receive_message(self, deadline: float | None) -> memoryview:
        self._check_open()
        self.busy = True
        try:
            return self._link.receive(self.msize, deadline)
        except ServerClosedError as error:
            raise self._closed(str(error)) from error
        except ProtocolError as error:
            raise self._broken(str(error)) from error
        finally:
            self.busy = False

    # --- the end --------------------------------------------------------------------------------------------------

    @property
    def closed(self) -> bool:
        """Whether there is no connection any more."""
        return self._why_closed is not None

    def close(self) -> None:
        """Ends it. The server forgets all fids of the connection then."""
        self._closed("the connection is closed")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _check_open(self) -> None:
        if self._why_closed is not None:
            raise ServerClosedError(self._why_closed)

    def _closed(self, why: str) -> ServerClosedError:
        if self._why_closed is None:
            self._why_closed = why
            self._link.close()
        return ServerClosedError(why)

    def _broken(self, why: str) -> ProtocolError:
        self._closed(f"the connection was closed because {why}")
        return ProtocolError(why)
