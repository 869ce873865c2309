"""Chains of descriptors: from what a driver wrote to the memory that it means.

A descriptor names memory: first that which the device reads, then that which it writes. A chain is in the queue's
table, or in an indirect one anywhere in memory, which may be longer than the queue, or begins in the one and ends in
the other.

All of this is in memory that the guest can change at any time, so descriptors are copied before they are looked at.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterable
from functools import lru_cache

from ninepfs.transports.virtio.constants import DESCRIPTOR, MAX_RING, DescriptorFlag
from ninepfs.transports.virtio.memory import Memory, Piece
from ninepfs.wire.fields import ProtocolError

MAX_CHAIN = 1024
"""The most descriptors of one chain: so many pieces one system call takes (IOV_MAX). QEMU has the same limit."""

# Plain ints: arithmetic on enum flags takes a microsecond.
_NEXT = int(DescriptorFlag.NEXT)
_WRITE = int(DescriptorFlag.WRITE)
INDIRECT = int(DescriptorFlag.INDIRECT)

Entry = tuple[int, int, int, int]
"""A descriptor: ``(address, length, flags, next)``."""

_unpack_pair = struct.Struct("<QIHHQIHH").unpack_from


class QueueError(ProtocolError):
    """The driver broke the rules of the queue."""


class Chain:
    """What a driver made available: memory to read, and memory to write the answer to.

    Args:
        head: its first descriptor, by which it is given back.
        readable: the memory to read.
        readable_size: how many bytes that is.
        writable: the memory to write to.
        writable_size: how many bytes that is.
        places: where the writable memory is, for those who come back later, when it may be mapped anew. To be gone
            through once.
    """

    __slots__ = ("head", "places", "readable", "readable_size", "writable", "writable_size")

    def __init__(
        self,
        head: int,
        readable: list[memoryview],
        readable_size: int,
        writable: list[memoryview],
        writable_size: int,
        places: Iterable[Piece],
    ) -> None:
        self.head = head
        self.readable = readable
        self.readable_size = readable_size
        self.writable = writable
        self.writable_size = writable_size
        self.places = places


# --- the usual chain


def usual(memory: Memory, head: int, address: int, length: int) -> Chain | None:
    """A chain in an indirect table whose descriptors are in order, and all of whose memory is in the largest region:
    what Linux makes. None if it is not such a chain, or has a fault; :func:`follow` then says more."""
    base, end, view = memory.base, memory.end, memory.largest
    start = address - base
    if start < 0 or address + length > end:
        return None
    if length == 2 * DESCRIPTOR.size:
        source, size, flags, following, target, room, other_flags, _ = _unpack_pair(view, start)
        if (
            flags != _NEXT
            or following != 1
            or other_flags != _WRITE
            or not size
            or not room
            or source < base
            or target < base
            or source + size > end
            or target + room > end
        ):
            return None
        source -= base
        start = target - base
        return Chain(head, [view[source : source + size]], size, [view[start : start + room]], room, ((target, room),))
    count = length >> 4
    if count << 4 != length or not 2 < count <= MAX_CHAIN:
        return None
    fields = _table(count).unpack_from(view, start)
    addresses, lengths, kinds, nexts = fields[::4], fields[1::4], fields[2::4], fields[3::4]
    sources = kinds.count(_NEXT)
    if (
        kinds != _kinds(count, sources)
        or nexts[:-1] != _ORDER[: count - 1]
        or min(addresses) < base
        or max(addresses) + max(lengths) > end
        or not min(lengths)
    ):
        return None
    views = [view[at - base : at - base + size] for at, size in zip(addresses, lengths, strict=True)]
    readable, writable = lengths[:sources], lengths[sources:]
    places = zip(addresses[sources:], writable, strict=True)
    return Chain(head, views[:sources], sum(readable), views[sources:], sum(writable), places)


_ORDER = tuple(range(1, MAX_CHAIN))


@lru_cache(MAX_CHAIN)
def _table(count: int) -> struct.Struct:
    return struct.Struct("<" + count * DESCRIPTOR.format[1:])


@lru_cache(256)
def _kinds(count: int, sources: int) -> tuple[int, ...]:
    """The flags of a chain with so many descriptors to read at its beginning."""
    return (_NEXT,) * sources + (_NEXT | _WRITE,) * (count - sources - 1) + (_WRITE,)


# --- any chain


def follow(
    memory: Memory, head: int, entry: Entry, fetch: Callable[[int], Entry], size: int, *, indirect: bool
) -> Chain:
    """The chain that begins with a descriptor.

    Args:
        memory: the guest's.
        head: its number.
        entry: the descriptor.
        fetch: gives the descriptors of the queue's table.
        size: how many it has.
        indirect: whether indirect tables were agreed on.

    Raises:
        ProtocolError: the driver broke the rules.
    """
    walk = _Walk()
    last = walk.along(entry, fetch, size)
    if last is not None:
        address, length, flags, _ = last
        if not indirect:
            raise QueueError("an indirect descriptor, which was not agreed on")
        if flags & _NEXT:
            raise QueueError("an indirect descriptor in the middle of a chain")
        if not length or length % DESCRIPTOR.size or length > MAX_RING * DESCRIPTOR.size:
            raise QueueError(f"an indirect table of {length} bytes")
        table = list(DESCRIPTOR.iter_unpack(b"".join(memory.views(((address, length),)))))
        if walk.along(table[0], table.__getitem__, len(table)) is not None:
            raise QueueError("an indirect descriptor in an indirect table")
    sources, targets = walk.sources, walk.targets
    return Chain(
        head,
        memory.views(sources),
        sum(size for _, size in sources),
        memory.views(targets),
        sum(size for _, size in targets),
        targets,
    )


class _Walk:
    """Collects the memory of a chain; what is neighbouring becomes one piece."""

    def __init__(self) -> None:
        self.sources: list[Piece] = []
        self.targets: list[Piece] = []
        self._count = 0

    def along(self, entry: Entry, fetch: Callable[[int], Entry], size: int) -> Entry | None:
        """Follow a chain through one table. Returns the indirect descriptor at its end, if there is one."""
        limit = min(self._count + size, MAX_CHAIN)
        pieces = self.targets or self.sources
        end = -1
        while True:
            address, length, flags, following = entry
            if flags & INDIRECT:
                return entry
            if not length:
                raise QueueError("a descriptor of no bytes")
            if flags & _WRITE:
                if pieces is self.sources:
                    pieces, end = self.targets, -1
            elif pieces is self.targets:
                raise QueueError("memory to read behind memory to write")
            if address == end:
                start, before = pieces[-1]
                pieces[-1] = start, before + length
            else:
                pieces.append((address, length))
            end = address + length
            self._count += 1
            if not flags & _NEXT:
                return None
            if self._count >= limit:
                raise QueueError("a chain of descriptors has a loop, or is too long")
            if following >= size:
                raise QueueError(f"descriptor {following} is not in a table of {size}")
            entry = fetch(following)
