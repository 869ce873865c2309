"""The memory of a guest, as far as its frontend shares it.

Addresses of descriptors are guest-physical, addresses of rings are those of the frontend's process. Both become slices
of one mapping for each region, without a copy.

A mapping lives as long as somebody holds a slice of it, so memory that is withdrawn while requests are at work with it
stays valid for them. What no reference can help against is a frontend that makes the *file* shorter: touching a page
that is gone ends the process with SIGBUS. Therefore a region must lie within its file when it is mapped, and the file
is sealed against shrinking where that is possible (memfd; QEMU seals its own). Where it is not, frontends are trusted
not to do it; guests never have the choice. The same comes of memory that there is not: whoever gives guests more huge
pages, or more of a tmpfs, than there are, lets the first to touch one too many end, and that may be this process.
"""

from __future__ import annotations

import ctypes
import fcntl
import logging
import mmap
import os
import stat
import sys
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

from ninepfs.wire.fields import ProtocolError

log = logging.getLogger("ninepfs.virtio")

_END = 1 << 64
_LONGEST = sys.maxsize
_MAPPING: dict[str, Any] = {"trackfd": False} if sys.version_info >= (3, 13) else {}  # else it keeps a descriptor

Piece = tuple[int, int]
"""``(guest-physical address, bytes)``."""


class GuestMemoryError(ProtocolError):
    """An address that is not in the guest's memory, or memory that cannot be used."""


class Region(NamedTuple):
    """A piece of guest memory in one mapping."""

    guest: int
    """Its guest-physical address."""
    end: int
    """The guest-physical address behind it."""
    user: int
    """Its address in the frontend."""
    view: memoryview
    address: int = 0
    """Where it is mapped in this process."""

    @property
    def size(self) -> int:
        """Its size in bytes."""
        return self.end - self.guest


def map_region(guest: int, size: int, user: int, offset: int, *, fd: int) -> Region:
    """Map a piece of guest memory.

    Args:
        guest: its guest-physical address.
        size: its size in bytes.
        user: its address in the frontend.
        offset: where it begins in the file.
        fd: the file; it is not needed any more afterwards.

    Raises:
        GuestMemoryError: it cannot be mapped, or is not where the file is.
    """
    if not size or guest + size > _END or user + size > _END or offset + size > _LONGEST:
        raise GuestMemoryError(f"a region of {size:#x} bytes at {guest:#x} is not possible")
    try:
        _seal(fd)
        found = os.fstat(fd)
        if not stat.S_ISREG(found.st_mode):
            raise GuestMemoryError("a region of memory is not in a file that can be shared")
        if offset + size > found.st_size:
            raise GuestMemoryError(f"a region ends at {offset + size:#x}, but its file at {found.st_size:#x}")
        view = _map(fd, size, offset)
    except (OSError, ValueError) as failure:
        raise GuestMemoryError(f"a region of {size:#x} bytes at {guest:#x} cannot be mapped: {failure}") from None
    return Region(guest, guest + size, user, view, ctypes.addressof(ctypes.c_char.from_buffer(view)))


def _seal(fd: int) -> None:
    try:
        seals = fcntl.fcntl(fd, fcntl.F_GET_SEALS)
        if not seals & fcntl.F_SEAL_SHRINK:
            fcntl.fcntl(fd, fcntl.F_ADD_SEALS, fcntl.F_SEAL_SHRINK)
    except OSError as failure:
        log.debug("guest memory cannot be sealed against shrinking: %s", failure.strerror)


def _map(fd: int, size: int, offset: int) -> memoryview:
    inside = offset % mmap.ALLOCATIONGRANULARITY
    try:
        return memoryview(mmap.mmap(fd, size + inside, offset=offset - inside, **_MAPPING))[inside:]
    except OSError:
        # Huge pages are mapped in whole ones; from the beginning of the file that is always so.
        return memoryview(mmap.mmap(fd, size + offset, **_MAPPING))[offset:]


class Memory:
    """What a frontend shares of a guest's memory. Objects do not change; another table is another object.

    Args:
        regions: they may touch, but not overlap.

    Raises:
        GuestMemoryError: two regions overlap.
    """

    def __init__(self, regions: Iterable[Region] = ()) -> None:
        self.regions = sorted(regions, key=lambda region: region.guest)
        for one, other in zip(self.regions, self.regions[1:], strict=False):
            if one.end > other.guest:
                raise GuestMemoryError(f"regions of memory overlap at {other.guest:#x}")
        largest = max(self.regions, key=lambda region: region.size, default=Region(0, 0, 0, memoryview(b"")))
        self.base, self.end, _, self.largest, address = largest
        """The largest region, by its guest-physical addresses: nearly all that is asked for is in it."""
        self.shift = address - self.base
        """From a guest-physical address in the largest region to one of this process."""

    def views(self, pieces: Sequence[Piece]) -> list[memoryview]:
        """Guest memory in pieces; where regions touch, a piece may become several.

        Raises:
            GuestMemoryError: some of it is in no region.
        """
        base, end, view = self.base, self.end, self.largest
        found = [
            view[address - base : address - base + size]
            for address, size in pieces
            if base <= address and address + size <= end
        ]
        if len(found) == len(pieces):
            return found
        return [view for address, size in pieces for view in self._across(address, size)]

    def _across(self, address: int, size: int) -> Iterable[memoryview]:
        while size:
            for region in self.regions:
                if region.guest <= address < region.end:
                    part = min(size, region.end - address)
                    start = address - region.guest
                    yield region.view[start : start + part]
                    address += part
                    size -= part
                    break
            else:
                raise GuestMemoryError(f"{size:#x} bytes at {address:#x} are not in the guest's memory")

    def at_user(self, address: int, size: int) -> memoryview:
        """Memory in one piece, by its address in the frontend.

        Raises:
            GuestMemoryError: it is not all in one region.
        """
        for region in self.regions:
            start = address - region.user
            if start >= 0 and start + size <= region.size:
                return region.view[start : start + size]
        raise GuestMemoryError(f"{size:#x} bytes at the frontend's {address:#x} are not in the guest's memory")


def cut(views: Sequence[memoryview], start: int, count: int) -> list[memoryview]:
    """The ``count`` bytes from ``start`` of memory in pieces; fewer if it ends before."""
    result = []
    for view in views:
        size = len(view)
        if start >= size:
            start -= size
            continue
        part = min(size - start, count)
        if part <= 0:
            break
        result.append(view[start : start + part])
        count -= part
        start = 0
    return result
