"""A server with several virtio devices, one of which is always at work, so that all see whether an attack on another
one reaches it."""

from __future__ import annotations

import gc
import logging
import re
import select
import socket
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from ninepfs.drivers import LocalDriver
from ninepfs.server import Export, crew
from ninepfs.testing import BlockingDriver, Census, ServedVirtio, serve_virtio
from ninepfs.testing.drivers import PATIENCE
from ninepfs.testing.guest import Guest, QemuGuest
from ninepfs.testing.load import SIZES, content, plant
from ninepfs.testing.process import open_descriptors, wait_until
from ninepfs.wire import Dialect, Message, pack, unpack
from ninepfs.wire.constants import NOFID, NOTAG
from ninepfs.wire.messages import Rattach, Rversion, Tattach, Tversion

MSIZE = 8192
CACHE = 8
"""Descriptors of directories that the driver may keep."""


class Log(logging.Handler):
    """Collects what the package logs; as text, because a record keeps what it tells of."""

    def __init__(self) -> None:
        super().__init__(logging.DEBUG)
        self._records: list[tuple[int, str]] = []

    def emit(self, record: logging.LogRecord) -> None:
        self._records.append((record.levelno, self.format(record)))

    def texts(self, level: int = logging.WARNING) -> list[str]:
        """What was logged at this level or above, with tracebacks."""
        return [text for found, text in list(self._records) if found >= level]

    def clear(self) -> None:
        """Forget it."""
        self._records.clear()


@contextmanager
def logged() -> Iterator[Log]:
    """Everything that the package logs meanwhile."""
    logger = logging.getLogger("ninepfs")
    log, level = Log(), logger.level
    logger.addHandler(log)
    logger.setLevel(logging.DEBUG)
    try:
        yield log
    finally:
        logger.removeHandler(log)
        logger.setLevel(level)


class Bystander(threading.Thread):
    """Reads files through a device of its own, and looks at every byte."""

    def __init__(self, served: ServedVirtio) -> None:
        super().__init__(name="bystander", daemon=True)
        self.client = served.connect(aname="bystander")
        self.rounds = 0
        self.failure: BaseException | None = None
        self._over = threading.Event()

    def run(self) -> None:
        try:
            while not self._over.wait(0.005):
                for name in ("small", "page"):
                    assert self.client.root.read_bytes(f"a/b/{name}") == content(name, SIZES[name])
                self.rounds += 1
        except BaseException as failure:
            self.failure = failure

    def prove(self) -> None:
        """See that it still works: a round that began after this call has been finished."""
        rounds = self.rounds
        wait_until(lambda: self.rounds >= rounds + 2 or self.failure is not None, "the other device works")
        if self.failure is not None:
            raise self.failure

    def end(self) -> None:
        """Let it end."""
        self._over.set()
        self.join()
        self.client.close()


class Scene:
    """A server, the device at work, and guests for the tests."""

    def __init__(self, served: ServedVirtio, log: Log, driver: BlockingDriver[Any, Any], bystander: Bystander) -> None:
        self.served = served
        self.bystander = bystander
        self.log = log
        self.driver = driver
        """Under the devices that are attacked, but not under the one at work."""
        self._guests: list[Guest] = []

    def guest(self, kind: Callable[..., Guest] = QemuGuest, *, boot: bool = True, **options: Any) -> Guest:
        """A guest with a device of its own, which is closed at the end of the test."""
        guest = kind(self.served.device(), **options)
        self._guests.append(guest)
        if boot:
            guest.boot()
        return guest

    def qemu(self, **options: Any) -> QemuGuest:
        """A guest of QEMU, as :meth:`guest`, with what only those can do."""
        guest = self.guest(QemuGuest, **options)
        assert isinstance(guest, QemuGuest)
        return guest

    def socket(self) -> socket.socket:
        """A connection to a device of its own, on which nothing was said yet."""
        return self.served.device()

    def close(self) -> None:
        """Let all guests of the test go."""
        while self._guests:
            self._guests.pop().close()


