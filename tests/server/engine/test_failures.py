"""Drivers that fail, replies that cannot be packed, threads that cannot be had."""

from __future__ import annotations

import errno
import logging
import socket
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from ninepfs import serving
from ninepfs.client import Client
from ninepfs.drivers import LocalDriver
from ninepfs.testing import BlockingDriver, FailingDriver, Served, serve_pair
from ninepfs.testing.process import wait_until
from ninepfs.transports.stream import memory
from ninepfs.wire.messages import (
    Rflush,
    Rlerror,
    Tflush,
    Tgetattr,
    Tread,
)

from ..conftest import Records
from .setting import Setting, open_file


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


@pytest.mark.parametrize("failure", [ValueError("wrong"), RecursionError(), MemoryError(), KeyError(3), SystemExit(1)])
@pytest.mark.parametrize("slow", [False, True])
def test_a_driver_that_fails_costs_its_request_an_eio_and_is_in_the_log(
    failing: tuple[FailingDriver[Any, Any], BlockingDriver[Any, Any], Served],
    log: Records,
    failure: BaseException,
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


@pytest.mark.parametrize("orphans", [False, True])
def test_a_driver_that_fails_to_close_one_file_is_asked_to_close_the_others(
    failing: tuple[FailingDriver[Any, Any], BlockingDriver[Any, Any], Served], log: Records, orphans: bool
) -> None:
    inner, driver, served = failing
    client = served.client
    fids = [open_file(client) for _ in range(3)]
    inner.effects["close"] = ValueError("wrong")
    if orphans:
        driver.block("read")
        tags = [client.connection.send(Tread(fid, 0, 1)) for fid in fids]
        driver.wait_entered(3)
        for fid in fids:
            client.clunk(fid)
        driver.release()
        assert sorted(client.connection.receive(5)[0] for _ in tags) == sorted(tags)
    else:
        client.close()
    wait_until(lambda: driver.calls["close"] == 3, "all are closed")
    wait_until(lambda: served.server.open_files._open == 0, "none is counted")
    wait_until(lambda: len(log.texts(logging.ERROR)) == 3, "the log says so")
    if not orphans:
        wait_until(lambda: not served.server.engine.connections, "the session ends")


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


def test_no_memory_for_a_successor_delays_the_session_but_does_not_end_it(
    setting: Setting, monkeypatch: pytest.MonkeyPatch
) -> None:
    inbox = memory.inbox
    refusals = 3

    def refuse(size: int) -> memoryview:
        nonlocal refusals
        if refusals:
            refusals -= 1
            raise OSError(errno.ENOMEM, "cannot allocate memory")
        return inbox(size)

    monkeypatch.setattr(memory, "inbox", refuse)
    (tag,) = setting.block()
    assert refusals == 0
    setting.driver.release()
    assert setting.connection.receive(5)[0] == tag


@pytest.mark.parametrize("lacking", ["memory", "threads"])
def test_a_listener_goes_on_when_a_client_cannot_be_served(
    share: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, log: Records, lacking: str
) -> None:
    with monkeypatch.context() as patch, serving(LocalDriver(share), f"unix://{tmp_path}/socket") as [url]:
        if lacking == "memory":
            patch.setattr(memory, "inbox", raising(OSError(errno.ENOMEM, "cannot allocate memory")))
        else:
            patch.setattr(threading.Thread, "start", raising(RuntimeError("can't start new thread")))
        with socket.socket(socket.AF_UNIX) as refused:
            refused.connect(f"{tmp_path}/socket")
            assert refused.recv(1) == b""
        patch.undo()
        with Client.connect(url) as client:
            client.getattr(client.root.fid)
    assert any("turned away: " in line for line in log.texts(logging.WARNING))


def raising(failure: BaseException) -> Any:
    def fail(*_: Any, **__: Any) -> None:
        raise failure

    return fail
