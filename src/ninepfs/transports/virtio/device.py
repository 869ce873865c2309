"""The 9P device, as its frontend sees it: features, configuration, memory, and one queue.

What the frontend sets up is collected, and as soon as everything is there the queue runs. Whatever changes it while it
runs halts it first, and lets it go on with what was changed.

A session is what one driver in the guest has with the server. It outlives a queue that is halted and goes on where it
was (the machine was paused, its memory changed), and ends when the device was reset, which shows in a queue that begins
anew.
"""

from __future__ import annotations

import logging
import struct
from collections.abc import Callable

from ninepfs.server.server import Server
from ninepfs.transports.virtio.bell import Bell
from ninepfs.transports.virtio.channel import RingChannel
from ninepfs.transports.virtio.constants import (
    CONFIG,
    CONFIG_TAG,
    MAX_CONFIG,
    MAX_FDS,
    MAX_RING,
    MEMORY,
    REGION,
    U64,
    VRING_ADDRESS,
    VRING_INDEX_MASK,
    VRING_NO_FD,
    VRING_STATE,
    Feature,
    ProtocolFeature,
    Request,
)
from ninepfs.transports.virtio.link import Message
from ninepfs.transports.virtio.memory import Memory, map_region
from ninepfs.transports.virtio.spaces import RingSpace
from ninepfs.transports.virtio.virtqueue import Virtqueue
from ninepfs.wire.fields import ProtocolError

log = logging.getLogger("ninepfs.virtio")

FEATURES = int(
    Feature.VERSION_1 | Feature.PROTOCOL_FEATURES | Feature.EVENT_IDX | Feature.INDIRECT_DESC | Feature.MOUNT_TAG
)
"""What the device offers."""

PROTOCOL_FEATURES = int(ProtocolFeature.CONFIG | ProtocolFeature.REPLY_ACK | ProtocolFeature.BACKEND_REQ)
"""What the back end offers. BACKEND_REQ is for User-mode Linux, which has no interrupt for the device without it."""

ANSWERED = frozenset(
    {
        Request.GET_FEATURES,
        Request.GET_PROTOCOL_FEATURES,
        Request.GET_QUEUE_NUM,
        Request.GET_CONFIG,
        Request.GET_MAX_MEM_SLOTS,
        Request.GET_VRING_BASE,
    }
)
"""Messages that have a reply of their own."""

_PATIENCE = 5.0
"""Seconds that the session of a guest that was reset gets to end before the next one begins."""

_REGION_MESSAGE = 8 + REGION.size
"""Bytes of ADD_MEM_REG and REM_MEM_REG: padding, and a region."""


class _Ring:
    """What the frontend has set for the queue."""

    def __init__(self, *, enabled: bool) -> None:
        self.size = 0
        self.addresses: tuple[int, int, int] | None = None
        """Descriptors, available ring, used ring: in the frontend."""
        self.base = 0
        """The next available entry."""
        self.kick: Bell | None = None
        self.call: Bell | None = None
        self.error: Bell | None = None
        self.enabled = enabled


