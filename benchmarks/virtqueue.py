"""``python -m benchmarks.virtqueue``: the same requests over a virtqueue and over a unix socket, to one server.

The client is a few lines of Python on both sides: a burst of requests goes out at once, and when all are answered, the
next one does. What counts is the server's CPU time for a request, and that of both sides for bulk data, since over a
socket it is the client who copies what it reads.
"""

from __future__ import annotations

import os
import select
import shlex
import socket
import struct
import sys
import tempfile
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import median
from typing import NamedTuple

import click

from benchmarks.programs import UnavailableError
from benchmarks.servers import Process, Server, ours
from benchmarks.table import markdown, number
from ninepfs.testing.guest import QemuGuest
from ninepfs.testing.guest.memory import PAGE
from ninepfs.wire import Message, pack
from ninepfs.wire.constants import IOHDRSZ, NOTAG, READ_OVERHEAD, WRITE_OVERHEAD
from ninepfs.wire.messages import Tattach, Tclunk, Tgetattr, Tlopen, Tread, Tversion, Twalk, Twrite

MSIZE = 512_000
"""What Linux takes at most over virtio."""

_FILE_SIZE = 64 << 20
_DATA = MSIZE - IOHDRSZ
_ROOM = 4096
"""Bytes for a small reply, as Linux has it."""

_APART = 1024
"""Linux has the data of larger reads and writes in pages of their own."""

_PIECES = 126
_SIZE = struct.Struct("<I")
_FIRST_FID = 10


class Load(NamedTuple):
    """A kind of burst."""

    title: str
    bulk: bool
    make: Callable[[int], Sequence[Message]]
    """The requests of a burst, given how many operations it has."""


def _at(number: int, size: int) -> int:
    return number * 7919 * 4096 % (_FILE_SIZE - size) // 4096 * 4096


LOADS = {
    "getattr": Load("Tgetattr", False, lambda depth: [Tgetattr(1, 0x7FF)] * depth),
    "walk": Load(
        "Twalk of 4 names, Tclunk", False,
        lambda depth: [
            message
            for fid in range(_FIRST_FID, _FIRST_FID + depth)
            for message in (Twalk(0, fid, [b"a", b"b", b"c", b"file"]), Tclunk(fid))
        ],
    ),
    "read4k": Load("4 KiB reads", False, lambda depth: [Tread(2, _at(i, 4096), 4096) for i in range(depth)]),
    "write4k": Load("4 KiB writes", False, lambda depth: [Twrite(3, _at(i, 4096), bytes(4096)) for i in range(depth)]),
    "read": Load("500 KB reads", True, lambda depth: [Tread(2, _at(i, _DATA), _DATA) for i in range(depth)]),
    "write": Load("500 KB writes", True, lambda depth: [Twrite(3, _at(i, _DATA), bytes(_DATA)) for i in range(depth)]),
}  # fmt: skip

ROWS = (
    *((kind, depth) for kind in ("getattr", "walk", "read4k", "write4k") for depth in (1, 16)),
    *((kind, depth) for kind in ("read", "write") for depth in (1, 4)),
)


class Side(ABC):
    """One way to the server."""

    @abstractmethod
    def prepare(self, messages: Sequence[bytes]) -> None:
        """What the bursts from now on consist of."""

    @abstractmethod
    def burst(self) -> None:
        """Send everything and wait for all replies."""

    @abstractmethod
    def close(self) -> None:
        """Give everything back."""

    def call(self, *messages: Message) -> None:
        """Requests one after the other, as a burst each."""
        for message in messages:
            self.prepare([pack(message, NOTAG if isinstance(message, Tversion) else 0)])
            self.burst()

    def begin(self) -> None:
        """A session with the fids that the loads use."""
        self.call(
            Tversion(MSIZE, b"9P2000.L"),
            Tattach(0),
            Twalk(0, 1, [b"a", b"b", b"c", b"file"]),
            Twalk(0, 2, [b"big"]),
            Twalk(0, 3, [b"written"]),
            Tlopen(2, 0),
            Tlopen(3, 1),
        )


class SocketSide(Side):
    """A unix socket."""

    def __init__(self, path: Path) -> None:
        self._socket = socket.socket(socket.AF_UNIX)
        self._socket.connect(str(path))
        self._room = memoryview(bytearray(16 << 20))
        self._poll = select.poll()
        self._poll.register(self._socket, select.POLLIN | select.POLLOUT)
        self._request = b""
        self._count = 0

    def _ready(self) -> int:
        return self._poll.poll()[0][1]

    def prepare(self, messages: Sequence[bytes]) -> None:
        self._request = b"".join(messages)
        self._count = len(messages)

    def burst(self) -> None:
        left = memoryview(self._request)
        have = at = done = 0
        while done < self._count:
            if left:  # a burst may be more than the socket takes at once, or while nobody reads
                ready = self._ready()
                if ready & select.POLLOUT:
                    left = left[self._socket.send(left, socket.MSG_DONTWAIT) :]
                if not ready & select.POLLIN:
                    continue
            got = self._socket.recv_into(self._room[have:])
            if not got:
                raise UnavailableError("the server ended the connection")
            have += got
            while have - at >= 4 and have - at >= (size := _SIZE.unpack_from(self._room, at)[0]):
                if self._room[at + 4] == 7:
                    raise UnavailableError(f"the server refused a request with errno {self._room[at + 7]}")
                at += size
                done += 1

    def close(self) -> None:
        self._socket.close()


