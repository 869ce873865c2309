"""Pipes that data passes through on its way from a file to a socket, without entering the process."""

from __future__ import annotations

import fcntl
import os
import socket
from pathlib import Path

_PAGE = 4096
_F_SETPIPE_SZ = 1031
_MOST = 10
"""So many pipes hold the largest reply even if none may be larger than a megabyte."""


def _limit() -> int:
    """How large a pipe may be for those without privileges (proc(5), /proc/sys/fs/pipe-max-size)."""
    try:
        return int(Path("/proc/sys/fs/pipe-max-size").read_text())
    except OSError:
        return 16 * _PAGE


_LIMIT = _limit()


class Pipes:
    """Hold the data of one reply between splice(2) in and splice(2) out.

    More than one if the data does not fit into the largest pipe that the host allows, which a message of a megabyte
    already does not: it may begin and end in the middle of a page, and a page is a slot of a pipe also when it is not
    full.
    """

    def __init__(self) -> None:
        self._pipes: list[tuple[int, int, int]] = []
        """(reading end, writing end, slots)"""
        self._slots = 0
        self._refused = 1 << 62
        self._held: list[tuple[int, int]] = []
        """(reading end, bytes)"""

    def fits(self, count: int) -> bool:
        """Whether ``count`` bytes from any offset fit, making more room if that is allowed."""
        needed = count // _PAGE + 2
        while self._slots < needed:
            if needed >= self._refused:
                return False
            if len(self._pipes) == _MOST:
                self._refused = needed
                return False
            self._grow(needed - self._slots)
        return True

    def _grow(self, slots: int) -> None:
        out, into = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        size = 16 * _PAGE
        if slots * _PAGE > size:
            try:
                size = fcntl.fcntl(into, _F_SETPIPE_SZ, min(slots * _PAGE, _LIMIT))
            except OSError:  # the user has many already
                pass
        self._pipes.append((out, into, size // _PAGE))
        self._slots += size // _PAGE

    def fill(self, fd: int, offset: int, count: int) -> int:
        """Take up to ``count`` bytes from a file; returns how many, fewer only at its end."""
        done = 0
        for out, into, slots in self._pipes:
            room = min(slots * _PAGE - (offset + done) % _PAGE, count - done)
            taken = 0
            while taken < room:
                size = os.splice(fd, into, room - taken, offset_src=offset + done + taken)
                if not size:
                    break
                taken += size
            if taken:
                self._held.append((out, taken))
                done += taken
            if taken < room or done == count:
                break
        return done

    def empty(self, sock: socket.socket) -> None:
        """Let the bytes go out."""
        fd = sock.fileno()
        for out, count in self._held:
            while count:
                sent = os.splice(out, fd, count)
                if not sent:
                    raise BrokenPipeError
                count -= sent
        self._held = []

    def close(self) -> None:
        """Give the descriptors back."""
        for out, into, _ in self._pipes:
            os.close(into)
            os.close(out)
        self._pipes = []
        self._slots = 0
