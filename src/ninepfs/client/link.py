"""The way of messages to a server and back, under a connection: a stream socket, or what a test puts in its place."""

from __future__ import annotations

import errno
import select
import socket
import time
from abc import ABC, abstractmethod
from collections.abc import Callable

from ninepfs.client.errors import ServerClosedError
from ninepfs.wire import HEADER, Buffer, ProtocolError
from ninepfs.wire.constants import HEADER_SIZE

_INPUT_SIZE = 1 << 16


class Link(ABC):
    """Carries whole messages, in both directions. Every method raises :class:`~ninepfs.client.ServerClosedError` when
    the server is gone."""

    @abstractmethod
    def send(self, message: memoryview, msize: int, arrived: Callable[[memoryview], None]) -> None:
        """Sends a message. When this is interrupted by an exception, part of it may be out.

        Args:
            message: all of it.
            msize: the most bytes that any message may have.
            arrived: what to do with replies, if the server takes no more before they are taken in.
        """

    @abstractmethod
    def send_raw(self, data: Buffer) -> None:
        """Sends bytes as they are."""

    @abstractmethod
    def receive(self, msize: int, deadline: float | None) -> memoryview:
        """The next whole message. When this is interrupted by an exception, the next call goes on from there.

        Args:
            msize: the most bytes that a message may have.
            deadline: when to give up, on :func:`time.monotonic`'s clock.

        Raises:
            ProtocolError: what arrived is not a message.
            TimeoutError: nothing arrived in time.
        """

    @abstractmethod
    def close(self) -> None:
        """Ends it."""


class StreamLink(Link):
    """A connected stream socket, blocking, which the link owns from now on."""

    def __init__(self, sock: socket.socket) -> None:
        self.socket = sock
        self._input = memoryview(bytearray(_INPUT_SIZE))
        self._start = self._end = 0  # of what is in _input
        self._large: memoryview | None = None  # a message too large for _input, and how much of it is there
        self._filled = 0

    def send(self, message: memoryview, msize: int, arrived: Callable[[memoryview], None]) -> None:
        try:
            while message:
                try:
                    message = message[self.socket.send(message, socket.MSG_DONTWAIT) :]
                except BlockingIOError:
                    self._wait_to_send(msize, arrived)
        except ConnectionError as error:
            raise _closed(error) from error

    def send_raw(self, data: Buffer) -> None:
        try:
            self.socket.sendall(data)
        except ConnectionError as error:
            raise _closed(error) from error

    def _wait_to_send(self, msize: int, arrived: Callable[[memoryview], None]) -> None:
        poll = select.poll()
        poll.register(self.socket, select.POLLIN | select.POLLOUT)
        for _, events in poll.poll():
            if events & select.POLLIN and not events & select.POLLOUT:
                arrived(self.receive(msize, None))

    def receive(self, msize: int, deadline: float | None) -> memoryview:
        while self._large is None:
            there = self._end - self._start
            if there >= HEADER_SIZE:
                size = HEADER.unpack_from(self._input, self._start)[0]
                if not HEADER_SIZE <= size <= msize:
                    raise ProtocolError(f"the server sent a message of {size} bytes, but msize is {msize}")
                if size <= there:
                    message = memoryview(bytes(self._input[self._start : self._start + size]))
                    self._start += size
                    return message
                if size > _INPUT_SIZE // 2:
                    # It goes straight into memory of its own, which the caller may keep.
                    self._large = memoryview(bytearray(size))
                    self._large[:there] = self._input[self._start : self._end]
                    self._filled = there
                    self._start = self._end = 0
                    break
            if self._start:
                self._input[:there] = bytes(self._input[self._start : self._end])
                self._start, self._end = 0, there
            self._end += self._receive_into(self._input[self._end :], deadline)
        while self._filled < len(self._large):
            self._filled += self._receive_into(self._large[self._filled :], deadline)
        message, self._large = self._large.toreadonly(), None
        return message

    def _receive_into(self, room: memoryview, deadline: float | None) -> int:
        if deadline is not None:
            poll = select.poll()
            poll.register(self.socket, select.POLLIN)
            if not poll.poll(max(0, (deadline - time.monotonic()) * 1000)):
                raise TimeoutError(errno.ETIMEDOUT, "the server did not answer in time")
        try:
            count = self.socket.recv_into(room)
        except ConnectionError as error:
            raise _closed(error) from error
        if not count:
            midway = " in the middle of a message" if self._end > self._start or self._large is not None else ""
            raise ServerClosedError(f"the server closed the connection{midway}")
        return count

    def close(self) -> None:
        self.socket.close()


def _closed(error: OSError) -> ServerClosedError:
    return ServerClosedError(f"the server closed the connection ({error.strerror})")
