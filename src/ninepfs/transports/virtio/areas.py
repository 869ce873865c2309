"""Guest memory in pieces: what one direction of a chain of descriptors consists of.

Most requests have one or two pieces, whose slices are made at once. The pages of a large read or write are more than a
hundred, and making a slice of each takes longer than moving the data; so those are made when they are asked for, and a
read from a file does without them.
"""

from __future__ import annotations

import ctypes
import functools
from collections.abc import Sequence

from ninepfs.transports.virtio.memory import Memory, Piece

_preadv = ctypes.CDLL(None).preadv64
_preadv.restype = ctypes.c_ssize_t


class Area:
    """Memory in a few pieces.

    Args:
        views: slices of it.
        pieces: where it is, for those who come back later, when it may be mapped anew.
    """

    __slots__ = ("first", "pieces", "size", "views")

    first: memoryview
    """The first piece; empty if there is none."""
    size: int
    """Bytes of all pieces."""
    views: Sequence[memoryview]
    """The pieces."""
    pieces: Sequence[Piece]
    """The pieces by their guest-physical addresses."""

    def __init__(self, views: Sequence[memoryview], pieces: Sequence[Piece]) -> None:
        self.views = views
        self.pieces = pieces
        self.first = views[0] if views else memoryview(b"")
        self.size = sum(map(len, views))

    def read_behind_first(self, fd: int, offset: int) -> int | None:
        """Read from a file into all pieces but the first one. None if that is not possible here, or failed."""
        return None


class Pages(Area):
    """Memory in many pieces, all of it in the largest region.

    Args:
        memory: the guest's.
        addresses: of the pieces, checked.
        sizes: of the pieces, in bytes.
        descriptors: the descriptors that say the same, as the driver wrote them.
    """

    __slots__ = ("_addresses", "_descriptors", "_memory", "_sizes", "_views")

    def __init__(self, memory: Memory, addresses: Sequence[int], sizes: Sequence[int], descriptors: bytes) -> None:
        self._memory = memory
        self._addresses = addresses
        self._sizes = sizes
        self._descriptors = descriptors
        self._views: list[memoryview] | None = None
        start = addresses[0] - memory.base
        self.first = memory.largest[start : start + sizes[0]]
        self.size = sum(sizes)

    @property
    def views(self) -> Sequence[memoryview]:  # type: ignore[override]
        views = self._views
        if views is None:
            base, view = self._memory.base, self._memory.largest
            starts = [address - base for address in self._addresses]
            views = [view[start : start + size] for start, size in zip(starts, self._sizes, strict=True)]
            self._views = views
        return views

    @property
    def pieces(self) -> Sequence[Piece]:  # type: ignore[override]
        return list(zip(self._addresses, self._sizes, strict=True))

    def read_behind_first(self, fd: int, offset: int) -> int | None:
        # A descriptor is a struct iovec but for the upper half of its length, where flags and next are, and for the
        # address, which is the guest's. As one large number each, all of them are changed by two operations.
        count = len(self._sizes) - 1
        lengths, ones = _lanes(count)
        vectors = (int.from_bytes(self._descriptors[16:], "little") & lengths) + self._memory.shift * ones
        size = _preadv(
            ctypes.c_int(fd), vectors.to_bytes(16 * count, "little"), ctypes.c_int(count), ctypes.c_longlong(offset)
        )
        return None if size < 0 else int(size)


@functools.lru_cache(256)
def _lanes(count: int) -> tuple[int, int]:
    """For so many descriptors in one number: what keeps address and length of each, and 1 in the address of each."""
    return (
        int.from_bytes((b"\xff" * 12 + bytes(4)) * count, "little"),
        int.from_bytes((b"\1" + bytes(15)) * count, "little"),
    )
