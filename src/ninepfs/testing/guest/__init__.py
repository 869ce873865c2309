"""A guest without a kernel: what a virtual machine does to a vhost-user back end, in Python.

Memory (:class:`GuestMemory`), the driver's side of a virtqueue (:class:`DriverQueue`) and the frontend's end of a
vhost-user stream (:class:`Frontend`) make a :class:`Guest`, which behaves as QEMU or as User-mode Linux, or as badly as
a test wants. A :class:`~ninepfs.client.Client` works through it by a :class:`QueueLink`.
"""

from ninepfs.testing.guest.frontend import BackendFaultError, BackendGoneError, BackendRefusedError, Frontend
from ninepfs.testing.guest.link import QueueLink
from ninepfs.testing.guest.machine import Guest, QemuGuest, UmlGuest
from ninepfs.testing.guest.memory import (
    QEMU_LAYOUT,
    SPLIT_LAYOUT,
    UML_LAYOUT,
    GuestMemory,
    Layout,
    Region,
)
from ninepfs.testing.guest.queue import (
    Completion,
    Descriptor,
    DeviceFaultError,
    DriverQueue,
    QueueBrokenError,
    QueueFullError,
)
from ninepfs.testing.guest.served import ServedVirtio, serve_virtio

__all__ = [
    "QEMU_LAYOUT",
    "SPLIT_LAYOUT",
    "UML_LAYOUT",
    "BackendFaultError",
    "BackendGoneError",
    "BackendRefusedError",
    "Completion",
    "Descriptor",
    "DeviceFaultError",
    "DriverQueue",
    "Frontend",
    "Guest",
    "GuestMemory",
    "Layout",
    "QemuGuest",
    "QueueBrokenError",
    "QueueFullError",
    "QueueLink",
    "Region",
    "ServedVirtio",
    "UmlGuest",
    "serve_virtio",
]
