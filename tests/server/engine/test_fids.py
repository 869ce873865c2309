"""Fids that go while a request uses them."""

from __future__ import annotations

import errno
import threading
from typing import Any

import pytest

from ninepfs.server.fid import Fid
from ninepfs.server.session import Session
from ninepfs.testing.process import wait_until
from ninepfs.wire.messages import (
    Rlerror,
    Rlopen,
    Rread,
    Rremove,
    Tclunk,
    Tlopen,
    Tremove,
)

from .setting import Setting


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


def test_a_slow_remove_takes_its_fid_at_once_and_not_a_new_one_of_the_same_number(setting: Setting) -> None:
    # So nobody can use its handle when it is closed.
    setting.driver.block("unlink")
    removing = setting.connection.send(Tremove(setting.fid))
    setting.driver.wait_entered()
    setting.sync()
    for attempt in (
        lambda: setting.client.clunk(setting.fid),
        lambda: setting.client.read(setting.fid, 0, 1),
    ):
        with pytest.raises(FileNotFoundError):
            attempt()
    setting.client.walk(setting.client.root.fid, setting.fid)
    setting.driver.release()
    assert setting.connection.receive(5) == (removing, Rremove())
    assert setting.watched.open_handles == 0
    setting.client.getattr(setting.fid)


def test_a_file_that_is_removed_while_it_is_read_is_closed_after_the_last_read(setting: Setting) -> None:
    (reading,) = setting.block()
    setting.client.remove(setting.fid)
    assert setting.watched.open_handles == 1
    setting.driver.release()
    assert setting.connection.receive(5) == (reading, Rread(bytes(range(4))))
    wait_until(lambda: setting.watched.open_handles == 0, "the file is closed")


class Detained(dict[int, Fid]):
    """A table of fids from which nothing is taken before something has happened."""

    def __init__(self, fids: dict[int, Fid], event: threading.Event) -> None:
        super().__init__(fids)
        self._event = event

    def pop(self, *arguments: Any) -> Any:
        assert self._event.wait(20)
        return super().pop(*arguments)


def test_the_error_of_a_clunk_is_told_however_long_the_clunk_takes_to_begin(
    setting: Setting, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Were the clunk taken for a slow request that uses the fid, the file would be closed after the answer.
    looked = threading.Event()
    relieve = setting.engine._relieve

    def counted(*arguments: Any) -> None:
        relieve(*arguments)
        looked.set()

    monkeypatch.setattr(setting.engine, "_relieve", counted)
    (connection,) = setting.engine.connections
    session = connection.desk.request.session
    monkeypatch.setattr(session, "fids", Detained(session.fids, looked))
    close = setting.watched.close

    def failing(handle: Any) -> None:
        close(handle)
        raise OSError(errno.EDQUOT, "no more room")

    monkeypatch.setattr(setting.driver, "close", failing)
    clunking = setting.connection.send(Tclunk(setting.fid))
    assert setting.connection.receive(5) == (clunking, Rlerror(errno.EDQUOT))


def test_a_fid_is_opened_once_wherever_that_is_held_up(setting: Setting, monkeypatch: pytest.MonkeyPatch) -> None:
    fid = setting.client.new_fid()
    setting.client.walk(setting.client.root.fid, fid, ["file"])
    counting, go_on = threading.Event(), threading.Event()
    count = setting.served.server.open_files.count

    def held_up(session: Session, change: int) -> None:
        if not counting.is_set():
            counting.set()
            assert go_on.wait(20)
        count(session, change)

    monkeypatch.setattr(setting.served.server.open_files, "count", held_up)
    opening = setting.connection.send(Tlopen(fid, 0))
    assert counting.wait(20)
    setting.sync()
    with pytest.raises(OSError, match="Invalid"):
        setting.client.lopen(fid)
    go_on.set()
    assert isinstance(setting.connection.wait(opening), Rlopen)


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
