"""Extended attributes."""

from __future__ import annotations

import errno
import os
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from ninepfs.client import Client
from ninepfs.drivers import LocalDriver
from ninepfs.server import Limits
from ninepfs.testing import serve_pair
from ninepfs.wire.constants import XATTR_CREATE, XATTR_REPLACE

from .conftest import fails, opened, walk


@pytest.fixture(autouse=True)
def file(share: Path) -> Path:
    path = share / "file"
    path.touch()
    os.setxattr(path, "user.one", b"first")
    os.setxattr(path, "user.binary", bytes(range(256)))
    return path


def value(client: Client, fid: int, name: str = "") -> bytes:
    size = client.xattrwalk(fid, 900, name).size
    try:
        data = bytes(client.read(900, 0, 60000).data)
    finally:
        client.clunk(900)
    assert len(data) == size
    return data


def put(client: Client, fid: int, name: str, data: bytes, flags: int = 0) -> None:
    client.walk(fid, 901)
    try:
        client.xattrcreate(901, name, len(data), flags)
        if data:
            assert client.write(901, 0, data).count == len(data)
    except OSError:
        client.release(901)
        raise
    client.clunk(901)


def test_values_are_read(client: Client) -> None:
    for fid in (walk(client, "file"), opened(client, "file")):
        assert value(client, fid, "user.one") == b"first"
        assert value(client, fid, "user.binary") == bytes(range(256))


def test_a_value_is_read_in_pieces(client: Client) -> None:
    client.xattrwalk(walk(client, "file"), 9, "user.binary")
    pieces = [bytes(client.read(9, offset, 100).data) for offset in (0, 100, 200, 256, 1000, 1 << 60)]
    assert pieces == [bytes(range(100)), bytes(range(100, 200)), bytes(range(200, 256)), b"", b"", b""]


def test_the_names_are_listed_with_a_nul_each(client: Client) -> None:
    names = value(client, walk(client, "file"))
    assert sorted(names.split(b"\0")) == [b"", b"user.binary", b"user.one"]


def test_a_file_without_attributes_has_an_empty_list(client: Client, root: int) -> None:
    client.mkdir(root, "bare")
    assert value(client, walk(client, "bare")) == b""


def test_what_is_not_there_is_no_data(client: Client) -> None:
    fid = walk(client, "file")
    with fails(errno.ENODATA):
        client.xattrwalk(fid, 9, "user.none")
    with fails(errno.ENOENT):
        client.clunk(9)


@pytest.mark.parametrize("name", ["trusted.x", "security.selinux", "nonsense", "user", "system.other", "x" * 200])
def test_other_namespaces_are_not_supported(client: Client, name: str) -> None:
    fid = walk(client, "file")
    with fails(errno.EOPNOTSUPP):
        client.xattrwalk(fid, 9, name)
    with fails(errno.EOPNOTSUPP):
        put(client, fid, name, b"x")


def test_values_are_set_at_the_clunk(client: Client, file: Path) -> None:
    fid = walk(client, "file")
    client.walk(fid, 9)
    client.xattrcreate(9, "user.new", 6)
    client.write(9, 0, b"abc")
    client.write(9, 3, b"def")
    assert "user.new" not in os.listxattr(file)
    client.clunk(9)
    assert os.getxattr(file, "user.new") == b"abcdef"


def test_pieces_may_overlap(client: Client, file: Path) -> None:
    client.walk(walk(client, "file"), 9)
    client.xattrcreate(9, "user.new", 6)
    client.write(9, 0, b"abcd")
    client.write(9, 2, b"CDef")
    client.clunk(9)
    assert os.getxattr(file, "user.new") == b"abCDef"


