"""Requests and answers in the log."""

from __future__ import annotations

import logging
import socket
from collections.abc import Callable
from pathlib import Path

import pytest

from ninepfs.client import Client
from ninepfs.drivers import LocalDriver
from ninepfs.server import Server
from ninepfs.testing import serve_pair, serve_virtio
from ninepfs.transports.stream import StreamChannel
from ninepfs.wire.constants import LFlag, LockFlag, LockType
from ninepfs.wire.messages import Tlock

from .conftest import Records, fails, opened, walk


@pytest.fixture
def traced(share: Path, log: Records) -> Callable[[], list[str]]:
    """What was traced since the last call."""
    seen = 0

    def new() -> list[str]:
        nonlocal seen
        texts = [record.getMessage() for record in log.records if record.name == "ninepfs.trace"]
        texts, seen = texts[seen:], len(texts)
        return [text.split(": ", 2)[2] for text in texts]

    return new


def test_each_request_and_its_answer(share: Path, traced: Callable[[], list[str]], no_defects: Records) -> None:
    (share / "file").write_bytes(b"text")
    server = Server(LocalDriver(share), trace=True)
    ours, theirs = socket.socketpair()
    server.connect(StreamChannel(theirs, "pair"))
    with Client.over(ours, uname="glenda", n_uname=7) as client:
        root = client.root.fid
        version, _, attach, attached = traced()
        assert version.startswith("Tversion msize=1048576 version=b'9P2000.L'")
        assert attach == f"Tattach fid={root} afid=4294967295 uname=b'glenda' aname=b'' n_uname=7"
        assert attached.startswith("Rattach qid=(0x80 ")
        fid = opened(client, "file")
        assert [line.split()[0] for line in traced()] == ["Twalk", "Rwalk", "Tlopen", "Rlopen"]
        client.read(fid, 1, 10)
        assert traced() == [f"Tread fid={fid} offset=1 count=10", "Rread of 3 bytes"]
        client.write(fid, 4, bytes(100_000))
        told, answer = traced()
        assert len(told) < 400
        assert answer == "Rwrite count=100000"
        with fails(2):
            client.mkdir(walk(client), "a/b")
        assert traced()[-1] == "ENOENT"
        client.lock(fid, LockType.WRLCK, proc_id=1)
        tag = client.connection.send(Tlock(fid, LockType.WRLCK, LockFlag.BLOCK, 0, 0, 2, b"x"))
        client.flush(tag)
        lines = traced()
        at = lines.index(f"Tflush oldtag={tag}")
        assert lines[at - 2 : at] == [
            f"Tlock fid={fid} type=1 flags=1 start=0 length=0 proc_id=2 client_id=b'x'",
            "is answered later",
        ]
    assert server.stop(20)


def test_nothing_is_traced_unless_it_is_wanted(share: Path, traced: Callable[[], list[str]], log: Records) -> None:
    for serve in (serve_pair, serve_virtio):
        with serve(LocalDriver(share)) as served:
            served.client.getattr(served.client.root.fid)
    assert logging.getLogger("ninepfs").level == logging.DEBUG
    assert traced() == []


def test_writes_whose_data_stays_in_the_memory_of_a_guest(share: Path, traced: Callable[[], list[str]]) -> None:
    (share / "file").touch()
    with serve_virtio(LocalDriver(share)) as served:
        served.server._tables = Server(LocalDriver(share), trace=True)._tables
        client = served.connect()
        fid = opened(client, "file", flags=LFlag.WRONLY)
        client.write(fid, 0, bytes(50_000))
    assert f"Twrite fid={fid} offset=0 data=50000" in traced()
