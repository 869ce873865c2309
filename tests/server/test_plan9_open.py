"""Topen and what follows from its mode, and Tcreate, in 9P2000 and 9P2000.u."""

from __future__ import annotations

import errno
import os
import stat as unix
from collections.abc import Iterator
from pathlib import Path

import pytest

from ninepfs.client import Client
from ninepfs.drivers import LocalDriver
from ninepfs.server import Export
from ninepfs.testing import Served, WatchedDriver, serve_pair
from ninepfs.wire import Dialect
from ninepfs.wire.constants import DM, OpenMode, QidType
from ninepfs.wire.messages import Ropen, Topen

from .conftest import Records, fails, walk
from .plan9 import OLD, change, entries, made, opened9, read_at, stat

ROOT = os.geteuid() == 0


@pytest.fixture(params=OLD)
def served(share: Path, request: pytest.FixtureRequest, no_defects: Records) -> Iterator[Served]:
    """The directory, and clients of each dialect."""
    with serve_pair(LocalDriver(share), msize=65536, dialect=request.param) as served:
        yield served


@pytest.fixture
def dotu(share: Path, no_defects: Records) -> Iterator[Client]:
    """A client of 9P2000.u."""
    with serve_pair(LocalDriver(share), msize=65536, dialect=Dialect.U) as served:
        yield served.client


@pytest.fixture
def base(share: Path, no_defects: Records) -> Iterator[Client]:
    """A client of 9P2000."""
    with serve_pair(LocalDriver(share), msize=65536, dialect=Dialect.BASE) as served:
        yield served.client


# --- open -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("mode", "reads", "writes"),
    [
        (OpenMode.READ, True, False),
        (OpenMode.WRITE, False, True),
        (OpenMode.RDWR, True, True),
        (OpenMode.EXEC, True, False),
        (OpenMode.READ | OpenMode.CEXEC, True, False),
    ],
)
def test_a_mode_says_what_may_be_done(client: Client, share: Path, mode: int, reads: bool, writes: bool) -> None:
    (share / "f").write_bytes(b"abc")
    fid = opened9(client, "f", mode=mode)
    if reads:
        assert read_at(client, fid, 1, 10) == b"bc"
    else:
        with fails(errno.EBADF):
            client.read(fid, 0, 10)
    if writes:
        assert client.write(fid, 1, b"X").count == 1
    else:
        with fails(errno.EBADF):
            client.write(fid, 0, b"X")


def test_the_answer_names_the_file_and_an_iounit(client: Client, share: Path) -> None:
    (share / "f").write_bytes(b"abc")
    fid = walk(client, "f")
    reply = client.connection.call(Topen(fid, OpenMode.READ), Ropen)
    assert (reply.qid.type, reply.qid.path) == (QidType.FILE, (share / "f").stat().st_ino)
    assert 0 < reply.iounit <= client.msize - 24


def test_the_iounit_of_a_directory_is_all_that_linux_asks_for(client: Client) -> None:
    """Less, and Linux would fill its buffer in pieces; none, and there are clients that read nothing."""
    assert client.open(walk(client), OpenMode.READ).iounit == client.msize - 24
    fid = walk(client)
    assert client.create(fid, "d", DM.DIR | 0o755, OpenMode.READ).iounit == client.msize - 24


def test_otrunc_empties_the_file(client: Client, share: Path) -> None:
    (share / "f").write_bytes(b"abc")
    opened9(client, "f", mode=OpenMode.WRITE | OpenMode.TRUNC)
    assert (share / "f").read_bytes() == b""


def test_oappend_is_of_9p2000_u(client: Client, share: Path) -> None:
    (share / "f").write_bytes(b"abc")
    if client.dialect is Dialect.BASE:
        with fails(errno.EINVAL):
            opened9(client, "f", mode=OpenMode.WRITE | OpenMode.APPEND)
        return
    fid = opened9(client, "f", mode=OpenMode.WRITE | OpenMode.APPEND)
    client.write(fid, 0, b"d")
    assert (share / "f").read_bytes() == b"abcd"


@pytest.mark.parametrize(
    "mode", [OpenMode.WRITE, OpenMode.RDWR, OpenMode.READ | OpenMode.TRUNC, OpenMode.READ | OpenMode.RCLOSE]
)
def test_a_directory_is_only_read(client: Client, share: Path, mode: int) -> None:
    (share / "d").mkdir()
    fid = walk(client, "d")
    with fails(errno.EISDIR):
        client.open(fid, mode)
    client.open(fid, OpenMode.READ)
    with fails(errno.EBADF):
        client.write(fid, 0, b"x")
    assert (share / "d").is_dir()


