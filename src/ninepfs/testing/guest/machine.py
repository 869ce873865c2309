"""Virtual machines as a back end sees them: memory, a queue, and who says what when.

:class:`QemuGuest` and :class:`UmlGuest` send what QEMU 11.1 (``vhost-user-test-device-pci``) and User-mode Linux 6.1
(``virtio_uml``) were seen to send, in the same order.
"""

from __future__ import annotations

import os
import socket
import time
from abc import ABC, abstractmethod
from typing import Any, Self

from ninepfs.testing.drivers import PATIENCE
from ninepfs.testing.guest.frontend import BackendGoneError, Frontend
from ninepfs.testing.guest.memory import QEMU_LAYOUT, UML_LAYOUT, GuestMemory, Layout
from ninepfs.testing.guest.queue import Completion, DriverQueue, QueueBrokenError
from ninepfs.transports.virtio.constants import CONFIG_TAG, Feature, ProtocolFeature, Request

_TAG_MAX = 31
_STATUS_STARTED = 0xF  # acknowledged, driver there, features settled, driver ready


class Guest(ABC):
    """A guest with one 9P device, without a kernel.

    ::

        with QemuGuest(sock) as guest:
            guest.boot()
            reply = guest.transact(pack(Tversion(8192, b"9P2000.L"), NOTAG))

    All parts are public, and everything may be done to them.

    Args:
        sock: a unix socket that is connected to a back end; the guest owns it from now on.
        layout: where its memory is.
        queue_size: number of descriptors, a power of two.
        indirect: use indirect descriptors, if the device has them.
        event_index: use the event index, if the device has it.
        timeout: seconds that anything may take.
    """

    pipe = False
    """Whether calls come through a pipe."""
    layout: Layout

    def __init__(
        self,
        sock: socket.socket,
        *,
        layout: Layout | None = None,
        queue_size: int = 128,
        indirect: bool = True,
        event_index: bool = True,
        timeout: float = PATIENCE,
    ) -> None:
        self.timeout = timeout
        self.closed = False
        self.memory = GuestMemory(layout or self.layout)
        self.queue = DriverQueue(self.memory, queue_size, indirect=indirect, event_index=event_index, pipe=self.pipe)
        self.frontend = Frontend(sock, timeout)
        self.features = Feature(0)
        """What the driver has accepted."""
        self.backend_requests, self._backend_end = socket.socketpair()
        """Where requests of the back end arrive, if it was given the other end."""
        self._wanted = Feature.MOUNT_TAG | Feature.VERSION_1
        if indirect:
            self._wanted |= Feature.INDIRECT_DESC
        if event_index:
            self._wanted |= Feature.EVENT_IDX

    # --- the life of a guest

    @abstractmethod
    def connect(self) -> None:
        """The frontend greets the back end."""

    @abstractmethod
    def start(self, base: int = 0) -> None:
        """The driver is ready: memory and queue are handed over.

        Args:
            base: the index of the available ring that the device looks at first.
        """

    @abstractmethod
    def stop(self) -> None:
        """The queue is taken away from the device."""

    def boot(self) -> None:
        """Greet and start."""
        self.connect()
        self.start()

    def reboot(self) -> None:
        """Stop, and start again on the same connection with an empty queue."""
        self.stop()
        self.queue.reset()
        self.start()
        self.queue.broken()  # which was about the queue before: this one is empty

    def reconnect(self, sock: socket.socket) -> None:
        """Go on with another connection, after the first one has failed.

        What was in flight and had no reply is still in the available ring, and the device will find it again.
        """
        self.frontend.close()
        self.frontend = Frontend(sock, self.timeout)
        self.connect()
        self.start(self.queue.used_index)

    def hang_up(self) -> None:
        """End the connection, at whatever point it is."""
        self.frontend.close()

    def close(self) -> None:
        """Hang up, and give everything back."""
        if self.closed:
            return
        self.closed = True
        self.hang_up()
        self.queue.close()
        self.memory.close()
        self.backend_requests.close()
        self._backend_end.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # --- the device

    @abstractmethod
    def read_config(self, offset: int, size: int) -> bytes:
        """Part of the device's configuration, asked for as this kind of frontend does."""

    def mount_tag(self) -> str:
        """The mount tag, as Linux' driver reads it: first its size, then byte after byte."""
        size = CONFIG_TAG.unpack(self.read_config(0, CONFIG_TAG.size))[0]
        return b"".join(self.read_config(CONFIG_TAG.size + index, 1) for index in range(size)).decode()

    def transact(self, message: bytes, room: int = 4096) -> bytes:
        """One request in one piece, and its reply; empty if the device gave none. Nothing else may be in flight.

        Args:
            message: what the device reads.
            room: bytes that it may write.

        Raises:
            BackendGoneError: there is no back end any more.
            DeviceFaultError: the device broke the rules of the queue.
            QueueBrokenError: the device says that the guest has broken the queue.
            TimeoutError: no reply came.
        """
        request = self.memory.put(message)
        reply = (self.memory.allocate(room), room)
        self.queue.submit([request], [reply] if room else [])
        done = self.wait()
        data = self.memory.read(reply[0], done[0].written)
        self.memory.free(*request)
        self.memory.free(*reply)
        return data

    def wait(self) -> list[Completion]:
        """What the device gives back next (raises as :meth:`transact`)."""
        deadline = time.monotonic() + self.timeout
        while True:
            left = max(0, deadline - time.monotonic())
            done = self.queue.wait(left, [self.frontend.socket.fileno(), self.queue.error_fd])
            if done:
                return done
            if self.queue.broken():
                raise QueueBrokenError("the device says that the queue is broken")
            if self.frontend.gone():
                raise BackendGoneError("the back end ended the connection")

    def _accept(self) -> None:
        self.features = Feature(self.frontend.offered & self._wanted)
        self.queue.event_index = Feature.EVENT_IDX in self.features
        self.queue.indirect = Feature.INDIRECT_DESC in self.features


