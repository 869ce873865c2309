"""A program: threads write to objects that a server's threads share, while the garbage collector lets others run.

CPython 3.11 crashes in it when attributes are added to an object after it was made: see "Objects that threads share" in
docs/architecture.md.
"""

from __future__ import annotations

import gc
import os
import sys
import threading
from collections.abc import Callable
from typing import Any

from ninepfs.drivers.local.tree import Node
from ninepfs.server.fid import Fid
from ninepfs.transports.virtio.channel import RingChannel, RingDesk

ROUNDS = 2000
NONE: Any = None


class Interrupting:
    """Garbage whose end lets other threads run."""

    def __init__(self) -> None:
        self.cycle = self

    def __del__(self) -> None:
        os.stat("/")


def race(make: Callable[[], Any], names: tuple[str, ...]) -> None:
    """Let threads set one of the attributes each, all at the same time, of one object after the other."""
    objects = [make() for _ in range(100)]  # the more there are, the less room for attributes CPython leaves in others
    dictionaries = [{1: 2} for _ in range(200)]  # and no dictionary is at hand without asking the collector
    everybody = threading.Barrier(len(names))

    def write(name: str) -> None:
        for number in range(ROUNDS):
            everybody.wait(30)
            target = objects[-1]
            Interrupting()
            Interrupting()
            setattr(target, name, object())
            everybody.wait(30)
            if name == names[0]:
                objects.append(make())
                dictionaries.append({1: number})

    threads = [threading.Thread(target=write, args=(name,)) for name in names]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


if __name__ == "__main__":
    sys.setswitchinterval(0.00001)
    gc.set_threshold(1, 10_000, 10_000)
    channel = RingChannel("nobody", lambda: None)
    race(lambda: Fid(NONE, NONE, NONE, NONE), ("held", "orphan", "handle", "listing"))
    race(lambda: Node(NONE, b"", 0, 0, 0, 0), ("fd", "lost", "opened", "asked"))
    race(lambda: RingDesk(channel), ("relief", "running", "patience", "requests"))
    print("raced")
