"""Looking for the next request for a while, before going to sleep.

The next request of a client that waits for each reply comes within microseconds, and waking from sleep would take
longer than that (on a 2-core virtual machine: round trips of 25 instead of 38 microseconds). But looking takes
processor time, and it helps only while nobody else wants it.
"""

from __future__ import annotations

import resource
import time
from collections.abc import Callable

_NAPS = 64
"""A client that keeps us waiting is looked for at least once in so many times."""

_REVIEW = 128
"""After so many times in a row that something came while we looked, it is seen whether that has pushed others aside."""

_PUSHED = 32
"""So often meanwhile the kernel may take the processor from us."""

_REST = 2048
"""If not looking turns out to be faster, so many times nobody looks."""

_TRUST = 64
"""If it turns out to be slower, that is not tried again for so many reviews."""


class Vigil:
    """One thread's looking for one client.

    Args:
        look: whether something is there; a microsecond or two.
    """

    def __init__(self, look: Callable[[], object]) -> None:
        self._look = look
        self._naps = 0
        """So many times nobody looks."""
        self._tired = 1
        self._met = 0
        """How often in a row something came while we looked, since the last review."""
        self._since = 0.0
        """When that began, in seconds; or when not looking is tried, when that did."""
        self._preempted = 0
        """How often the kernel had taken the processor from us by then."""
        self._to_beat = 0.0
        """While not looking is tried: how long it took with looking, in seconds."""
        self._trust = 0

    def keep(self, times: int) -> bool:
        """Look so many times, at most. Returns whether something is there, as far as we know."""
        if self._naps:
            self._naps -= 1
            if self._to_beat and not self._naps:
                self._compare()
            return False
        look = self._look
        for _ in range(times):
            if look():
                self._tired = 1
                if not self._met:
                    self._since, self._preempted = time.monotonic(), _preempted()
                self._met += 1
                if self._met > _REVIEW:
                    self._review()
                return True
        # It did not come in time: sleep at once the next times, more and more of them.
        self._naps = self._tired = min(2 * self._tired, _NAPS)
        self._met = 0
        return False

    def _review(self) -> None:
        """Who shares a processor with its client (because all others are busy, or the scheduler likes it so) keeps the
        client from running while it looks: the kernel has to take the processor away each time. Whether sleeping is
        better then depends on where the client would wake us up, so it is tried."""
        self._met = 0
        if self._trust:
            self._trust -= 1
        elif _preempted() - self._preempted > _PUSHED:
            now = time.monotonic()
            self._to_beat = now - self._since
            self._since = now
            self._naps = _REVIEW

    def _compare(self) -> None:
        if time.monotonic() - self._since < self._to_beat:
            self._naps = _REST
        else:
            self._trust = _TRUST
        self._to_beat = 0.0


def _preempted() -> int:
    """How often the kernel has taken the processor from this thread while it had something to do."""
    return resource.getrusage(resource.RUSAGE_THREAD).ru_nivcsw
