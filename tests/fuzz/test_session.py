"""A session that is fed with random and mutated messages harms neither the server nor the other sessions."""

from __future__ import annotations

import gc
import logging
import os
import random
import socket
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from ninepfs.drivers import LocalDriver
from ninepfs.server import Export, Limits, crew
from ninepfs.testing import Census, Served, serve_pair
from ninepfs.testing.grammar import Grammar
from ninepfs.testing.load import plant, read_lane, run_lanes
from ninepfs.testing.process import resident, wait_until
from ninepfs.wire import NUMBERS, Dialect, Message, Stat, pack
from ninepfs.wire.constants import DM, HEADER_SIZE, READ_OVERHEAD, LFlag, OpenMode
from ninepfs.wire.messages import (
    Rerror,
    Rlerror,
    Tattach,
    Tcreate,
    Tgetattr,
    Tlcreate,
    Tlock,
    Tlopen,
    Tmkdir,
    Topen,
    Tread,
    Treaddir,
    Tstat,
    Tversion,
    Twalk,
    Twrite,
    Twstat,
    Txattrcreate,
    Txattrwalk,
)

MSIZE = 8192
_ERRORS = {NUMBERS[Rlerror], NUMBERS[Rerror]}
_PERMS = [0o644, 0o644 | DM.EXCL, 0o600 | DM.APPEND, DM.DIR | 0o755, DM.SYMLINK, DM.LINK, DM.NAMEDPIPE | 0o644]
_EXTENSIONS = [b"", b"file", b"1", b"3\n", b"../../x"]

CACHE = 8
"""Descriptors of directories that each export may keep."""

NAMES = [b"a", b"b", b"file", b"link", b"fifo", b"made", b"user.x", b"", b".."]
GROWTH = 12 << 20
"""Bytes of memory that the process may have more afterwards, for what allocators keep."""


class Collector(logging.Handler):
    def __init__(self) -> None:
        super().__init__(logging.ERROR)
        self.found: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.found.append(self.format(record))


@pytest.fixture
def defects() -> Iterator[list[str]]:
    """What the package logs as its own failures meanwhile."""
    collector = Collector()
    logger = logging.getLogger("ninepfs")
    before = logger.level
    logger.setLevel(logging.ERROR)
    logger.addHandler(collector)
    yield collector.found
    logger.removeHandler(collector)
    logger.setLevel(before)


class Fuzzer:
    """One connection after another, each ended by us or by what it was fed with."""

    def __init__(self, served: Served, seed: int, dialect: Dialect) -> None:
        self.served = served
        self.dialect = dialect
        self.rng = random.Random(seed)
        self.grammar = Grammar(self.rng, NAMES, dialect)
        self.sent = self.sessions = self.replies = self.errors = 0
        self.socket: socket.socket

    def begin(self) -> None:
        """A session in which most kinds of fid exist."""
        self.sessions += 1
        self.socket = self.served.socket()
        # Little is under way, so that little is lost when the session ends.
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
        self.reader = threading.Thread(target=self.drain, args=(self.socket,), name="drain")
        self.reader.start()
        begin: list[Message] = [
            Tversion(MSIZE, self.dialect.version),
            Tattach(0, n_uname=0),
            *(self._linux() if self.dialect is Dialect.L else self._plan9()),
        ]
        self.send(b"".join(pack(message, 1, self.dialect) for message in begin))

    @staticmethod
    def _linux() -> list[Message]:
        return [
            Twalk(0, 1, [b"file"]),
            Tlopen(1, LFlag.RDWR),
            Twalk(0, 2, []),
            Tlopen(2, 0),
            Twalk(0, 3, [b"a", b"b"]),
            Twalk(0, 4, []),
            Tlcreate(4, b"made", LFlag.RDWR, 0o644, 0),
            Txattrwalk(1, 5, b"user.x"),
            Twalk(0, 6, [b"file"]),
            Txattrcreate(6, b"user.x", 100, 0),
        ]

    @staticmethod
    def _plan9() -> list[Message]:
        return [
            Twalk(0, 1, [b"file"]),
            Topen(1, OpenMode.RDWR),
            Twalk(0, 2, []),
            Topen(2, OpenMode.READ),
            Twalk(0, 3, [b"a", b"b"]),
            Twalk(0, 4, []),
            Tcreate(4, b"made", DM.EXCL | 0o644, OpenMode.RDWR | OpenMode.RCLOSE),
        ]

    def drain(self, sock: socket.socket) -> None:
        """Take the replies, and see that their framing is right."""
        data = b""
        while True:
            try:
                more = sock.recv(1 << 16)
            except OSError:
                return
            if not more:
                return
            data += more
            at = 0
            while len(data) - at >= HEADER_SIZE:
                size = int.from_bytes(data[at : at + 4], "little")
                assert HEADER_SIZE <= size <= MSIZE
                assert data[at + 4] % 2 == 1
                if size > len(data) - at:
                    break
                at += size
                self.replies += 1
                self.errors += data[at + 4 - size] in _ERRORS
            data = data[at:]

    def send(self, data: bytes) -> bool:
        try:
            self.socket.sendall(data)
        except OSError:
            return False
        return True

    def end(self) -> None:
        abrupt = self.rng.random() < 0.3
        try:
            self.socket.shutdown(socket.SHUT_RDWR if abrupt else socket.SHUT_WR)
        except OSError:
            pass  # the server has ended it
        self.reader.join(20)
        self.socket.close()

    def message(self) -> bytes:
        kind = self.rng.random()
        request = self.likely() if kind < 0.4 else self.grammar.request()
        if kind < 0.75:
            return pack(request, self.grammar.tag(), self.dialect)
        if kind < 0.9995:
            return self.grammar.mutated(request)
        if kind < 0.9998:
            return pack(Tversion(self.rng.choice([0, MSIZE, 1 << 31]), self.dialect.version), 0xFFFF, self.dialect)
        return self.grammar.unframed()

    def likely(self) -> Message:
        """A request that succeeds more often than a random one does."""
        rng, name = self.rng, self.grammar.name()
        fid, new = rng.randrange(12), rng.randrange(12)
        choices: list[Callable[[], Message]] = [
            lambda: Tattach(new, n_uname=0),
            lambda: Twalk(0, new, [name]),
            lambda: Twalk(0, new, []),
            lambda: Tread(fid, rng.choice([0, 5, 50]), rng.choice([0, 1, 5000, 40000])),
            lambda: Twrite(fid, rng.randrange(100), rng.randbytes(50)),
        ]
        if self.dialect is not Dialect.L:
            choices += [
                lambda: Topen(fid, rng.choice([0, 1, 2, 3, 0x10, 0x41, 0x81])),
                lambda: Tcreate(fid, name, rng.choice(_PERMS), rng.choice([0, 2, 0x42]), rng.choice(_EXTENSIONS)),
                lambda: Tstat(fid),
                lambda: Twstat(fid, Stat(name=name, mode=rng.choice([0xFFFFFFFF, 0o755, DM.DIR | 0o700]))),
                lambda: Twstat(fid, Stat(length=rng.choice([0, 100]), mtime=rng.choice([0xFFFFFFFF, 5]))),
            ]
            return rng.choice(choices)()
        choices += [
            lambda: Tlopen(fid, rng.choice([0, 1, 2, 0x202, 0x10000])),
            lambda: Treaddir(fid, 0, 5000),
            lambda: Tgetattr(fid, 0x3FFF),
            lambda: Tmkdir(0, name, 0o755, 0),
            lambda: Tlcreate(fid, name, 2, 0o644, 0),
            lambda: Tlock(fid, rng.randrange(3), rng.randrange(2), rng.randrange(5), rng.randrange(5), 1, b"c"),
            lambda: Txattrwalk(fid, new, rng.choice([b"", b"user.x"])),
        ]
        return rng.choice(choices)()

    def run(self, count: int) -> None:
        self.begin()
        while self.sent < count:
            # Bursts of all sizes, so that the server finds many requests at once or a part of one.
            burst = [self.message() for _ in range(self.rng.choice([1, 3, 30, 100]))]
            self.sent += len(burst)
            if not self.send(b"".join(burst)) or self.rng.random() < 0.002:
                self.end()
                self.begin()
        self.end()


