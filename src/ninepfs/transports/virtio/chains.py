"""Chains of descriptors: from what a driver wrote to the memory that it means.

A descriptor names memory: first that which the device reads, then that which it writes. A chain is in the queue's
table, or in an indirect one anywhere in memory, which may be longer than the queue, or begins in the one and ends in
the other.

All of this is in memory that the guest can change at any time, so descriptors are copied before they are looked at.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import TypeAlias, TypeVar

from ninepfs.transports.virtio.areas import Area, Pages
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

_unpack = DESCRIPTOR.unpack_from

Entry = tuple[int, int, int, int]
"""A descriptor: ``(address, length, flags, next)``."""


class QueueError(ProtocolError):
    """The driver broke the rules of the queue."""


class Chain:
    """What a driver made available.

    Args:
        head: its first descriptor, by which it is given back.
        readable: the memory to read.
        writable: the memory to write the answer to.
    """

    __slots__ = ("head", "readable", "writable")

    def __init__(self, head: int, readable: Area, writable: Area) -> None:
        self.head = head
        self.readable = readable
        self.writable = writable


ChainT = TypeVar("ChainT", bound=Chain)

MakeChain: TypeAlias = Callable[[int, Area, Area], ChainT]
"""Makes a chain, or what somebody makes of it, from the arguments of :class:`Chain`."""


# --- long tables


def pages(memory: Memory, make: MakeChain[ChainT], head: int, table: bytes) -> ChainT | None:
    """A chain whose descriptors fill an indirect table, in order, and all of whose memory is in the largest region:
    what Linux makes of a large read or write. None if it is not such a chain, or has a fault; :func:`follow` then says
    more.

    Looking at one descriptor after the other takes three times as long, which for a table of 128 is as much as the
    system call that moves the data.
    """
    count = len(table) // DESCRIPTOR.size
    if not 2 <= count <= MAX_CHAIN or len(table) % DESCRIPTOR.size:
        return None
    kinds = table[12::16]  # the lower half of the flags
    split = kinds.find(_MORE)  # the first one to write to
    if split < 0:
        split = count - 1
    if not split or table[13::16] + kinds + table[14:-16:16] + table[15:-16:16] != _expected(count, split):
        return None
    numbers = memoryview(table)
    addresses = numbers.cast("Q")[::2].tolist()
    sizes = numbers.cast("I")[2::4].tolist()
    if min(addresses) < memory.base or max(addresses) + max(sizes) > memory.end or 0 in sizes:
        return None
    at = DESCRIPTOR.size * split
    return make(
        head,
        Pages(memory, addresses[:split], sizes[:split], table[:at]),
        Pages(memory, addresses[split:], sizes[split:], table[at:]),
    )


@functools.lru_cache(256)
def _expected(count: int, split: int) -> bytes:
    """The flags of so many descriptors, those from ``split`` on to be written to (upper halves, lower halves), and
    which follows which (the same the other way round)."""
    following = b"".join(number.to_bytes(2, "little") for number in range(1, count))
    kinds = bytes([_NEXT] * split + [_MORE] * (count - split - 1) + [_WRITE])
    return bytes(count) + kinds + following[::2] + following[1::2]


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
        table = b"".join(memory.views(((address, length),)))

        def fetch_indirect(index: int) -> Entry:  # only those that the chain leads to: the table may be long
            return _unpack(table, index << 4)

        if walk.along(fetch_indirect(0), fetch_indirect, length // DESCRIPTOR.size) is not None:
            raise QueueError("an indirect descriptor in an indirect table")
    sources, targets = walk.sources, walk.targets
    return make(head, Area(memory.views(sources), sources), Area(memory.views(targets), targets))


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