def test_an_open_fid_is_neither_opened_nor_walked_nor_created_in(client: Client, share: Path) -> None:
    (share / "d").mkdir()
    fid = opened9(client, "d")
    with fails(errno.EINVAL):
        client.open(fid)
    with fails(errno.EINVAL):
        client.create(fid, "x")
    with fails(errno.EINVAL):
        client.walk(fid, fid, [])


def test_what_is_not_open_is_not_read(client: Client, share: Path) -> None:
    (share / "f").touch()
    fid = walk(client, "f")
    for call in (lambda: client.read(fid, 0, 1), lambda: client.write(fid, 0, b"x")):
        with fails(errno.EINVAL):
            call()


def test_a_symlink_or_fifo_is_not_opened(client: Client, share: Path) -> None:
    (share / "l").symlink_to("f")
    os.mkfifo(share / "p")
    with fails(errno.ELOOP):
        opened9(client, "l")
    with fails(errno.ENXIO):
        opened9(client, "p")


def test_failed_opens_are_not_counted_as_open(served: Served, client: Client, share: Path) -> None:
    (share / "l").symlink_to("f")
    for _ in range(3):
        with fails(errno.ELOOP):
            opened9(client, "l")
        with fails(errno.EEXIST):
            made(client, "l")
    opened9(client)
    assert served.server.open_files._open == 1


# --- ORCLOSE ----------------------------------------------------------------------------------------------------


def test_orclose_removes_at_the_clunk(client: Client, share: Path) -> None:
    (share / "f").touch()
    fid = opened9(client, "f", mode=OpenMode.READ | OpenMode.RCLOSE)
    other = made(client, "new", mode=OpenMode.WRITE | OpenMode.RCLOSE)
    assert {path.name for path in share.iterdir()} == {"f", "new"}
    client.clunk(fid)
    client.clunk(other)
    assert not list(share.iterdir())


def test_orclose_removes_when_the_connection_is_lost(served: Served, share: Path) -> None:
    client = served.connect()
    made(client, "f", mode=OpenMode.RDWR | OpenMode.RCLOSE)
    client.close()
    assert served.server.stop(10)
    assert not (share / "f").exists()


def test_orclose_removes_at_a_new_version(client: Client, share: Path) -> None:
    made(client, "f", mode=OpenMode.RDWR | OpenMode.RCLOSE)
    client.version(8192, "9P2000")
    assert not (share / "f").exists()


def test_orclose_follows_a_rename_and_spares_a_new_bearer_of_the_name(client: Client, share: Path) -> None:
    fid = made(client, "f", mode=OpenMode.RDWR | OpenMode.RCLOSE)
    (share / "f").rename(share / "g")
    (share / "f").touch()
    client.clunk(fid)
    assert [path.name for path in share.iterdir()] == ["f"]


def test_orclose_of_a_removed_file_is_no_error(client: Client, share: Path) -> None:
    fid = made(client, "f", mode=OpenMode.RDWR | OpenMode.RCLOSE)
    (share / "f").unlink()
    client.clunk(fid)
    again = made(client, "f", mode=OpenMode.RDWR | OpenMode.RCLOSE)
    client.remove(again)


def test_orclose_is_refused_where_nothing_is_removed(share: Path, no_defects: Records) -> None:
    (share / "f").touch()
    with serve_pair(Export(LocalDriver(share), readonly=True), dialect=Dialect.BASE) as served:
        with fails(errno.EROFS):
            opened9(served.client, "f", mode=OpenMode.READ | OpenMode.RCLOSE)
        opened9(served.client, "f")
    assert (share / "f").exists()


# --- DMEXCL, DMAPPEND -------------------------------------------------------------------------------------------


def test_dmexcl_lets_one_at_a_time_in(served: Served, client: Client, share: Path) -> None:
    fid = made(client, "f", DM.EXCL | 0o644)
    assert client.walk(client.root.fid, client.new_fid(), ["f"]).wqids[0].type == QidType.EXCL
    assert stat(client, fid).mode == DM.EXCL | 0o644
    assert stat(client, fid).qid.type == QidType.EXCL
    other = served.connect()
    with pytest.raises(OSError, match=r"exclusive use|busy") as refusal:
        opened9(other, "f")
    assert refusal.value.errno == errno.EBUSY
    client.clunk(fid)
    again = opened9(other, "f")
    assert stat(other, again).mode == 0o644


