"""9P messages through a virtqueue, laid out in memory as Linux' driver does it, for :class:`ninepfs.client.Client`."""

from __future__ import annotations

import errno
import random
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

from ninepfs.client.errors import ServerClosedError
from ninepfs.client.link import Link
from ninepfs.testing.guest.machine import Guest
from ninepfs.testing.guest.memory import PAGE
from ninepfs.testing.guest.queue import Completion, DeviceFaultError, Piece, QueueFullError
from ninepfs.wire import HEADER, NUMBERS, Buffer, ProtocolError
from ninepfs.wire.constants import READ_OVERHEAD, WRITE_OVERHEAD
from ninepfs.wire.messages import Tread, Treaddir, Twrite

_TWRITE = NUMBERS[Twrite]
_READS = frozenset({NUMBERS[Tread], NUMBERS[Treaddir]})
_COUNT_AT = 19
"""Where the count of Tread and Treaddir is."""

_SMALL = 1024
"""Reads and writes of more bytes than this have their data in pages of their own."""

_ROOM = 8192
"""Bytes for any other reply."""

_LARGEST = 1 << 20
"""Of messages whose msize is not known."""

_MOST_PIECES = 128
"""Linux makes no request of more."""


class _Flight(NamedTuple):
    """A request that the device has."""

    areas: list[Piece]
    """What to give back."""
    reply: list[Piece]
    """Where the reply is, in its order."""


class QueueLink(Link):
    """Sends each message as one request of a guest's queue.

    Small messages are one piece to read and one to write. Reads and writes of more than 1024 bytes have header and data
    apart, and the data in pages, which in memory are in no order.

    Args:
        guest: the machine; started. The link owns it from now on.
        scatter: have the pages in no order; else one follows the other.
    """

    def __init__(self, guest: Guest, *, scatter: bool = True) -> None:
        self.guest = guest
        self._random = random.Random(9) if scatter else None
        self._flights: dict[int, _Flight] = {}
        self._arrived: deque[memoryview] = deque()
        self.closed = False

    # --- requests

    def send(self, message: memoryview, msize: int, arrived: Callable[[memoryview], None]) -> None:
        size, number, _ = HEADER.unpack_from(message)
        reading = number in _READS and size >= _COUNT_AT + 4
        count = int.from_bytes(message[_COUNT_AT : _COUNT_AT + 4], "little") if reading else 0
        while True:
            try:
                if reading and count > _SMALL:
                    self._read(message, min(count, msize - READ_OVERHEAD))
                elif number == _TWRITE and size - WRITE_OVERHEAD > _SMALL:
                    self._write(message, min(msize, _ROOM))
                else:
                    self._small(message, min(msize, _ROOM))
                return
            except (QueueFullError, MemoryError):
                if not self._flights:
                    raise
            self.wait(None)
            for reply in list(self.arrived()):
                arrived(reply)

    def send_raw(self, data: Buffer) -> None:
        """Sends bytes, whatever they are: whole messages as one request each, and what is left as another."""
        left = memoryview(data).cast("B")
        while left:
            size = HEADER.unpack_from(left)[0] if len(left) >= HEADER.size else 0
            if HEADER.size <= size <= len(left):
                self.send(left[:size], _LARGEST, self._arrived.append)
                left = left[size:]
            else:
                self._small(left, _ROOM)
                return

    def _small(self, message: memoryview, room: int) -> None:
        request = self._put(message)
        reply = (self.guest.memory.allocate(room), room)
        self._submit([request], [reply], [request, reply])

    def _read(self, message: memoryview, count: int) -> None:
        request = self._put(message)
        header = (self.guest.memory.allocate(READ_OVERHEAD), READ_OVERHEAD)
        area = (self.guest.memory.allocate(count, PAGE), count)
        self._submit([request], [header, *self._pages(*area)], [request, header, area])

    def _write(self, message: memoryview, room: int) -> None:
        memory = self.guest.memory
        header = self._put(message[:WRITE_OVERHEAD])
        data = message[WRITE_OVERHEAD:]
        area = (memory.allocate(len(data), PAGE), len(data))
        pages = self._pages(*area)
        at = 0
        for address, size in pages:
            memory.write(address, data[at : at + size])
            at += size
        reply = (memory.allocate(room), room)
        self._submit([header, *pages], [reply], [header, area, reply])

    def _put(self, data: memoryview) -> Piece:
        address = self.guest.memory.allocate(len(data))
        self.guest.memory.write(address, data)
        return address, len(data)

    def _pages(self, address: int, size: int) -> list[Piece]:
        """The area in pieces of whole pages, the last of them perhaps shorter."""
        most = _MOST_PIECES - 2
        if not self.guest.queue.indirect:
            most = min(most, max(1, self.guest.queue.size // 4))
        pages = (size + PAGE - 1) // PAGE
        step = (pages + most - 1) // most * PAGE
        pieces = [(at, min(step, address + size - at)) for at in range(address, address + size, step)]
        if self._random is not None and len(pieces) > 1:
            last = pieces.pop()
            self._random.shuffle(pieces)
            pieces.append(last)
        return pieces

    def _submit(self, readable: list[Piece], writable: list[Piece], areas: list[Piece]) -> None:
        queue = self.guest.queue
        try:
            head = queue.add(readable, writable)
        except QueueFullError:
            self._free(areas)
            raise
        self._flights[head] = _Flight(areas, writable)
        queue.publish()
        queue.notify()

    def _free(self, areas: list[Piece]) -> None:
        for area in areas:
            self.guest.memory.free(*area)

    # --- replies

    def receive(self, msize: int, deadline: float | None) -> memoryview:
        while not self._arrived:
            self.wait(deadline)
        message = self._arrived.popleft()
        if len(message) > msize:
            raise ProtocolError(f"the server sent a message of {len(message)} bytes, but msize is {msize}")
        return message

    def arrived(self) -> Iterator[memoryview]:
        """The replies that :meth:`wait` has found."""
        while self._arrived:
            yield self._arrived.popleft()

    def wait(self, deadline: float | None, watch: Sequence[int] = ()) -> None:
        """Wait for replies, or until one of the descriptors to watch becomes readable (raises as :meth:`receive`)."""
        guest = self.guest
        left = None if deadline is None else max(0, deadline - time.monotonic())
        try:
            done = guest.queue.wait(left, [guest.frontend.socket.fileno(), guest.queue.error_fd, *watch])
        except TimeoutError as error:
            raise TimeoutError(errno.ETIMEDOUT, str(error)) from error
        except DeviceFaultError as error:
            raise ProtocolError(str(error)) from error
        for completion in done:
            self._take(completion)
        if not done:
            if guest.queue.broken():
                raise ServerClosedError("the device says that the queue is broken")
            if guest.frontend.gone():
                raise ServerClosedError("the back end ended the connection")

    def _take(self, completion: Completion) -> None:
        flight = self._flights.pop(completion.head)
        written = completion.written
        if written:  # else the request was flushed
            data = bytearray(written)
            at = 0
            for address, size in flight.reply:
                size = min(size, written - at)
                if size <= 0:
                    break
                data[at : at + size] = self.guest.memory.view(address, size)
                at += size
            if at < written:
                raise ProtocolError(f"the device says that it wrote {written} bytes, but there is room for {at}")
            if len(data) < HEADER.size or HEADER.unpack_from(data)[0] != written:
                raise ProtocolError(f"the device says that it wrote {written} bytes, but the message says otherwise")
            self._arrived.append(memoryview(data).toreadonly())
        self._free(flight.areas)

    def close(self) -> None:
        if not self.closed:
            self.closed = True
            self.guest.close()
