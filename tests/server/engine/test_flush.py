"""Flush and version end requests that are in flight."""

from __future__ import annotations

import errno
import random
import threading
from pathlib import Path
from typing import Any

import pytest

from ninepfs.client import Client, Connection
from ninepfs.drivers import LocalDriver
from ninepfs.testing import FailingDriver, serve_pair
from ninepfs.testing.process import wait_until
from ninepfs.wire import Dialect, Message, pack
from ninepfs.wire.constants import NONUNAME, LockFlag, LockType
from ninepfs.wire.messages import (
    Rflush,
    Rlerror,
    Rread,
    Rversion,
    Rwrite,
    Tattach,
    Tclunk,
    Tflush,
    Tlock,
    Tlopen,
    Tread,
    Tversion,
    Twalk,
    Twrite,
)

from ..conftest import Records
from .setting import Setting, open_file


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
    from ninepfs.wire.messages import Rreaddir, Treaddir

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


def test_no_reply_of_a_new_session_overtakes_its_rversion(setting: Setting, monkeypatch: pytest.MonkeyPatch) -> None:
    # A client that does not wait for Rversion; its fourth request is slow, and ends before another thread leads.
    later: list[tuple[Any, ...]] = []
    monkeypatch.setattr(setting.engine, "start", lambda *job: later.append(job))
    setting.driver.block("open")
    connection = Connection(setting.served.socket(), msize=65536, dialect=Dialect.L)
    messages = [Tversion(65536, b"9P2000.L"), Tattach(1), Twalk(1, 2, [b"file"]), Tlopen(2, 0)]
    connection.send_raw(b"".join(pack(message, tag, Dialect.L) for tag, message in enumerate(messages)))
    setting.driver.wait_entered()
    wait_until(lambda: bool(later), "the leader is relieved")
    setting.driver.release()
    first = connection.receive(5)
    monkeypatch.undo()
    setting.engine.start(*later[0])
    replies = [first, *(connection.receive(5) for _ in messages[1:])]
    assert first == (0, Rversion(65536, b"9P2000.L"))
    assert sorted(tag for tag, _ in replies) == [0, 1, 2, 3]
    connection.close()


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
