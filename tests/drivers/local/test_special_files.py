"""Fifos, sockets and devices: seen, and never opened."""

from __future__ import annotations

import ctypes
import errno
import os
import stat
import subprocess
import sys
import time
from pathlib import Path

import pytest

from ninepfs.client import Client
from ninepfs.drivers.local import driver, host, tree
from ninepfs.wire.constants import LFlag

from .conftest import refused, walk


def test_special_files_are_refused_at_once(client: Client, share: Path) -> None:
    os.mkfifo(share / "fifo")
    if os.geteuid() == 0:
        os.mknod(share / "device", stat.S_IFCHR | 0o666, os.makedev(1, 5))
    begin = time.monotonic()
    for name in os.listdir(share):
        if name not in ("a", "b"):
            for flags in (LFlag.RDONLY, LFlag.WRONLY, LFlag.RDWR, LFlag.NONBLOCK):
                with refused(errno.ENXIO):
                    client.lopen(walk(client, name), flags)
                with refused(errno.ENXIO):
                    client.lcreate(walk(client), name, flags)
    assert time.monotonic() - begin < 5


_SWAP = """
import os, sys
os.chdir(sys.argv[1])
print("ready", flush=True)
while True:
    os.rename("fifo", "x")
    os.rename("keep", "x")
    os.link("x", "keep")
    os.mkfifo("fifo")
"""


def test_a_fifo_swapped_in_is_never_opened(client: Client, share: Path) -> None:
    os.mkfifo(share / "fifo")
    (share / "keep").write_text("content")
    with subprocess.Popen([sys.executable, "-c", _SWAP, share], stdout=subprocess.PIPE) as host:
        assert host.stdout
        host.stdout.readline()
        try:
            end = time.monotonic() + 1.5
            outcomes = {"file": 0, "refused": 0}
            while time.monotonic() < end:
                fid = client.new_fid()
                try:
                    client.walk(client.root.fid, fid, ["x"])
                except FileNotFoundError:
                    client.free_fid(fid)
                    continue
                try:
                    # Opening a fifo for reading would hang until the pytest timeout: nobody ever writes.
                    client.lopen(fid, LFlag.RDONLY)
                    assert bytes(client.read(fid).data) == b"content"
                    outcomes["file"] += 1
                except OSError as failure:
                    assert failure.errno in (errno.ENXIO, errno.ESTALE, errno.ENOENT)  # noqa: PT017
                    outcomes["refused"] += 1
                client.clunk(fid)
        finally:
            host.kill()
    assert min(outcomes.values()) > 0


def test_a_fifo_with_the_inode_number_of_a_file_is_not_opened_where_there_are_no_times_of_birth(
    client: Client, share: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    statx = host.statx

    def without_birth(fd: int, name: bytes, flags: object, mask: object, address: ctypes.c_void_p) -> int:
        result = int(statx(fd, name, flags, mask, address))
        assert address.value
        ctypes.memset(address.value + 80, 0, 16)
        return result

    for module, name in ((host, "statx"), (tree, "_statx"), (driver, "_statx")):
        monkeypatch.setattr(module, name, without_birth)
    for _ in range(50):
        (share / "x").touch()
        ino = (share / "x").stat().st_ino
        fid = walk(client, "x")
        (share / "x").unlink()
        os.mkfifo(share / "x")
        if (share / "x").stat().st_ino == ino:
            break
        (share / "x").unlink()
    else:
        pytest.skip("this file system does not use inode numbers again at once")
    with refused(errno.ESTALE):
        client.lopen(fid, LFlag.RDWR)  # for reading it would hang
