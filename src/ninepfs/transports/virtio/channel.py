"""9P over a virtqueue: each chain of descriptors is a request and the space for its reply.

Requests are copied once, before they are looked at, since the guest could change them meanwhile. The data of large
writes is not: it goes to the file from the guest's memory, as reads go from the file to the guest's memory.

The frontend may halt a queue at any time, and nothing may then touch the guest's memory: to pause the machine, to
change its memory, or because the guest was reset. The session goes on when the queue does. Requests that wait for
something without a thread (locks, and flushes of them) do not hold memory; a reply to one of them that falls into a
pause is kept until the queue runs again.
"""

from __future__ import annotations

import logging
import os
import select
import threading
from collections.abc import Callable, Sequence

from ninepfs.server.channel import APART, DATA_BEGINS, Channel, Desk, Item, Space
from ninepfs.server.vigil import Vigil
from ninepfs.transports.virtio.bell import Bell
from ninepfs.transports.virtio.chains import QueueError
from ninepfs.transports.virtio.memory import cut
from ninepfs.transports.virtio.spaces import COPIED, LateSpace, RingSpace, copy_out
from ninepfs.transports.virtio.virtqueue import Virtqueue
from ninepfs.wire.codec import HEADER
from ninepfs.wire.constants import HEADER_SIZE, MAX_MSIZE
from ninepfs.wire.fields import ProtocolError

log = logging.getLogger("ninepfs.virtio")

_unpack_header = HEADER.unpack_from

FIRST_MSIZE = 8192
"""The largest message before a session has agreed on its msize."""

_BATCH = 64
"""So many requests are taken at a time."""

_FULL = 64 << 10
"""So many bytes of replies leave without waiting for the rest of their batch."""

_HEAD = max(DATA_BEGINS.values())
"""So much of a larger one is copied if its data stays where it is."""

_FAR = 4
"""A guest is waited for so many times longer than a program beside us before its leader sleeps: between a reply and the
next request are an interrupt, which the machine monitor passes on, the guest's kernel, its program, and a notification;
100 to 300 microseconds in a machine that is emulated."""

_LONGEST = 256 << 10
"""So much is copied of any other. None that is well made is as long: it has at most two long strings. A guest may call
all of its memory a request, and do so many times at once."""


class RingDesk(Desk):
    """A batch of requests from a queue.

    Args:
        channel: where they come from.
        backlog: requests that have been taken already.
    """

    def __init__(self, channel: RingChannel, backlog: Sequence[Item] = ()) -> None:
        super().__init__()
        self._channel = channel
        self._backlog = backlog
        self._vigil = Vigil(channel.look)

    def take_over(self) -> None:
        self._channel.publish()

    def receive(self) -> Sequence[Item]:
        if self._backlog:
            items, self._backlog = self._backlog, ()
            return items
        channel = self._channel
        while True:
            items = channel.take()
            if items or channel.ended:
                return items
            if self.patience and self._vigil.keep(_FAR * self.patience):
                continue
            channel.wait()

    def send(self) -> None:
        self._channel.publish()

    def successor(self, done: int) -> RingDesk:
        return self._channel.succeed(RingDesk(self._channel, self.requests[done:]))


def _head(item: Item) -> int:
    space = item[5]
    assert isinstance(space, RingSpace)
    return space.head


