"""A whole session as a target: whatever a client sends harms neither the server nor anybody else.

An input is what a client sends from its first byte on, over a socket, to a real server of a small directory that is the
same each time (:mod:`.arena`). A client waits for the reply to a Tversion with NOTAG, as all real ones
do, and for nothing else. At the end it flushes what has no reply yet and hangs up. An input that ends with something
that is no whole message is a client that dies over it: nothing is asked afterwards.

What must hold:

* every whole message gets exactly one reply, of its kind or an error, that can be unpacked in the session's dialect;
  but for locks that wait, and are given up by a flush, Tversion or the end;
* the session ends early only for a size that no message can have, or a tag that is in use, with one line in the log;
* the server logs no defect, and is done in time;
* afterwards there are as many fids, open files, locks, slow requests, descriptors and jobs as before;
* another session, on another export, reads what it should, during and after it;
* nothing outside of the export has changed, and nothing of it was seen.
"""

from __future__ import annotations

import gc
import logging
import socket
import time
from collections.abc import Callable
from pathlib import Path

from ninepfs.client import Client
from ninepfs.drivers import LocalDriver, Wrapper
from ninepfs.drivers.local.tree import Handle, Node
from ninepfs.server import Export, Limits, Server
from ninepfs.server.engine import TICK
from ninepfs.testing.process import open_descriptors
from ninepfs.transports.stream import StreamChannel
from ninepfs.wire import ProtocolError, pack
from ninepfs.wire.constants import HEADER_SIZE, NONUNAME, NOTAG
from ninepfs.wire.messages import Tflush

from . import Finding
from .arena import FILE, Arena
from .conversation import Conversation
from .frames import TVERSION, number_of, split, tag_of

MSIZE = 1 << 16
"""The largest message: enough for reads that are spliced."""

LARGEST = 1 << 16
"""Bytes of an input that are used. A socket takes them at once, whether the server reads or not."""

PATIENCE = 60.0
"""Seconds that the server may take for anything. A bound for what has no end, not a measurement."""

LIMITS = Limits(
    msize=MSIZE, fids=32, xattr_bytes=1 << 17, open_files=64, locks=16, slow_requests_per_session=4, parked_requests=8
)
"""Small, so that short inputs reach them."""

SLOW = 4 * TICK
"""Seconds that it takes to sync a file: enough for the watchdog to notice."""

CACHE = 8
"""Descriptors of directories that the server may keep."""


class _Log(logging.Handler):
    """What the server logs while an input runs, as text: a record would keep alive what it tells of."""

    def __init__(self) -> None:
        super().__init__(logging.DEBUG)
        self.lines: list[tuple[int, str]] = []
        """(level, text)."""

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append((record.levelno, f"{record.name}: {self.format(record)}"))

    def defects(self) -> list[str]:
        """What the server says of itself that it did wrong."""
        return [text for level, text in self.lines if level >= logging.ERROR]

    def slow(self) -> bool:
        """Whether a request was slow."""
        return any(text.endswith("is slow") for _, text in self.lines)

    def ends(self, peer: str) -> list[tuple[int, str]]:
        """What is said of the end of a client's session."""
        told = (f"ninepfs.engine: {peer}: gone", f"ninepfs.engine: {peer}: session ended")
        return [(level, text) for level, text in self.lines if level > logging.DEBUG and text.startswith(told)]


class _SlowSync(Wrapper[Node, Handle]):
    """Takes its time to sync a file, so that another thread leads the session meanwhile."""

    def fsync(self, handle: Handle, datasync: bool) -> None:
        time.sleep(SLOW)
        super().fsync(handle, datasync)


