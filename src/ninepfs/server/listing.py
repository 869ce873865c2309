"""An open directory as 9P2000 and 9P2000.u read it: a run of whole stats."""

from __future__ import annotations

import errno
import threading
from collections import deque
from itertools import islice
from typing import Any

from ninepfs.drivers.base import Entry
from ninepfs.server.export import Export
from ninepfs.server.request import fail
from ninepfs.server.stats import describe, pack_entry, stat_of_stranger
from ninepfs.wire.fields import Dialect

_SMALLEST = 56
"""Bytes that the stat of any entry takes at least."""


_KEPT = 64
"""So many entries are kept until the next read, at most: a client may have thousands of directories open."""


class Listing:
    """How far an open directory has been read. ``.`` and ``..`` are not listed: 9P2000 has none.

    A read begins at offset 0, or exactly where the one before ended. An entry that does not fit ends the answer. If not
    even one fits, the read fails: no data would mean that this was the end. One case is different, because Linux makes
    it: it fills one buffer with several reads, and the last of them asks for just the room that the answer before left
    in it. There no data means, rightly, that nothing more fits, and Linux comes back with a fresh buffer.

    Args:
        export: where the directory is.
        node: the directory.
        handle: the same, open.
        dialect: of the session.
        limit: most bytes that one answer can have.
    """

    def __init__(self, export: Export, node: Any, handle: Any, dialect: Dialect, limit: int) -> None:
        self._export = export
        self._node = node
        self._handle = handle
        self._dialect = dialect
        self._limit = limit
        self._lock = threading.Lock()
        self._rewind()

    def _rewind(self) -> None:
        self._offset = 0
        self._room = 0
        """What the last read left of the room that it had."""
        self._cookie = 0
        self._entries: deque[Entry] = deque()
        """What the driver has told and no answer has had yet."""

    def read(self, offset: int, count: int) -> bytes:
        """The entries at ``offset``, at most ``count`` bytes; nothing at the end.

        Raises:
            OSError: EINVAL: the offset is not where the last read ended, or there is no room for one entry.
        """
        with self._lock:
            if not offset:
                self._rewind()
            elif offset != self._offset:
                fail(errno.EINVAL)
            if not count:
                return b""
            count = min(count, self._limit)
            parts: list[bytes] = []
            room = count
            while True:
                packed = self._next(count)
                if packed is None:
                    break
                if len(packed) > room:
                    if not parts and count != self._room:
                        fail(errno.EINVAL)
                    break
                self._pass()
                parts.append(packed)
                room -= len(packed)
            self._offset += count - room
            self._room = room
            while len(self._entries) > _KEPT:
                self._entries.pop()  # it is told again
            return b"".join(parts)

    def _pass(self) -> None:
        """The next entry is dealt with."""
        *_, self._cookie = self._entries.popleft()

    def _next(self, count: int) -> bytes | None:
        """The next entry that is still there, packed; None at the end. It stays the next one: if it does not fit, it
        is looked at again when it is told."""
        while True:
            if not self._entries:
                found = self._export.driver.readdir(self._handle, self._cookie, count)
                self._entries.extend(islice(found, count // _SMALLEST + 1))
                if not self._entries:
                    return None
            name, kind, ino, _ = self._entries[0]
            if name in (b".", b".."):
                self._pass()
                continue
            try:
                node, _ = self._export.driver.lookup(self._node, name)
                stat = describe(self._export, node, None, name, self._dialect)
            except OSError as failure:
                if failure.errno in (errno.ENOENT, errno.ESTALE):
                    self._pass()
                    continue
                # A mount that hangs, for example: it must not hide what else is in the directory.
                stat = stat_of_stranger(self._export, name, kind, ino, self._dialect)
            return pack_entry(stat, self._dialect, self._limit)
