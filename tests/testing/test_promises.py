"""The test kit for drivers finds every broken promise, and nothing where none is broken."""

from __future__ import annotations

import errno
import io
import os
import stat
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import pytest

from ninepfs import Attributes, DirentType, Driver, GetattrMask, Identity, LocalDriver, ReadOnly, Serialized, User
from ninepfs.client import Client
from ninepfs.drivers.base import Entry
from ninepfs.testing import WatchedDriver, check_driver, serve_pair

Node = tuple[bytes, ...]


FILES: dict[Node, bytes] = {(b"small",): b"text", (b"box", b"large"): bytes(range(256)) * 20, (b"made up",): b""}
KINDS: dict[Node, int] = {(): stat.S_IFDIR, (b"box",): stat.S_IFDIR, (b"link",): stat.S_IFLNK}
NODES = (*KINDS, *FILES)


class Shelf(Driver[Node, Node]):
    """A good driver: two levels of directories, a file that is larger than a block, one without a size, and a link."""

    def attach(self, user: User) -> Node:
        return ()

    def identity(self, node: Node) -> Identity:
        return Identity(KINDS.get(node, stat.S_IFREG) | 0o555, 1 + NODES.index(node))

    def lookup(self, node: Node, name: bytes) -> tuple[Node, Identity]:
        if not stat.S_ISDIR(self.identity(node).mode):
            raise OSError(errno.ENOTDIR, "not a directory")
        if (*node, name) not in NODES:
            raise OSError(errno.ENOENT, "no such file")
        return (*node, name), self.identity((*node, name))

    def parent(self, node: Node) -> Node:
        return node[:-1]

    def getattr(self, node: Node, handle: Node | None, mask: int) -> Attributes:
        identity = self.identity(node)
        size = len(FILES.get(node, b""))
        return Attributes(GetattrMask.BASIC, identity, identity.mode, 0, 0, 1, 0, size, 4096, 0)

    def readlink(self, node: Node) -> bytes:
        if node not in KINDS or stat.S_ISDIR(KINDS[node]):
            raise OSError(errno.EINVAL, "not a link")
        return b"small"

    def open(self, node: Node, flags: int) -> tuple[Node, Identity]:
        return node, self.identity(node)

    def content(self, node: Node) -> bytes:
        return FILES[node] or b"as long as it is\n"

    def read(self, handle: Node, buffers: Sequence[memoryview], offset: int) -> int:
        file = io.BytesIO(self.content(handle))
        file.seek(offset)
        return sum(file.readinto(buffer) for buffer in buffers)

    def readdir(self, handle: Node, cookie: int, room: int) -> Iterable[Entry]:
        names = [(b".", handle), (b"..", handle[:-1])]
        names += [(node[-1], node) for node in NODES if node and node[:-1] == handle]
        entries = []
        for number, (name, node) in enumerate(names, start=1):
            identity = self.identity(node)
            entries.append((name, DirentType(stat.S_IFMT(identity.mode) >> 12), identity.ino, number))
        return entries[cookie:]


def test_a_good_driver_is_good() -> None:
    assert check_driver(Shelf()) == 6
    assert check_driver(Serialized(ReadOnly(Shelf())), most=4) == 4


def test_the_local_driver_is_good(tmp_path: Path) -> None:
    for number in range(60):
        (tmp_path / f"file {number}").write_bytes(os.urandom(number * 100))
    (tmp_path / "d/e").mkdir(parents=True)
    os.link(tmp_path / "file 1", tmp_path / "d/hard link")
    (tmp_path / "d/link").symlink_to("nowhere")
    (tmp_path / os.fsdecode(b"d/\xff")).touch()
    os.mkfifo(tmp_path / "fifo")
    with (tmp_path / "sparse").open("wb") as sparse:
        sparse.truncate(1 << 40)
    assert check_driver(LocalDriver(tmp_path)) == 68


def broken(**methods: Any) -> Shelf:
    """A driver with some methods in place of the good ones."""
    driver: Shelf = type("Broken", (Shelf,), methods)()
    return driver