class Device:
    """A 9P device with one frontend.

    Args:
        server: who serves the guest.
        tag: the mount tag.
        peer: what to call the guest in the log.
    """

    def __init__(self, server: Server, tag: bytes, peer: str) -> None:
        self.peer = peer
        self._server = server
        self._config = CONFIG_TAG.pack(len(tag)) + tag
        self._features = 0
        self._protocol_features = 0
        self._memory = Memory()
        self._ring = _Ring(enabled=True)
        self._channel: RingChannel | None = None
        self._running = False
        self._halted: int | None = None
        """Where the queue was when it was halted last."""
        self._backend_requests: Bell | None = None

    def handle(self, message: Message) -> bytes | None:
        """Do what a message asks for; returns the payload of its reply, or None if its kind has none.

        Raises:
            ProtocolError: it is not understood, or asks for something impossible; nothing has changed, but that the
                queue may not run any more.
        """
        handler = _HANDLERS.get(message.request)
        if handler is None:
            raise ProtocolError("this back end does not know it")
        return handler(self, message)

    def close(self) -> None:
        """The frontend is gone: the session ends."""
        channel, self._channel = self._channel, None
        if channel is not None:
            channel.stop_reading()

    # --- features and configuration

    def _get_features(self, message: Message) -> bytes:
        return U64.pack(FEATURES)

    def _set_features(self, message: Message) -> None:
        (features,) = _unpack(U64, message)
        if features & ~FEATURES:
            raise ProtocolError(f"features {features:#x} are not all on offer")
        self._halt()
        self._features = features
        if not features & Feature.PROTOCOL_FEATURES:
            self._ring.enabled = True
        self._settle()

    def _get_protocol_features(self, message: Message) -> bytes:
        return U64.pack(PROTOCOL_FEATURES)

    def _set_protocol_features(self, message: Message) -> None:
        (features,) = _unpack(U64, message)
        if features & ~PROTOCOL_FEATURES:
            raise ProtocolError(f"protocol features {features:#x} are not all on offer")
        self._protocol_features = features
        # From here on a queue waits until it is enabled.
        self._ring.enabled = self._running

    def _set_owner(self, message: Message) -> None:
        pass

    def _set_backend_req_fd(self, message: Message) -> None:
        self._backend_requests = Bell(message.take_fd())  # kept open: there is nothing to ask of the frontend

    def _get_queue_num(self, message: Message) -> bytes:
        return U64.pack(1)

    def _get_config(self, message: Message) -> bytes:
        if len(message.payload) < CONFIG.size:
            raise ProtocolError("it is too short")
        offset, size, flags = CONFIG.unpack_from(message.payload)
        if offset + size > MAX_CONFIG:
            return b""  # which says that this is an error
        return CONFIG.pack(offset, size, flags) + self._config[offset : offset + size].ljust(size, b"\0")

    def _reset(self, message: Message) -> None:
        self._halt()
        self._end_session()
        self._halted = None
        ring, self._ring = self._ring, _Ring(enabled=not self._features & Feature.PROTOCOL_FEATURES)
        self._ring.call, self._ring.error = ring.call, ring.error  # frontends set these once

    # --- memory

    def _get_max_mem_slots(self, message: Message) -> bytes:
        return U64.pack(MAX_FDS)

    def _set_mem_table(self, message: Message) -> None:
        payload = message.payload
        if len(payload) < MEMORY.size:
            raise ProtocolError("it is too short")
        count, _ = MEMORY.unpack_from(payload)
        if count > MAX_FDS or len(payload) < MEMORY.size + count * REGION.size or len(message.fds) != count:
            raise ProtocolError(
                f"{count} regions, {len(message.fds)} descriptors and {len(payload)} bytes do not match"
            )
        regions = [
            map_region(*REGION.unpack_from(payload, MEMORY.size + index * REGION.size), fd=fd)
            for index, fd in enumerate(message.fds)
        ]
        self._replace_memory(Memory(regions))

    def _add_mem_reg(self, message: Message) -> None:
        region = _unpack_region(message)
        if len(self._memory.regions) >= MAX_FDS:
            raise ProtocolError(f"there are {MAX_FDS} regions already")
        if not message.fds:
            raise ProtocolError("it comes without its descriptor")
        self._replace_memory(Memory([*self._memory.regions, map_region(*region, fd=message.fds[0])]))

    def _rem_mem_reg(self, message: Message) -> None:
        guest, size, user, _ = _unpack_region(message)
        rest = [
            region for region in self._memory.regions if (region.guest, region.size, region.user) != (guest, size, user)
        ]
        if len(rest) == len(self._memory.regions):
            raise ProtocolError(f"there is no region of {size:#x} bytes at {guest:#x}")
        self._replace_memory(Memory(rest))

    def _replace_memory(self, memory: Memory) -> None:
        self._halt()
        self._memory = memory
        self._settle()

    # --- the queue

    def _set_vring_num(self, message: Message) -> None:
        size = self._state(message)
        if not 0 < size <= MAX_RING or size & (size - 1):
            raise ProtocolError(f"a queue of {size} entries is not possible")
        self._halt()
        self._ring.size = size
        self._settle()

    def _set_vring_addr(self, message: Message) -> None:
        index, _, descriptors, used, available, _ = _unpack(VRING_ADDRESS, message)
        _check_index(index)
        self._halt()
        self._ring.addresses = descriptors, available, used
        self._settle()

    def _set_vring_base(self, message: Message) -> None:
        base = self._state(message)
        if base > 0xFFFF:
            raise ProtocolError(f"{base} is not the index of an entry")
        self._halt()
        self._ring.base = base
        self._settle()

    def _get_vring_base(self, message: Message) -> bytes:
        self._state(message)
        self._halt()
        self._ring.kick = None
        return VRING_STATE.pack(0, self._ring.base)

    def _set_vring_enable(self, message: Message) -> None:
        enabled = self._state(message)
        if not enabled:
            self._halt()
        self._ring.enabled = bool(enabled)
        self._settle()

    def _set_vring_kick(self, message: Message) -> None:
        kick = self._bell(message)
        if kick is None:
            raise ProtocolError("a queue without a descriptor to wait for is not supported")
        if not kick.is_eventfd:
            raise ProtocolError("its descriptor is not an eventfd")
        self._halt()
        self._ring.kick = kick
        self._settle()

    def _set_vring_call(self, message: Message) -> None:
        self._ring.call = self._bell(message)
        if self._channel is not None:
            self._channel.call = self._ring.call

    def _set_vring_err(self, message: Message) -> None:
        self._ring.error = self._bell(message)

    @staticmethod
    def _state(message: Message) -> int:
        index, number = _unpack(VRING_STATE, message)
        _check_index(index)
        return number

    @staticmethod
    def _bell(message: Message) -> Bell | None:
        (value,) = _unpack(U64, message)
        _check_index(value & VRING_INDEX_MASK)
        return None if value & VRING_NO_FD else Bell(message.take_fd())

    # --- running

    def _halt(self) -> None:
        """Let the queue come to rest; nothing touches the guest's memory afterwards."""
        if self._running:
            self._running = False
            assert self._channel is not None
            base = self._channel.halt()
            if base is not None:
                self._ring.base = self._halted = base

    def _settle(self) -> None:
        """Let the queue run if it can."""
        ring = self._ring
        if not ring.enabled or ring.kick is None or ring.addresses is None or not ring.size or not self._memory.regions:
            return
        queue = Virtqueue(self._memory, ring.size, ring.addresses, ring.base, self._features, RingSpace)
        channel = self._channel
        if channel is not None and (channel.ended or ring.base != self._halted):
            if channel.refused and ring.base and ring.base == self._halted:
                log.info("%s: the device stays broken until it is reset", self.peer)
                return
            self._end_session()
            channel = None
        if channel is None:
            channel = RingChannel(self.peer, self._refuse)
            channel.call = ring.call
            if not self._server.connect(channel):
                raise ProtocolError("turned away")
            self._channel = channel
        channel.start(queue, ring.kick)
        self._running = True

    def _end_session(self) -> None:
        channel, self._channel = self._channel, None
        if channel is not None:
            channel.stop_reading()
            channel.closed.wait(_PATIENCE)

    def _refuse(self) -> None:
        """The guest broke the rules: the device is broken until it is reset."""
        error = self._ring.error
        if error is not None:
            error.ring()