class RingChannel(Channel):
    """The way to a guest, by a queue that its frontend starts and halts.

    Args:
        peer: what to call the guest in the log.
        refuse: called when the guest broke the rules.
    """

    def __init__(self, peer: str, refuse: Callable[[], None]) -> None:
        self.peer = peer
        self.msize_limit = MAX_MSIZE
        self.msize = FIRST_MSIZE
        self.sending = threading.RLock()
        """Held, too, while the queue is put in place or taken away."""
        self.warned = False
        self.ended = False
        """Nothing is received any more."""
        self.refused = False
        """The guest broke the rules."""
        self.call: Bell | None = None
        """Rings at the guest."""
        self.closed = threading.Event()
        """The session has ended."""
        self._refuse = refuse
        self._queue: Virtqueue[RingSpace] | None = None
        self._kick: Bell | None = None
        self._taking = threading.Lock()
        """Held while chains are taken from the queue, and while :attr:`_halting` changes."""
        self._settled = threading.Condition(self._taking)
        """Told, while the queue is being halted, when a request is done."""
        self._halting = True
        self._late: dict[int, LateSpace] = {}
        """By head, the requests whose replies come later; they are among the taken ones of the queue."""
        self._came: list[LateSpace] = []
        """Those whose reply came while there was no queue."""
        self._collected = 0
        """Bytes of replies that have not been published."""
        self._wake = Bell(os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK))
        self._poll = select.epoll()
        self._poll.register(self._wake, select.EPOLLIN | select.EPOLLET)
        self._leader: RingDesk | None = None

    # --- for the engine

    def desk(self) -> RingDesk:
        return self.succeed(RingDesk(self))

    def succeed(self, desk: RingDesk) -> RingDesk:
        """Another desk is that of the leader."""
        self._leader = desk
        return desk

    def space(self, asked: Space) -> LateSpace:
        assert isinstance(asked, RingSpace)
        late = LateSpace(self, asked)
        self._late[late.head] = late
        if self._halting:
            self._tell()
        return late

    def stop_reading(self) -> None:
        self.ended = True
        self._wake.ring()

    def refuse(self) -> None:
        if self.refused:
            return
        self.refused = True
        self.stop_reading()
        self._refuse()

    def close(self) -> None:
        with self._taking:
            self.ended = True
            leader, self._leader = self._leader, None  # they refer to each other
            queue = self._queue
            if queue is not None and leader is not None:
                # What the leader had taken and not begun; what is still running is that of others.
                queue.forget(_head(item) for item in leader.requests)
                queue.forget(self._late)
            self._late = {}
            self._settled.notify_all()
        self.closed.set()

    # --- requests

    def take(self) -> list[Item]:
        """The requests that are there now.

        Raises:
            ProtocolError: the guest broke the rules of the queue.
        """
        with self._taking:
            queue = self._queue
            if self._halting or queue is None or self.ended:
                return []
            chains: list[RingSpace] = []
            items: list[Item] = []
            try:
                chains = queue.pop(_BATCH)
                for chain in chains:
                    chain.channel = self
                    # Most requests by far, and half the time of all of them: what _item does for them, written out.
                    if chain.plain:
                        message = memoryview(chain.readable.first.tobytes())
                        told, number, tag = _unpack_header(message)
                        end = len(message)
                        if HEADER_SIZE <= told < end:
                            end = told
                        items.append((number, tag, message, HEADER_SIZE, end, chain))
                    else:
                        items.append(self._item(chain))
                return items
            except BaseException as failure:
                queue.forget(chain.head for chain in chains)
                if isinstance(failure, ProtocolError):
                    # Now, and not when the leader gets to it: if the device is reset meanwhile, that is none of the
                    # next session's business.
                    self.refuse()
                raise

    def _item(self, chain: RingSpace) -> Item:
        readable = chain.readable
        size, first = readable.size, readable.first
        if size < HEADER_SIZE or chain.writable.size < HEADER_SIZE:
            raise QueueError(
                f"a request of {size} bytes with {chain.writable.size} for the reply: no message is so short"
            )
        if size <= COPIED:
            message = memoryview(first.tobytes() if len(first) == size else b"".join(readable.views))
        else:
            head = bytes(first) if len(first) == _HEAD else b"".join(cut(readable.views, 0, _HEAD))
            begins = DATA_BEGINS.get(head[4])
            if begins is not None:
                _, number, tag = _unpack_header(head)
                return number + APART, tag, memoryview(head), HEADER_SIZE, begins, chain
            message = memoryview(b"".join(cut(readable.views, 0, min(self.msize, _LONGEST))))
        told, number, tag = _unpack_header(message)
        # The chain says where a message ends, whatever its size says; but there may be more memory than message.
        end = len(message)
        if HEADER_SIZE <= told < end:
            end = told
        return number, tag, message, HEADER_SIZE, end, chain

    def look(self) -> bool:
        """Whether there may be something to take, or something else has changed."""
        queue = self._queue
        return (queue is not None and queue.pending() and not self._halting) or bool(self._poll.poll(0, 1))

    def wait(self) -> None:
        """Sleep until there may be something to take, or something else has changed."""
        with self._taking:
            queue = self._queue
            if not self._halting and queue is not None and queue.listen():
                return
        if not self.ended:
            self._poll.poll(-1, 2)  # kick, and wake; room for more than there can be takes time to get

    # --- replies

    def finished(self, head: int, size: int) -> None:
        """A request is done; ``size`` bytes are its reply."""
        queue = self._queue
        if queue is None:
            return
        queue.push(head, size)
        self._collected += size
        if self._halting:
            self._tell()
        if self._collected > _FULL:
            self.publish()

    def publish(self) -> None:
        """Let the guest see the replies."""
        with self.sending:
            queue = self._queue
            self._collected = 0
            if queue is not None and queue.publish():
                call = self.call
                if call is not None:
                    call.ring()

    def came(self, late: LateSpace) -> None:
        """The reply to a request that waited is there."""
        with self.sending:
            if self._late.get(late.head) is not late:
                return  # the session has ended
            queue = self._queue
            if queue is None:
                self._came.append(late)
                return
            try:
                copy_out(late.message, queue.memory.views(late.places))
            finally:
                del self._late[late.head]
                queue.push(late.head, len(late.message))

    def _tell(self) -> None:
        with self._taking:
            self._settled.notify_all()

    # --- for the frontend

    def start(self, queue: Virtqueue[RingSpace], kick: Bell) -> None:
        """Take requests from a queue from now on."""
        with self.sending:
            queue.adopt(self._late)
            self._kick = kick
            # Edge-triggered: the counter need not be read.
            self._poll.register(kick, select.EPOLLIN | select.EPOLLET)
            self._queue = queue
            came, self._came = self._came, []
            for late in came:
                self.came(late)
            self.publish()
        with self._taking:
            self._halting = False
        self._wake.ring()

    def halt(self) -> int | None:
        """Stop taking requests, and wait until those that were taken are done and nothing touches the guest's memory.
        Returns the index of the next available entry, or None if there was no queue."""
        with self._taking:
            queue = self._queue
            if queue is None:
                return None
            self._halting = True
            while queue.taken_besides(self._late):
                self._settled.wait()
        with self.sending:
            self.publish()
            self._queue = None
            if self._kick is not None:
                self._poll.unregister(self._kick)
                self._kick.silence()
                self._kick = None
        return queue.next
