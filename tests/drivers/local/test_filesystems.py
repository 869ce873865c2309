"""What is known of file systems."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from ninepfs.drivers.base import LEAVE, User
from ninepfs.drivers.local import LocalDriver, host
from ninepfs.drivers.local.filesystems import Filesystems
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


@pytest.mark.parametrize(
    ("device", "root", "at_once"),
    [((8, 1), (8, 1), True), ((8, 1), (0, 40), True), ((0, 40), (0, 40), True), ((0, 41), (0, 40), False)],
)
def test_a_number_that_another_file_system_may_get_says_nothing_about_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, device: tuple[int, int], root: tuple[int, int], at_once: bool
) -> None:
    """When one without a device of its own is unmounted, the next such file system gets its number, and that may be one
    that hangs. The root's stays mounted."""
    monkeypatch.setattr(host, "fstatfs", lambda _: (host.TMPFS, *[0] * 8))
    numbers = [minor << 32 | major for major, minor in (device, root)]
    known = Filesystems(numbers[1])
    known.learn(numbers[0], -1)
    assert (known.statx_fd[numbers[0]] is host.statx_fd_at_once) == at_once


@pytest.mark.parametrize("call", ["statx_at", "statx_fd", "statx_fd_at_once"])
def test_where_statx_does_not_work_that_is_an_error_and_not_tried_for_ever(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str
) -> None:
    """Some sandboxes know it not, but the older calls."""
    tries = 0

    def unknown(*_: object) -> int:
        nonlocal tries
        tries += 1
        assert tries < 1000
        return -1

    monkeypatch.setattr(host, "statx", unknown)
    monkeypatch.setattr(host, "_statx_at_once", unknown)
    fd = os.open(tmp_path, os.O_PATH)
    try:
        with pytest.raises(OSError, match="not implemented"):
            getattr(host, call)(fd, *([b"."] if call == "statx_at" else []))
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