class Bystander:
    """A client of the same server, on an export of its own, whose every reply is checked."""

    def __init__(self, served: Served) -> None:
        self.client = served.connect(aname="bystander")
        self.failure: BaseException | None = None
        self.rounds = 0
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def _run(self) -> None:
        fids = list(range(50, 60))
        try:
            while not self._done.is_set():
                lanes = [
                    read_lane(self.client.root.fid, fids, 3, self.rounds + number, most=MSIZE - READ_OVERHEAD)
                    for number in range(3)
                ]
                run_lanes(self.client.connection, lanes)
                self.rounds += 1
        except BaseException as failure:
            self.failure = failure

    def end(self) -> None:
        self._done.set()
        self._thread.join()
        self.client.close()
        if self.failure:
            raise self.failure


def _fuzz(base: Path, count: int, seed: int, dialect: Dialect) -> None:
    arena, quiet = base / "arena", base / "quiet"
    (arena / "a/b").mkdir(parents=True)
    (arena / "file").write_bytes(bytes(10_000))
    os.setxattr(arena / "file", "user.x", b"value")
    (arena / "link").symlink_to("file")
    os.mkfifo(arena / "fifo")
    plant(quiet)
    exports = [Export(LocalDriver(arena, cache=CACHE)), Export(LocalDriver(quiet, cache=CACHE), "bystander")]
    with serve_pair(exports, Limits(msize=MSIZE, fids=1000, locks=1000)) as served:
        connections = served.server.engine.connections

        def settle() -> None:
            wait_until(lambda: len(connections) == 1, "the sessions end")
            wait_until(lambda: not [t for t in threading.enumerate() if t.name == "drain"], "all replies are read")

        # What grows with the first sessions, and never again, is no leak.
        Fuzzer(served, seed + 1, dialect).run(min(count // 2, 30_000))
        settle()
        census = Census()
        before = resident()
        bystander = Bystander(served)
        fuzzer = Fuzzer(served, seed, dialect)
        fuzzer.run(count)
        bystander.end()
        settle()
        wait_until(lambda: served.server.engine.slow == 0, "slow requests end, which may be later than their session")
        assert not served.server.locks._files
        assert not exports[0].marks._marked
        census.wait_restored(str(base), 2 * CACHE)
        gc.collect()
        assert resident() - before < GROWTH
        assert bystander.rounds > 5
    assert fuzzer.replies > count / 4
    assert fuzzer.replies - fuzzer.errors > count / 25, "hardly anything succeeded"


@pytest.fixture(autouse=True)
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    """Idle threads of the server end soon."""
    monkeypatch.setattr(crew, "KEEP", 0.2)


@pytest.mark.parametrize("dialect", Dialect)
def test_30000_random_messages_leave_the_server_as_it_was(tmp_path: Path, defects: list[str], dialect: Dialect) -> None:
    _fuzz(tmp_path, 30_000, 1, dialect)
    assert not defects


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("dialect", Dialect)
def test_a_million_random_messages_leave_the_server_as_it_was(
    tmp_path: Path, defects: list[str], dialect: Dialect
) -> None:
    _fuzz(tmp_path, 1_000_000, random.SystemRandom().getrandbits(32), dialect)
    assert not defects
