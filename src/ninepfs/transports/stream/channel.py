"""9P over a stream socket: TCP, unix, vsock, or any connected socket that was inherited.

Requests are read many at a time into one buffer and handled in place; replies are collected in another and leave
together. So at depth a request costs a fraction of two system calls, and the data of reads and writes moves between
file and socket buffer by one call each. Large reads of files leave by splice(2) and are not even touched.
"""

from __future__ import annotations

import logging
import select
import socket
import struct
import threading
from collections.abc import Sequence
from functools import partial
from typing import Any

from ninepfs.server.channel import Channel, Desk, Item, Space
from ninepfs.server.vigil import Vigil
from ninepfs.transports.stream import memory
from ninepfs.transports.stream.pipe import Pipes
from ninepfs.wire.codec import HEADER, PackInto
from ninepfs.wire.constants import HEADER_SIZE, MAX_MSIZE, READ_OVERHEAD
from ninepfs.wire.fields import ProtocolError

log = logging.getLogger("ninepfs.stream")

_unpack_header = HEADER.unpack_from
_pack_count = struct.Struct("<IBHI").pack_into

FIRST_MSIZE = 8192
"""The largest message before a session has agreed on its msize."""

_INBOX = 128 << 10
"""Least room for requests."""

_FULL = 64 << 10
"""So many bytes of replies leave without waiting for the rest of their batch, and the client can begin with them."""

_EXACT = 16 << 10
"""When so much of a message is missing, exactly that is read, and what follows need not be moved afterwards."""

_BATCH = range(1024)
"""So many requests are taken at a time, at most: each takes many times the memory of its bytes."""

_SEND_BUFFER = 1 << 20
_SO_SNDBUFFORCE = 32


class StreamSpace(Space):
    """Replies in a buffer, on their way to a socket."""

    def __init__(self, channel: StreamChannel, out: memoryview) -> None:
        self._channel = channel
        self._socket = channel.socket
        self._out = out
        self._on = 0
        """Where the next reply goes."""
        self._sent = 0
        self._pipes: Pipes | None = None
        self._piped = False

    def payload(self, count: int) -> Sequence[memoryview]:
        start = self._on + READ_OVERHEAD
        end = start + count
        if end > len(self._out):  # in the batch of the Tversion that agreed on larger messages
            room = memory.outbox(end)
            room[: self._on] = self._out[: self._on]
            self._out = room
        return (self._out[start:end],)

    def put(self, pack: PackInto, tag: int, reply: tuple[Any, ...]) -> None:
        # There is room: a buffer that is not full has space for one message of the largest size.
        self._on = on = pack(self._out, self._on, tag, reply)
        if on > _FULL:
            self.send()

    def put_payload(self, number: int, tag: int, count: int) -> None:
        size = READ_OVERHEAD + count
        _pack_count(self._out, self._on, size, number, tag, count)
        if self._piped:
            self._send_pipes()
            return
        self._on += size
        if self._on > _FULL:
            self.send()

    def drop(self) -> None:
        if self._piped:
            self._discard_pipes()

    def send(self) -> None:
        if self._on == self._sent:
            return
        with self._channel.sending:
            self._socket.sendall(self._out[self._sent : self._on])
        self._on = self._sent = 0

    # --- past the process

    def splice(self, fd: int, offset: int, count: int) -> int | None:
        pipes = self._pipes
        if pipes is None:
            pipes = self._pipes = Pipes()
        try:
            if not pipes.fits(count):
                return None
            size = pipes.fill(fd, offset, count)
        except OSError:
            # Part of the data may be in the pipes. Reading the usual way will meet the same error, or succeed (there
            # may be no descriptors for pipes).
            self._discard_pipes()
            return None
        self._piped = size > 0
        return size

    def _send_pipes(self) -> None:
        """The replies collected so far, the header, and what is in the pipes."""
        assert self._pipes is not None
        end = self._on + READ_OVERHEAD
        with self._channel.sending:
            try:
                self._socket.sendall(self._out[self._sent : end], socket.MSG_MORE)
                self._pipes.empty(self._socket)
            except OSError:
                self._discard_pipes()
                raise
        self._piped = False
        self._on = self._sent = 0

    def _discard_pipes(self) -> None:
        self._piped = False
        if self._pipes is not None:
            self._pipes.close()
            self._pipes = None

    def __del__(self) -> None:
        if self._pipes is not None:
            self._discard_pipes()