@pytest.mark.parametrize("opening", [False, True])
def test_attributes_are_set_and_removed_on_removed_files(client: Client, root: int, file: Path, opening: bool) -> None:
    fid = opened(client, "file") if opening else walk(client, "file")
    client.unlinkat(root, "file")
    file.touch()
    put(client, fid, "user.new", b"value")
    assert value(client, fid, "user.new") == b"value"
    assert value(client, fid, "user.one") == b"first"
    put(client, fid, "user.new", b"", XATTR_REPLACE)
    with fails(errno.ENODATA):
        client.xattrwalk(fid, 9, "user.new")
    assert os.listxattr(file) == []


@pytest.mark.parametrize("flags", [0, XATTR_CREATE])
def test_an_empty_value_is_a_value(client: Client, file: Path, flags: int) -> None:
    fid = walk(client, "file")
    put(client, fid, "user.new", b"", flags)
    assert os.getxattr(file, "user.new") == b""
    assert value(client, fid, "user.new") == b""


def test_a_value_is_replaced_by_an_empty_one(client: Client, file: Path) -> None:
    """As by setxattr(2) without flags; only removexattr(2) comes with XATTR_REPLACE."""
    put(client, walk(client, "file"), "user.one", b"")
    assert os.getxattr(file, "user.one") == b""


def test_an_empty_acl_takes_the_acl_away(share: Path, file: Path) -> None:
    """Linux asks for that with an empty value and no flag (setfacl -b)."""
    name = "system.posix_acl_access"
    if os.geteuid() != 0 or subprocess.run(["setfacl", "-m", "u:1234:r", file], check=False).returncode:
        pytest.skip("there are no ACLs to be set here")
    assert name in os.listxattr(file)
    with serve_pair(LocalDriver(share)) as served:
        put(served.client, walk(served.client, "file"), name, b"")
        put(served.client, walk(served.client, "file"), name, b"")
    assert name not in os.listxattr(file)


def test_an_empty_value_in_place_of_another_removes_the_attribute(client: Client, file: Path) -> None:
    fid = walk(client, "file")
    put(client, fid, "user.one", b"", XATTR_REPLACE)
    assert os.listxattr(file) == ["user.binary"]
    with fails(errno.ENODATA):
        put(client, fid, "user.one", b"", XATTR_REPLACE)


def test_flags_say_whether_it_may_exist(client: Client, file: Path) -> None:
    fid = walk(client, "file")
    with fails(errno.EEXIST):
        put(client, fid, "user.one", b"x", XATTR_CREATE)
    with fails(errno.ENODATA):
        put(client, fid, "user.new", b"x", XATTR_REPLACE)
    put(client, fid, "user.new", b"x", XATTR_CREATE)
    put(client, fid, "user.one", b"y", XATTR_REPLACE)
    assert os.getxattr(file, "user.one") == b"y"
    for flags in (4, 0xFFFFFFFF):
        with fails(errno.EINVAL):
            put(client, fid, "user.one", b"x", flags)


def test_the_fid_that_an_error_was_reported_for_is_gone_all_the_same(client: Client) -> None:
    client.walk(walk(client, "file"), 9)
    client.xattrcreate(9, "user.one", 1, XATTR_CREATE)
    client.write(9, 0, b"x")
    with fails(errno.EEXIST):
        client.clunk(9)
    with fails(errno.ENOENT):
        client.clunk(9)


@pytest.mark.parametrize("written", [0, 3, 9])
def test_too_few_bytes_set_nothing(client: Client, file: Path, written: int) -> None:
    client.walk(walk(client, "file"), 9)
    client.xattrcreate(9, "user.new", 10)
    client.write(9, 0, b"x" * written)
    with fails(errno.EINVAL):
        client.clunk(9)
    assert "user.new" not in os.listxattr(file)


def test_bytes_beyond_the_announced_size_are_cut_off(client: Client, file: Path) -> None:
    client.walk(walk(client, "file"), 9)
    client.xattrcreate(9, "user.new", 5)
    assert client.write(9, 0, b"abcdefgh").count == 5
    assert client.write(9, 5, b"x").count == 0
    with fails(errno.ENOSPC):
        client.write(9, 6, b"x")
    with fails(errno.ENOSPC):
        client.write(9, 1 << 63, b"x")
    client.clunk(9)
    assert os.getxattr(file, "user.new") == b"abcde"