class QemuGuest(Guest):
    """A guest of QEMU with its generic vhost-user device.

    Args:
        config_size: how many bytes of configuration the device is told to have: 2 and those of the mount tag. None for
            as many as a tag of the largest size takes.
        options: those of :class:`Guest`.
    """

    layout = QEMU_LAYOUT
    KNOWN = (
        ProtocolFeature.MQ
        | ProtocolFeature.REPLY_ACK
        | ProtocolFeature.BACKEND_REQ
        | ProtocolFeature.CONFIG
        | ProtocolFeature.RESET_DEVICE
        | ProtocolFeature.CONFIGURE_MEM_SLOTS
        | ProtocolFeature.STATUS
    )
    """The extensions that it uses if they are offered."""

    def __init__(self, sock: socket.socket, *, config_size: int | None = None, **options: Any) -> None:
        super().__init__(sock, **options)
        self.config_size = CONFIG_TAG.size + _TAG_MAX if config_size is None else config_size

    def connect(self) -> None:
        frontend = self.frontend
        frontend.get_features()
        if frontend.offered & Feature.PROTOCOL_FEATURES:
            features = ProtocolFeature(frontend.get_protocol_features() & self.KNOWN)
            frontend.set_protocol_features(features)
            if ProtocolFeature.MQ in features:
                frontend.get_queue_num()
            if ProtocolFeature.CONFIGURE_MEM_SLOTS in features:
                frontend.get_max_mem_slots()
            if ProtocolFeature.BACKEND_REQ in features:
                frontend.set_backend_req_fd(self._backend_end.fileno(), ack=True)
        frontend.set_owner()
        frontend.get_features()
        frontend.set_vring_fd(Request.SET_VRING_CALL, 0, self.queue.call_fd_device, ack=True)
        frontend.set_vring_fd(Request.SET_VRING_ERR, 0, self.queue.error_fd, ack=True)

    def read_config(self, offset: int, size: int) -> bytes:
        # All of it comes each time, whatever the guest reads.
        return self.frontend.get_config(0, self.config_size)[offset : offset + size]

    def start(self, base: int = 0) -> None:
        frontend, queue, memory = self.frontend, self.queue, self.memory
        self._accept()
        frontend.set_features(self.features | (frontend.offered & Feature.PROTOCOL_FEATURES))
        self.share_memory()
        frontend.set_vring_num(0, queue.size)
        frontend.set_vring_base(0, base)
        frontend.set_vring_addr(0, memory.user(queue.table), memory.user(queue.used), memory.user(queue.avail))
        frontend.set_vring_fd(Request.SET_VRING_KICK, 0, queue.kick_fd, ack=True)
        # First one of QEMU's own, then the one that leads into the guest.
        with_qemu = os.eventfd(0)
        try:
            frontend.set_vring_fd(Request.SET_VRING_CALL, 0, with_qemu, ack=True)
        finally:
            os.close(with_qemu)
        frontend.set_vring_enable(0, True, ack=True)
        frontend.set_vring_fd(Request.SET_VRING_CALL, 0, queue.call_fd_device, ack=True)
        if ProtocolFeature.STATUS in frontend.protocol_features:
            frontend.set_status(frontend.get_status() | _STATUS_STARTED)
        # The device may have called on the other descriptor.
        os.eventfd_write(queue.call_fd_device, 1)

    def share_memory(self) -> None:
        """Hand over the memory as it is now."""
        if ProtocolFeature.CONFIGURE_MEM_SLOTS in self.frontend.protocol_features:
            for region in self.memory.regions:
                self.frontend.add_mem_reg(self.memory, region, ack=True)
        else:
            self.frontend.set_mem_table(self.memory, ack=True)

    def stop(self) -> None:
        self.frontend.set_vring_enable(0, False, ack=True)
        self.base = self.frontend.get_vring_base(0)
        if ProtocolFeature.STATUS in self.frontend.protocol_features:
            self.frontend.set_status(0)
        if ProtocolFeature.CONFIGURE_MEM_SLOTS in self.frontend.protocol_features:
            for region in self.memory.regions:
                self.frontend.rem_mem_reg(region, ack=True)

    base = 0
    """After :meth:`stop`: the index of the available ring that comes next, as the back end said."""

    def pause(self) -> None:
        """Stop, as for a moment: :meth:`go_on` starts the queue where it was."""
        self.stop()

    def go_on(self) -> None:
        """Start where :meth:`pause` stopped."""
        self.start(self.base)


