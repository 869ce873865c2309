"""Descriptors that one side rings and the other waits for: eventfds, and pipes in place of them."""

from __future__ import annotations

import os
import select

_ONE = (1).to_bytes(8, "little")


class Bell:
    """A descriptor that came from the other side, to ring or to wait for. It is closed with its last reference, so
    that one that is replaced is not closed under a thread that uses it."""

    def __init__(self, fd: int) -> None:
        self._fd = fd
        self._blocks: select.poll | None = None
        if os.get_blocking(fd):  # its mode is the other side's choice, too
            self._blocks = select.poll()
            self._blocks.register(fd, select.POLLOUT)

    def fileno(self) -> int:
        """The descriptor."""
        return self._fd

    @property
    def is_eventfd(self) -> bool:
        """Whether it is an eventfd, and not something else that can be waited for."""
        return os.readlink(f"/proc/self/fd/{self._fd}") == "anon_inode:[eventfd]"

    def ring(self) -> None:
        """Wake the other side up. One that is not interested must not keep us: a bell that is full rings already."""
        if self._blocks is not None and not any(events & select.POLLOUT for _, events in self._blocks.poll(0)):
            return
        try:
            os.write(self._fd, _ONE)
        except OSError:  # full, or there is nobody any more
            pass

    def silence(self) -> None:
        """Forget that it rang."""
        poll = select.poll()
        poll.register(self._fd, select.POLLIN)
        if poll.poll(0):
            try:
                os.read(self._fd, 8)
            except OSError:
                pass

    def __del__(self) -> None:
        os.close(self._fd)