def test_a_gap_is_refused(client: Client) -> None:
    client.walk(walk(client, "file"), 9)
    client.xattrcreate(9, "user.new", 5)
    with fails(errno.EINVAL):
        client.write(9, 1, b"x")


@pytest.mark.parametrize("size", [65537, 1 << 32, (1 << 64) - 1])
def test_a_value_larger_than_linux_takes_is_refused(client: Client, size: int) -> None:
    with fails(errno.E2BIG):
        client.xattrcreate(walk(client, "file"), "user.big", size)


def test_a_nameless_attribute_is_refused(client: Client) -> None:
    with fails(errno.EINVAL):
        client.xattrcreate(walk(client, "file"), "", 1)


def test_newfid_must_be_free(client: Client, root: int) -> None:
    fid = walk(client, "file")
    for newfid in (fid, root):
        with fails(errno.EINVAL):
            client.xattrwalk(fid, newfid, "user.one")


def test_an_open_fid_does_not_become_an_attribute(client: Client) -> None:
    with fails(errno.EINVAL):
        client.xattrcreate(opened(client, "file"), "user.x", 1)


@pytest.mark.parametrize("writing", [False, True])
def test_a_fid_of_an_attribute_is_nothing_else(client: Client, root: int, share: Path, writing: bool) -> None:
    fid = walk(client, "file")
    if writing:
        client.walk(fid, 9)
        client.xattrcreate(9, "user.x", 0)
        with fails(errno.EINVAL):
            client.read(9, 0, 1)
    else:
        client.xattrwalk(fid, 9, "user.one")
        with fails(errno.EINVAL):
            client.write(9, 0, b"x")
    refused: list[Callable[[], object]] = [
        lambda: client.lopen(9),
        lambda: client.lcreate(9, "x"),
        lambda: client.walk(9, 10),
        lambda: client.readdir(9),
        lambda: client.getattr(9),
        lambda: client.setattr(9, 0),
        lambda: client.xattrwalk(9, 10, "user.one"),
        lambda: client.xattrcreate(9, "user.x", 1),
        lambda: client.readlink(9),
        lambda: client.statfs(9),
        lambda: client.link(root, 9, "x"),
        lambda: client.rename(9, root, "x"),
    ]
    for attempt in refused:
        with fails(errno.EINVAL):
            attempt()
    assert [path.name for path in share.iterdir()] == ["file"]
    for attempt in (lambda: client.fsync(9), lambda: client.lock(9), lambda: client.getlock(9)):
        with fails(errno.EBADF):
            attempt()


@pytest.mark.parametrize("writing", [False, True])
def test_nothing_is_made_or_removed_in_a_directory_by_a_fid_of_its_attribute(
    client: Client, root: int, share: Path, writing: bool
) -> None:
    if writing:
        client.walk(root, 9)
        client.xattrcreate(9, "user.x", 1)
    else:
        client.xattrwalk(root, 9)
    attempts: list[Callable[[], object]] = [
        lambda: client.mkdir(9, "x"),
        lambda: client.symlink(9, "x", "y"),
        lambda: client.mknod(9, "x", 0o644),
        lambda: client.link(9, walk(client, "file"), "x"),
        lambda: client.rename(walk(client, "file"), 9, "x"),
        lambda: client.renameat(9, "file", root, "x"),
        lambda: client.renameat(root, "file", 9, "x"),
        lambda: client.unlinkat(9, "file"),
    ]
    for attempt in attempts:
        with fails(errno.EINVAL):
            attempt()
    assert [path.name for path in share.iterdir()] == ["file"]