def test_dmappend_appends_wherever_one_writes(served: Served, client: Client, share: Path) -> None:
    fid = made(client, "f", DM.APPEND | 0o644, OpenMode.WRITE)
    for part in (b"one", b"two"):
        client.write(fid, 0, part)
    other = served.connect()
    second = opened9(other, "f", mode=OpenMode.RDWR | OpenMode.TRUNC)
    other.write(second, 1, b"three")
    assert (share / "f").read_bytes() == b"onetwothree"
    client.clunk(fid)
    assert stat(other, second).mode == DM.APPEND | 0o644
    other.clunk(second)
    assert stat(client, walk(client, "f")).mode == 0o644


def test_no_mark_outlives_its_files(served: Served, client: Client) -> None:
    fid = made(client, "f", DM.EXCL | DM.APPEND | 0o644)
    client.remove(fid)
    assert stat(client, made(client, "f")).mode == 0o644
    first = made(client, "h", DM.EXCL | 0o644)
    change(client, first, mode=0o644)
    second = opened9(client, "h")
    client.clunk(first)
    client.clunk(second)
    assert not served.server.exports[0].marks._marked
    lost = served.connect()
    made(lost, "g", DM.EXCL | 0o644)
    lost.version(8192, "9P2000")
    opened9(client, "g")


# --- create -----------------------------------------------------------------------------------------------------


def test_a_created_file_is_open(client: Client, share: Path) -> None:
    fid = made(client, "f", 0o640, OpenMode.RDWR)
    client.write(fid, 0, b"abc")
    assert read_at(client, fid, 0, 10) == b"abc"
    found = stat(client, fid)
    assert (found.name, found.length) == (b"f", 3)
    assert unix.S_IMODE((share / "f").stat().st_mode) & 0o700 == 0o600


def test_a_file_may_be_created_that_its_mode_does_not_let_one_write(client: Client) -> None:
    fid = made(client, "f", 0o444, OpenMode.WRITE)
    assert client.write(fid, 0, b"abc").count == 3


def test_a_created_directory_is_open(client: Client, share: Path) -> None:
    fid = made(client, "d", DM.DIR | 0o755, OpenMode.READ)
    (share / "d" / "inside").touch()
    assert [entry.name for entry in entries(client, fid)] == [b"inside"]


def test_a_directory_is_not_created_to_be_removed(client: Client, share: Path) -> None:
    with fails(errno.EISDIR):
        made(client, "d", DM.DIR | 0o755, OpenMode.READ | OpenMode.RCLOSE)
    assert not list(share.iterdir())


@pytest.mark.parametrize("perm", [0o644, DM.DIR | 0o755])
def test_what_exists_is_not_created(client: Client, share: Path, perm: int) -> None:
    (share / "f").write_bytes(b"abc")
    fid = walk(client)
    with fails(errno.EEXIST):
        client.create(fid, "f", perm, OpenMode.READ)
    assert (share / "f").read_bytes() == b"abc"
    # The fid is the directory still.
    client.create(fid, "g", perm, OpenMode.READ)


@pytest.mark.parametrize(
    ("name", "code"),
    [
        ("", errno.ENOENT),
        ("a/b", errno.ENOENT),
        (".", errno.EEXIST),
        ("..", errno.EEXIST),
        ("x" * 256, errno.ENAMETOOLONG),
    ],
)
def test_bad_names_are_not_created(client: Client, share: Path, name: str, code: int) -> None:
    for perm in (0o644, DM.DIR | 0o755):
        with fails(code):
            made(client, name, perm, OpenMode.READ)
    assert not list(share.iterdir())


def test_only_a_directory_is_created_in(client: Client, share: Path) -> None:
    (share / "f").touch()
    fid = walk(client, "f")
    with fails(errno.ENOTDIR):
        client.create(fid, "x")


@pytest.mark.parametrize(
    ("directory", "perm", "result"),
    [
        (0o755, 0o666, 0o644),
        (0o755, 0o777, 0o755),
        (0o700, 0o666, 0o600),
        (0o700, 0o711, 0o711),
        (0o777, 0o640, 0o640),
        (0o755, DM.DIR | 0o777, 0o755),
        (0o750, DM.DIR | 0o757, 0o750),
    ],
)
def test_in_9p2000_the_directory_limits_permissions(
    base: Client, share: Path, directory: int, perm: int, result: int
) -> None:
    share.chmod(directory)
    base.clunk(made(base, "x", perm, OpenMode.READ))
    assert unix.S_IMODE((share / "x").stat().st_mode) == result


def test_in_9p2000_u_permissions_are_the_clients(dotu: Client, share: Path) -> None:
    share.chmod(0o700)
    made(dotu, "f", DM.SETUID | DM.SETGID | 0o755)
    made(dotu, "d", DM.DIR | DM.SETVTX | 0o777, OpenMode.READ)
    assert unix.S_IMODE((share / "f").stat().st_mode) == 0o6755
    assert unix.S_IMODE((share / "d").stat().st_mode) == 0o1777


