"""The engine: slow requests delay nobody, flush and version end them, and nothing is lost or answered twice."""

from __future__ import annotations

import errno
import fcntl
import logging
import random
import statistics
import sys
import termios
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from ninepfs.client import Client, Connection, ServerClosedError
from ninepfs.drivers import LocalDriver
from ninepfs.server import Limits, crew, engine
from ninepfs.testing import BlockingDriver, Census, FailingDriver, Served, WatchedDriver, serve_pair
from ninepfs.testing.load import Lane, directory_lane, lock_lane, plant, read_lane, run_lanes, write_lane
from ninepfs.testing.process import wait_until
from ninepfs.wire import Dialect, Message, pack
from ninepfs.wire.constants import NONUNAME, LFlag, LockFlag, LockStatus, LockType
from ninepfs.wire.messages import (
    Rflush,
    Rgetattr,
    Rlerror,
    Rlopen,
    Rread,
    Rversion,
    Rwrite,
    Tclunk,
    Tflush,
    Tgetattr,
    Tlock,
    Tlopen,
    Tread,
    Tremove,
    Tversion,
    Twalk,
    Twrite,
)

from .conftest import Records

LIMIT = 0.010
"""Seconds that a blocked request may delay others of its session."""


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


@pytest.fixture
def limits() -> Limits:
    return Limits()


@pytest.fixture
def setting(share: Path, limits: Limits, no_defects: Records) -> Iterator[Setting]:
    (share / "file").write_bytes(bytes(range(256)))
    watched: WatchedDriver[Any, Any] = WatchedDriver(LocalDriver(share))
    driver = BlockingDriver(watched)
    with serve_pair(driver, limits, msize=65536) as served:
        try:
            yield Setting(served, driver, watched)
        finally:
            driver.release()
    assert not watched.violations
    assert not watched.open_handles


def timed(action: Callable[[], object]) -> float:
    begin = time.perf_counter()
    action()
    return time.perf_counter() - begin


# --- delay ------------------------------------------------------------------------------------------------------