class UmlGuest(Guest):
    """A User-mode Linux kernel: guest addresses are those of its process, calls come through a pipe, and the queue is
    stopped without asking where it was."""

    layout = UML_LAYOUT
    pipe = True
    KNOWN = ProtocolFeature.REPLY_ACK | ProtocolFeature.BACKEND_REQ | ProtocolFeature.CONFIG
    """The extensions that it uses if they are offered."""

    def __init__(self, sock: socket.socket, *, queue_size: int = 256, **options: Any) -> None:
        super().__init__(sock, queue_size=queue_size, **options)

    def connect(self) -> None:
        frontend = self.frontend
        frontend.set_owner()
        frontend.get_features()
        if frontend.offered & Feature.PROTOCOL_FEATURES:
            features = ProtocolFeature(frontend.get_protocol_features() & self.KNOWN)
            # It wants the answer that it is only about to agree on.
            frontend.set_protocol_features(features, ack=True)
            if ProtocolFeature.BACKEND_REQ in features:
                frontend.set_backend_req_fd(self._backend_end.fileno(), ack=True)

    def read_config(self, offset: int, size: int) -> bytes:
        # It always asks from the beginning on.
        return self.frontend.get_config(0, offset + size)[offset:]

    def start(self, base: int = 0) -> None:
        frontend, queue, memory = self.frontend, self.queue, self.memory
        self._accept()
        frontend.set_features(self.features | (frontend.offered & Feature.PROTOCOL_FEATURES), ack=True)
        frontend.set_mem_table(memory, slots=2, ack=True)
        frontend.set_vring_fd(Request.SET_VRING_CALL, 0, queue.call_fd_device, ack=True)
        frontend.set_vring_num(0, queue.size, ack=True)
        frontend.set_vring_base(0, base, ack=True)
        addresses = memory.user(queue.table), memory.user(queue.used), memory.user(queue.avail)
        frontend.set_vring_addr(0, *addresses, log=0xFFFFFFFFFFFFFFFF, ack=True)
        frontend.set_vring_fd(Request.SET_VRING_KICK, 0, queue.kick_fd, ack=True)
        frontend.set_vring_enable(0, True, ack=True)

    def stop(self) -> None:
        self.frontend.set_vring_enable(0, False, ack=True)
        self.frontend.get_features()  # once this is answered, all before it is done
