"""What the tests of the engine work on."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from ninepfs.client import Client
from ninepfs.testing import BlockingDriver, Served, WatchedDriver
from ninepfs.wire.constants import LFlag
from ninepfs.wire.messages import (
    Tread,
)


class Setting:
    """A served directory whose driver blocks on command, with an open file."""

    def __init__(self, served: Served, driver: BlockingDriver[Any, Any], watched: WatchedDriver[Any, Any]) -> None:
        self.served = served
        self.driver = driver
        self.watched = watched
        self.client = served.client
        self.connection = served.client.connection
        self.engine = served.server.engine
        self.fid = open_file(self.client)

    def block(self, count: int = 1, fid: int | None = None) -> list[int]:
        """Send reads that block, and wait until they are in the driver and another thread leads the session."""
        self.driver.block("read")
        before = self.driver.waiting
        tags = [self.connection.send(Tread(self.fid if fid is None else fid, n, 4)) for n in range(count)]
        self.driver.wait_entered(before + count)
        self.sync()
        return tags

    def sync(self) -> None:
        """Returns when the server has dealt with everything sent so far, but what is blocked."""
        self.client.getattr(self.client.root.fid)


def open_file(client: Client, name: str = "file", flags: int = LFlag.RDWR) -> int:
    fid = client.new_fid()
    client.walk(client.root.fid, fid, [name])
    client.lopen(fid, flags)
    return fid


def timed(action: Callable[[], object]) -> float:
    begin = time.perf_counter()
    action()
    return time.perf_counter() - begin
