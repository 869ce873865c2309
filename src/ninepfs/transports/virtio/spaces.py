"""Where the replies to requests from a virtqueue go."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from ninepfs.server.channel import NoRoomError, Space
from ninepfs.transports.virtio.areas import Area
from ninepfs.transports.virtio.chains import MAX_CHAIN, Chain
from ninepfs.transports.virtio.memory import cut
from ninepfs.wire.codec import PackInto
from ninepfs.wire.constants import HEADER_SIZE, READ_OVERHEAD
from ninepfs.wire.fields import ProtocolError

if TYPE_CHECKING:
    from ninepfs.transports.virtio.channel import RingChannel

COPIED = 8192
"""Requests up to this size are copied whole. Copying less than some pages is cheaper than calling with pieces."""

_LONGEST = 66 << 10
"""No reply without data is as long: it has one long string, at most."""

_READ_HEADER = struct.Struct("<IBHI")
_pack_read_header = _READ_HEADER.pack_into


class RingSpace(Chain, Space):
    """A chain as the space for a reply: its writable memory."""

    __slots__ = ("channel", "plain")

    channel: RingChannel
    """Whose request it was; set before the space is handed out."""

    def __init__(self, head: int, readable: Area, writable: Area) -> None:
        super().__init__(head, readable, writable)
        self.plain = HEADER_SIZE <= len(readable.first) == readable.size <= COPIED and writable.size >= HEADER_SIZE
        """Whether the request is in one piece, and to be copied whole."""

    @property
    def room(self) -> int:
        return self.writable.size - READ_OVERHEAD

    def data(self, start: int, count: int) -> Sequence[memoryview]:
        readable = self.readable
        if start + count > readable.size:
            raise ProtocolError(f"{count} bytes of data are announced, more than there are")
        if len(readable.first) == start and start + count == readable.size:  # as Linux has it
            views = readable.views[1:]
        else:
            views = cut(readable.views, start, count)
        if len(views) > MAX_CHAIN:
            raise ProtocolError("the data is in too many pieces")
        return views

    def payload(self, count: int) -> Sequence[memoryview]:
        writable = self.writable
        if len(writable.first) == READ_OVERHEAD and READ_OVERHEAD + count >= writable.size:  # as Linux has it
            return writable.views[1 : 1 + MAX_CHAIN]
        return cut(writable.views, READ_OVERHEAD, count)[:MAX_CHAIN]

    def splice(self, fd: int, offset: int, count: int) -> int | None:
        writable = self.writable
        if len(writable.first) != READ_OVERHEAD or READ_OVERHEAD + count != writable.size:
            return None
        return writable.read_behind_first(fd, offset)

    def put(self, pack: PackInto, tag: int, reply: tuple[Any, ...]) -> None:
        try:
            size = pack(self.writable.first, 0, tag, reply)
        except Exception:  # not in one piece, or too long, or not to be packed at all
            message = memoryview(bytearray(_LONGEST))
            size = pack(message, 0, tag, reply)
            copy_out(message[:size], self.writable.views)
        self.channel.finished(self.head, size)

    def put_payload(self, number: int, tag: int, count: int) -> None:
        size = READ_OVERHEAD + count
        try:
            _pack_read_header(self.writable.first, 0, size, number, tag, count)
        except struct.error:  # not in one piece
            copy_out(_READ_HEADER.pack(size, number, tag, count), self.writable.views)
        self.channel.finished(self.head, size)

    def drop(self) -> None:
        self.channel.finished(self.head, 0)

    def send(self) -> None:
        self.channel.publish()


def copy_out(message: memoryview | bytes, views: Sequence[memoryview]) -> None:
    """Put a message, or its beginning, into writable memory.

    Raises:
        NoRoomError: it does not fit.
    """
    size = len(message)
    parts = cut(views, 0, size)
    if sum(map(len, parts)) < size:
        raise NoRoomError(f"a reply of {size} bytes does not fit into what the guest provides")
    at = 0
    for part in parts:
        part[:] = message[at : at + len(part)]
        at += len(part)


class LateSpace(Space):
    """Space for a reply that comes later: it refers to the guest's memory by addresses only, until then."""

    __slots__ = ("_channel", "_message", "head", "places", "writable_size")

    def __init__(self, channel: RingChannel, chain: Chain) -> None:
        self._channel = channel
        self.head = chain.head
        self.places = chain.writable.pieces
        self.writable_size = chain.writable.size
        self._message = memoryview(b"")

    @property
    def room(self) -> int:
        return self.writable_size - READ_OVERHEAD

    @property
    def message(self) -> memoryview:
        """The reply; empty if there will be none."""
        return self._message

    def payload(self, count: int) -> Sequence[memoryview]:
        self._message = memoryview(bytearray(READ_OVERHEAD + max(0, min(count, self.room))))
        return (self._message[READ_OVERHEAD:],)

    def put(self, pack: PackInto, tag: int, reply: tuple[Any, ...]) -> None:
        message = bytearray(_LONGEST)
        del message[pack(memoryview(message), 0, tag, reply) :]
        self._keep(memoryview(message))

    def put_payload(self, number: int, tag: int, count: int) -> None:
        size = READ_OVERHEAD + count
        _pack_read_header(self._message, 0, size, number, tag, count)
        self._keep(self._message[:size])

    def _keep(self, message: memoryview) -> None:
        if len(message) > self.writable_size:
            raise NoRoomError(f"a reply of {len(message)} bytes does not fit into what the guest provides")
        self._message = message
        self._channel.came(self)

    def drop(self) -> None:
        self._message = memoryview(b"")
        self._channel.came(self)

    def send(self) -> None:
        self._channel.publish()
