"""The driver's side of a split virtqueue (Virtual I/O Device, version 1.2, section 2.7).

The honest way is :meth:`DriverQueue.submit` and :meth:`DriverQueue.wait`. Below it, everything can be written as one
likes: any descriptor, any head, any index, any flag.
"""

from __future__ import annotations

import os
import select
import threading
import time
from collections.abc import Sequence
from typing import NamedTuple, TypeAlias

from ninepfs.testing.guest.memory import GuestMemory
from ninepfs.transports.virtio.constants import (
    AVAILABLE_ELEMENT,
    DESCRIPTOR,
    RING_HEADER,
    USED_ELEMENT,
    USED_NO_NOTIFY,
    DescriptorFlag,
)

# Plain ints: arithmetic on enum flags is slow.
_NEXT, _WRITE, _INDIRECT = int(DescriptorFlag.NEXT), int(DescriptorFlag.WRITE), int(DescriptorFlag.INDIRECT)

_FLAGS, _INDEX, _RING = 0, 1, 2  # places in a ring, in 16-bit numbers

Piece: TypeAlias = tuple[int, int]
"""Guest address and size of a part of a request."""


class Descriptor(NamedTuple):
    """An entry of a descriptor table."""

    address: int
    size: int
    flags: int = 0
    next: int = 0


class Completion(NamedTuple):
    """What the device gave back."""

    head: int
    written: int
    """Bytes that it says it wrote."""


class QueueFullError(Exception):
    """There are too few free descriptors."""


class DeviceFaultError(Exception):
    """The device broke the rules of the queue."""


class QueueBrokenError(Exception):
    """The device says that the driver has broken the queue."""


class _Chain(NamedTuple):
    """What a request occupies."""

    descriptors: list[int]
    table: Piece | None