class StreamDesk(StreamSpace, Desk):
    """A batch of requests in a buffer, and their replies in another."""

    def __init__(self, channel: StreamChannel) -> None:
        StreamSpace.__init__(self, channel, memory.outbox(_FULL + channel.msize + HEADER_SIZE))
        Desk.__init__(self)
        self._msize = channel.msize
        self._capacity = max(_INBOX, 2 * channel.msize)
        self._inbox = memory.inbox(self._capacity)
        self._have = 0
        self._at = 0
        """Where what was not handed out yet begins."""
        self._inherited: memoryview | None = None
        poll = select.poll()
        poll.register(channel.socket, select.POLLIN)
        self._vigil = Vigil(partial(poll.poll, 0))

    def take_over(self) -> None:
        inherited = self._inherited
        if inherited is not None:
            self._inherited = None
            with self._channel.sending:
                self._socket.sendall(inherited)

    def receive(self) -> Sequence[Item]:
        if self._msize != self._channel.msize:
            self._resize(self._channel.msize)
        receive = self._socket.recv_into
        while True:
            have, at = self._have, self._at
            items: list[Item] = []
            inbox = self._inbox
            size = 0
            for _ in _BATCH:
                if have - at < HEADER_SIZE:
                    break
                size, number, tag = _unpack_header(inbox, at)
                if size > self._msize or size < HEADER_SIZE:
                    if items:
                        break  # first what came before
                    raise ProtocolError(f"a message of {size} bytes, but they have {HEADER_SIZE} to {self._msize}")
                end = at + size
                if end > have:
                    break
                items.append((number, tag, inbox, at + HEADER_SIZE, end, self))
                at = end
                size = 0
            self._at = at
            if items:
                return items
            # Nothing whole is there. ``size`` is that of the message that has begun, if its header is there.
            if at == have:
                have = self._at = 0
                if self.patience:
                    self._vigil.keep(self.patience)
                count = receive(inbox)
                if count >= HEADER_SIZE:
                    size, number, tag = _unpack_header(inbox)
                    if size == count <= self._msize:  # one whole message: a client that waits for each reply
                        self._have = self._at = count
                        return ((number, tag, inbox, HEADER_SIZE, count, self),)
            else:
                if at + max(size, HEADER_SIZE) > self._capacity:
                    inbox[: have - at] = inbox[at:have]
                    have -= at
                    at = self._at = 0
                missing = at + size - have
                if missing >= _EXACT:
                    count = receive(inbox[have:], missing, socket.MSG_WAITALL)
                else:
                    count = receive(inbox[have:])
            if not count:
                if at < have:
                    log.info("%s: ends in the middle of a message", self._channel.peer)
                return ()
            self._have = have + count

    def _resize(self, msize: int) -> None:
        """The session agreed on another msize."""
        self._msize = msize
        self._out = memory.outbox(_FULL + msize + HEADER_SIZE)  # all replies have been sent
        capacity = max(_INBOX, 2 * msize)
        if capacity != self._capacity:
            room = memory.inbox(capacity)
            rest = self._inbox[self._at : self._have]
            room[: len(rest)] = rest
            self._inbox, self._at, self._have, self._capacity = room, 0, len(rest), capacity

    def successor(self, done: int) -> StreamDesk:
        successor = StreamDesk(self._channel)
        # The requests after the slow one are still bytes in the inbox; the copy is small and rare.
        start = self.requests[done - 1][4]
        rest = self._inbox[start : self._have]
        if len(rest) > successor._capacity:
            successor._capacity = self._capacity
            successor._inbox = memory.inbox(self._capacity)
        successor._inbox[: len(rest)] = rest
        successor._have = len(rest)
        if self._on > self._sent:
            successor._inherited = self._out[self._sent : self._on]
            self._sent = self._on
        return successor


class StreamChannel(Channel):
    """A connected stream socket.

    Args:
        sock: the socket; blocking. The channel owns it from now on.
        peer: what to call the client in the log.
    """

    def __init__(self, sock: socket.socket, peer: str) -> None:
        sock.setblocking(True)
        if sock.family == socket.AF_UNIX:
            _enlarge(sock)
        self.socket = sock
        self.peer = peer
        self.msize_limit = MAX_MSIZE
        self.msize = FIRST_MSIZE
        self.sending = threading.RLock()
        self.warned = False

    def desk(self) -> StreamDesk:
        return StreamDesk(self)

    def space(self, asked: Space) -> StreamSpace:
        return StreamSpace(self, memoryview(bytearray(256)))  # for an Rlock, an Rflush or an error

    def stop_reading(self) -> None:
        try:
            self.socket.shutdown(socket.SHUT_RD)
        except OSError:
            pass  # not connected any more

    def close(self) -> None:
        try:
            self.socket.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass
        with self.sending:
            self.socket.close()


def _enlarge(sock: socket.socket) -> None:
    """Let a unix socket hold a large reply while the client is still at the last one (TCP sizes its buffers itself).

    Beyond the system's limit (net.core.wmem_max) if we may; otherwise up to it.
    """
    try:
        sock.setsockopt(socket.SOL_SOCKET, _SO_SNDBUFFORCE, _SEND_BUFFER)
    except PermissionError:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _SEND_BUFFER)
