"""A slow request delays nobody."""

from __future__ import annotations

import gc
import statistics
import time
import weakref

from ninepfs.server import engine
from ninepfs.testing.process import wait_until
from ninepfs.wire import Dialect, pack
from ninepfs.wire.messages import (
    Rgetattr,
    Rread,
    Tgetattr,
    Tread,
)

from .setting import Setting, timed

LIMIT = 0.010
"""Seconds that a blocked request may delay others of its session."""


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


def test_the_desk_of_a_slow_request_goes_with_it_and_leaves_nothing_to_collect(setting: Setting) -> None:
    gc.collect()
    gc.disable()
    try:
        [connection] = setting.engine.connections
        desks = []
        for _ in range(3):
            desks.append(weakref.ref(connection.desk))
            [tag] = setting.block()
            setting.driver.release()
            assert setting.connection.receive(5)[0] == tag
        wait_until(lambda: not any(desk() for desk in desks), "the desks are gone")
    finally:
        gc.enable()