class DriverQueue:
    """A split virtqueue, from the driver's side.

    Args:
        memory: where it lives.
        size: number of descriptors, a power of two.
        indirect: requests of more than one piece get a descriptor table of their own.
        event_index: both sides say by index when they want to be told (VIRTIO_F_EVENT_IDX).
        pipe: calls come through a pipe, as in User-mode Linux, in place of an eventfd.
    """

    def __init__(
        self,
        memory: GuestMemory,
        size: int = 128,
        *,
        indirect: bool = True,
        event_index: bool = True,
        pipe: bool = False,
    ) -> None:
        self.memory = memory
        self.size = size
        self.indirect = indirect
        self.event_index = event_index
        self.table = memory.allocate(DESCRIPTOR.size * size)
        """Guest address of the descriptor table."""
        self.avail = memory.allocate(RING_HEADER.size + (size + 1) * AVAILABLE_ELEMENT.size)
        """Guest address of the available ring."""
        self.used = memory.allocate(RING_HEADER.size + size * USED_ELEMENT.size + AVAILABLE_ELEMENT.size)
        """Guest address of the used ring."""
        self._descriptors = memory.view(self.table, DESCRIPTOR.size * size)
        self._avail = memory.halves(self.avail, 3 + size)
        self._used = memory.halves(self.used, 3 + 4 * size)
        self._elements = memory.view(self.used + RING_HEADER.size, size * USED_ELEMENT.size)
        # Those of User-mode Linux block.
        self.kick_fd = os.eventfd(0, os.EFD_CLOEXEC | (0 if pipe else os.EFD_NONBLOCK))
        """Tells the device that there are requests."""
        self.call_fd, self.call_fd_device = _pair(pipe)
        """Where the device's calls arrive, and what the device gets for it."""
        self.error_fd = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        """Where the device says that the queue is broken."""
        self.kicks = 0
        """How often the device was told."""
        self.calls = 0
        """How often it was found that the device had called."""
        self.reset()

    def reset(self) -> None:
        """As after a reset of the device: both rings empty, all descriptors free, nothing in flight."""
        self._avail[:] = memoryview(bytes(self._avail.nbytes)).cast("H")
        self._used[:] = memoryview(bytes(self._used.nbytes)).cast("H")
        for chain in getattr(self, "_chains", {}).values():
            if chain.table is not None:
                self.memory.free(*chain.table)
        self._free = list(range(self.size - 1, -1, -1))
        self._chains: dict[int, _Chain] = {}
        self._next = 0  # of the available ring, where the next head goes
        self._told = 0  # the index up to which the device was told, or did not want to be
        self._seen = 0  # of the used ring
        drain(self.call_fd)

    def close(self) -> None:
        """Close the descriptors."""
        for fd in {self.kick_fd, self.call_fd, self.call_fd_device, self.error_fd}:
            os.close(fd)
        for view in (self._descriptors, self._avail, self._used, self._elements):
            view.release()

    # --- the honest way

    @property
    def in_flight(self) -> int:
        """How many requests the device has."""
        return len(self._chains)

    def add(self, readable: Sequence[Piece], writable: Sequence[Piece]) -> int:
        """Put a request into the available ring, for :meth:`publish`; returns its head.

        Args:
            readable: what the device reads, in its order.
            writable: what it may write.

        Raises:
            QueueFullError: there are too few descriptors.
        """
        count = len(readable) + len(writable)
        if self.indirect and count > 1:
            if not self._free:
                raise QueueFullError
            table = self.make_chain(readable, writable)
            head = self.add_table(table)
            self._chains[head] = _Chain([head], table)
            return head
        if count > len(self._free):
            raise QueueFullError
        indexes = [self._free.pop() for _ in range(count)]
        self._link(self.table, indexes, readable, writable)
        self._chains[indexes[0]] = _Chain(indexes, None)
        self.offer(indexes[0])
        return indexes[0]

    def make_chain(self, readable: Sequence[Piece], writable: Sequence[Piece]) -> Piece:
        """A table of descriptors for a request, in memory of its own, which is the caller's."""
        count = len(readable) + len(writable)
        table = self.memory.allocate(DESCRIPTOR.size * count), DESCRIPTOR.size * count
        self._link(table[0], range(count), readable, writable)
        return table

    def add_table(self, table: Piece) -> int:
        """As :meth:`add`, for a request whose descriptors are in a table already, which stays the caller's."""
        if not self._free:
            raise QueueFullError
        head = self._free.pop()
        DESCRIPTOR.pack_into(self._descriptors, DESCRIPTOR.size * head, *table, _INDIRECT, 0)
        self._chains[head] = _Chain([head], None)
        self.offer(head)
        return head

    def _link(self, table: int, indexes: Sequence[int], readable: Sequence[Piece], writable: Sequence[Piece]) -> None:
        view = self.memory.view(table, DESCRIPTOR.size * (max(indexes) + 1))
        following = [*indexes[1:], 0]
        flags = [_NEXT] * len(readable) + [_NEXT | _WRITE] * len(writable)
        flags[-1] &= ~_NEXT
        for index, piece, flag, after in zip(indexes, [*readable, *writable], flags, following, strict=True):
            DESCRIPTOR.pack_into(view, DESCRIPTOR.size * index, *piece, flag, after)

    def notify(self) -> None:
        """Kick the device, if it wants to be told of what was published since the last time."""
        fence()
        old, new = self._told, self.avail_index
        self._told = new
        asleep = not self.used_flags & USED_NO_NOTIFY
        if needs_event(self.avail_event, new, old) if self.event_index else asleep:
            self.kick()

    def submit(self, readable: Sequence[Piece], writable: Sequence[Piece]) -> int:
        """Give a request to the device, as :meth:`add`, and tell it."""
        head = self.add(readable, writable)
        self.publish()
        self.notify()
        return head

    def completions(self) -> list[Completion]:
        """What the device has given back since the last time, without waiting.

        Raises:
            DeviceFaultError: it gave back what it did not have.
        """
        done: list[Completion] = []
        index = self.used_index
        if (index - self._seen) & 0xFFFF > len(self._chains):
            raise DeviceFaultError(f"{(index - self._seen) & 0xFFFF} are done, but {len(self._chains)} were asked for")
        while self._seen != index:
            head, written = USED_ELEMENT.unpack_from(self._elements, 8 * (self._seen % self.size))
            chain = self._chains.pop(head, None)
            if chain is None:
                raise DeviceFaultError(f"head {head} is done, but it was not asked for")
            self._free += reversed(chain.descriptors)
            if chain.table is not None:
                self.memory.free(*chain.table)
            done.append(Completion(head, written))
            self._seen = (self._seen + 1) & 0xFFFF
        return done

    def wait(self, timeout: float | None = None, watch: Sequence[int] = ()) -> list[Completion]:
        """What the device gives back; sleeps until it calls.

        Args:
            timeout: seconds to wait, None for as long as it takes.
            watch: descriptors that end the wait when they become readable.

        Raises:
            DeviceFaultError: see :meth:`completions`.
            TimeoutError: nothing was done in time, or the device forgot to call.
        """
        deadline = None if timeout is None else time.monotonic() + timeout
        poll = select.poll()
        poll.register(self.call_fd, select.POLLIN)
        for fd in watch:
            poll.register(fd, select.POLLIN)
        while True:
            done = self.completions()
            if done:
                return done
            if self.event_index:
                self.used_event = self._seen
                fence()
                done = self.completions()
                if done:
                    return done
            left = None if deadline is None else max(0, deadline - time.monotonic()) * 1000
            ready = dict(poll.poll(left))
            if self.call_fd in ready:
                drain(self.call_fd)
                self.calls += 1
            elif ready:
                return self.completions()
            else:
                late = f", although {self.used_index - self._seen} are done" if self.used_index != self._seen else ""
                raise TimeoutError(f"the device did not call in time{late}")

    # --- as one likes

    def describe(self, index: int, descriptor: Descriptor, table: int | None = None) -> None:
        """Write a descriptor into the queue's table, or into the one at a guest address."""
        place = (self.table if table is None else table) + DESCRIPTOR.size * index
        self.memory.write(place, DESCRIPTOR.pack(*descriptor))

    def make_table(self, descriptors: Sequence[Descriptor]) -> Piece:
        """A table of one's own, for an indirect descriptor."""
        return self.memory.put(b"".join(DESCRIPTOR.pack(*descriptor) for descriptor in descriptors))

    def offer(self, head: int) -> None:
        """Write a head into the available ring, for :meth:`publish`."""
        self._avail[_RING + self._next % self.size] = head
        self._next = (self._next + 1) & 0xFFFF

    def publish(self, index: int | None = None) -> None:
        """Let the device see what was offered; or say that the available ring goes up to any ``index``."""
        self.avail_index = self._next if index is None else index

    def kick(self) -> None:
        """Tell the device, whether it wants it or not."""
        os.eventfd_write(self.kick_fd, 1)
        self.kicks += 1

    def called(self) -> bool:
        """Whether the device called since the last time that anybody looked."""
        return drain(self.call_fd)

    def broken(self) -> bool:
        """Whether the device said through the error descriptor that the queue is broken."""
        return drain(self.error_fd)

    @property
    def avail_index(self) -> int:
        """The index that the device sees in the available ring."""
        return int(self._avail[_INDEX])

    @avail_index.setter
    def avail_index(self, index: int) -> None:
        self._avail[_INDEX] = index

    @property
    def used_index(self) -> int:
        """The device's index in the used ring."""
        return int(self._used[_INDEX])

    @used_index.setter
    def used_index(self, index: int) -> None:
        self._used[_INDEX] = index

    @property
    def avail_flags(self) -> int:
        """What the driver asks of the device: ``AVAILABLE_NO_INTERRUPT``."""
        return int(self._avail[_FLAGS])

    @avail_flags.setter
    def avail_flags(self, flags: int) -> None:
        self._avail[_FLAGS] = flags

    @property
    def used_flags(self) -> int:
        """What the device asks of the driver: ``USED_NO_NOTIFY``."""
        return int(self._used[_FLAGS])

    @property
    def used_event(self) -> int:
        """At which used index the driver wants to be called, with the event index."""
        return int(self._avail[_RING + self.size])

    @used_event.setter
    def used_event(self, index: int) -> None:
        self._avail[_RING + self.size] = index

    @property
    def avail_event(self) -> int:
        """At which available index the device wants to be kicked, with the event index."""
        return int(self._used[_RING + 4 * self.size])


def needs_event(event: int, new: int, old: int) -> bool:
    """Whether moving an index from ``old`` to ``new`` passes the one at which the other side wants to be told."""
    return (new - event - 1) & 0xFFFF < (new - old) & 0xFFFF


_lock = threading.Lock()


def fence() -> None:
    """What was written before is seen by the other side before anything that is read afterwards is looked at.

    Taking and leaving a lock is an atomic exchange, which is a barrier for both.
    """
    with _lock:
        pass


def drain(fd: int) -> bool:
    """Empty an eventfd or a pipe that does not block; whether something was in it."""
    found = False
    while True:
        try:
            if not os.read(fd, 4096):
                return found
        except BlockingIOError:
            return found
        found = True


def _pair(pipe: bool) -> tuple[int, int]:
    if pipe:
        ours, theirs = os.pipe2(os.O_CLOEXEC)
        os.set_blocking(ours, False)
        return ours, theirs
    fd = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
    return fd, fd