@pytest.mark.parametrize("writing", [False, True])
def test_remove_ends_a_fid_of_an_attribute_and_spares_the_file(
    client: Client, root: int, file: Path, writing: bool
) -> None:
    client.walk(root, 9, ["file"])
    if writing:
        client.xattrcreate(9, "user.one", 3)
        client.write(9, 0, b"new")
    else:
        client.xattrwalk(walk(client, "file"), 10, "user.one")
    with fails(errno.EINVAL):
        client.remove(9 if writing else 10)
    with fails(errno.ENOENT):
        client.clunk(9 if writing else 10)
    assert os.getxattr(file, "user.one") == b"first"


@pytest.mark.parametrize("ending", ["version", "disconnect"])
def test_a_session_that_ends_sets_nothing(share: Path, file: Path, ending: str) -> None:
    with serve_pair(LocalDriver(share)) as served:
        fid = walk(served.client, "file")
        served.client.xattrcreate(fid, "user.never", 1)
        served.client.write(fid, 0, b"x")
        if ending == "version":
            served.client.version(8192, "9P2000.L")
    assert "user.never" not in os.listxattr(file)


def test_what_attributes_hold_in_memory_is_limited(share: Path) -> None:
    with serve_pair(LocalDriver(share), Limits(xattr_bytes=100_000)) as served:
        client = served.client
        client.xattrcreate(walk(client, "file"), "user.a", 65536)
        fid = walk(client, "file")
        with fails(errno.ENOSPC):
            client.xattrcreate(fid, "user.b", 65536)
        readers = []
        for number in range(134):
            client.xattrwalk(fid, 100_000 + number, "user.binary")
            readers.append(100_000 + number)
        with fails(errno.ENOSPC):
            client.xattrwalk(fid, 500_000, "user.binary")
        client.clunk(readers.pop())
        client.xattrwalk(fid, 500_000, "user.binary")
        other = served.connect()
        other.xattrcreate(walk(other, "file"), "user.c", 65536)
        # What ends gives back what it held, whatever way.
        session = next(c for c in served.server.engine.connections if c.desk.request.session.xattr_bytes > 65536)
        client.version(8192, "9P2000.L")
        assert session.desk.request.session.xattr_bytes == 0


def test_fids_that_hold_attributes_are_counted(share: Path, file: Path) -> None:
    """However little they hold, and whatever becomes of them; each client has its own."""
    os.setxattr(file, "user.empty", b"")
    with serve_pair(LocalDriver(share), Limits(xattr_fids=3)) as served:
        client = served.client
        fid = walk(client, "file")
        client.xattrwalk(fid, 100, "user.empty")
        client.xattrwalk(fid, 101, "")
        with fails(errno.EINVAL):  # the fid is taken
            client.xattrwalk(fid, 101, "user.empty")
        with fails(errno.ENODATA):
            client.xattrwalk(fid, 102, "user.none")
        last = walk(client, "file")
        client.xattrcreate(last, "user.last", 0)
        for _ in range(2):
            with fails(errno.ENOSPC):
                client.xattrwalk(fid, 102, "user.empty")
            with fails(errno.ENOSPC):
                client.xattrcreate(fid, "user.more", 0)
        other = served.connect()
        other.xattrwalk(walk(other, "file"), 100, "user.empty")
        client.clunk(101)
        client.xattrwalk(fid, 102, "user.empty")
        client.clunk(last)
        client.xattrcreate(fid, "user.more", 0)
        with fails(errno.ENOSPC):
            client.xattrwalk(walk(client, "file"), 103, "user.empty")
        with fails(errno.EINVAL):  # the fid is gone all the same
            client.remove(102)
        client.xattrwalk(walk(client, "file"), 103, "user.empty")
        client.version(8192, "9P2000.L")
        root = client.new_fid()
        client.attach(root)
        client.walk(root, 50, ["file"])
        for number in range(3):
            client.xattrwalk(50, 100 + number, "user.empty")