def _unpack(layout: struct.Struct, message: Message) -> tuple[int, ...]:
    if len(message.payload) != layout.size:
        raise ProtocolError(f"it has {len(message.payload)} bytes in place of {layout.size}")
    return layout.unpack(message.payload)


def _unpack_region(message: Message) -> tuple[int, int, int, int]:
    if len(message.payload) != _REGION_MESSAGE:
        raise ProtocolError(f"it has {len(message.payload)} bytes in place of {_REGION_MESSAGE}")
    return REGION.unpack_from(message.payload, _REGION_MESSAGE - REGION.size)


def _check_index(index: int) -> None:
    if index:
        raise ProtocolError(f"there is no queue {index}")


_HANDLERS: dict[int, Callable[[Device, Message], bytes | None]] = {
    Request.GET_FEATURES: Device._get_features,
    Request.SET_FEATURES: Device._set_features,
    Request.GET_PROTOCOL_FEATURES: Device._get_protocol_features,
    Request.SET_PROTOCOL_FEATURES: Device._set_protocol_features,
    Request.SET_OWNER: Device._set_owner,
    Request.RESET_DEVICE: Device._reset,
    Request.GET_QUEUE_NUM: Device._get_queue_num,
    Request.GET_CONFIG: Device._get_config,
    Request.GET_MAX_MEM_SLOTS: Device._get_max_mem_slots,
    Request.SET_MEM_TABLE: Device._set_mem_table,
    Request.ADD_MEM_REG: Device._add_mem_reg,
    Request.REM_MEM_REG: Device._rem_mem_reg,
    Request.SET_VRING_NUM: Device._set_vring_num,
    Request.SET_VRING_ADDR: Device._set_vring_addr,
    Request.SET_VRING_BASE: Device._set_vring_base,
    Request.GET_VRING_BASE: Device._get_vring_base,
    Request.SET_VRING_ENABLE: Device._set_vring_enable,
    Request.SET_VRING_KICK: Device._set_vring_kick,
    Request.SET_VRING_CALL: Device._set_vring_call,
    Request.SET_VRING_ERR: Device._set_vring_err,
    Request.SET_BACKEND_REQ_FD: Device._set_backend_req_fd,
}
