"""The frontend's end of a vhost-user stream: requests with their descriptors out, replies in."""

from __future__ import annotations

import errno
import select
import socket
import struct
import time
from collections.abc import Iterable, Sequence

from ninepfs.testing.drivers import PATIENCE
from ninepfs.testing.guest.memory import GuestMemory, Region
from ninepfs.transports.virtio.constants import (
    CONFIG,
    HEADER,
    MEMORY,
    REGION,
    U64,
    VERSION,
    VERSION_MASK,
    VRING_ADDRESS,
    VRING_NO_FD,
    VRING_STATE,
    HeaderFlag,
    ProtocolFeature,
    Request,
)

_ANSWERED = frozenset(
    {
        Request.GET_FEATURES,
        Request.GET_PROTOCOL_FEATURES,
        Request.GET_VRING_BASE,
        Request.GET_QUEUE_NUM,
        Request.GET_CONFIG,
        Request.GET_INFLIGHT_FD,
        Request.GET_MAX_MEM_SLOTS,
        Request.GET_STATUS,
    }
)
"""Requests that have a reply of their own, so that none is asked for."""


class BackendGoneError(ConnectionError):
    """The back end ended the connection."""


class BackendFaultError(Exception):
    """The back end answered with what is no answer."""


class BackendRefusedError(OSError):
    """The back end did not do what it was told; ``errno`` is EINVAL, as it gives no reason."""

    def __init__(self, request: int, status: int) -> None:
        super().__init__(errno.EINVAL, f"the back end answered request {request} with {status:#x}")
        self.status = status


