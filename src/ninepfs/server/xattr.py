"""What a fid holds while an extended attribute is read or written through it."""

from __future__ import annotations

import errno
import os


class XattrRead:
    """The value (or the list of names) that Txattrwalk found."""

    __slots__ = ("value",)

    def __init__(self, value: bytes) -> None:
        self.value = value

    @property
    def charge(self) -> int:
        """Bytes that count against the session's limit."""
        return len(self.value)


class XattrWrite:
    """The value that Txattrcreate announced and Twrite fills; the clunk sets it."""

    __slots__ = ("flags", "name", "size", "value")

    def __init__(self, name: bytes, size: int, flags: int) -> None:
        self.name = name
        self.size = size
        self.flags = flags
        self.value = bytearray()

    @property
    def charge(self) -> int:
        """Bytes that count against the session's limit."""
        return self.size

    def write(self, data: memoryview, offset: int) -> int:
        """Put data into its place; what reaches beyond the announced size is cut off.

        Raises:
            OSError: ENOSPC beyond the announced size, EINVAL for a gap.
        """
        if offset > self.size:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        if offset > len(self.value):
            raise OSError(errno.EINVAL, os.strerror(errno.EINVAL))
        count = min(len(data), self.size - offset)
        self.value[offset : offset + count] = data[:count]
        return count
