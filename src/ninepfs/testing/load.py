"""Many sequences of requests at the same time in one session, each of which checks its own replies.

A *lane* is a generator: it yields a request and is sent the reply; it may also yield a :class:`Flushed` request, and is
sent the reply or None. :func:`run_lanes` keeps the lanes of a connection in flight together, so that requests of
different lanes may overlap and overtake each other, while those of one lane come one after the other.
"""

from __future__ import annotations

import errno
import os
import random
import select
import socket
import stat
from collections.abc import Generator, Iterable
from typing import NamedTuple, TypeAlias

from ninepfs.client import Connection
from ninepfs.wire import Dialect, Message, pack, unpack_dirents
from ninepfs.wire.constants import AT_REMOVEDIR, LFlag, LockFlag, LockType
from ninepfs.wire.messages import (
    Rclunk,
    Rflush,
    Rgetattr,
    Rlcreate,
    Rlerror,
    Rlock,
    Rlopen,
    Rmkdir,
    Rread,
    Rreaddir,
    Rrenameat,
    Runlinkat,
    Rwalk,
    Rwrite,
    Tclunk,
    Tflush,
    Tgetattr,
    Tlcreate,
    Tlock,
    Tlopen,
    Tmkdir,
    Tread,
    Treaddir,
    Trenameat,
    Tunlinkat,
    Twalk,
    Twrite,
)


class Flushed(NamedTuple):
    """A request that is flushed right after it was sent."""

    request: Message


Lane: TypeAlias = Generator["Message | Flushed", "Message | None", None]


class _Turn:
    """What a lane waits for."""

    def __init__(self, lane: Lane) -> None:
        self.lane = lane
        self.tag = -1
        self.flush = -1
        self.reply: Message | None = None


def run_lanes(connection: Connection, lanes: Iterable[Lane], timeout: float = 30.0) -> int:
    """Run lanes until all have ended; returns the number of replies.

    Raises:
        AssertionError: a reply came that nothing waits for (twice, or after its Rflush), or a lane found a wrong one.
        TimeoutError: a reply did not come.
    """
    runner = _Runner(connection)
    for lane in lanes:
        runner.step(_Turn(lane), None)
    while runner.turns:
        runner.send()
        runner.receive(timeout)
    return runner.replies


class _Runner:
    def __init__(self, connection: Connection) -> None:
        self.connection = connection
        self.turns: dict[int, _Turn] = {}
        self.free = list(range(0xFFFE, 0x7F00, -1))
        self.batch = bytearray()
        self.replies = 0

    def step(self, turn: _Turn, reply: Message | None) -> None:
        try:
            wanted = next(turn.lane) if reply is None and turn.tag < 0 else turn.lane.send(reply)
        except StopIteration:
            return
        request = wanted.request if isinstance(wanted, Flushed) else wanted
        turn.tag = self._add(turn, request)
        turn.flush = self._add(turn, Tflush(turn.tag)) if isinstance(wanted, Flushed) else -1
        turn.reply = None

    def _add(self, turn: _Turn, request: Message) -> int:
        tag = self.free.pop()
        assert tag not in self.turns
        self.turns[tag] = turn
        self.batch += pack(request, tag, Dialect.L)
        return tag

    def send(self) -> None:
        # All at once: what the server finds in one batch is what makes its life interesting.
        data, self.batch = memoryview(self.batch), bytearray()
        sock = self.connection.socket
        poll = select.poll()
        poll.register(sock, select.POLLIN | select.POLLOUT)
        while data:
            try:
                data = data[sock.send(data, socket.MSG_DONTWAIT) :]
            except BlockingIOError:
                # The server takes no more as long as nobody takes its replies.
                if any(events & select.POLLIN for _, events in poll.poll()):
                    self.receive(None)

    def receive(self, timeout: float | None) -> None:
        tag, reply = self.connection.receive(timeout)
        self.replies += 1
        turn = self.turns.pop(tag, None)
        assert turn is not None, f"nothing waits for tag {tag}: {reply}"
        if tag == turn.flush:
            assert isinstance(reply, Rflush), reply
            if turn.tag in self.turns:  # no reply will come
                del self.turns[turn.tag]
                self.free.append(turn.tag)
            self.free.append(tag)
            self.step(turn, turn.reply)
        elif turn.flush >= 0:
            turn.reply = reply
            # The tag stays unused until the Rflush: its late reply would be a defect that must not go unnoticed.
            self.free.insert(0, tag)
        else:
            self.free.append(tag)
            self.step(turn, reply)


# --- lanes for a tree of files ----------------------------------------------------------------------------------