class Frontend:
    """A connected vhost-user stream.

    Each request is a method, named as in the protocol. Which are sent, in which order, is up to the caller: see
    :mod:`ninepfs.testing.guest.machine` for how virtual machines do it.

    Args:
        sock: a connected unix socket, which the frontend owns from now on.
        timeout: seconds that a reply may take.
    """

    def __init__(self, sock: socket.socket, timeout: float = PATIENCE) -> None:
        self.socket = sock
        self.timeout = timeout
        self.offered = 0
        """Features that the back end offered."""
        self.protocol_offered = 0
        """Features of the protocol that it offered."""
        self.protocol_features = ProtocolFeature(0)
        """Those that are agreed on."""

    # --- messages

    def send(
        self, request: int, payload: bytes = b"", fds: Sequence[int] = (), *, flags: int = VERSION, size: int = -1
    ) -> None:
        """Send a request, whatever it is.

        Args:
            request: its number.
            payload: what follows the header.
            fds: descriptors to go with it; they stay open here.
            flags: those of the header.
            size: what the header says of the payload's size, if not the truth.

        Raises:
            BackendGoneError: there is no connection any more.
        """
        self.send_raw(HEADER.pack(request, flags, len(payload) if size < 0 else size) + payload, fds)

    def send_raw(self, data: bytes, fds: Sequence[int] = ()) -> None:
        """Send bytes, and descriptors with the first of them (raises as :meth:`send`)."""
        try:
            sent = socket.send_fds(self.socket, [data], fds) if fds else 0
            self.socket.sendall(data[sent:])
        except (BrokenPipeError, ConnectionResetError) as error:
            raise BackendGoneError(error.errno, error.strerror) from error

    def receive(self) -> tuple[int, bytes]:
        """The next reply: the number of the request that it answers, and its payload.

        Raises:
            BackendFaultError: it is not one.
            BackendGoneError: there is no connection any more.
            TimeoutError: it did not come in time.
        """
        deadline = time.monotonic() + self.timeout
        request, flags, size = HEADER.unpack(self._receive_exactly(HEADER.size, deadline))
        if flags & VERSION_MASK != VERSION or not flags & HeaderFlag.REPLY or size > 4096:
            raise BackendFaultError(f"request {request}, flags {flags:#x}, {size} bytes is not the header of a reply")
        return request, self._receive_exactly(size, deadline)

    def _receive_exactly(self, size: int, deadline: float) -> bytes:
        data = b""
        while len(data) < size:
            self.socket.settimeout(max(0.001, deadline - time.monotonic()))
            try:
                more = self.socket.recv(size - len(data))
            except ConnectionResetError:
                more = b""
            finally:
                self.socket.settimeout(None)
            if not more:
                raise BackendGoneError(errno.ECONNRESET, "the back end ended the connection")
            data += more
        return data

    def ask(self, request: int, payload: bytes = b"") -> bytes:
        """Send a request that has a reply, and return the reply's payload (raises as :meth:`receive`)."""
        self.send(request, payload)
        answered, reply = self.receive()
        if answered != request:
            raise BackendFaultError(f"request {request} was answered by a reply to {answered}")
        return reply

    def tell(self, request: int, payload: bytes = b"", fds: Sequence[int] = (), *, ack: bool = False) -> None:
        """Send a request that has no reply; with ``ack``, have it confirmed if that was agreed on.

        Raises:
            BackendRefusedError: the back end says that it failed.
        """
        ack = ack and ProtocolFeature.REPLY_ACK in self.protocol_features
        self.send(request, payload, fds, flags=VERSION | (HeaderFlag.NEED_REPLY if ack else 0))
        if ack:
            self.confirmed(request)

    def confirmed(self, request: int) -> None:
        """Wait until the back end has confirmed a request (raises as :meth:`tell` and :meth:`receive`)."""
        answered, reply = self.receive()
        if answered != request or len(reply) != U64.size:
            raise BackendFaultError(f"request {request} was confirmed by {len(reply)} bytes for {answered}")
        status = U64.unpack(reply)[0]
        if status:
            raise BackendRefusedError(request, status)

    def gone(self, timeout: float = 0) -> bool:
        """Whether the back end has ended the connection, or does so within ``timeout`` seconds.

        Replies that nobody has asked for are thrown away.
        """
        deadline = time.monotonic() + timeout
        poll = select.poll()
        poll.register(self.socket, select.POLLIN)
        while poll.poll(max(0, (deadline - time.monotonic()) * 1000)):
            try:
                if not self.socket.recv(4096, socket.MSG_DONTWAIT):
                    return True
            except ConnectionResetError:
                return True
        return False

    def close(self) -> None:
        """End the connection."""
        self.socket.close()

    # --- requests

    def get_features(self) -> int:
        """What the back end offers, which is also kept in :attr:`offered`."""
        self.offered = self._number(self.ask(Request.GET_FEATURES))
        return self.offered

    def set_features(self, features: int, *, ack: bool = False) -> None:
        """Accept features."""
        self.tell(Request.SET_FEATURES, U64.pack(features), ack=ack)

    def get_protocol_features(self) -> int:
        """Which extensions the back end offers, which is also kept in :attr:`protocol_offered`."""
        self.protocol_offered = self._number(self.ask(Request.GET_PROTOCOL_FEATURES))
        return self.protocol_offered

    def set_protocol_features(self, features: int, *, ack: bool = False) -> None:
        """Accept extensions; from now on, they are used."""
        before = self.protocol_features
        self.protocol_features = ProtocolFeature(features)
        try:
            self.tell(Request.SET_PROTOCOL_FEATURES, U64.pack(features), ack=ack)
        except BackendRefusedError:
            self.protocol_features = before
            raise

    def set_owner(self, *, ack: bool = False) -> None:
        """Begin."""
        self.tell(Request.SET_OWNER, ack=ack)

    def get_queue_num(self) -> int:
        """How many queues there are."""
        return self._number(self.ask(Request.GET_QUEUE_NUM))

    def get_config(self, offset: int, size: int) -> bytes:
        """Part of the device's configuration.

        Raises:
            BackendFaultError: the answer is of another size.
        """
        reply = self.ask(Request.GET_CONFIG, CONFIG.pack(offset, size, 0) + bytes(size))
        if len(reply) != CONFIG.size + size:
            raise BackendFaultError(f"{len(reply)} bytes came for {size} of the configuration")
        return reply[CONFIG.size :]

    def set_mem_table(
        self, memory: GuestMemory, regions: Iterable[Region] | None = None, *, slots: int = 0, ack: bool = False
    ) -> None:
        """Give the back end memory, in place of all that it had.

        Args:
            memory: whose.
            regions: which of its regions; all unless told.
            slots: for how many regions the message has room, if for more than there are.
            ack: see :meth:`tell`.
        """
        table = [*(memory.regions if regions is None else regions)]
        payload = MEMORY.pack(len(table), 0) + b"".join(map(pack_region, table))
        payload += bytes(REGION.size * max(0, slots - len(table)))
        self.tell(Request.SET_MEM_TABLE, payload, [memory.fd] * len(table), ack=ack)

    def add_mem_reg(self, memory: GuestMemory, region: Region, *, ack: bool = False) -> None:
        """Give the back end one more region."""
        self.tell(Request.ADD_MEM_REG, U64.pack(0) + pack_region(region), [memory.fd], ack=ack)

    def rem_mem_reg(self, region: Region, *, ack: bool = False) -> None:
        """Take a region from the back end."""
        self.tell(Request.REM_MEM_REG, U64.pack(0) + pack_region(region), ack=ack)

    def set_vring_num(self, index: int, size: int, *, ack: bool = False) -> None:
        """How many entries a queue has."""
        self.tell(Request.SET_VRING_NUM, VRING_STATE.pack(index, size), ack=ack)

    def set_vring_base(self, index: int, base: int, *, ack: bool = False) -> None:
        """Which index of the available ring comes next."""
        self.tell(Request.SET_VRING_BASE, VRING_STATE.pack(index, base), ack=ack)

    def get_vring_base(self, index: int) -> int:
        """Stop a queue; the index of the available ring that comes next.

        Raises:
            BackendFaultError: the answer is of another queue.
        """
        reply = self.ask(Request.GET_VRING_BASE, VRING_STATE.pack(index, 0))
        if len(reply) != VRING_STATE.size:
            raise BackendFaultError(f"{len(reply)} bytes came for the state of a queue")
        answered, base = VRING_STATE.unpack(reply)
        if answered != index:
            raise BackendFaultError(f"the state of queue {answered} came for that of {index}")
        return int(base)

    def set_vring_addr(
        self, index: int, descriptors: int, used: int, avail: int, *, log: int = 0, ack: bool = False
    ) -> None:
        """Where a queue is, in user addresses."""
        self.tell(Request.SET_VRING_ADDR, VRING_ADDRESS.pack(index, 0, descriptors, used, avail, log), ack=ack)

    def set_vring_fd(self, request: int, index: int, fd: int | None, *, ack: bool = False) -> None:
        """SET_VRING_KICK, SET_VRING_CALL or SET_VRING_ERR; without a descriptor, the back end is to do without."""
        number = index | (VRING_NO_FD if fd is None else 0)
        self.tell(request, U64.pack(number), [] if fd is None else [fd], ack=ack)

    def set_vring_enable(self, index: int, on: bool, *, ack: bool = False) -> None:
        """Let a queue be worked at, or not."""
        self.tell(Request.SET_VRING_ENABLE, VRING_STATE.pack(index, on), ack=ack)

    def set_backend_req_fd(self, fd: int, *, ack: bool = False) -> None:
        """A socket on which the back end may ask of its own accord."""
        self.tell(Request.SET_BACKEND_REQ_FD, b"", [fd], ack=ack)

    def reset_device(self, *, ack: bool = False) -> None:
        """Reset the device."""
        self.tell(Request.RESET_DEVICE, ack=ack)

    def get_max_mem_slots(self) -> int:
        """How many regions the back end can have."""
        return self._number(self.ask(Request.GET_MAX_MEM_SLOTS))

    def set_status(self, status: int, *, ack: bool = False) -> None:
        """The device status that the driver has written."""
        self.tell(Request.SET_STATUS, U64.pack(status), ack=ack)

    def get_status(self) -> int:
        """The device status."""
        return self._number(self.ask(Request.GET_STATUS))

    @staticmethod
    def _number(reply: bytes) -> int:
        try:
            return int(U64.unpack(reply)[0])
        except struct.error:
            raise BackendFaultError(f"{len(reply)} bytes came for a number") from None


def has_reply(request: int) -> bool:
    """Whether a request has a reply of its own."""
    return request in _ANSWERED


def pack_region(region: Region) -> bytes:
    """A region as it travels."""
    return REGION.pack(region.guest, region.size, region.user, region.offset)