def test_a_blocked_request_delays_the_others_of_its_session_by_less_than_10_ms(setting: Setting) -> None:
    # The worst case: both arrive together, so that the leader is already at the blocked one when it finds the other.
    connection, root = setting.connection, setting.client.root.fid
    delays, late = [], []
    for _ in range(60):
        setting.driver.block("read")
        both = pack(Tread(setting.fid, 0, 4), 1, Dialect.L) + pack(Tgetattr(root, 0x7FF), 2, Dialect.L)
        begin = time.perf_counter()
        connection.send_raw(both)
        tag, reply = connection.receive(5)
        delays.append(time.perf_counter() - begin)
        assert (tag, type(reply)) == (2, Rgetattr)
        assert setting.driver.waiting == 1
        setting.driver.release()
        tag, reply = connection.receive(5)
        assert (tag, type(reply)) == (1, Rread)
        # How late this machine wakes anybody who sleeps, at the moment.
        late.append(timed(lambda: time.sleep(0.001)) - 0.001)
    noise = sorted(late)[len(late) * 9 // 10]
    assert statistics.median(delays) < LIMIT
    assert sorted(delays)[len(delays) * 8 // 10] < LIMIT + noise


def test_a_blocked_request_delays_no_other_session(setting: Setting) -> None:
    other = setting.served.connect()

    def median() -> float:
        return statistics.median(timed(lambda: other.getattr(other.root.fid)) for _ in range(400))

    before = median()
    tags = setting.block(8)
    assert setting.driver.waiting == 8
    during = median()
    assert setting.driver.waiting == 8
    # No request waits for the watchdog, whose tick is ten to thirty times what a request takes.
    assert during < max(2 * before, engine.TICK / 4)
    setting.driver.release()
    for tag in tags:
        setting.connection.result(tag, Rread)


def test_blocked_requests_get_their_own_replies_in_any_order(setting: Setting) -> None:
    setting.driver.block("read")
    tags = {setting.connection.send(Tread(setting.fid, n * 10, 4)): n * 10 for n in range(12)}
    setting.driver.wait_entered(12)
    for _ in range(12):
        setting.driver.release(1)
        tag, reply = setting.connection.receive(5)
        offset = tags.pop(tag)
        assert reply == Rread(bytes(range(offset, offset + 4)))
    assert not tags


def test_replies_collected_before_a_blocked_request_do_not_wait_for_it(setting: Setting) -> None:
    setting.driver.block("read")
    root = setting.client.root.fid
    batch = [pack(Tgetattr(root, 0x7FF), tag, Dialect.L) for tag in range(10)]
    batch.append(pack(Tread(setting.fid, 0, 4), 10, Dialect.L))
    batch += [pack(Tgetattr(root, 0x7FF), tag, Dialect.L) for tag in range(11, 20)]
    setting.connection.send_raw(b"".join(batch))
    got = [setting.connection.receive(5)[0] for _ in range(19)]
    assert got == [*range(10), *range(11, 20)]
    setting.driver.release()
    assert setting.connection.receive(5)[0] == 10


# --- limits -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("limits", [Limits(slow_requests_per_session=3)])
def test_a_session_with_too_many_blocked_requests_waits_and_recovers(setting: Setting) -> None:
    other = setting.served.connect()
    setting.driver.block("read")
    tags = [setting.connection.send(Tread(setting.fid, n, 4)) for n in range(10)]
    behind = setting.connection.send(Tgetattr(setting.client.root.fid, 0x7FF))
    # Three in flight beside the one that the leader is at.
    setting.driver.wait_entered(4)
    with pytest.raises(TimeoutError):
        setting.connection.receive(0.1)
    assert setting.driver.waiting == 4
    for _ in range(20):
        other.getattr(other.root.fid)
    setting.driver.release(1)  # one goes, the next one comes
    assert setting.connection.receive(5)[0] in tags
    setting.driver.wait_entered(4)
    setting.driver.release()
    got = {setting.connection.receive(5)[0] for _ in range(10)}
    assert behind in got
    assert len(got & set(tags)) == 9
    wait_until(lambda: setting.engine.slow == 0, "no request is slow")
    setting.block()  # and everything is as before


@pytest.mark.parametrize("limits", [Limits(slow_requests=2)])
def test_all_sessions_together_have_a_limit_of_blocked_requests(setting: Setting) -> None:
    clients = [setting.client, *(setting.served.connect() for _ in range(3))]
    bystander = setting.served.connect()
    fids = [setting.fid, *(open_file(client) for client in clients[1:])]
    setting.driver.block("read")
    tags = []
    for number, (client, fid) in enumerate(zip(clients, fids, strict=True), start=1):
        tags.append(client.connection.send(Tread(fid, 0, 4)))
        setting.driver.wait_entered(number)
        # From the third on, those who have something slow wait their turn; the others do not.
        assert _answers(client) == (number <= 2)
        assert _answers(bystander)
    setting.driver.release()
    for client, tag in zip(clients, tags, strict=True):
        assert client.connection.result(tag, Rread) == Rread(bytes(range(4)))
    assert all(_answers(client) for client in clients)
    wait_until(lambda: setting.engine.slow == 0, "no request is slow")


def _answers(client: Client) -> bool:
    tag = client.connection.send(Tgetattr(client.root.fid, 0))
    try:
        reply = client.connection.receive(0.3)
    except TimeoutError:
        client.connection.abandon(tag)
        return False
    assert reply[0] == tag
    return True


@pytest.mark.parametrize("limits", [Limits(sessions=3)])
def test_a_client_too_many_is_turned_away_and_welcome_later(setting: Setting) -> None:
    second, third = setting.served.connect(), setting.served.connect()
    with pytest.raises(ConnectionRefusedError):
        setting.served.connect()
    second.close()
    wait_until(lambda: len(setting.engine.connections) == 2, "the server notices")
    setting.served.connect()
    third.getattr(third.root.fid)


# --- flush ------------------------------------------------------------------------------------------------------


def test_rflush_follows_the_reply_of_a_request_that_cannot_be_interrupted(setting: Setting) -> None:
    (tag,) = setting.block()
    flush = setting.connection.send(Tflush(tag))
    setting.sync()
    with pytest.raises(TimeoutError):
        setting.connection.receive(0.05)
    setting.driver.release()
    assert setting.connection.receive(5) == (tag, Rread(bytes(range(4))))
    assert setting.connection.receive(5) == (flush, Rflush())


def test_an_interrupted_request_has_no_reply_but_the_rflush(setting: Setting) -> None:
    (tag,) = setting.block()
    flush = setting.connection.send(Tflush(tag))
    setting.sync()
    setting.driver.interrupt()
    assert setting.connection.receive(5) == (flush, Rflush())
    setting.connection.flushed(tag)
    setting.sync()
    with pytest.raises(TimeoutError):
        setting.connection.receive(0.05)


def test_a_flushed_write_that_has_written_something_says_so(share: Path, no_defects: Records) -> None:
    # Without a reply the client would have to take it as if nothing had been written.
    (share / "file").touch()
    driver = FailingDriver(LocalDriver(share))
    entered, flushed = threading.Event(), threading.Event()

    def interrupted_after_two_bytes(handle: Any, buffers: Any, offset: int) -> int:
        if not offset:
            return driver.inner.write(handle, [buffers[0][:2]], offset)
        entered.set()
        flushed.wait()
        raise InterruptedError(errno.EINTR, "interrupted")

    driver.effects["write"] = interrupted_after_two_bytes
    with serve_pair(driver) as served:
        client = served.client
        tag = client.connection.send(Twrite(open_file(client), 0, b"abcd"))
        assert entered.wait(20)
        flush = client.connection.send(Tflush(tag))
        client.getattr(client.root.fid)  # it has seen the flush
        flushed.set()
        assert client.connection.receive() == (tag, Rwrite(2))
        assert client.connection.receive() == (flush, Rflush())
    assert (share / "file").read_bytes() == b"ab"


def test_a_driver_that_is_interrupted_without_a_flush_is_asked_again(setting: Setting) -> None:
    (tag,) = setting.block()
    setting.driver.interrupt()
    assert setting.connection.receive(5) == (tag, Rread(bytes(range(4))))
    assert setting.driver.calls["read"] == 2


@pytest.mark.parametrize("interrupt", [True, False])
def test_a_flushed_tag_may_be_used_again_at_once(setting: Setting, interrupt: bool) -> None:
    for tag in (7, 0x8000, 0xFFFE):
        setting.driver.block("read")
        setting.connection.send(Tread(setting.fid, 0, 4), tag)
        setting.driver.wait_entered()
        flush = setting.connection.send(Tflush(tag))
        setting.sync()
        if interrupt:
            setting.driver.interrupt()
        else:
            setting.driver.release()
            assert setting.connection.receive(5) == (tag, Rread(bytes(range(4))))
        assert setting.connection.receive(5) == (flush, Rflush())
        setting.connection.flushed(tag)
        again = setting.connection.call(Tread(setting.fid, 100, 4), Rread, tag)
        assert bytes(again.data) == bytes(range(100, 104))


def test_several_flushes_of_one_request_are_answered_in_order(setting: Setting) -> None:
    (tag,) = setting.block()
    flushes = [setting.connection.send(Tflush(tag)) for _ in range(20)]
    setting.sync()
    setting.driver.release()
    got = [setting.connection.receive(5)[0] for _ in range(21)]
    assert got == [tag, *flushes]


@pytest.mark.parametrize("interrupt", [True, False])
def test_a_flush_of_a_flush_is_answered_after_it(setting: Setting, interrupt: bool) -> None:
    (tag,) = setting.block()
    first = setting.connection.send(Tflush(tag))
    second = setting.connection.send(Tflush(first))
    third = setting.connection.send(Tflush(second))
    fourth = setting.connection.send(Tflush(tag))
    setting.sync()
    if interrupt:
        setting.driver.interrupt()
    else:
        setting.driver.release()
        assert setting.connection.receive(5)[0] == tag
    got = [setting.connection.receive(5) for _ in range(4)]
    assert {reply for _, reply in got} == {Rflush()}
    order = [tag for tag, _ in got]
    assert order.index(first) < order.index(second) < order.index(third)
    assert order.index(first) < order.index(fourth)


def test_a_flush_of_nothing_is_answered_at_once(setting: Setting) -> None:
    setting.block()
    for oldtag in (0, 500, 0x8000, 0xFFFF):
        setting.client.flush(oldtag)
    own = setting.connection.send(Tflush(77), 77)
    assert setting.connection.wait(own) == Rflush()
    setting.driver.release()


def test_a_flushed_wait_for_a_lock_takes_no_lock(setting: Setting) -> None:
    second = open_file(setting.client)
    setting.client.lock(setting.fid, LockType.WRLCK, 0, 0, 10, 1, b"c")
    waiting = setting.connection.send(Tlock(second, LockType.WRLCK, LockFlag.BLOCK, 5, 10, 2, b"c"))
    setting.sync()
    flush = setting.connection.send(Tflush(waiting))
    assert setting.connection.receive(5) == (flush, Rflush())
    setting.connection.flushed(waiting)
    setting.client.lock(setting.fid, LockType.UNLCK, 0, 0, 10, 1, b"c")
    assert setting.client.getlock(setting.fid, LockType.WRLCK, 0, 0, 3, b"c").type == LockType.UNLCK


def test_more_flushes_than_may_wait_are_still_never_refused(setting: Setting) -> None:
    (tag,) = setting.block()
    flushes = [setting.connection.send(Tflush(tag)) for _ in range(2000)]
    setting.driver.release()
    got = [setting.connection.receive(5) for _ in range(2001)]
    assert got[0][0] == tag
    assert [tag for tag, _ in got[1:]] == flushes
    assert {reply for _, reply in got[1:]} == {Rflush()}


# --- version ----------------------------------------------------------------------------------------------------


def test_tversion_drains_what_is_in_flight_and_answers_nothing_of_it(setting: Setting) -> None:
    tags = setting.block(3)
    flush = setting.connection.send(Tflush(tags[0]))
    waiting = setting.connection.send(Tlock(setting.fid, LockType.WRLCK, LockFlag.BLOCK, 0, 0, 1, b"c"))
    other = open_file(setting.served.connect())
    assert waiting, other
    setting.connection.send(Tversion(8192, b"9P2000.L"))
    with pytest.raises(TimeoutError):
        _receive_until(setting.connection, Rversion, 0.1)
    setting.driver.release()
    before = _receive_until(setting.connection, Rversion, 5)
    assert all(tag == waiting for tag, _ in before), "a request of the old session was answered"
    assert flush
    setting.connection.negotiated(8192, Dialect.L)
    # All fids are gone and closed, the numbers and tags are free.
    assert setting.connection.wait(setting.connection.send(Tclunk(setting.fid), tags[0])) == Rlerror(errno.ENOENT)
    assert setting.watched.open_handles == 1  # the other client's
    with pytest.raises(TimeoutError):
        setting.connection.receive(0.05)


def _receive_until(connection: Connection, wanted: type[Message], timeout: float) -> list[tuple[int, Message]]:
    before: list[tuple[int, Message]] = []
    while True:
        tag, reply = connection.receive(timeout)
        if isinstance(reply, wanted):
            return before
        before.append((tag, reply))


def test_tversion_ends_a_wait_for_a_lock(setting: Setting) -> None:
    holder = setting.served.connect()
    holder.lock(open_file(holder), LockType.WRLCK, 0, 0, 0, 1, b"holder")
    setting.connection.send(Tlock(setting.fid, LockType.WRLCK, LockFlag.BLOCK, 0, 0, 1, b"c"))
    setting.sync()
    setting.client.version(65536, "9P2000.L")
    session = next(iter(setting.engine.connections)).desk.request.session
    assert not session.inflight
    with pytest.raises(TimeoutError):
        setting.connection.receive(0.05)


def test_a_session_renewed_many_times_under_load_answers_nothing_twice(setting: Setting) -> None:
    connection = setting.served.connection()
    for number in range(60):
        connection.send_raw(pack(Tversion(65536, b"9P2000.L"), 0xFFFF, Dialect.L))
        while not isinstance(connection.receive(5)[1], Rversion):
            pass
        connection.negotiated(65536, Dialect.L)
        client = Client(connection)
        client.attach(1, n_uname=NONUNAME)
        client.walk(1, 2, ["file"])
        client.lopen(2)
        setting.driver.block("read")
        for _ in range(4):
            connection.send(Tread(2, number, 4))
        setting.driver.wait_entered(4)
        threading.Timer(0.001, setting.driver.release).start()
    assert setting.watched.opened == 61
    wait_until(lambda: setting.driver.waiting == 0, "the last ones end")


def test_a_pipelined_session_with_larger_messages_keeps_the_framing(setting: Setting, share: Path) -> None:
    # The whole conversation arrives in one batch, when the server has only room for the first session's messages.
    big = share / "big"
    big.mkdir()
    names = {f"{number:0200}" for number in range(1500)}
    for name in names:
        (big / name).touch()
    (share / "data").write_bytes(bytes(random.Random(1).randbytes(1 << 20)))
    from ninepfs.wire.messages import Rreaddir, Tattach, Treaddir

    messages: list[Message] = [
        Tversion(1 << 20, b"9P2000.L"),
        Tattach(1),
        Twalk(1, 2, [b"big"]),
        Tlopen(2, 0),
        Treaddir(2, 0, 500_000),
        Twalk(1, 3, [b"data"]),
        Tlopen(3, 0),
        Tread(3, 5, 900_000),
    ]
    sock = setting.served.socket()
    sock.sendall(b"".join(pack(message, tag, Dialect.L) for tag, message in enumerate(messages)))
    connection = Connection(sock, msize=1 << 20, dialect=Dialect.L)
    replies = [connection.receive(5) for _ in messages]
    assert [tag for tag, _ in replies] == list(range(len(messages)))
    listing, data = replies[4][1], replies[7][1]
    assert isinstance(listing, Rreaddir)
    assert isinstance(data, Rread)
    assert len(data.data) > 0
    assert bytes(data.data) == (share / "data").read_bytes()[5 : 5 + len(data.data)]


# --- clunk ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("reads", [1, 5])
def test_a_file_that_is_clunked_while_it_is_read_is_closed_once_after_the_last_read(
    setting: Setting, reads: int
) -> None:
    tags = setting.block(reads)
    setting.client.clunk(setting.fid)
    assert setting.watched.open_handles == 1
    with pytest.raises(FileNotFoundError):
        setting.client.read(setting.fid, 0, 1)
    # Its number is free for another file, which is none of the old one's business.
    setting.client.walk(setting.client.root.fid, setting.fid)
    for _ in range(reads):
        assert setting.watched.open_handles == 1
        setting.driver.release(1)
        tag, reply = setting.connection.receive(5)
        assert tag in tags
        assert isinstance(reply, Rread)
        assert len(reply.data) == 4
    wait_until(lambda: setting.watched.open_handles == 0, "the file is closed")
    assert setting.driver.calls["close"] == 1
    setting.client.getattr(setting.fid)


def test_a_fid_that_is_clunked_while_it_is_opened_leaves_nothing_open(setting: Setting) -> None:
    fid = setting.client.new_fid()
    setting.client.walk(setting.client.root.fid, fid, ["file"])
    setting.driver.block("open")
    opening = setting.connection.send(Tlopen(fid, 0))
    setting.driver.wait_entered()
    setting.sync()
    setting.client.clunk(fid)
    setting.driver.release()
    assert setting.connection.receive(5) == (opening, Rlerror(errno.ENOENT))
    wait_until(lambda: setting.watched.open_handles == 1, "it is closed")
    assert setting.watched.opened == 2


def test_a_slow_remove_does_not_clunk_a_new_fid_of_the_same_number(setting: Setting) -> None:
    fid = setting.client.new_fid()
    setting.client.walk(setting.client.root.fid, fid, ["file"])
    setting.driver.block("unlink")
    removing = setting.connection.send(Tremove(fid))
    setting.driver.wait_entered()
    setting.sync()
    setting.client.clunk(fid)
    setting.client.walk(setting.client.root.fid, fid)
    setting.driver.release()
    assert setting.connection.receive(5)[0] == removing
    setting.client.getattr(fid)


def test_a_fid_can_be_opened_only_once_at_a_time(setting: Setting) -> None:
    fid = setting.client.new_fid()
    setting.client.walk(setting.client.root.fid, fid, ["file"])
    setting.driver.block("open")
    opening = setting.connection.send(Tlopen(fid, 0))
    setting.driver.wait_entered()
    setting.sync()
    for attempt in (
        lambda: setting.client.lopen(fid),
        lambda: setting.client.lcreate(fid, "new"),
        lambda: setting.client.xattrcreate(fid, "user.x", 1),
        lambda: setting.client.walk(fid, fid, []),
    ):
        with pytest.raises(OSError, match="Invalid"):
            attempt()
    setting.driver.release()
    assert isinstance(setting.connection.wait(opening), Rlopen)


# --- the end of a connection ------------------------------------------------------------------------------------


@pytest.fixture
def restored(monkeypatch: pytest.MonkeyPatch) -> None:
    """Idle threads of the server end soon."""
    monkeypatch.setattr(crew, "KEEP", 0.1)


def test_a_lost_connection_gives_everything_back(share: Path, no_defects: Records, restored: None) -> None:
    plant(share)
    watched: WatchedDriver[Any, Any] = WatchedDriver(LocalDriver(share))
    driver = BlockingDriver(watched)
    with serve_pair(driver) as served:
        keeper = served.client
        keeper.lock(open_file(keeper, "page"), LockType.WRLCK, 0, 0, 0, 1, b"keeper")
        census = Census()
        for _ in range(5):
            client = served.connect()
            fid = open_file(client, "large")
            driver.block("read")
            for number in range(6):
                client.connection.send(Tread(fid, number, 100_000))
            locked = open_file(client, "page")
            client.connection.send(Tlock(locked, LockType.WRLCK, LockFlag.BLOCK, 0, 0, 2, b"c"))
            client.xattrcreate(client.walk_path("small"), "user.never", 5)
            driver.wait_entered(6)
            client.close()
            driver.release()
        wait_until(lambda: len(served.server.engine.connections) == 1, "the sessions end")
        wait_until(lambda: watched.open_handles == 1, "all files but the keeper's are closed")
        assert not watched.violations
        census.wait_restored()
        session = next(iter(served.server.engine.connections)).desk.request.session
        assert session.lock_count == 1
        assert session.open_files == 1


def test_a_stopped_server_leaves_no_thread_and_no_descriptor(share: Path, restored: None) -> None:
    (share / "file").touch()
    LocalDriver(share)  # what all drivers of the process have in common stays
    census = Census()
    with serve_pair(LocalDriver(share)) as served:
        open_file(served.client)
        served.connect()
    del served
    census.wait_restored()


def test_a_client_that_breaks_off_in_the_middle_of_a_message_harms_nobody(setting: Setting) -> None:
    sock = setting.served.socket()
    sock.sendall(pack(Tversion(65536, b"9P2000.L"), 0xFFFF, Dialect.L)[:-3])
    sock.close()
    wait_until(lambda: len(setting.engine.connections) == 1, "the session ends")
    setting.sync()


@pytest.mark.parametrize(
    "head", [b"\x06\0\0\0\x64\0\0", b"\0\0\0\0\x64\0\0", b"\xff\xff\xff\xff\x64\0\0", b"\x01\x20\0\0\x64\0\0"]
)
def test_a_broken_frame_ends_the_session_with_one_line_in_the_log(setting: Setting, log: Records, head: bytes) -> None:
    sock = setting.served.socket()
    sock.sendall(head)
    assert sock.recv(100) == b""
    wait_until(lambda: len(setting.engine.connections) == 1, "the session ends")
    lines = log.texts(logging.WARNING)
    assert len(lines) == 1
    assert "session ended: a message of" in lines[0]


def test_a_live_tag_used_again_ends_the_session_with_one_line_in_the_log(setting: Setting, log: Records) -> None:
    (tag,) = setting.block()
    setting.connection.send_raw(pack(Tgetattr(setting.fid, 0), tag, Dialect.L))
    with pytest.raises(ServerClosedError):
        setting.connection.receive(5)
    assert [line for line in log.texts(logging.WARNING) if f"tag {tag} is used again" in line] == log.texts(
        logging.WARNING
    )
    setting.driver.release()
    wait_until(lambda: setting.watched.open_handles == 0, "the file is closed")
    wait_until(lambda: setting.engine.slow == 0, "no request is slow")


def test_a_session_ends_also_when_its_client_takes_no_replies(setting: Setting, share: Path) -> None:
    (share / "large").write_bytes(bytes(1_000_000))
    holder = setting.served.connect()
    holder.lock(open_file(holder), LockType.WRLCK, 0, 0, 0, 1, b"holder")
    client = setting.served.connect(msize=1 << 20)
    fid = open_file(client, "large")
    client.connection.send(Tlock(open_file(client), LockType.WRLCK, LockFlag.BLOCK, 0, 0, 2, b"c"), 777)
    setting.driver.block("read")
    for _ in range(12):  # more than the socket holds
        client.connection.send(Tread(fid, 0, 1_000_000))
    setting.driver.wait_entered(12)
    client.getattr(client.root.fid)
    setting.driver.release()
    # Until what has arrived becomes no more: somebody is stuck sending.
    arrived = [-1, 0]
    while arrived[-1] != arrived[-2] or arrived[-1] < 60_000:
        time.sleep(0.03)
        room = bytearray(4)
        fcntl.ioctl(client.connection.socket, termios.FIONREAD, room)
        arrived.append(int.from_bytes(room, sys.byteorder))
    client.connection.send_raw(pack(Tgetattr(client.root.fid, 0), 777, Dialect.L))
    wait_until(lambda: len(setting.engine.connections) == 2, "the session ends")
    wait_until(lambda: setting.engine.slow == 0, "no request is slow")
    wait_until(lambda: setting.watched.open_handles == 2, "its files are closed")


# --- drivers that fail ------------------------------------------------------------------------------------------


@pytest.fixture
def failing(share: Path) -> Iterator[tuple[FailingDriver[Any, Any], BlockingDriver[Any, Any], Served]]:
    (share / "file").write_bytes(b"content")
    inner = FailingDriver(LocalDriver(share))
    driver = BlockingDriver(inner)
    with serve_pair(driver) as served:
        try:
            yield inner, driver, served
        finally:
            driver.release()


@pytest.mark.parametrize("failure", [ValueError("wrong"), RecursionError(), MemoryError(), KeyError(3)])
@pytest.mark.parametrize("slow", [False, True])
def test_a_driver_that_fails_costs_its_request_an_eio_and_is_in_the_log(
    failing: tuple[FailingDriver[Any, Any], BlockingDriver[Any, Any], Served],
    log: Records,
    failure: Exception,
    slow: bool,
) -> None:
    inner, driver, served = failing
    client = served.client
    inner.effects["getattr"] = failure
    if slow:
        driver.block("getattr")
        tag = client.connection.send(Tgetattr(client.root.fid, 0))
        driver.wait_entered()
        client.walk(client.root.fid, 5)
        driver.release()
        reply = client.connection.wait(tag)
    else:
        reply = client.connection.wait(client.connection.send(Tgetattr(client.root.fid, 0)))
    assert reply == Rlerror(errno.EIO)
    (record,) = [record for record in log.records if record.levelno >= logging.ERROR]
    assert record.exc_info is not None
    assert record.exc_info[1] is failure
    del inner.effects["getattr"]
    client.getattr(client.root.fid)


@pytest.mark.parametrize("slow", [False, True])
def test_a_reply_that_cannot_be_packed_is_an_eio_and_answers_its_flushes(
    failing: tuple[FailingDriver[Any, Any], BlockingDriver[Any, Any], Served], log: Records, slow: bool
) -> None:
    inner, driver, served = failing
    client = served.client
    inner.effects["getattr"] = lambda *_: (-1, (0, 1, 2, 3), *[1 << 70] * 18)
    if slow:
        driver.block("getattr")
    tag = client.connection.send(Tgetattr(client.root.fid, 0))
    if slow:
        driver.wait_entered()
        client.walk(client.root.fid, 5)
    flushes = [client.connection.send(Tflush(tag)) for _ in range(3)]
    if slow:
        client.walk(client.root.fid, 6)
        driver.release()
    got = [client.connection.receive(5) for _ in range(4)]
    assert got == [(tag, Rlerror(errno.EIO)), *[(flush, Rflush()) for flush in flushes]]
    assert len(log.texts(logging.ERROR)) == 1
    del inner.effects["getattr"]
    client.getattr(client.root.fid)


def test_no_thread_for_a_successor_delays_the_session_but_does_not_end_it(
    setting: Setting, monkeypatch: pytest.MonkeyPatch, log: Records
) -> None:
    start = setting.engine.crew.start
    refusals = 3

    def refuse(*arguments: Any) -> None:
        nonlocal refusals
        if refusals:
            refusals -= 1
            raise RuntimeError("can't start new thread")
        start(*arguments)

    monkeypatch.setattr(setting.engine.crew, "start", refuse)
    setting.driver.block("read")
    tag = setting.connection.send(Tread(setting.fid, 0, 4))
    setting.driver.wait_entered()
    setting.sync()
    assert refusals == 0
    setting.driver.release()
    assert setting.connection.receive(5)[0] == tag


@pytest.fixture
def restless(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A watchdog that finds everything slow, and threads that are interrupted everywhere."""
    monkeypatch.setattr(engine, "TICK", 0.00005)
    before = sys.getswitchinterval()
    sys.setswitchinterval(0.00001)
    yield
    sys.setswitchinterval(before)


# --- stopping ---------------------------------------------------------------------------------------------------


def test_stopping_finishes_what_is_in_flight(setting: Setting) -> None:
    tags = setting.block(3)
    root = setting.client.root.fid
    behind = [setting.connection.send(Tgetattr(root, 0x7FF)) for _ in range(5)]
    result: list[bool] = []
    stopping = threading.Thread(target=lambda: result.append(setting.served.server.stop(20)))
    stopping.start()
    got = {setting.connection.receive(5)[0] for _ in range(5)}
    assert got == set(behind)
    assert not result
    setting.driver.release()
    got = {setting.connection.receive(5)[0] for _ in range(3)}
    assert got == set(tags)
    with pytest.raises(ServerClosedError):
        setting.connection.receive(5)
    stopping.join(20)
    assert result == [True]
    with pytest.raises(ConnectionRefusedError):
        setting.served.connect()


def test_stopping_loses_no_reply_of_what_was_in_flight(share: Path, restless: None, no_defects: Records) -> None:
    (share / "file").write_bytes(bytes(10))
    for _ in range(40):
        driver: BlockingDriver[Any, Any] = BlockingDriver(LocalDriver(share))
        with serve_pair(driver) as served:
            fid = open_file(served.client)
            driver.block("read")
            tag = served.client.connection.send(Tread(fid, 0, 4))
            driver.wait_entered()
            served.client.getattr(served.client.root.fid)
            stopping = threading.Thread(target=served.server.stop)
            stopping.start()
            wait_until(lambda served=served: served.server.engine._stopping, "it stops")  # type: ignore[misc]
            driver.release()
            assert served.client.connection.receive(5) == (tag, Rread(bytes(4)))
            stopping.join()


def test_stopping_gives_up_on_a_driver_that_hangs(setting: Setting) -> None:
    setting.block()
    assert not setting.served.server.stop(0.1)
    setting.driver.release()
    assert setting.served.server.stop(20)


# --- hand-over at random points ---------------------------------------------------------------------------------


def _chaos(share: Path, seconds: float, log: Records, limits: Limits) -> int:
    """Several sessions with many lanes each, and every reply checked; returns how often a leader was relieved."""
    plant(share)
    watched: WatchedDriver[Any, Any] = WatchedDriver(LocalDriver(share))
    held: set[int] = set()
    failures: list[BaseException] = []
    replies = 0
    end = time.monotonic() + seconds

    def drive(client: Client, number: int) -> None:
        nonlocal replies
        root = client.root.fid
        fids = list(range(100, 200))
        seed = number * 1000
        try:
            while time.monotonic() < end:
                lanes: list[Lane] = []
                for _ in range(4):
                    seed += 1
                    owner = seed % 1000 + number * 1000
                    lanes += [
                        read_lane(root, fids, 2, seed),
                        read_lane(root, fids, 2, seed, flush=True),
                        write_lane(root, fids, 1, seed, f"w{number}"),
                        directory_lane(root, fids, 1, seed, f"d{number}"),
                        lock_lane(root, fids, 2, owner, held),
                        lock_lane(root, fids, 2, owner + 500, held, flush=True),
                    ]
                replies += run_lanes(client.connection, lanes)
        except BaseException as failure:
            failures.append(failure)
            client.close()  # its locks go; else the others would wait for them

    with serve_pair(watched, limits, msize=131072) as served:
        clients = [served.connect() for _ in range(3)]
        threads = [
            threading.Thread(target=drive, args=(client, number)) for number, client in enumerate(clients, start=1)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        if failures:
            raise failures[0]
        for connection in served.server.engine.connections:
            session = connection.desk.request.session
            wait_until(lambda session=session: not session.inflight and not session.slow, "nothing is in flight")  # type: ignore[misc]
            assert len(session.fids) == 1
            assert session.open_files == session.lock_count == session.xattr_bytes == 0
        wait_until(lambda: served.server.engine.slow == 0, "no request is slow")
    assert not watched.violations
    assert not watched.open_handles
    assert replies > 100 * seconds
    return sum(text.endswith("is slow") for text in log.texts())


@pytest.mark.parametrize("limits", [Limits(), Limits(slow_requests=3, slow_requests_per_session=2)])
def test_replies_are_right_when_leaders_are_relieved_at_random(
    share: Path, no_defects: Records, restless: None, limits: Limits
) -> None:
    assert _chaos(share, 2, no_defects, limits) > 100


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_replies_are_right_when_leaders_are_relieved_at_random_for_long(
    share: Path, no_defects: Records, restless: None
) -> None:
    assert _chaos(share, 60, no_defects, Limits()) > 2000


def test_a_wait_that_is_over_while_its_leader_is_relieved_leaves_nothing_in_flight(
    share: Path, no_defects: Records, restless: None
) -> None:
    (share / "file").touch()
    with serve_pair(LocalDriver(share)) as served:
        clients = [served.connect() for _ in range(2)]
        fids = [open_file(client) for client in clients]
        failures: list[BaseException] = []

        def contend(client: Client, fid: int) -> None:
            try:
                for _ in range(400):
                    status = client.lock(fid, LockType.WRLCK, LockFlag.BLOCK, 0, 0, 1, b"c").status
                    assert status == LockStatus.SUCCESS
                    client.lock(fid, LockType.UNLCK, 0, 0, 0, 1, b"c")
            except BaseException as failure:
                failures.append(failure)

        threads = [threading.Thread(target=contend, args=pair) for pair in zip(clients, fids, strict=True)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        if failures:
            raise failures[0]
        for connection in served.server.engine.connections:
            assert not connection.desk.request.session.inflight
