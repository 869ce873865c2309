"""Drivers around a driver, for tests."""

from __future__ import annotations

import errno
import os
import threading
from collections import Counter
from collections.abc import Callable
from typing import Any

from ninepfs.drivers import Driver, Wrapper
from ninepfs.drivers.base import HandleT, NodeT

PATIENCE = 20.0
"""Seconds after which a test that waits for something gives up: far more than anything here takes."""

_CALLS = [name for name, value in vars(Driver).items() if callable(value) and not name.startswith("_")]


class _Around(Wrapper[NodeT, HandleT]):
    """Has every call of the inner driver go through :meth:`_call`."""

    def __init__(self, inner: Driver[NodeT, HandleT]) -> None:
        super().__init__(inner)
        for name in _CALLS:
            setattr(self, name, self._around(name, getattr(inner, name)))

    def _around(self, name: str, call: Callable[..., Any]) -> Callable[..., Any]:
        def run(*arguments: Any) -> Any:
            return self._call(name, call, arguments)

        return run

    def _call(self, name: str, call: Callable[..., Any], arguments: tuple[Any, ...]) -> Any:
        return call(*arguments)


class BlockingDriver(_Around[NodeT, HandleT]):
    """A driver whose calls block on command, so that tests need no slow disk and no luck.

    ::

        driver = BlockingDriver(LocalDriver(directory))
        driver.block("read")
        tag = client.connection.send(Tread(fid, 0, 10))
        driver.wait_entered()  # a thread is inside read() now
        ...
        driver.release()

    Reads always come through :meth:`read`; no data bypasses the driver.
    """

    def __init__(self, inner: Driver[NodeT, HandleT]) -> None:
        self._blocked: set[str] = set()
        self._waiting = 0
        self._quota: int | None = None
        self._permits = 0
        self._interrupted = False
        self._changed = threading.Condition()
        self.calls: Counter[str] = Counter()
        """How often each call was entered."""
        super().__init__(inner)

    def block(self, *calls: str, count: int | None = None) -> None:
        """From now on, these calls (names of methods) block: all of them, or only the next ``count``."""
        with self._changed:
            self._blocked.update(calls)
            self._quota = count
            self._interrupted = False
            self._permits = 0

    def wait_entered(self, count: int = 1) -> None:
        """Wait until ``count`` threads are blocked at the same time.

        Raises:
            TimeoutError: they are not, after a long time.
        """
        with self._changed:
            if not self._changed.wait_for(lambda: self._waiting >= count, PATIENCE):
                raise TimeoutError(f"{self._waiting} of {count} calls are blocked")

    @property
    def waiting(self) -> int:
        """How many threads are blocked now."""
        return self._waiting

    def release(self, count: int | None = None) -> None:
        """Let ``count`` blocked calls go on, or all of them; in the latter case nothing blocks any more."""
        with self._changed:
            if count is None:
                self._blocked.clear()
            else:
                self._permits += count
            self._changed.notify_all()

    def interrupt(self) -> None:
        """Let the blocked calls raise InterruptedError, as drivers that poll do; nothing blocks any more."""
        with self._changed:
            self._interrupted = True
            self._blocked.clear()
            self._changed.notify_all()

    def _call(self, name: str, call: Callable[..., Any], arguments: tuple[Any, ...]) -> Any:
        with self._changed:
            self.calls[name] += 1
            if name in self._blocked and self._quota != 0:
                if self._quota is not None:
                    self._quota -= 1
                self._wait(name)
        if name == "fileno":
            return None
        return call(*arguments)

    def _wait(self, name: str) -> None:
        self._waiting += 1
        self._changed.notify_all()
        try:
            while name in self._blocked:
                if self._permits:
                    self._permits -= 1
                    return
                if not self._changed.wait(3 * PATIENCE):
                    raise OSError(errno.ETIMEDOUT, "the test forgot a blocked call")
            if self._interrupted:
                raise InterruptedError(errno.EINTR, os.strerror(errno.EINTR))
        finally:
            self._waiting -= 1


class FailingDriver(_Around[NodeT, HandleT]):
    """A driver whose calls raise or return what a test wants.

    ``driver.effects["read"]`` is an exception to raise, or a function to call instead with the same arguments.
    """

    def __init__(self, inner: Driver[NodeT, HandleT]) -> None:
        self.effects: dict[str, BaseException | Callable[..., Any]] = {}
        super().__init__(inner)

    def _call(self, name: str, call: Callable[..., Any], arguments: tuple[Any, ...]) -> Any:
        effect = self.effects.get(name)
        if isinstance(effect, BaseException):
            raise effect
        return call(*arguments) if effect is None else effect(*arguments)


_OF_A_HANDLE = {
    "getattr": 1,
    "setattr": 1,
    "getxattr": 1,
    "listxattr": 1,
    "setxattr": 1,
    "removexattr": 1,
} | dict.fromkeys(("read", "write", "fileno", "readdir", "fsync", "close", "lock"), 0)
"""Which argument of a call is a handle."""


class WatchedDriver(_Around[NodeT, HandleT]):
    """Checks what the server promises to drivers (:mod:`ninepfs.drivers.base`): a handle is closed exactly once, and
    no other call runs at the same time or comes after. What it finds is in :attr:`violations`."""

    def __init__(self, inner: Driver[NodeT, HandleT]) -> None:
        self._lock = threading.Lock()
        self._open: Counter[int] = Counter()
        self._kept: dict[int, HandleT] = {}  # so that no other object gets the number of an open handle
        self._running: Counter[int] = Counter()
        self.violations: list[str] = []
        self.opened = 0
        """How many handles there ever were."""
        super().__init__(inner)

    @property
    def open_handles(self) -> int:
        """How many handles are open now."""
        return self._open.total()

    def _call(self, name: str, call: Callable[..., Any], arguments: tuple[Any, ...]) -> Any:
        place = _OF_A_HANDLE.get(name)
        handle = arguments[place] if place is not None else None
        if handle is None:
            result = call(*arguments)
            if name in ("open", "create"):
                with self._lock:
                    self.opened += 1
                    opened = result[0] if name == "open" else result[1]
                    self._open[id(opened)] += 1
                    self._kept[id(opened)] = opened
            return result
        with self._lock:
            if not self._open[id(handle)]:
                self.violations.append(f"{name} after close")
            elif name == "close":
                self._open[id(handle)] -= 1
                # A driver may have one object for several open files: only the last close tells something then.
                if not self._open[id(handle)]:
                    del self._kept[id(handle)]
                    if self._running[id(handle)]:
                        self.violations.append("close while another call runs")
            self._running[id(handle)] += 1
        try:
            return call(*arguments)
        finally:
            with self._lock:
                self._running[id(handle)] -= 1
                if not self._running[id(handle)]:
                    del self._running[id(handle)]