@pytest.fixture(scope="module")
def _served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
    patch = pytest.MonkeyPatch()
    patch.setattr(crew, "KEEP", 0.2)  # idle threads of the server end soon
    base = tmp_path_factory.mktemp("scene")
    arena = base / "arena"
    plant(arena)
    (arena / "scratch").write_bytes(bytes(20_000))
    plant(base / "quiet")
    driver = BlockingDriver(LocalDriver(arena, cache=CACHE))
    exports = [Export(driver), Export(LocalDriver(base / "quiet", cache=CACHE), "bystander")]
    census = Census()
    with logged() as log, serve_virtio(exports, msize=MSIZE) as served:
        bystander = Bystander(served)
        bystander.start()
        bystander.prove()
        before = held(base)
        yield Scene(served, log, driver, bystander)
        # Which threads and descriptors there are may change, but not how many.
        try:
            wait_until(lambda: held(base) <= before, "")
        except TimeoutError:
            raise AssertionError(f"not given back: {held(base) - before}") from None
        bystander.prove()
        bystander.end()
    census.wait_restored(str(base), 2 * CACHE)
    patch.undo()


def held(base: Path) -> Counter[str]:
    """How many threads and descriptors of each kind this process has, but for descriptors of directories, which
    drivers keep."""
    gc.collect()
    found = [re.sub(r"\d+", "#", what) for what in open_descriptors().values() if not what.startswith(str(base))]
    return Counter(["thread"] * threading.active_count() + found)


@pytest.fixture
def scene(_served: Scene, caplog: pytest.LogCaptureFixture) -> Iterator[Scene]:
    """The server of the module. After each test the device at work must still be, and nothing may have gone wrong in a
    way that the server did not foresee."""
    _served.log.clear()
    yield _served
    _served.driver.release()
    _served.close()
    _served.bystander.prove()
    caplog.get_records("call").clear()  # as in Log
    assert not _served.log.texts(logging.ERROR)


# --- requests


def t(message: Message, tag: int = 1) -> bytes:
    """A request's bytes."""
    return pack(message, NOTAG if isinstance(message, Tversion) else tag, Dialect.L)


def r(data: bytes | memoryview) -> Message:
    """The message of a reply."""
    return unpack(memoryview(data), Dialect.L)[1]


def attach(guest: Guest, msize: int = MSIZE) -> None:
    """Begin a session, whose fid 0 is the root."""
    version = r(guest.transact(t(Tversion(msize, b"9P2000.L"))))
    assert isinstance(version, Rversion), version
    attached = r(guest.transact(t(Tattach(0, NOFID, b"", b"", 0))))
    assert isinstance(attached, Rattach), attached


# --- what a device does with a guest that breaks the rules


def assert_said_once(scene: Scene) -> None:
    """There is one clear line in the log."""
    wait_until(lambda: bool(scene.log.texts()), "the log says something")
    assert len(scene.log.texts()) == 1, scene.log.texts()


def wait_refused(guest: Guest) -> None:
    """Wait until the device says that its queue is broken, or the connection has ended."""
    poll = select.poll()
    poll.register(guest.queue.error_fd, select.POLLIN)
    poll.register(guest.frontend.socket, select.POLLIN)
    assert poll.poll(PATIENCE * 1000), "the device goes on as if nothing had happened"
    assert guest.queue.broken() or guest.frontend.gone()


def assert_refused(scene: Scene, guest: Guest) -> None:
    """The device has given up what it was doing for the guest, with one clear line in the log; a guest that is still
    connected finds it as new after a reset."""
    wait_refused(guest)
    if not guest.frontend.gone():
        # What comes now is not looked at any more.
        before = guest.queue.used_index
        guest.queue.offer(0)
        guest.queue.publish()
        guest.queue.kick()
        guest.reboot()
        assert guest.queue.used_index in (0, before)
        attach(guest)
    assert_said_once(scene)