class Session:
    """The target: a server, and another session that must not be disturbed.

    Args:
        base: an empty directory.
    """

    def __init__(self, base: Path) -> None:
        self.arena = Arena(base)
        self.drivers = [LocalDriver(self.arena.export, cache=CACHE), LocalDriver(self.arena.quiet, cache=CACHE)]
        self.server = Server(
            [
                Export(_SlowSync(self.drivers[0])),
                Export(self.drivers[0], "ro", readonly=True),
                Export(self.drivers[1], "quiet", readonly=True),
            ],
            LIMITS,
        )
        self.log = _Log()
        logger = logging.getLogger("ninepfs")
        self._logged = logger.level, logger.propagate
        logger.setLevel(logging.DEBUG)
        logger.propagate = False  # others might keep records, and what they tell of
        logger.addHandler(self.log)
        self._count = 0
        self.bystander = Client.over(self._connect()[0], msize=MSIZE, aname="quiet", n_uname=NONUNAME)
        self._quiet = self.bystander.root.open("file")
        self.conversation: Conversation
        """The last one."""
        self._descriptors: dict[int, str] = {}
        self._open = self.server.open_files._open
        self(b"")  # what the first session leaves behind for the others is no leak
        self._descriptors = open_descriptors()

    def __call__(self, data: bytes) -> None:
        self.log.lines.clear()
        self.arena.begin()
        try:
            self._run(bytes(data[:LARGEST]))
        finally:
            self.arena.restore()

    def close(self) -> None:
        """The end of the server."""
        self._quiet.close()
        self.bystander.close()
        stopped = self.server.stop(PATIENCE)
        logger = logging.getLogger("ninepfs")
        logger.removeHandler(self.log)
        level, logger.propagate = self._logged
        logger.setLevel(level)
        if not stopped:
            raise Finding("the server cannot be stopped")

    def _connect(self) -> tuple[socket.socket, str]:
        ours, theirs = socket.socketpair()
        self._count += 1
        peer = f"client {self._count}"
        if not self.server.connect(StreamChannel(theirs, peer)):
            raise Finding("the server takes no client any more")
        return ours, peer

    def _run(self, data: bytes) -> None:
        sock, peer = self._connect()
        try:
            line = _Line(sock, Conversation(self.server.dialect, self.log.slow))
            self.conversation = line.conversation
            frames, rest = split(data, MSIZE)
            line.send(frames)
            if rest:
                line.die(rest)
            else:
                line.finish({tag_of(frame) for frame in frames}, self._look_after_bystander)
        finally:
            sock.close()
        self._look_after_bystander()
        self._settle()
        defects = self.log.defects()
        if defects:
            raise Finding("\n".join(defects))
        if not self._ended_by_server(peer, frames, line):
            line.conversation.end()
        if self.arena.secret in line.received:
            raise Finding("the client has seen what is outside of the export")
        self.arena.check()
        self._count_what_is_left()

    def _look_after_bystander(self) -> None:
        self._quiet.seek(100)
        try:
            answer = self._quiet.read(20)
        except (OSError, ProtocolError) as failure:
            raise Finding(f"another session got a wrong answer: {failure!r}") from failure
        if answer != FILE[100:120]:
            raise Finding(f"another session got a wrong answer: {answer!r}")

    def _settle(self) -> None:
        """Wait until the server is done with the session."""
        engine = self.server.engine
        _wait(
            lambda: len(engine.connections) == 1 and engine.crew.busy == 1 and not engine.slow,
            lambda: (
                f"{len(engine.connections)} sessions, {engine.crew.busy} jobs, {engine.slow} slow requests are left"
            ),
        )

    def _ended_by_server(self, peer: str, frames: list[bytes], line: _Line) -> bool:
        """Whether the server ended the session, for a reason that it may have. One line of the log says so."""
        ends = self.log.ends(peer)
        if len(ends) != 1:
            raise Finding(f"{len(ends)} lines tell of the end of a session: {ends}")
        level, told = ends[0]
        if level == logging.INFO:
            if line.ended_early or line.misfit:
                raise Finding(f"the end of a session is told as {told!r}, but it was the server's")
            return False
        tags = [tag_of(frame) for frame in frames]
        tag_reused = "is used again" in told and len(set(tags)) < len(tags)
        if not tag_reused and not ("a message of" in told and line.perhaps_misfit):
            raise Finding(f"the server ended the session: {told!r}")
        return True

    def _count_what_is_left(self) -> None:
        server = self.server
        left = []
        if server.open_files._open != self._open:
            left.append(f"{server.open_files._open - self._open} open files")
        if server.locks._files:
            left.append(f"locks of {len(server.locks._files)} files")
        if any(export.marks._marked for export in server.exports):
            left.append("marks of files")
        if left:
            raise Finding(f"a session has left behind {', '.join(left)}")
        self._empty_cache()
        if self._descriptors:
            # The watchdog may look at the session that has ended until its next tick.
            _wait(lambda: not self._new(), lambda: f"a session has left behind {', '.join(self._new())}")

    def _empty_cache(self) -> None:
        """No input is to find what one before has left in the driver's cache of directories."""
        for driver in self.drivers:
            driver.tree.let_go()

    def _new(self) -> list[str]:
        """What is there that was not before: nodes of the tree, and descriptors."""
        nodes = [name.decode(errors="replace") for name in self.drivers[0].tree.root.children]
        held = open_descriptors()
        new = [what for fd, what in held.items() if self._descriptors.get(fd) != what]
        return [*(f"a node for {name!r}" for name in nodes), *(f"a descriptor of {what}" for what in new)]


