"""Fids that go while a request uses them."""

from __future__ import annotations

import errno

import pytest

from ninepfs.testing.process import wait_until
from ninepfs.wire.messages import (
    Rlerror,
    Rlopen,
    Rread,
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
