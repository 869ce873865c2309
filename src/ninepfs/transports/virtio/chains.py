"""Chains of descriptors: from what a driver wrote to the memory that it means.

A descriptor names memory: first that which the device reads, then that which it writes. A chain is in the queue's
table, or in an indirect one anywhere in memory, which may be longer than the queue, or begins in the one and ends in
the other.

All of this is in memory that the guest can change at any time, so descriptors are copied before they are looked at.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Sequence
from typing import TypeAlias, TypeVar

from ninepfs.transports.virtio.constants import DESCRIPTOR, MAX_RING, DescriptorFlag
from ninepfs.transports.virtio.memory import Memory, Piece
from ninepfs.wire.fields import ProtocolError

MAX_CHAIN = 1024
"""The most descriptors of one chain: so many pieces one system call takes (IOV_MAX). QEMU has the same limit."""

# Plain ints: arithmetic on enum flags takes a microsecond.
_NEXT = int(DescriptorFlag.NEXT)
_WRITE = int(DescriptorFlag.WRITE)
_MORE = _NEXT | _WRITE
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
        places: where the writable memory is, for those who come back later, when it may be mapped anew.
    """

    __slots__ = ("head", "places", "readable", "readable_size", "writable", "writable_size")

    def __init__(
        self,
        head: int,
        readable: list[memoryview],
        readable_size: int,
        writable: list[memoryview],
        writable_size: int,
        places: Sequence[Piece],
    ) -> None:
        self.head = head
        self.readable = readable
        self.readable_size = readable_size
        self.writable = writable
        self.writable_size = writable_size
        self.places = places


ChainT = TypeVar("ChainT", bound=Chain)

MakeChain: TypeAlias = Callable[[int, list[memoryview], int, list[memoryview], int, Sequence[Piece]], ChainT]
"""Makes a chain, or what somebody makes of it, from the arguments of :class:`Chain`."""


# --- the usual chain


def usual(memory: Memory, make: MakeChain[ChainT], head: int, address: int, length: int) -> ChainT | None:
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
        return make(head, [view[source : source + size]], size, [view[start : start + room]], room, ((target, room),))
    if length % DESCRIPTOR.size or length > MAX_CHAIN * DESCRIPTOR.size:
        return None
    count = length >> 4
    readable: list[memoryview] = []
    writable: list[memoryview] = []
    places: list[Piece] = []
    readable_size = total = at = first = 0
    edge = -1  # behind the piece that begins at ``first``; neighbouring memory becomes one piece
    pieces = readable
    for place, size, flags, following in DESCRIPTOR.iter_unpack(view[start : start + length]):
        at += 1
        if flags == _NEXT:
            if pieces is writable or following != at:
                return None
        elif (flags == _MORE and following == at) or (flags == _WRITE and at == count):
            if pieces is readable:
                if edge < 0 or first < base or edge > end:
                    return None
                readable.append(view[first - base : edge - base])
                readable_size, total = total, 0
                edge = -1
                pieces = writable
        else:
            return None
        if not size:
            return None
        total += size
        if place == edge:
            edge += size
            continue
        if edge >= 0:
            if first < base or edge > end:
                return None
            pieces.append(view[first - base : edge - base])
            if pieces is writable:
                places.append((first, edge - first))
        first = place
        edge = place + size
    if pieces is readable or first < base or edge > end:
        return None
    writable.append(view[first - base : edge - base])
    places.append((first, edge - first))
    return make(head, readable, readable_size, writable, total, places)


# --- any chain


def follow(
    memory: Memory,
    make: MakeChain[ChainT],
    head: int,
    entry: Entry,
    fetch: Callable[[int], Entry],
    size: int,
    *,
    indirect: bool,
) -> ChainT:
    """The chain that begins with a descriptor.

    Args:
        memory: the guest's.
        make: makes the chain.
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
    return make(
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
