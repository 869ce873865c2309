"""Data on its way from a file to a socket, past the process."""

from __future__ import annotations

import errno
import os
import random
import socket
import threading
from pathlib import Path

import pytest

from ninepfs.drivers import LocalDriver
from ninepfs.server import Limits
from ninepfs.testing import serve_pair
from ninepfs.transports.stream.pipe import Pipes

MEGABYTE = 1 << 20
SIZE = 9 * MEGABYTE + 1000


@pytest.fixture(scope="module")
def content() -> bytes:
    return random.Random(9).randbytes(SIZE)


@pytest.fixture
def file(tmp_path: Path, content: bytes) -> Path:
    path = tmp_path / "file"
    path.write_bytes(content)
    return path


def passed(pipes: Pipes, count: int) -> bytes:
    """What comes out."""
    ours, theirs = socket.socketpair()
    with ours, theirs:
        sending = threading.Thread(target=pipes.empty, args=(ours,))
        sending.start()
        data = bytearray()
        while len(data) < count:
            data += theirs.recv(count - len(data))
        sending.join()
        return bytes(data)


@pytest.mark.parametrize("offset", [0, 1, 4095, 4096 + 23])
@pytest.mark.parametrize("count", [1, 65512, MEGABYTE - 24, MEGABYTE, 8 * MEGABYTE - 24])
def test_any_part_of_a_file_fits_and_comes_out_as_it_is(file: Path, content: bytes, offset: int, count: int) -> None:
    pipes = Pipes()
    assert pipes.fits(count)
    with file.open("rb") as opened:
        for _ in range(2):
            assert pipes.fill(opened.fileno(), offset, count) == count
            assert passed(pipes, count) == content[offset : offset + count]
    pipes.close()


def test_a_file_that_ends_gives_what_it_has(file: Path, content: bytes) -> None:
    pipes = Pipes()
    assert pipes.fits(2 * MEGABYTE)
    with file.open("rb") as opened:
        for rest in (MEGABYTE + 5, 1, 0):
            assert pipes.fill(opened.fileno(), SIZE - rest, 2 * MEGABYTE) == rest
            assert passed(pipes, rest) == content[SIZE - rest :]
    pipes.close()


@pytest.mark.parametrize("msize", [MEGABYTE, 8 * MEGABYTE])
def test_reads_as_large_as_messages_get_are_not_copied_by_the_process(file: Path, content: bytes, msize: int) -> None:
    class Uncopied(LocalDriver):
        def read(self, *arguments: object) -> int:
            raise AssertionError("the data came into the process")

    with serve_pair(Uncopied(file.parent), Limits(msize=msize), msize=msize) as served:
        client = served.client
        fid = client.new_fid()
        client.walk(client.root.fid, fid, [file.name])
        client.lopen(fid)
        for offset in (0, 77):
            data = client.read(fid, offset, msize - 24).data
            assert bytes(data) == content[offset : offset + msize - 24]


@pytest.mark.parametrize("had", [0, 1])
def test_without_descriptors_for_pipes_reads_are_copied(
    file: Path, content: bytes, monkeypatch: pytest.MonkeyPatch, had: int
) -> None:
    pipe2, made = os.pipe2, 0

    def few(flags: int) -> tuple[int, int]:
        nonlocal made
        made += 1
        if made > had:
            raise OSError(errno.EMFILE, "too many open files")
        return pipe2(flags)

    monkeypatch.setattr(os, "pipe2", few)
    with serve_pair(LocalDriver(file.parent), Limits(msize=8 * MEGABYTE), msize=8 * MEGABYTE) as served:
        client = served.client
        fid = client.new_fid()
        client.walk(client.root.fid, fid, [file.name])
        client.lopen(fid)
        for offset in (0, 77):
            assert client.read(fid, offset, 8 * MEGABYTE - 24).data == content[offset : offset + 8 * MEGABYTE - 24]
    assert made > had
