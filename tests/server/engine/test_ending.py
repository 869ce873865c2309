"""A connection that ends, and a server that stops."""

from __future__ import annotations

import fcntl
import gc
import logging
import socket
import sys
import termios
import threading
import time
import weakref
from pathlib import Path
from typing import Any

import pytest

from ninepfs.client import Client, ServerClosedError
from ninepfs.drivers import LocalDriver
from ninepfs.server import Export, Server
from ninepfs.testing import BlockingDriver, Census, WatchedDriver, serve_pair
from ninepfs.testing.load import plant
from ninepfs.testing.process import wait_until
from ninepfs.transports.stream import StreamChannel
from ninepfs.wire import Dialect, pack
from ninepfs.wire.constants import LockFlag, LockType
from ninepfs.wire.messages import (
    Rread,
    Tgetattr,
    Tlock,
    Tread,
    Tversion,
)

from ..conftest import Records
from .setting import Setting, open_file


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
        assert session.open_files == 2  # the lock on the host is one, too


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


def test_an_idle_server_keeps_nothing_of_its_last_client(share: Path) -> None:
    server = Server(Export(LocalDriver(share)))
    ours, theirs = socket.socketpair()
    channel = StreamChannel(theirs, "the last client")
    server.connect(channel)
    gone = weakref.ref(channel)
    del channel
    with Client.over(ours) as client:
        client.root.listdir()
    wait_until(lambda: not server.engine.connections, "the session ends")
    wait_until(lambda: not server.engine._awake, "the watchdog sleeps")
    gc.collect()
    assert gone() is None
    assert server.stop()


@pytest.mark.parametrize("end", ["by its client", "by a broken frame", "by a tag used again"])
def test_the_memory_of_a_session_is_free_when_it_has_ended(setting: Setting, end: str) -> None:
    # At once, and not when the garbage collector happens to run: it counts objects, and these are few but large.
    client = setting.served.connect()
    fid = open_file(client)
    client.connection.send(Tread(fid, 0, 65_000))
    (tag,) = (client.connection.receive()[0],)
    if end == "by a tag used again":
        setting.driver.block("read")
        client.connection.send(Tread(fid, 0, 4), tag)
        setting.driver.wait_entered()
        client.getattr(client.root.fid)
    desks = [weakref.ref(connection.desk) for connection in setting.engine.connections]
    gc.collect()
    gc.disable()
    try:
        if end == "by its client":
            client.close()
        elif end == "by a broken frame":
            client.connection.send_raw(bytes(100))
        else:
            getattr_ = pack(Tgetattr(client.root.fid, 0), 7, Dialect.L)
            client.connection.send_raw(getattr_ + pack(Tgetattr(client.root.fid, 0), tag, Dialect.L) + getattr_)
        wait_until(lambda: len(setting.engine.connections) == 1, "the session ends")
        setting.driver.release()
        wait_until(lambda: setting.engine.slow == 0, "its slow request ends")
        wait_until(lambda: setting.engine.crew.busy == 1, "its threads have nothing to do")
        wait_until(lambda: sum(desk() is not None for desk in desks) == 1, "its desk is gone")
    finally:
        gc.enable()
