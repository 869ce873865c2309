"""Drivers that know little, and what the server sees to for them."""

from __future__ import annotations

import errno
from collections.abc import Iterator, Sequence

import pytest

from ninepfs.client import Client
from ninepfs.drivers import Attributes, Driver, Identity, User
from ninepfs.drivers.base import Entry
from ninepfs.testing import serve_pair
from ninepfs.wire import Dialect
from ninepfs.wire.constants import DirentType, GetattrMask, LFlag

from .conftest import Records, fails, opened, walk


class Naive(Driver[bytes, bytes]):
    """One file in a directory; looks at no flags, and crashes when it is asked for what makes no sense."""

    def __init__(self) -> None:
        self.open_handles = 0

    def attach(self, user: User) -> bytes:
        return b"."

    def lookup(self, node: bytes, name: bytes) -> tuple[bytes, Identity]:
        if name != b"file":
            raise OSError(errno.ENOENT, "no such file")
        return name, self.identity(name)

    def identity(self, node: bytes) -> Identity:
        return Identity(*{b".": (0o040755, 1), b"file": (0o100644, 2)}[node])

    def getattr(self, node: bytes, handle: bytes | None, mask: int) -> Attributes:
        identity = self.identity(node)
        return Attributes(GetattrMask.BASIC, identity, identity.mode, 0, 0, 1, 0, 4, 4096, 0)

    def open(self, node: bytes, flags: int) -> tuple[bytes, Identity]:
        self.open_handles += 1
        return node, self.identity(node)

    def close(self, handle: bytes) -> None:
        self.open_handles -= 1

    def read(self, handle: bytes, buffers: Sequence[memoryview], offset: int) -> int:
        data = {b"file": b"text"}[handle][offset : offset + len(buffers[0])]
        buffers[0][: len(data)] = data
        return len(data)

    def readdir(self, handle: bytes, cookie: int, room: int) -> list[Entry]:
        entries: list[Entry] = [(b".", DirentType.DIR, 1, 1), (b"file", DirentType.REG, 2, 2)]
        return {b".": entries}[handle][cookie:]


@pytest.fixture
def driver() -> Naive:
    return Naive()


@pytest.fixture
def client(driver: Naive, no_defects: Records) -> Iterator[Client]:
    with serve_pair(driver) as served:
        yield served.client
    assert driver.open_handles == 0


def test_a_directory_is_only_read(client: Client, driver: Naive) -> None:
    for flags in (LFlag.WRONLY, LFlag.RDWR, LFlag.RDONLY | LFlag.TRUNC):
        fid = walk(client)
        with fails(errno.EISDIR):
            client.lopen(fid, flags)
        assert driver.open_handles == 0
        client.lopen(fid, LFlag.RDONLY)
        client.clunk(fid)


def test_a_file_is_not_opened_as_a_directory(client: Client, driver: Naive) -> None:
    with fails(errno.ENOTDIR):
        opened(client, "file", flags=LFlag.RDONLY | LFlag.DIRECTORY)
    assert driver.open_handles == 0
    assert client.root.listdir() == ["file"]
    with fails(errno.ENOTDIR):
        client.root.listdir("file")


def test_only_files_are_read_and_only_directories_are_listed(client: Client) -> None:
    file, directory = opened(client, "file", flags=LFlag.RDONLY), opened(client, flags=LFlag.RDONLY)
    assert client.read(file, 0, 10).data == b"text"
    assert len(client.readdir(directory, 0, 1000).data) > 24
    with fails(errno.EISDIR):
        client.read(directory, 0, 10)
    with fails(errno.ENOTDIR):
        client.readdir(file, 0, 1000)


def test_linux_makes_up_what_a_driver_does_not_know_of_its_file_system(client: Client) -> None:
    """It does so for ENOSYS, and for no other error."""
    with fails(errno.ENOSYS):
        client.statfs(client.root.fid)


@pytest.mark.parametrize("dialect", [Dialect.U, Dialect.BASE])
def test_it_is_the_same_in_other_dialects(driver: Naive, dialect: Dialect, no_defects: Records) -> None:
    with serve_pair(driver, dialect=dialect) as served:
        files = served.client.root
        assert files.listdir() == ["file"]
        assert files.read_bytes("file") == b"text"
        with pytest.raises(NotADirectoryError):
            files.listdir("file")
        with pytest.raises(IsADirectoryError):
            files.open("", "w")
    assert driver.open_handles == 0