def content(name: str, size: int) -> bytes:
    """What :func:`plant` puts into a file: bytes that tell name and place."""
    block = random.Random(name).randbytes(4093)
    return (block * (size // len(block) + 1))[:size]


SIZES = {"empty": 0, "small": 100, "page": 4096, "large": 300_000}


def plant(directory: str | os.PathLike[str]) -> None:
    """Make the files that the lanes below read."""
    os.makedirs(os.path.join(directory, "a/b/c"))
    for folder in ("", "a", "a/b", "a/b/c"):
        for name, size in SIZES.items():
            with open(os.path.join(directory, folder, name), "wb") as file:
                file.write(content(name, size))


def read_lane(root: int, fids: list[int], rounds: int, seed: int, *, flush: bool = False, most: int = 100_000) -> Lane:
    """Walk to files, open, read pieces of at most ``most`` bytes, clunk; every byte is compared."""
    rng = random.Random(seed)
    fid = fids.pop()
    for _ in range(rounds):
        depth = rng.randrange(4)
        name = rng.choice(list(SIZES))
        data = content(name, SIZES[name])
        walked = yield Twalk(root, fid, [*[b"a", b"b", b"c"][:depth], name.encode()])
        assert isinstance(walked, Rwalk), walked
        assert len(walked.wqids) == depth + 1
        opened = yield Tlopen(fid, LFlag.RDONLY)
        assert isinstance(opened, Rlopen), opened
        assert opened.qid[2] == walked.wqids[-1][2]
        for _ in range(rng.randrange(4)):
            offset = rng.choice([0, rng.randrange(len(data) + 1), len(data) + 5])
            count = min(most, rng.choice([1, 100, 5000, 32768, 40000, 100_000]))
            request = Tread(fid, offset, count)
            reply = yield (Flushed(request) if flush else request)
            if reply is None:
                assert flush
                continue
            assert isinstance(reply, Rread), reply
            assert bytes(reply.data) == data[offset : offset + count]
        told = yield Tgetattr(fid, 0x7FF)
        assert isinstance(told, Rgetattr), told
        assert told.size == len(data)
        assert told.qid[2] == walked.wqids[-1][2]
        clunked = yield Tclunk(fid)
        assert isinstance(clunked, Rclunk), clunked
    fids.append(fid)


def write_lane(root: int, fids: list[int], rounds: int, seed: int, prefix: str) -> Lane:
    """Make a file, write and read it back in pieces, rename and remove it."""
    rng = random.Random(seed)
    fid = fids.pop()
    for number in range(rounds):
        name = f"{prefix}-{seed}-{number}".encode()
        yield Twalk(root, fid, [])
        made = yield Tlcreate(fid, name, LFlag.RDWR | LFlag.EXCL, 0o640, 0xFFFFFFFF)
        assert isinstance(made, Rlcreate), made
        model = bytearray()
        for _ in range(rng.randrange(1, 5)):
            offset = rng.randrange(len(model) + 1)
            piece = rng.randbytes(rng.choice([1, 100, 4096, 30_000]))
            written = yield Twrite(fid, offset, piece)
            assert isinstance(written, Rwrite), written
            assert written[0] == len(piece)
            model[offset : offset + len(piece)] = piece
        renamed = yield Trenameat(root, name, root, name + b"'")
        assert isinstance(renamed, Rrenameat), renamed
        removed = yield Tunlinkat(root, name + b"'", 0)
        assert isinstance(removed, Runlinkat), removed
        reply = yield Tread(fid, 0, 200_000)  # all of it fits one message
        assert isinstance(reply, Rread), reply
        assert bytes(reply.data) == model
        clunked = yield Tclunk(fid)
        assert isinstance(clunked, Rclunk), clunked
    fids.append(fid)


def directory_lane(root: int, fids: list[int], rounds: int, seed: int, prefix: str) -> Lane:
    """Make a directory with entries, list it in pieces, remove everything."""
    rng = random.Random(seed)
    here, there = fids.pop(), fids.pop()
    for number in range(rounds):
        name = f"{prefix}-{seed}-{number}".encode()
        made = yield Tmkdir(root, name, 0o755, 0xFFFFFFFF)
        assert isinstance(made, Rmkdir), made
        walked = yield Twalk(root, here, [name])
        assert isinstance(walked, Rwalk), walked
        children = [f"child {child}".encode() for child in range(rng.randrange(6))]
        for child in children:
            made = yield Tmkdir(here, child, 0o755, 0xFFFFFFFF)
            assert isinstance(made, Rmkdir), made
        yield Twalk(here, there, [])
        opened = yield Tlopen(there, LFlag.RDONLY)
        assert isinstance(opened, Rlopen), opened
        seen: list[bytes] = []
        offset = 0
        while True:
            reply = yield Treaddir(there, offset, 100)
            assert isinstance(reply, Rreaddir), reply
            entries = unpack_dirents(reply.data)
            if not entries:
                break
            seen += [entry.name for entry in entries]
            offset = entries[-1].offset
        assert sorted(seen) == sorted([b".", b"..", *children])
        for child in children:
            removed = yield Tunlinkat(here, child, AT_REMOVEDIR)
            assert isinstance(removed, Runlinkat), removed
        for fid in (there, here):
            clunked = yield Tclunk(fid)
            assert isinstance(clunked, Rclunk), clunked
        removed = yield Tunlinkat(root, name, AT_REMOVEDIR)
        assert isinstance(removed, Runlinkat), removed
        missing = yield Twalk(root, here, [name])
        assert missing == Rlerror(errno.ENOENT)
    fids += [here, there]


def lock_lane(root: int, fids: list[int], rounds: int, owner: int, held: set[int], *, flush: bool = False) -> Lane:
    """Wait for the same lock as others, be alone while holding it (``held`` is shared by all), and drop it."""
    fid = fids.pop()
    walked = yield Twalk(root, fid, [b"small"])
    assert isinstance(walked, Rwalk), walked
    opened = yield Tlopen(fid, LFlag.RDWR)
    assert isinstance(opened, Rlopen), opened
    for _ in range(rounds):
        request = Tlock(fid, LockType.WRLCK, LockFlag.BLOCK, 0, 0, owner, b"lanes")
        reply = yield (Flushed(request) if flush else request)
        if reply is not None:
            assert reply == Rlock(0), reply
            assert not held, "two owners at the same time"
            held.add(owner)
            told = yield Tgetattr(fid, 0x7FF)
            assert isinstance(told, Rgetattr), told
            assert stat.S_ISREG(told.mode)
            held.remove(owner)
        unlocked = yield Tlock(fid, LockType.UNLCK, 0, 0, 0, owner, b"lanes")
        assert unlocked == Rlock(0), unlocked
    clunked = yield Tclunk(fid)
    assert isinstance(clunked, Rclunk), clunked
    fids.append(fid)
