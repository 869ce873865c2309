"""A split virtqueue, from the device's side (VIRTIO 1.2, section 2.7).

The driver puts chains of descriptors into the *available* ring, the device gives each back in the *used* ring, in any
order. All of this is in memory that the guest can change at any time, so nothing is read twice. What breaks the rules
raises :class:`QueueError`, and the device then stops using the queue.

Reads and writes of ring memory here are single loads and stores of aligned 16-bit values or plain data next to them.
Their order is that of the program on x86-64, but for a store that a load follows; that needs a fence, as
does everything on other processors. Taking and releasing a lock is one.
"""

from __future__ import annotations

import threading
from collections import deque
from typing import Generic

from ninepfs.transports.virtio.chains import INDIRECT, ChainT, Entry, MakeChain, QueueError, follow, usual
from ninepfs.transports.virtio.constants import (
    AVAILABLE_ELEMENT,
    AVAILABLE_NO_INTERRUPT,
    DESCRIPTOR,
    MAX_RING,
    RING_HEADER,
    USED_ELEMENT,
    USED_NO_NOTIFY,
    Feature,
)
from ninepfs.transports.virtio.memory import Memory
from ninepfs.wire.fields import ProtocolError

_unpack = DESCRIPTOR.unpack_from


class Virtqueue(Generic[ChainT]):
    """One queue while it runs. :meth:`pop`, :meth:`listen` and :meth:`rest` are for one thread at a time, and so is
    :meth:`publish`; :meth:`push` is for any.

    Args:
        memory: the guest's memory.
        size: the number of entries, a power of two.
        addresses: the frontend's addresses of descriptors, available ring and used ring.
        start: the index of the next available entry to look at.
        features: what was agreed on.
        make: makes what is popped.

    Raises:
        ProtocolError: the rings are not in memory, not aligned, or have no possible size.
    """

    def __init__(
        self,
        memory: Memory,
        size: int,
        addresses: tuple[int, int, int],
        start: int,
        features: int,
        make: MakeChain[ChainT],
    ) -> None:
        if not 0 < size <= MAX_RING or size & (size - 1):
            raise QueueError(f"a queue of {size} entries is not possible")
        for address, alignment in zip(addresses, (DESCRIPTOR.size, 2, 4), strict=True):
            if address % alignment:
                raise QueueError(f"a ring at {address:#x} is not aligned to {alignment} bytes")
        descriptors, available, used = addresses
        self.memory = memory
        self.size = size
        self._make = make
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

    def pop(self, most: int) -> list[ChainT]:
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
        chains: list[ChainT] = []
        try:
            for head in heads:
                chains.append(self._chain(head))  # noqa: PERF401  # what was taken before a broken one is undone
        except ProtocolError:
            self.taken.difference_update(chain.head for chain in chains)
            raise
        self.next = (start + len(heads)) & 0xFFFF
        return chains

    def _chain(self, head: int) -> ChainT:
        if head >= self.size:
            raise QueueError(f"descriptor {head} is not in a queue of {self.size}")
        if head in self.taken:
            raise QueueError(f"the chain at descriptor {head} is made available again while the device has it")
        entry = _unpack(self._descriptors, head << 4)
        chain = None
        if entry[2] == INDIRECT and self._indirect:
            chain = usual(self.memory, self._make, head, entry[0], entry[1])
        if chain is None:
            chain = follow(self.memory, self._make, head, entry, self._descriptor, self.size, indirect=self._indirect)
        self.taken.add(head)
        return chain

    def _descriptor(self, index: int) -> Entry:
        return _unpack(self._descriptors, index << 4)

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
