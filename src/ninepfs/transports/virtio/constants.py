"""The numbers and layouts of vhost-user and of the split virtqueue.

vhost-user travels in the host's byte order, rings are little-endian (VIRTIO 1.x, no legacy devices). On the machines
that this runs on both are the same, so all layouts here are little-endian.

Sources: "Vhost-user Protocol" of QEMU's documentation; VIRTIO 1.2, sections 2.7 (split virtqueues) and 6 (feature
bits); the 9P device is that of Linux (``include/uapi/linux/virtio_9p.h``).
"""

from __future__ import annotations

import struct
from enum import IntEnum, IntFlag
from typing import Final

# --- vhost-user: messages

HEADER: Final = struct.Struct("<III")
"""Before each message: ``request flags size``; ``size`` is that of the payload behind it."""

VERSION: Final = 1
VERSION_MASK: Final = 3
"""The protocol's version, in the lowest bits of a header's flags."""

MAX_FDS: Final = 8
"""The most descriptors that come with one message, and regions in one table of memory."""

MAX_CONFIG: Final = 256
"""The largest device configuration that a message carries, in bytes."""


class HeaderFlag(IntFlag):
    """Flags in a message's header, beside the version."""

    REPLY = 4
    """It is a reply."""
    NEED_REPLY = 8
    """It wants an answer also if its kind has none: a u64, 0 for success (with :attr:`ProtocolFeature.REPLY_ACK`)."""


class Request(IntEnum):
    """What a frontend asks of a back end."""

    GET_FEATURES = 1
    SET_FEATURES = 2
    SET_OWNER = 3
    RESET_OWNER = 4
    SET_MEM_TABLE = 5
    SET_LOG_BASE = 6
    SET_LOG_FD = 7
    SET_VRING_NUM = 8
    SET_VRING_ADDR = 9
    SET_VRING_BASE = 10
    GET_VRING_BASE = 11
    SET_VRING_KICK = 12
    SET_VRING_CALL = 13
    SET_VRING_ERR = 14
    GET_PROTOCOL_FEATURES = 15
    SET_PROTOCOL_FEATURES = 16
    GET_QUEUE_NUM = 17
    SET_VRING_ENABLE = 18
    SEND_RARP = 19
    NET_SET_MTU = 20
    SET_BACKEND_REQ_FD = 21
    IOTLB_MSG = 22
    SET_VRING_ENDIAN = 23
    GET_CONFIG = 24
    SET_CONFIG = 25
    CREATE_CRYPTO_SESSION = 26
    CLOSE_CRYPTO_SESSION = 27
    POSTCOPY_ADVISE = 28
    POSTCOPY_LISTEN = 29
    POSTCOPY_END = 30
    GET_INFLIGHT_FD = 31
    SET_INFLIGHT_FD = 32
    GPU_SET_SOCKET = 33
    RESET_DEVICE = 34
    VRING_KICK = 35
    GET_MAX_MEM_SLOTS = 36
    ADD_MEM_REG = 37
    REM_MEM_REG = 38
    SET_STATUS = 39
    GET_STATUS = 40


class ProtocolFeature(IntFlag):
    """Extensions of vhost-user that both sides agree on."""

    MQ = 1 << 0
    LOG_SHMFD = 1 << 1
    RARP = 1 << 2
    REPLY_ACK = 1 << 3
    MTU = 1 << 4
    BACKEND_REQ = 1 << 5
    CROSS_ENDIAN = 1 << 6
    CRYPTO_SESSION = 1 << 7
    PAGEFAULT = 1 << 8
    CONFIG = 1 << 9
    BACKEND_SEND_FD = 1 << 10
    HOST_NOTIFIER = 1 << 11
    INFLIGHT_SHMFD = 1 << 12
    RESET_DEVICE = 1 << 13
    INBAND_NOTIFICATIONS = 1 << 14
    CONFIGURE_MEM_SLOTS = 1 << 15
    STATUS = 1 << 16


# --- vhost-user: payloads

U64: Final = struct.Struct("<Q")
"""Features, and the answer to a message that wants one."""

MEMORY: Final = struct.Struct("<II")
"""Begins SET_MEM_TABLE: ``regions padding``; so many of :data:`REGION` follow, with one descriptor each."""

REGION: Final = struct.Struct("<QQQQ")
"""``guest_address size user_address mmap_offset``: guest-physical address, bytes, the address in the frontend (which
addresses of rings are given in), and where the region begins in its descriptor."""

VRING_STATE: Final = struct.Struct("<II")
"""``index number``: for SET_VRING_NUM (entries), SET_VRING_BASE and GET_VRING_BASE (index of the next available
entry), SET_VRING_ENABLE (0 or 1)."""

VRING_ADDRESS: Final = struct.Struct("<IIQQQQ")
"""``index flags descriptors used available log``, for SET_VRING_ADDR; addresses in the frontend."""

VRING_INDEX_MASK: Final = 0xFF
VRING_NO_FD: Final = 0x100
"""In the u64 of SET_VRING_KICK, _CALL and _ERR: the queue's index, and that no descriptor comes with it."""

CONFIG: Final = struct.Struct("<III")
"""Begins GET_CONFIG and SET_CONFIG: ``offset size flags``; ``size`` bytes follow."""

# --- feature bits


class Feature(IntFlag):
    """Feature bits of the device, its rings, and vhost-user itself."""

    MOUNT_TAG = 1 << 0
    """9P device: there is a mount tag in the configuration."""
    NOTIFY_ON_EMPTY = 1 << 24
    LOG_ALL = 1 << 26
    """vhost: the back end can log what it writes, for migration."""
    INDIRECT_DESC = 1 << 28
    EVENT_IDX = 1 << 29
    PROTOCOL_FEATURES = 1 << 30
    """vhost-user: GET_PROTOCOL_FEATURES exists; the guest does not see this bit."""
    VERSION_1 = 1 << 32
    ACCESS_PLATFORM = 1 << 33
    RING_PACKED = 1 << 34
    IN_ORDER = 1 << 35


# --- the 9P device

DEVICE_ID: Final = 9
"""The number of the 9P device among virtio devices."""

CONFIG_TAG: Final = struct.Struct("<H")
"""Begins the configuration: how many bytes the mount tag has, which follows."""

# --- split rings

MAX_RING: Final = 32768
"""The most entries of a ring; always a power of two."""


class DescriptorFlag(IntFlag):
    """Flags of a descriptor."""

    NEXT = 1
    """The chain goes on at ``next``."""
    WRITE = 2
    """For the device to write to; else to read."""
    INDIRECT = 4
    """The memory is a table of descriptors."""


DESCRIPTOR: Final = struct.Struct("<QIHH")
"""``address length flags next``."""

RING_HEADER: Final = struct.Struct("<HH")
"""Begins the available and the used ring: ``flags index``."""

AVAILABLE_ELEMENT: Final = struct.Struct("<H")
"""The first descriptor of a chain; behind the last element of the available ring: ``used_event``."""

USED_ELEMENT: Final = struct.Struct("<II")
"""``id length``: the first descriptor of a finished chain, and how many bytes were written to it. Behind the last
element of the used ring: a u16, ``avail_event``."""

AVAILABLE_NO_INTERRUPT: Final = 1
"""Flag of the available ring: the driver wants no notifications (without EVENT_IDX)."""

USED_NO_NOTIFY: Final = 1
"""Flag of the used ring: the device wants no notifications (without EVENT_IDX)."""
