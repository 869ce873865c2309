"""A split virtqueue, from the device's side (VIRTIO 1.2, section 2.7).

The driver puts chains of descriptors into the *available* ring, the device gives each back in the *used* ring, in any
order. A descriptor names memory: first that which the device reads, then that which it writes. A chain may be in the
queue's table, or in an indirect one anywhere in memory, which may be longer than the queue.

All of this is in memory that the guest can change at any time. So nothing is read twice: indices, descriptors and
indirect tables are copied before they are looked at. What breaks the rules raises :class:`QueueError`, and the device
then stops using the queue.

Reads and writes of ring memory here are single loads and stores of aligned 16-bit values or plain data next to them.
Their order is that of the program on x86-64, but for a store that a load follows; that needs a fence, as
does everything on other processors. Taking and releasing a lock is one.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable

from ninepfs.transports.virtio.constants import (
    AVAILABLE_ELEMENT,
    AVAILABLE_NO_INTERRUPT,
    DESCRIPTOR,
    MAX_RING,
    RING_HEADER,
    USED_ELEMENT,
    USED_NO_NOTIFY,
    DescriptorFlag,
    Feature,
)
from ninepfs.transports.virtio.memory import Memory, Piece
from ninepfs.wire.fields import ProtocolError

MAX_CHAIN = 1024
"""The most descriptors of one chain: so many pieces one system call takes (IOV_MAX). QEMU has the same limit."""

# Plain ints: arithmetic on enum flags takes a microsecond.
_NEXT = int(DescriptorFlag.NEXT)
_WRITE = int(DescriptorFlag.WRITE)
_INDIRECT = int(DescriptorFlag.INDIRECT)

_Entry = tuple[int, int, int, int]
"""A descriptor: ``(address, length, flags, next)``."""


class QueueError(ProtocolError):
    """The driver broke the rules of the queue."""


class Chain:
    """What a driver made available: memory to read, and memory to write the answer to."""

    __slots__ = ("head", "readable", "readable_size", "writable", "writable_pieces", "writable_size")

    def __init__(
        self, memory: Memory, head: int, readable: list[Piece], writable: list[Piece], sizes: list[int]
    ) -> None:
        self.head = head
        """Its first descriptor, by which it is given back."""
        self.readable = memory.views(readable)
        self.writable = memory.views(writable)
        self.writable_pieces = writable
        """Where the writable memory is: for those who come back later, when it may be mapped anew."""
        self.readable_size, self.writable_size = sizes


class Virtqueue:
    """One queue while it runs. :meth:`pop`, :meth:`listen` and :meth:`rest` are for one thread at a time, and so is
    :meth:`publish`; :meth:`push` is for any.

    Args:
        memory: the guest's memory.
        size: the number of entries, a power of two.
        addresses: the frontend's addresses of descriptors, available ring and used ring.
        start: the index of the next available entry to look at.
        features: what was agreed on.

    Raises:
        ProtocolError: the rings are not in memory, not aligned, or have no possible size.
    """

    def __init__(self, memory: Memory, size: int, addresses: tuple[int, int, int], start: int, features: int) -> None:
        if not 0 < size <= MAX_RING or size & (size - 1):
            raise QueueError(f"a queue of {size} entries is not possible")
        for address, alignment in zip(addresses, (DESCRIPTOR.size, 2, 4), strict=True):
            if address % alignment:
                raise QueueError(f"a ring at {address:#x} is not aligned to {alignment} bytes")
        descriptors, available, used = addresses
        self.memory = memory
        self.size = size
        self._mask = size - 1
        self._event = bool(features & Feature.EVENT_IDX)
        self._indirect = bool(features & Feature.INDIRECT_DESC)
        after = AVAILABLE_ELEMENT.size if self._event else 0
        self._descriptors = memory.at_user(descriptors, DESCRIPTOR.size * size)
        # As arrays of u16, in which the header is two elements.
        self._available = memory.at_user(available, RING_HEADER.size + AVAILABLE_ELEMENT.size * size + after).cast("H")
        self._used = memory.at_user(used, RING_HEADER.size + USED_ELEMENT.size * size + after)
        self._used_words = self._used.cast("H")
        self.next = start & 0xFFFF
        """The index of the next available entry to look at."""
        self._used_next = self._used_words[1]
        self._told: int | None = None
        """The used index when it was last considered to notify the driver."""
        self._finished: deque[tuple[int, int]] = deque()
        self.taken: set[int] = set()
        """The heads of the chains that the driver does not have back."""
        self._fence = threading.Lock()
        self.rest()

    # --- available

    def pending(self) -> bool:
        """Whether there is something to pop. Costs next to nothing."""
        return self._available[1] != self.next

    def pop(self, most: int) -> list[Chain]:
        """Take chains that are available.

        Raises:
            ProtocolError: the driver broke the rules; nothing was taken.
        """
        index = self._available[1]
        count = (index - self.next) & 0xFFFF
        if not count:
            return []
        if count > self.size:
            raise QueueError(f"the available index jumps from {self.next} to {index}, in a queue of {self.size}")
        with self._fence:
            pass
        start, mask, available = self.next, self._mask, self._available
        heads = [available[2 + (i & mask)] for i in range(start, start + min(count, most))]
        chains: list[Chain] = []
        try:
            for head in heads:
                chains.append(self._chain(head))  # noqa: PERF401  # what was taken before a broken one is undone
        except ProtocolError:
            self.taken.difference_update(chain.head for chain in chains)
            raise
        self.next = (start + len(heads)) & 0xFFFF
        return chains

    def _chain(self, head: int) -> Chain:
        if head >= self.size:
            raise QueueError(f"descriptor {head} is not in a queue of {self.size}")
        if head in self.taken:
            raise QueueError(f"the chain at descriptor {head} is made available again while the device has it")
        readable: list[Piece] = []
        writable: list[Piece] = []
        sizes = [0, 0]
        entry = DESCRIPTOR.unpack_from(self._descriptors, head << 4)
        if entry[2] & _INDIRECT:
            self._walk_table(entry, readable, writable, sizes)
        else:
            indirect = self._walk(entry, self._descriptor, self.size, readable, writable, sizes)
            if indirect is not None:
                self._walk_table(indirect, readable, writable, sizes)
        chain = Chain(self.memory, head, readable, writable, sizes)
        self.taken.add(head)
        return chain

    def _descriptor(self, index: int) -> _Entry:
        return DESCRIPTOR.unpack_from(self._descriptors, index << 4)

    def _walk_table(self, entry: _Entry, readable: list[Piece], writable: list[Piece], sizes: list[int]) -> None:
        """The chain in an indirect table."""
        address, length, flags, _ = entry
        if not self._indirect:
            raise QueueError("an indirect descriptor, which was not agreed on")
        if flags & _NEXT:
            raise QueueError("an indirect descriptor in the middle of a chain")
        if not length or length % DESCRIPTOR.size or length > MAX_RING * DESCRIPTOR.size:
            raise QueueError(f"an indirect table of {length} bytes")
        size = length >> 4
        table = list(DESCRIPTOR.iter_unpack(b"".join(self.memory.views(((address, length),)))))
        if self._walk(table[0], table.__getitem__, size, readable, writable, sizes) is not None:
            raise QueueError("an indirect descriptor in an indirect table")

    def _walk(
        self,
        entry: _Entry,
        fetch: Callable[[int], _Entry],
        size: int,
        readable: list[Piece],
        writable: list[Piece],
        sizes: list[int],
    ) -> _Entry | None:
        """Follow a chain; neighbouring memory becomes one piece. Returns the indirect descriptor at its end, if any."""
        count = len(readable) + len(writable)
        limit = min(count + size, MAX_CHAIN)
        pieces = writable or readable
        total = 0
        end = -1
        while True:
            address, length, flags, following = entry
            if flags & _INDIRECT:
                sizes[pieces is writable] += total
                return entry
            if not length:
                raise QueueError("a descriptor of no bytes")
            if flags & _WRITE:
                if pieces is readable:
                    sizes[0] += total
                    total = 0
                    end = -1
                    pieces = writable
            elif pieces is writable:
                raise QueueError("memory to read behind memory to write")
            total += length
            if address == end:
                start, before = pieces[-1]
                pieces[-1] = start, before + length
            else:
                pieces.append((address, length))
            end = address + length
            if not flags & _NEXT:
                sizes[pieces is writable] += total
                return None
            count += 1
            if count >= limit:
                raise QueueError("a chain of descriptors has a loop, or is too long")
            if following >= size:
                raise QueueError(f"descriptor {following} is not in a table of {size}")
            entry = fetch(following)

    # --- used

    def push(self, head: int, length: int) -> None:
        """Give a chain back, of whose writable memory ``length`` bytes were written. The driver sees it after
        :meth:`publish`."""
        self.taken.remove(head)
        self._finished.append((head, length))

    def publish(self) -> bool:
        """Let the driver see what was pushed. Returns whether it wants to be notified."""
        finished = self._finished
        if not finished:
            return False
        index, mask, used = self._used_next, self._mask, self._used
        while finished:
            head, length = finished.popleft()
            USED_ELEMENT.pack_into(used, RING_HEADER.size + ((index & mask) << 3), head, length)
            index += 1
        with self._fence:
            pass
        self._used_next = self._used_words[1] = new = index & 0xFFFF
        with self._fence:
            pass
        told, self._told = self._told, new
        if not self._event:
            return not self._available[0] & AVAILABLE_NO_INTERRUPT
        if told is None:
            return True
        # Whether the index passed the one that the driver waits for.
        return (new - self._available[2 + self.size] - 1) & 0xFFFF < (new - told) & 0xFFFF

    # --- notifications from the driver

    def listen(self) -> bool:
        """Ask the driver to notify the device of what becomes available from now on. Returns whether something is
        available already."""
        if self._event:
            self._used_words[2 + 4 * self.size] = self.next
        else:
            self._used_words[0] = 0
        with self._fence:
            pass
        return self._available[1] != self.next

    def rest(self) -> None:
        """Notifications are not needed; with an event index there are none anyway as long as nothing is popped."""
        if not self._event:
            self._used_words[0] = USED_NO_NOTIFY
