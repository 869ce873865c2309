"""A split virtqueue, from the device's side (VIRTIO 1.2, section 2.7).

The driver puts chains of descriptors into the *available* ring, the device gives each back in the *used* ring, in any
order. All of this is in memory that the guest can change at any time, so nothing is read twice. What breaks the rules
raises :class:`QueueError`, and the device then stops using the queue.

Reads and writes of ring memory here are single loads and stores of aligned 16-bit values or plain data next to them.
Their order is that of the program on x86-64, but for a store that a load follows; that needs a fence, as does
everything on other processors. Taking and releasing a lock is one.
"""

from __future__ import annotations

import platform
import threading
from collections.abc import Collection, Iterable
from typing import Generic

from ninepfs.transports.virtio.chains import INDIRECT, MAX_CHAIN, ChainT, Entry, MakeChain, QueueError, follow, pages
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

_unpack = DESCRIPTOR.unpack_from

_UNORDERED = platform.machine() != "x86_64"
"""Whether this processor may let two loads or two stores change places."""

_SMALL = 4 * DESCRIPTOR.size
"""Bytes of an indirect table that is remembered."""

_LARGE = MAX_CHAIN * DESCRIPTOR.size
"""Bytes of an indirect table that is looked at as a whole. The guest says how long it is: up to 4 GiB."""

_REMEMBERED = 512
"""How many of them."""


