"""9P messages through a virtqueue, laid out in memory as Linux' driver does it, for :class:`ninepfs.client.Client`."""

from __future__ import annotations

import errno
import random
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from typing import TypeAlias

from ninepfs.client.errors import ServerClosedError
from ninepfs.client.link import Link
from ninepfs.testing.guest.machine import Guest
from ninepfs.testing.guest.memory import PAGE, GuestMemory
from ninepfs.testing.guest.queue import Completion, Descriptor, DeviceFaultError, Piece, QueueFullError
from ninepfs.transports.virtio.constants import DescriptorFlag
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


_NEXT = int(DescriptorFlag.NEXT)

_Shape: TypeAlias = tuple[str, int]
"""A kind of request (read, write, small), and the size of its data or of the message."""


class _Place:
    """Where a request and its reply lie in memory. It is kept for others of the same shape, with its descriptors."""

    __slots__ = ("areas", "data", "reply", "request", "shape", "table", "writable")

    def __init__(self, memory: GuestMemory, shape: _Shape, readable: list[Piece], writable: list[Piece]) -> None:
        self.shape = shape
        self.request = readable[0]
        """Where the message goes, or its header."""
        self.data = readable[1:]
        """Where the data of a Twrite goes."""
        self.writable = writable
        self.reply = [memory.view(*piece) for piece in writable]
        self.areas: list[Piece] = []
        """What to give back in the end."""
        self.table: Piece | None = None
        """The descriptors, if they are indirect."""


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
        self._unused: dict[_Shape, list[_Place]] = {}
        self._flights: dict[int, _Place] = {}
        self._arrived: deque[memoryview] = deque()
        self.closed = False

    # --- requests

    def send(self, message: memoryview, msize: int, arrived: Callable[[memoryview], None]) -> None:
        size, number, _ = HEADER.unpack_from(message)
        shape: _Shape
        if number in _READS and size >= _COUNT_AT + 4:
            count = int.from_bytes(message[_COUNT_AT : _COUNT_AT + 4], "little")
            shape = ("read", min(count, msize - READ_OVERHEAD)) if count > _SMALL else ("small", _SMALL)
        elif number == _TWRITE and size - WRITE_OVERHEAD > _SMALL:
            shape = "write", size - WRITE_OVERHEAD
        else:
            shape = "small", max(_SMALL, size)
        while True:
            try:
                self._submit(message, shape)
                return
            except QueueFullError:
                pass
            except MemoryError:
                if not self._flights and not self._unused:
                    raise
                self._forget()
                continue
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
                self._submit(left, ("small", len(left)))
                return

    def _submit(self, message: memoryview, shape: _Shape) -> None:
        memory, queue = self.guest.memory, self.guest.queue
        unused = self._unused.get(shape)
        place = unused.pop() if unused else self._place(shape)
        head, rest = (message[:WRITE_OVERHEAD], message[WRITE_OVERHEAD:]) if place.data else (message, message[:0])
        request = place.request[0], len(head)
        memory.write(request[0], head)
        for address, size in place.data:
            memory.write(address, rest[:size])
            rest = rest[size:]
        try:
            if place.table is None:
                number = queue.add([request, *place.data], place.writable)
            else:
                queue.describe(0, Descriptor(*request, _NEXT, 1), place.table[0])
                number = queue.add_table(place.table)
        except QueueFullError:
            self._keep(place)
            raise
        self._flights[number] = place
        queue.publish()
        queue.notify()

    def _place(self, shape: _Shape) -> _Place:
        """A new place."""
        memory, queue = self.guest.memory, self.guest.queue
        kind, size = shape
        areas: list[Piece] = []

        def area(size: int, align: int = 16) -> Piece:
            areas.append((memory.allocate(size, align), size))
            return areas[-1]

        try:
            if kind == "read":
                readable, writable = [area(WRITE_OVERHEAD)], [area(READ_OVERHEAD), *self._pages(*area(size, PAGE))]
            elif kind == "write":
                readable, writable = [area(WRITE_OVERHEAD), *self._pages(*area(size, PAGE))], [area(_ROOM)]
            else:
                readable, writable = [area(size)], [area(_ROOM)]
            place = _Place(memory, shape, readable, writable)
            if queue.indirect:
                place.table = queue.make_chain(readable, writable)
                areas.append(place.table)
        except MemoryError:
            for piece in areas:
                memory.free(*piece)
            raise
        place.areas = areas
        return place

    def _keep(self, place: _Place) -> None:
        self._unused.setdefault(place.shape, []).append(place)

    def _forget(self) -> None:
        """Give back the memory of places that nobody uses; if there are none, wait for one."""
        if not self._unused:
            self.wait(None)
        for places in self._unused.values():
            for place in places:
                for area in place.areas:
                    self.guest.memory.free(*area)
        self._unused.clear()

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
        place = self._flights.pop(completion.head)
        written = completion.written
        if written:  # else the request was flushed
            if written <= len(place.reply[0]):
                data = bytes(place.reply[0][:written])
            else:
                data = b"".join(place.reply)[:written]
            if len(data) < written:
                raise ProtocolError(f"the device says that it wrote {written} bytes, but there is room for {len(data)}")
            if written < HEADER.size or HEADER.unpack_from(data)[0] != written:
                raise ProtocolError(f"the device says that it wrote {written} bytes, but the message says otherwise")
            self._arrived.append(memoryview(data))
        self._keep(place)

    def close(self) -> None:
        if not self.closed:
            self.closed = True
            self._unused.clear()  # what is looked at cannot be unmapped
            self._flights.clear()
            self.guest.close()
