"""An export: a driver under a name."""

from __future__ import annotations

from typing import Any

from ninepfs.drivers.base import LEAVE, Driver, User
from ninepfs.drivers.wrappers import ReadOnly
from ninepfs.server.marks import Marks
from ninepfs.server.qids import QidMap


class Export:
    """A tree that clients attach to.

    Args:
        driver: the file system.
        name: what a client's aname must say, when the server has several exports.
        readonly: refuse every change with EROFS.
    """

    def __init__(self, driver: Driver[Any, Any], name: str = "", *, readonly: bool = False) -> None:
        self.name = name
        self.driver: Driver[Any, Any] = ReadOnly(driver) if readonly else driver
        self.readonly = readonly
        *_, device = driver.identity(driver.attach(User(b"", LEAVE)))
        self.qids = QidMap(device)
        self.marks = Marks()