def test_in_9p2000_there_are_only_files_and_directories(base: Client, share: Path) -> None:
    for bit in (DM.SYMLINK, DM.LINK, DM.DEVICE, DM.NAMEDPIPE, DM.SOCKET):
        with fails(errno.EOPNOTSUPP):
            made(base, "x", bit | 0o644, OpenMode.READ)
    assert not list(share.iterdir())


def test_a_symlink_is_created(dotu: Client, share: Path) -> None:
    fid = made(dotu, "l", DM.SYMLINK | 0o777, OpenMode.READ, "some/where else")
    assert os.readlink(share / "l") == "some/where else"
    found = stat(dotu, fid)
    assert found.extension == b"some/where else"
    assert found.qid.type == QidType.SYMLINK
    assert found.mode & DM.SYMLINK
    assert found.length == 15


@pytest.mark.parametrize("ending", ["", "\n"])
def test_a_hard_link_is_created(dotu: Client, share: Path, ending: str) -> None:
    (share / "f").write_bytes(b"abc")
    target = walk(dotu, "f")
    fid = made(dotu, "g", DM.LINK, OpenMode.READ, f"{target}{ending}")
    assert (share / "g").stat().st_ino == (share / "f").stat().st_ino
    assert stat(dotu, fid).qid.path == (share / "f").stat().st_ino
    assert stat(dotu, target).extension == b"HARDLINKCOUNT 2"


@pytest.mark.parametrize(
    ("extension", "code"), [("", errno.EINVAL), ("x", errno.EINVAL), ("-1", errno.EINVAL), ("77777", errno.ENOENT)]
)
def test_a_hard_link_needs_a_fid(dotu: Client, share: Path, extension: str, code: int) -> None:
    with fails(code):
        made(dotu, "g", DM.LINK, OpenMode.READ, extension)
    assert not list(share.iterdir())


def test_a_fifo_and_a_socket_are_created(dotu: Client, share: Path) -> None:
    made(dotu, "p", DM.NAMEDPIPE | 0o640, OpenMode.READ)
    made(dotu, "s", DM.SOCKET | 0o600, OpenMode.READ)
    assert unix.S_ISFIFO((share / "p").stat().st_mode)
    assert unix.S_ISSOCK((share / "s").stat().st_mode)
    assert stat(dotu, walk(dotu, "p")).mode == DM.NAMEDPIPE | 0o640
    assert stat(dotu, walk(dotu, "s")).mode == DM.SOCKET | 0o600


@pytest.mark.skipif(not ROOT, reason="only root may make devices")
def test_devices_are_created(dotu: Client, share: Path) -> None:
    made(dotu, "null", DM.DEVICE | 0o666, OpenMode.READ, "c 1 3")
    made(dotu, "block", DM.DEVICE | 0o600, OpenMode.READ, "b 7 300")
    for name, kind, device, text in (("null", "c", (1, 3), b"c 1 3"), ("block", "b", (7, 300), b"b 7 300")):
        host = (share / name).stat()
        assert unix.filemode(host.st_mode)[0] == kind
        assert (os.major(host.st_rdev), os.minor(host.st_rdev)) == device
        assert stat(dotu, walk(dotu, name)).extension == text
        assert stat(dotu, walk(dotu, name)).mode & DM.DEVICE


@pytest.mark.parametrize("extension", ["", "c", "c 1", "x 1 3", "c 1 3 5", "c -1 3", "c 99999999999 1", "c 70000 1"])
def test_a_device_needs_its_numbers(dotu: Client, share: Path, extension: str) -> None:
    with fails(errno.EINVAL):
        made(dotu, "x", DM.DEVICE | 0o666, OpenMode.READ, extension)
    assert not list(share.iterdir())


def test_nothing_is_of_two_kinds(dotu: Client, share: Path) -> None:
    for perm in (DM.DIR | DM.SYMLINK, DM.LINK | DM.SOCKET, DM.AUTH, DM.MOUNT):
        with fails(errno.EINVAL):
            made(dotu, "x", perm | 0o644, OpenMode.READ, "1")
    assert not list(share.iterdir())


def test_failed_creates_leave_no_handle(share: Path, no_defects: Records) -> None:
    driver = WatchedDriver(LocalDriver(share))
    (share / "f").touch()
    with serve_pair(driver, dialect=Dialect.U) as served:
        for perm in (0o644, DM.DIR | 0o755, DM.SYMLINK | 0o777, DM.NAMEDPIPE):
            with fails(errno.EEXIST):
                made(served.client, "f", perm, OpenMode.READ, "x")
        assert driver.open_handles == 0
    assert not driver.violations