class _Line:
    """The client's end."""

    def __init__(self, sock: socket.socket, conversation: Conversation) -> None:
        self.socket = sock
        self.socket.settimeout(PATIENCE)
        self.conversation = conversation
        self.received = bytearray()
        self._at = 0
        self.ended_early = False
        """The server ended it before we did."""
        self.misfit = self.perhaps_misfit = False
        """Whether a size was sent that no message of the session can have, for certain, or if the server looked at it
        before, or after, it agreed on another msize."""

    def send(self, frames: list[bytes]) -> None:
        """Send messages together, but wait for the reply to each Tversion with NOTAG before going on."""
        waiting = b""
        for frame in frames:
            self._measure(len(frame))
            asked = self.conversation.ask(frame)
            waiting += frame
            if number_of(frame) == TVERSION and asked.tag == NOTAG:
                self._put(waiting)
                waiting = b""
                while asked in self.conversation.open and self._take():
                    pass
                if self.ended_early:
                    return
        self._put(waiting)

    def finish(self, used: set[int], meanwhile: Callable[[], None]) -> None:
        """Have everything answered or given up, and hang up."""
        # The reply to this comes behind those of all that is neither slow nor waits.
        tags = (tag for tag in range(0xFFFE, 0, -1) if tag not in used)
        mark = self._ask_flush(next(tags), next(tags))
        while mark in self.conversation.open and self._take():
            pass
        meanwhile()
        for asked in list(self.conversation.open):
            self._ask_flush(next(tags), asked.tag)
        while self.conversation.open and self._take():
            pass
        self._hang_up()

    def die(self, rest: bytes) -> None:
        """Send what is no whole message, and hang up."""
        if len(rest) >= HEADER_SIZE:
            self._measure(int.from_bytes(rest[:4], "little"))
        self._put(rest)
        self._hang_up()

    def _measure(self, size: int) -> None:
        msizes = self.conversation.msizes()
        self.misfit |= not HEADER_SIZE <= size <= max(msizes)
        self.perhaps_misfit |= not HEADER_SIZE <= size <= min(msizes)

    def _ask_flush(self, tag: int, oldtag: int) -> object:
        frame = pack(Tflush(oldtag), tag)
        asked = self.conversation.ask(frame)
        self._put(frame)
        return asked

    def _hang_up(self) -> None:
        early = self.ended_early
        try:
            self.socket.shutdown(socket.SHUT_WR)
        except OSError:
            pass
        while self._take():
            pass
        self.ended_early = early
        if len(self.received) > self._at:
            raise Finding(f"a reply that is not whole: {self.received[self._at :][:64].hex()}")

    def _put(self, data: bytes) -> None:
        if self.ended_early:
            return
        try:
            self.socket.sendall(data)
        except (BrokenPipeError, ConnectionResetError):
            self.ended_early = True
        except TimeoutError:
            raise Finding("the server reads no more") from None

    def _take(self) -> bool:
        """Take the replies that have come, waiting for at least a part of one. False at the end of the session."""
        try:
            data = self.socket.recv(1 << 18)
        except ConnectionResetError:
            data = b""
        except TimeoutError:
            raise Finding(f"no reply in time to any of {[str(asked) for asked in self.conversation.open]}") from None
        if not data:
            self.ended_early = True
            return False
        self.received += data
        while len(self.received) - self._at >= HEADER_SIZE:
            size = int.from_bytes(self.received[self._at : self._at + 4], "little")
            if not HEADER_SIZE <= size <= MSIZE:
                raise Finding(f"a reply says that it has {size} bytes")
            if size > len(self.received) - self._at:
                break
            self.conversation.answer(bytes(self.received[self._at : self._at + size]))
            self._at += size
        return True


def _wait(condition: Callable[[], bool], otherwise: Callable[[], str]) -> None:
    """Wait for something that nobody tells us of."""
    deadline = time.monotonic() + PATIENCE
    tries = 0
    while not condition():
        if time.monotonic() > deadline:
            raise Finding(otherwise())
        time.sleep(0.0002)
        tries += 1
        if tries == 100:
            gc.collect()