class Virtqueue(Generic[ChainT]):
    """One queue while it runs. :meth:`pop` and :meth:`listen` are for one thread at a time, and so is :meth:`publish`;
    :meth:`push` is for any.

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
        self._base, self._largest, self._room = memory.base, memory.largest, len(memory.largest)
        self._make = make
        self._mask = size - 1
        self._event = bool(features & Feature.EVENT_IDX)
        self._indirect = bool(features & Feature.INDIRECT_DESC)
        after = AVAILABLE_ELEMENT.size if self._event else 0
        self._descriptors = memory.at_user(descriptors, DESCRIPTOR.size * size)
        # As arrays of u16, in which the header is two elements.
        self._available = memory.at_user(available, RING_HEADER.size + AVAILABLE_ELEMENT.size * size + after).cast("H")
        whole = memory.at_user(used, RING_HEADER.size + USED_ELEMENT.size * size + after)
        self._used_words = whole.cast("H")
        # As numbers of 64 bits: the head, and in the upper half the length.
        self._used_elements = whole[RING_HEADER.size : RING_HEADER.size + USED_ELEMENT.size * size].cast("Q")
        self.next = start & 0xFFFF
        """The index of the next available entry to look at."""
        self._used_next = self._used_words[1]
        self._told: int | None = None
        """The used index when it was last considered to notify the driver."""
        self._finished: list[int] = []
        """What was pushed, as elements of the used ring."""
        self._taken: dict[int, ChainT | None] = {}
        """By head, the chains that the driver does not have back; None for those of an earlier queue."""
        self._known: dict[bytes, ChainT] = {}
        """Small indirect tables that were met, and the chains that came of them. Drivers use the same memory again and
        again, and a table of the same content is the same chain: looking at it anew takes four times as long."""
        self._fence = threading.Lock()
        self._listening = True
        """Whether the driver is to notify us, where it goes by that and not by an index."""

    # --- available

    def pending(self) -> bool:
        """Whether there is something to pop. Costs next to nothing."""
        return self._available[1] != self.next

    def pop(self, most: int) -> list[ChainT]:
        """Take chains that are available.

        Raises:
            ProtocolError: the driver broke the rules; nothing was taken.
        """
        if self._listening and not self._event:
            self._listening = False
            self._used_words[0] = USED_NO_NOTIFY
        available, at = self._available, self.next
        index = available[1]
        if index == at:
            return []
        count = (index - at) & 0xFFFF
        if count > self.size:
            raise QueueError(f"the available index jumps from {at} to {index}, in a queue of {self.size}")
        if _UNORDERED:
            with self._fence:
                pass
        if count > most:
            index = (at + most) & 0xFFFF
        mask, remembered = self._mask, self._remembered
        chains: list[ChainT] = []
        try:
            while at != index:
                head = available[2 + (at & mask)]
                chains.append(remembered(head) or self._chain(head))
                at = at + 1 & 0xFFFF
        except BaseException:  # what was taken before a broken one is undone
            self.forget(chain.head for chain in chains)
            raise
        self.next = at
        return chains

    def _remembered(self, head: int) -> ChainT | None:
        """The chain, if its table is small and was met before."""
        taken = self._taken
        if head > self._mask or head in taken:
            return None
        address, length, flags, _ = _unpack(self._descriptors, head << 4)
        start = address - self._base
        if flags != INDIRECT or length > _SMALL or start < 0 or start + length > self._room:
            return None
        chain = self._known.get(self._largest[start : start + length].tobytes())
        if chain is None or taken.get(chain.head) is chain:  # the same memory twice at a time
            return None
        chain.head = head
        taken[head] = chain
        return chain

    def _chain(self, head: int) -> ChainT:
        if head >= self.size:
            raise QueueError(f"descriptor {head} is not in a queue of {self.size}")
        if head in self._taken:
            raise QueueError(f"the chain at descriptor {head} is made available again while the device has it")
        entry = _unpack(self._descriptors, head << 4)
        chain: ChainT | None = None
        if entry[2] == INDIRECT and self._indirect:
            chain = self._in_table(head, entry[0], entry[1])
        if chain is None:
            chain = follow(self.memory, self._make, head, entry, self._descriptor, self.size, indirect=self._indirect)
        self._taken[head] = chain
        return chain

    def _in_table(self, head: int, address: int, length: int) -> ChainT | None:
        """A chain in an indirect table in the largest region. None if it is elsewhere, or must be looked at closely."""
        memory = self.memory
        if address < memory.base or address + length > memory.end:
            return None
        if not 0 < length <= _LARGE or length % DESCRIPTOR.size:
            return None
        start = address - memory.base
        table = memory.largest[start : start + length].tobytes()
        if length > _SMALL:
            return pages(memory, self._make, head, table)
        entries = list(DESCRIPTOR.iter_unpack(table))
        if any(flags & INDIRECT for _, _, flags, _ in entries):
            return None
        chain = follow(memory, self._make, head, entries[0], entries.__getitem__, len(entries), indirect=False)
        if table not in self._known:
            if len(self._known) >= _REMEMBERED:
                self._known.clear()
            self._known[table] = chain
        return chain

    def _descriptor(self, index: int) -> Entry:
        return _unpack(self._descriptors, index << 4)

    # --- used

    def push(self, head: int, length: int) -> None:
        """Give a chain back, of whose writable memory ``length`` bytes were written. The driver sees it after
        :meth:`publish`."""
        del self._taken[head]
        self._finished.append(head | length << 32)

    def publish(self) -> bool:
        """Let the driver see what was pushed. Returns whether it wants to be notified."""
        finished = self._finished
        count = len(finished)  # others may be pushing
        if not count:
            return False
        index, mask, elements = self._used_next, self._mask, self._used_elements
        for element in finished[:count]:
            elements[index & mask] = element
            index += 1
        del finished[:count]
        if _UNORDERED:
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

    # --- what the driver does not have back

    def adopt(self, heads: Iterable[int]) -> None:
        """Chains that were taken from an earlier queue, and will be given back to this one."""
        self._taken.update(dict.fromkeys(heads))

    def forget(self, heads: Iterable[int]) -> None:
        """Chains that will not be given back."""
        for head in heads:
            self._taken.pop(head, None)

    def taken_besides(self, heads: Collection[int]) -> bool:
        """Whether chains other than these are to be given back."""
        return any(head not in heads for head in list(self._taken))

    # --- notifications from the driver

    def listen(self) -> bool:
        """Ask the driver to notify the device of what becomes available from now on, until :meth:`pop` is called.
        Returns whether something is available already."""
        if self._event:
            self._used_words[2 + 4 * self.size] = self.next
        else:
            self._listening = True
            self._used_words[0] = 0
        with self._fence:
            pass
        return self._available[1] != self.next
