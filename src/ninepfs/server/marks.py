"""DMEXCL and DMAPPEND: what 9P2000 can say of a file and a host cannot keep.

What is promised: a file that is created with DMEXCL or DMAPPEND bears the mark as long as anyone has it open through
9P2000 or 9P2000.u, in whichever session of this server. Meanwhile stat and qids show it, a file with DMEXCL cannot be
opened a second time, and what is written to one with DMAPPEND goes to its end. When the last open fid is clunked the
file is an ordinary one. Clients of 9P2000.L, and programs of the host, know nothing of it.
"""

from __future__ import annotations

import errno
import threading

from ninepfs.server.request import NamedError
from ninepfs.wire.constants import DM

MARKS = int(DM.EXCL | DM.APPEND)
"""The bits that are kept here."""

_EXCL = int(DM.EXCL)


class Marks:
    """The marked files of one export, by their qid paths."""

    def __init__(self) -> None:
        self._marked: dict[int, list[int]] = {}
        """qid path -> [DM bits, how many have it open]."""
        self._lock = threading.Lock()

    def of(self, path: int) -> int:
        """The DM bits of a file."""
        marked = self._marked.get(path)
        return 0 if marked is None else marked[0]

    def create(self, path: int, bits: int) -> None:
        """A file was created with these bits, and is open."""
        with self._lock:
            # Another one may have had that path, and just be leaving.
            _, others = self._marked.get(path, (0, 0))
            self._marked[path] = [bits, others + 1]

    def enter(self, path: int) -> int | None:
        """Somebody opens a file. Returns its bits, and :meth:`leave` must follow; or None, if it is not marked.

        Raises:
            OSError: EBUSY: it is for exclusive use, and in use.
        """
        with self._lock:
            marked = self._marked.get(path)
            if marked is None:
                return None
            if marked[0] & _EXCL:
                raise NamedError(errno.EBUSY, b"exclusive use file already open")
            marked[1] += 1
            return marked[0]

    def leave(self, path: int) -> None:
        """One who has the file open closes it."""
        with self._lock:
            marked = self._marked[path]
            marked[1] -= 1
            if not marked[1]:
                del self._marked[path]

    def keep(self, path: int, bits: int) -> None:
        """Of the bits that a file has, only these stay. (Those who have it open go on as they opened it.)"""
        with self._lock:
            marked = self._marked.get(path)
            if marked is not None:
                marked[0] &= bits
