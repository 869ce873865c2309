"""The memory of a guest: regions of a memfd that a back end maps, with gaps between them if wanted."""

from __future__ import annotations

import mmap
import os
from collections import deque
from typing import NamedTuple

PAGE = 4096
"""Bytes of a page of the guest."""

QEMU_USER = 0x7F40_0000_0000
"""Where QEMU might have guest address 0 in its own address space."""

UML_OFFSET = 0x2E2F_C000
"""Where User-mode Linux' memory might begin in its file; there, guest addresses are those of its process."""

_LEAST = 64  # the smallest piece that the allocator gives out


class Layout(NamedTuple):
    """Where memory is. User address is what the guest address 0 of a region is in the frontend's process."""

    regions: tuple[tuple[int, int], ...] = ((0, 32 << 20),)
    """Guest address and size of each region, in bytes."""
    user: int = QEMU_USER
    """What has to be added to a guest address for the address in the frontend's process."""
    offset: int = 0
    """Where in the file the first region begins."""
    sealable: bool = True
    """Whether the file can be sealed against being made shorter."""


QEMU_LAYOUT = Layout()
"""One region from address 0 on, as in a small QEMU guest."""

SPLIT_LAYOUT = Layout(((0, 16 << 20), (1 << 32, 32 << 20)))
"""Two regions below and above 4 GiB, as in a large QEMU guest."""

UML_LAYOUT = Layout(((0x6000_0000, 32 << 20),), user=0, offset=UML_OFFSET, sealable=False)
"""One region deep in its file, with guest addresses that are those of the process, as in User-mode Linux."""


class Region(NamedTuple):
    """A piece of the guest's address space."""

    guest: int
    """Its guest address."""
    size: int
    user: int
    """Its address in the frontend's process."""
    offset: int
    """Where in the file it begins."""

    @property
    def end(self) -> int:
        """The guest address behind it."""
        return self.guest + self.size


class _Window:
    """A region as it is mapped here."""

    def __init__(self, fd: int, region: Region) -> None:
        self.region = region
        self.map = mmap.mmap(fd, region.size, offset=region.offset)
        self.bytes = memoryview(self.map)
        self.halves = self.bytes.cast("H")

    def close(self) -> None:
        self.halves.release()
        self.bytes.release()
        try:
            self.map.close()
        except BufferError:
            pass  # somebody still looks at a piece of it; it goes with that view


class GuestMemory:
    """Shared memory with guest addresses, and an allocator for it.

    Nothing is ever given back to the system before :meth:`close`; pages that nobody touched take none.

    Args:
        layout: where it is.
    """

    def __init__(self, layout: Layout = QEMU_LAYOUT) -> None:
        self.layout = layout
        self.fd = os.memfd_create("guest", os.MFD_CLOEXEC | (os.MFD_ALLOW_SEALING if layout.sealable else 0))
        self._windows: list[_Window] = []
        self._end = layout.offset
        self._unused: deque[tuple[int, int]] = deque()  # guest address and end of what was never given out
        self._free: dict[int, list[int]] = {}  # pieces that came back, by their size
        for guest, size in layout.regions:
            self.add(guest, size)

    # --- regions

    @property
    def regions(self) -> list[Region]:
        """All regions, in the order in which they were added."""
        return [window.region for window in self._windows]

    def add(self, guest: int, size: int) -> Region:
        """A new region; the back end learns of it only when it is told.

        Args:
            guest: its guest address, in whole pages.
            size: bytes, whole pages.
        """
        region = Region(guest, size, guest + self.layout.user, self._end)
        self._end += size
        os.ftruncate(self.fd, self._end)
        self._windows.append(_Window(self.fd, region))
        self._unused.append((guest, guest + size))
        return region

    def user(self, address: int) -> int:
        """The address in the frontend's process of a guest address."""
        return address + self.layout.user

    def _window(self, address: int, size: int) -> tuple[_Window, int]:
        for window in self._windows:
            start = address - window.region.guest
            if start >= 0 and start + size <= window.region.size:
                return window, start
        raise ValueError(f"{size} bytes at {address:#x} are in no region")

    # --- contents

    def view(self, address: int, size: int) -> memoryview:
        """The memory at a guest address.

        Raises:
            ValueError: not all of it is in one region.
        """
        window, start = self._window(address, size)
        return window.bytes[start : start + size]

    def read(self, address: int, size: int) -> bytes:
        """A copy of what is at a guest address (raises as :meth:`view`)."""
        return bytes(self.view(address, size))

    def write(self, address: int, data: bytes | bytearray | memoryview) -> None:
        """Put bytes at a guest address (raises as :meth:`view`)."""
        self.view(address, len(data))[:] = data

    def halves(self, address: int, count: int) -> memoryview:
        """``count`` 16-bit numbers at an even guest address, each of which is read and written by one access."""
        window, start = self._window(address, 2 * count)
        return window.halves[start // 2 : start // 2 + count]

    # --- the allocator

    def allocate(self, size: int, align: int = 16) -> int:
        """The guest address of ``size`` bytes that nobody else uses; what is in them is whatever was there.

        Raises:
            MemoryError: there is no room.
        """
        rounded = _rounded(size)
        align = max(align, min(rounded, PAGE))
        free = self._free.get(rounded)
        if free and align <= min(rounded, PAGE):
            return free.pop()
        # From all regions in turn, so that every one is used.
        for _ in range(len(self._unused)):
            start, end = self._unused.popleft()
            at = (start + align - 1) // align * align
            fits = at + rounded <= end
            self._unused.append((at + rounded if fits else start, end))
            if fits:
                return at
        raise MemoryError(f"the guest has no {size} bytes left")

    def free(self, address: int, size: int) -> None:
        """Give back what :meth:`allocate` gave."""
        self._free.setdefault(_rounded(size), []).append(address)

    def put(self, data: bytes) -> tuple[int, int]:
        """Bytes in memory of their own: its guest address and size."""
        address = self.allocate(len(data))
        self.write(address, data)
        return address, len(data)

    def close(self) -> None:
        """Forget all of it; a back end that has mapped it keeps it."""
        for window in self._windows:
            window.close()
        self._windows.clear()
        os.close(self.fd)


def _rounded(size: int) -> int:
    return max(_LEAST, 1 << (size - 1).bit_length()) if size else _LEAST
