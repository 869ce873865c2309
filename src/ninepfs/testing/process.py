"""What this process holds: to see that everything is given back."""

from __future__ import annotations

import gc
import os
import threading
import time
from collections.abc import Callable

from ninepfs.testing.drivers import PATIENCE


def wait_until(condition: Callable[[], bool], what: str, patience: float = PATIENCE) -> None:
    """Wait for something that nobody tells us of.

    Raises:
        TimeoutError: it did not come, after a long time.
    """
    deadline = time.monotonic() + patience
    while not condition():
        if time.monotonic() > deadline:
            raise TimeoutError(f"in vain: {what}")
        time.sleep(0.002)


def open_descriptors() -> dict[int, str]:
    """The open descriptors of this process, and what they refer to."""
    result = {}
    for name in os.listdir("/proc/self/fd"):
        try:
            result[int(name)] = os.readlink(f"/proc/self/fd/{name}")
        except FileNotFoundError:
            pass  # the one of the listing itself
        except OSError as failure:  # a path that is longer than any name for it may be
            result[int(name)] = str(failure)
    return result


def resident() -> int:
    """The memory of this process that is in use, in bytes."""
    with open("/proc/self/statm") as statm:
        return int(statm.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")


class Census:
    """What this process had in threads and descriptors when the object was made.

    Threads that the server keeps for reuse end some seconds after their work, so :meth:`wait_restored` takes a while.
    """

    def __init__(self) -> None:
        gc.collect()
        self.threads = set(threading.enumerate())
        self.descriptors = open_descriptors()

    def new_threads(self) -> list[str]:
        """The names of the threads that came since."""
        return [thread.name for thread in threading.enumerate() if thread not in self.threads]

    def new_descriptors(self) -> dict[int, str]:
        """The descriptors that were opened since."""
        gc.collect()
        return {fd: what for fd, what in open_descriptors().items() if self.descriptors.get(fd) != what}

    def wait_restored(self, below: str | None = None, cache: int = 0, patience: float = PATIENCE) -> None:
        """Wait until nothing is left of what came since, but for ``cache`` descriptors of what is ``below`` a path.

        Raises:
            TimeoutError: something stays.
        """

        def restored() -> bool:
            new = self.new_descriptors().values()
            cached = [what for what in new if below is not None and what.startswith(below)]
            return not self.new_threads() and len(cached) == len(new) and len(cached) <= cache

        try:
            wait_until(restored, "", patience)
        except TimeoutError:
            left = f"{self.new_threads()} and {self.new_descriptors()}"
            raise TimeoutError(f"the process still has {left}") from None