def entries(change: Any) -> Any:
    """A readdir that changes what the good one says."""
    return lambda self, handle, cookie, room: change(list(Shelf.readdir(self, handle, cookie, room)))


def refuse(*_: Any) -> Any:
    raise OSError(errno.EIO, "out of order")


def crash(*_: Any) -> Any:
    raise KeyError("a mistake")


@pytest.mark.parametrize(
    ("methods", "fault"),
    [
        ({"attach": refuse}, "attach is refused"),
        ({"attach": lambda self, user: (b"small",)}, "the root is not a directory"),
        ({"getattr": crash}, "raises KeyError"),
        ({"lookup": lambda self, node, name: ((*node, name), self.identity((*node, name)))}, "is not refused|raises"),
        ({"lookup": refuse}, "lookup of what is listed is refused"),
        ({"parent": lambda self, node: ()}, "its parent is"),
        ({"identity": lambda self, node: Identity(stat.S_IFDIR if not node else stat.S_IFREG, 7)}, "has the number"),
        ({"identity": lambda self, node: Identity(0o644, 1)}, "has no type"),
        ({"getattr": lambda self, node, handle, mask: Shelf.getattr(self, (), None, 0)}, "getattr says"),
        ({"getattr": lambda self, node, *_: Shelf.getattr(self, node, None, 0)._replace(uid=-1)}, "do not fit: uid"),
        (
            {"getattr": lambda self, node, *_: Shelf.getattr(self, node, None, 0)._replace(size=5000)},
            "its size is 5000",
        ),
        ({"open": lambda self, node, flags: (node, self.identity(()))}, "open says"),
        ({"readlink": lambda self, node: "text"}, "not bytes"),
        ({"readdir": entries(lambda found: [(name, kind, ino, 0) for name, kind, ino, _ in found])}, "same cookie"),
        ({"readdir": entries(lambda found: [(name, kind, ino, 9) for name, kind, ino, _ in found])}, "cookie 9"),
        ({"readdir": entries(lambda found: [(b"a/b", *rest) for _, *rest in found])}, "is not a name"),
        ({"readdir": entries(lambda found: [(b"box", *rest) for _, *rest in found])}, "listed twice"),
        (
            {"readdir": entries(lambda found: [(name, kind, 99, cookie) for name, kind, _, cookie in found])},
            "number 99",
        ),
        (
            {"readdir": entries(lambda found: [(name, 4, ino, cookie) for name, _, ino, cookie in found])},
            "of the type 4",
        ),
        ({"readdir": entries(lambda found: found[:1] + found[2:])}, "goes on with"),
        (
            {"readdir": lambda self, handle, cookie, room: list(Shelf.readdir(self, handle, 0, room))},
            "goes on with|is 0, negative",
        ),
        (
            {"read": lambda self, handle, buffers, offset: Shelf.read(self, handle, buffers[:1], offset)},
            "several buffers",
        ),
        ({"read": lambda self, handle, buffers, offset: Shelf.read(self, handle, buffers, 0)}, "behind the end"),
        ({"read": lambda self, handle, buffers, offset: 99_999}, "says that it read 99999 bytes"),
        ({"read": lambda self, handle, buffers, offset: None}, "says that it read None bytes"),
        (
            {"read": lambda self, handle, buffers, offset: Shelf.read(self, handle, [buffers[0][:100]], offset)},
            "though this is not the end",
        ),
        ({"close": refuse}, "close is refused"),
    ],
)
def test_a_broken_promise_is_found(methods: dict[str, Any], fault: str) -> None:
    with pytest.raises(AssertionError, match=fault):
        check_driver(broken(**methods))


def test_one_object_may_be_the_handle_of_several_open_files() -> None:
    """As in drivers that keep nothing for an open file; the watcher does not take the first close for the last."""
    driver = WatchedDriver(Shelf())
    with serve_pair(driver) as served:
        client: Client = served.client
        with client.root.open("small") as one, client.root.open("small") as two:
            assert driver.open_handles == 2
            one.close()
            assert two.read() == b"text"
    assert driver.open_handles == 0
    assert driver.violations == []
