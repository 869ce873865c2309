"""What is known of file systems."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from ninepfs.drivers.base import LEAVE, User
from ninepfs.drivers.local import LocalDriver, host
from ninepfs.wire.constants import GetattrMask

NOBODY = User(b"", LEAVE)
BASIC = int(GetattrMask.BASIC)


def test_other_threads_run_while_a_file_system_is_asked_that_may_have_to_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    """/proc is none that is known to answer from memory."""
    monkeypatch.setattr(host, "statx_fd_at_once", None)
    driver = LocalDriver("/proc")
    root = driver.attach(NOBODY)
    assert driver.getattr(root, None, BASIC)[2] == os.stat("/proc").st_mode


def test_attributes_are_the_same_in_either_way(tmp_path: Path) -> None:
    fd = os.open(tmp_path, os.O_PATH)
    try:
        assert host.statx_fd_at_once(fd) == host.statx_fd(fd)
        with pytest.raises(OSError, match="Bad file descriptor"):
            host.statx_fd_at_once(-2)
    finally:
        os.close(fd)


def test_a_file_system_is_asked_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[int] = []
    fstatfs = host.fstatfs

    def counted(fd: int) -> tuple[int, ...]:
        asked.append(fd)
        return fstatfs(fd)

    monkeypatch.setattr(host, "fstatfs", counted)
    driver = LocalDriver(tmp_path)
    root = driver.attach(NOBODY)
    for _ in range(3):
        driver.getattr(root, None, BASIC | int(GetattrMask.GEN))
    assert len(asked) == 1