class RingSide(Side):
    """A virtqueue, with requests laid out as Linux does it."""

    def __init__(self, path: Path) -> None:
        sock = socket.socket(socket.AF_UNIX)
        sock.connect(str(path))
        self._guest = QemuGuest(sock)
        self._guest.boot()
        self._tables: list[tuple[int, int]] = []
        self._areas: list[tuple[int, int]] = []

    def prepare(self, messages: Sequence[bytes]) -> None:
        memory = self._guest.memory
        for area in self._areas:
            memory.free(*area)
        self._areas, self._tables = [], []
        for message in messages:
            readable, writable = self._layout(message)
            table = self._guest.queue.make_chain(readable, writable)
            self._areas.append(table)
            self._tables.append(table)

    def _layout(self, message: bytes) -> tuple[list[tuple[int, int]], list[tuple[int, int]]]:
        memory = self._guest.memory

        def area(size: int, align: int = 16) -> tuple[int, int]:
            self._areas.append((memory.allocate(size, align), size))
            return self._areas[-1]

        kind = message[4]
        if kind == 116 and (count := _SIZE.unpack_from(message, 19)[0]) > _APART:
            request, pieces = area(len(message)), _pages(*area(count, PAGE))
            memory.write(request[0], message)
            return [request], [area(READ_OVERHEAD), *pieces]
        if kind == 118 and len(message) - WRITE_OVERHEAD > _APART:
            request, pieces = area(WRITE_OVERHEAD), _pages(*area(len(message) - WRITE_OVERHEAD, PAGE))
            memory.write(request[0], message[:WRITE_OVERHEAD])
            return [request, *pieces], [area(_ROOM)]
        request = area(len(message))
        memory.write(request[0], message)
        return [request], [area(_ROOM)]

    def burst(self) -> None:
        queue = self._guest.queue
        for table in self._tables:
            queue.add_table(table)
        queue.publish()
        queue.notify()
        left = len(self._tables)
        while left:
            left -= len(self._guest.wait())

    def close(self) -> None:
        self._guest.close()


def _pages(address: int, size: int) -> list[tuple[int, int]]:
    """Memory in pieces of whole pages that are in no order, as those of a program are."""
    step = -(-size // PAGE // _PIECES) * PAGE
    pieces = [(at, min(step, address + size - at)) for at in range(address, address + size, step)]
    return pieces[::2] + pieces[1::2] if len(pieces) > 2 and not size % step else [*pieces[:-1][::-1], pieces[-1]]


class Cost(NamedTuple):
    """CPU microseconds for an operation, or for a megabyte."""

    server: float
    both: float


def measure(side: Side, process: Process, kind: str, depth: int, seconds: float) -> Cost:
    """Bursts for so long."""
    load = LOADS[kind]
    side.prepare([pack(message, tag) for tag, message in enumerate(load.make(depth))])
    side.burst()
    end = time.monotonic() + seconds
    server, client, bursts = process.cpu(), time.process_time(), 0
    while time.monotonic() < end:
        side.burst()
        bursts += 1
    server, client = process.cpu() - server, time.process_time() - client
    amount = bursts * depth * (_DATA / 1e6 if load.bulk else 1)
    return Cost(server * 1e6 / amount, (server + client) * 1e6 / amount)


def _plant(share: Path) -> None:
    (share / "a/b/c").mkdir(parents=True)
    (share / "a/b/c/file").write_text("hello\n")
    for name in ("big", "written"):
        with (share / name).open("wb") as file:
            for _ in range(_FILE_SIZE >> 20):
                file.write(os.urandom(1 << 20))


@click.command()
@click.option("--rounds", "-r", type=click.IntRange(1), default=5, show_default=True,
              help="How often each way has its turn; the median counts.")  # fmt: skip
@click.option("--seconds", "-t", type=click.FloatRange(0.05), default=0.5, show_default=True,
              help="How long each run lasts.")  # fmt: skip
def main(rounds: int, seconds: float) -> None:
    """Measure what the same requests cost the server over a virtqueue and over a unix socket."""
    with tempfile.TemporaryDirectory(prefix="9pfs-bench-") as work:
        where = Path(work)
        share, unix, ring = where / "share", where / "socket", where / "device"
        _plant(share)
        try:
            mine = ours()
        except UnavailableError as failure:
            click.echo(failure, err=True)
            sys.exit(1)
        both = Server(mine.name, f"{mine.command} --listen {shlex.quote(f'vhost-user://{ring}?tag=bench')}")
        costs: dict[tuple[str, int, str], list[Cost]] = {}
        with both.running(unix, share) as process:
            for turn in range(rounds):
                for kind, depth in ROWS:
                    for name in ("unix", "virtio") if turn % 2 else ("virtio", "unix"):
                        side = SocketSide(unix) if name == "unix" else RingSide(ring)
                        try:
                            side.begin()
                            costs.setdefault((kind, depth, name), []).append(
                                measure(side, process, kind, depth, seconds)
                            )
                        finally:
                            side.close()
    click.echo(_table(costs))


def _table(costs: dict[tuple[str, int, str], list[Cost]]) -> str:
    header = ["requests", "in a burst", "CPU µs for", "unix", "virtio", "virtio / unix",
              "unix, both sides", "virtio, both sides"]  # fmt: skip
    lines = []
    for kind, depth in ROWS:
        load = LOADS[kind]
        server = [median(cost.server for cost in costs[kind, depth, name]) for name in ("unix", "virtio")]
        line = [load.title, str(depth), "1 MB" if load.bulk else "an operation", *map(number, server)]
        line.append(f"{server[1] / server[0]:.2f}")
        line += [
            number(median(cost.both for cost in costs[kind, depth, name])) if load.bulk else "–"
            for name in ("unix", "virtio")
        ]
        lines.append(line)
    return markdown(header, lines, text_columns=3)


if __name__ == "__main__":
    main()
