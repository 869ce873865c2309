"""A pipe that data passes through on its way from a file to a socket, without entering the process."""

from __future__ import annotations

import fcntl
import os
import socket

_PAGE = 4096
_F_SETPIPE_SZ = 1031


class Pipe:
    """Holds the data of one reply between splice(2) in and splice(2) out."""

    def __init__(self) -> None:
        self._out, self._in = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        self.room = 16 * _PAGE
        self._refused = 1 << 62

    def fits(self, count: int) -> bool:
        """Whether ``count`` bytes from any offset fit, enlarging the pipe if that is allowed."""
        needed = count + 2 * _PAGE  # a page is a slot, also when it is not full
        if needed <= self.room:
            return True
        if needed >= self._refused:
            return False
        try:
            self.room = fcntl.fcntl(self._in, _F_SETPIPE_SZ, needed)
        except OSError:  # the host's limit for ordinary users
            self._refused = needed
            return False
        return needed <= self.room

    def fill(self, fd: int, offset: int, count: int) -> int:
        """Take up to ``count`` bytes from a file; returns how many, fewer only at its end."""
        done = 0
        while done < count:
            taken = os.splice(fd, self._in, count - done, offset_src=offset + done)
            if not taken:
                break
            done += taken
        return done

    def empty(self, sock: socket.socket, count: int) -> None:
        """Let ``count`` bytes go out."""
        fd = sock.fileno()
        while count:
            sent = os.splice(self._out, fd, count)
            if not sent:
                raise BrokenPipeError
            count -= sent

    def close(self) -> None:
        """Give the descriptors back."""
        os.close(self._in)
        os.close(self._out)
