"""The cases that QEMU's own tests try on a 9P device of the local driver, with the same requests through the same kind
of queue: two direct descriptors for each request, a kick for each, no event index, one request at a time.

QEMU runs them with the model mapped-xattr; here the model is none, whose results on the host are the same but for one:
a symbolic link is one there.
"""

from __future__ import annotations

import os
import socket
import stat
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import TypeVar

import pytest

from ninepfs.drivers import LocalDriver
from ninepfs.server import Limits
from ninepfs.testing import serve_virtio
from ninepfs.testing.guest import QemuGuest
from ninepfs.wire import Dialect, Message, pack, unpack
from ninepfs.wire.constants import AT_REMOVEDIR, NOFID, NOTAG, LFlag
from ninepfs.wire.messages import (
    Rattach,
    Rclunk,
    Rgetattr,
    Rlcreate,
    Rlerror,
    Rlink,
    Rlopen,
    Rmkdir,
    Rreaddir,
    Rsetattr,
    Rsymlink,
    Runlinkat,
    Rversion,
    Rwalk,
    Rwrite,
    Rxattrcreate,
    Tattach,
    Tclunk,
    Tgetattr,
    Tlcreate,
    Tlink,
    Tlopen,
    Tmkdir,
    Treaddir,
    Tsetattr,
    Tsymlink,
    Tunlinkat,
    Tversion,
    Twalk,
    Twrite,
    Txattrcreate,
)

ReplyT = TypeVar("ReplyT", bound=Message)

TAG = "qtest"
MASK = 0x7FF
SETATTR_SIZE = 8
ENOENT, ENOSPC = 2, 28


class Driver:
    """QEMU's test client: what it sends by default, and what it expects of every reply."""

    def __init__(self, guest: QemuGuest, largest: int) -> None:
        self.guest = guest
        self.largest = largest
        self._fid = 1000

    def call(self, message: Message, expected: type[ReplyT]) -> ReplyT:
        tag = NOTAG if isinstance(message, Tversion) else 0
        data = self.guest.transact(pack(message, tag, Dialect.L), self.largest)
        answered, reply = unpack(memoryview(data), Dialect.L)
        assert answered == tag
        assert isinstance(reply, expected), reply
        return reply

    def version(self) -> None:
        assert self.call(Tversion(self.largest, b"9P2000.L"), Rversion) == Rversion(self.largest, b"9P2000.L")

    def attach(self) -> Rattach:
        self.version()
        return self.call(Tattach(0, NOFID, b"", b"", os.getuid()), Rattach)

    def new_fid(self) -> int:
        self._fid += 1
        return self._fid - 1

    def walk(self, path: str) -> int:
        names = [name.encode() for name in path.split("/") if name]
        fid = self.new_fid()
        assert len(self.call(Twalk(0, fid, names), Rwalk).wqids) == len(names)
        return fid

    def mkdir(self, path: str, name: str) -> None:
        self.call(Tmkdir(self.walk(path), name.encode(), 0o750, 0), Rmkdir)

    def lcreate(self, path: str, name: str) -> int:
        fid = self.walk(path)
        self.call(Tlcreate(fid, name.encode(), 0, 0o750, 0), Rlcreate)
        return fid

    def unlinkat(self, path: str, name: str, flags: int) -> None:
        self.call(Tunlinkat(self.walk(path), name.encode(), flags), Runlinkat)


@pytest.fixture(params=[4096, 32768], ids=lambda size: f"msize {size}")
def largest(request: pytest.FixtureRequest) -> int:
    """The largest message of QEMU's test client, 4096 until 10.2 and 32768 from then on."""
    return int(request.param)


@contextmanager
def _driver(directory: Path, largest: int, limits: Limits | None = None) -> Iterator[Driver]:
    def guest(sock: socket.socket) -> QemuGuest:
        return QemuGuest(sock, indirect=False, event_index=False, config_size=2 + len(TAG))

    with serve_virtio(LocalDriver(directory, "none"), limits, tag=TAG) as served:
        machine = guest(served.device())
        with machine:
            machine.boot()
            yield Driver(machine, largest)


@pytest.fixture
def driver(tmp_path: Path, largest: int) -> Iterator[Driver]:
    with _driver(tmp_path, largest) as driver:
        yield driver


# --- what they also try on the synth driver, and what it has in common with a directory


def test_config(driver: Driver) -> None:
    assert driver.guest.read_config(0, 7) == b"\x05\x00qtest"
    assert driver.guest.mount_tag() == TAG


def test_version_basic(driver: Driver) -> None:
    driver.version()


def test_attach_basic(driver: Driver) -> None:
    driver.attach()


def test_walk_basic(driver: Driver, tmp_path: Path) -> None:
    names = [f"WALK{number}" for number in range(16)]
    tmp_path.joinpath(*names).mkdir(parents=True)
    driver.attach()
    driver.walk("/".join(names))


def test_walk_no_slash(driver: Driver) -> None:
    driver.attach()
    assert driver.call(Twalk(0, 1, [b" /"]), Rlerror) == Rlerror(ENOENT)


def test_walk_none(driver: Driver) -> None:
    root = driver.attach().qid
    fid = driver.walk("/")
    qid = driver.call(Tgetattr(fid, MASK), Rgetattr).qid
    assert (qid[0], qid[2]) == (root[0], root[2])


def test_walk_dotdot_from_root(driver: Driver) -> None:
    root = driver.attach().qid
    assert driver.call(Twalk(0, 1, [b".."]), Rwalk).wqids == [root]


def test_walk_non_existent(driver: Driver) -> None:
    driver.attach()
    assert driver.call(Twalk(0, 1, [b"non-existent"]), Rlerror) == Rlerror(ENOENT)


def test_walk_second_non_existent(driver: Driver, tmp_path: Path) -> None:
    (tmp_path / "WALK0").mkdir()
    root = driver.attach().qid
    (qid,) = driver.call(Twalk(0, 1, [b"WALK0", b"non-existent"]), Rwalk).wqids
    assert qid != root
    assert driver.call(Tgetattr(1, MASK), Rlerror) == Rlerror(ENOENT)


def test_write_basic(driver: Driver, tmp_path: Path) -> None:
    (tmp_path / "WRITE").touch()
    driver.attach()
    fid = driver.walk("WRITE")
    driver.call(Tlopen(fid, LFlag.WRONLY), Rlopen)
    count = driver.largest // 2
    assert driver.call(Twrite(fid, 0, bytes(count)), Rwrite).count == count
    assert (tmp_path / "WRITE").read_bytes() == bytes(count)


@pytest.mark.parametrize("count", [0, 512, 256, 128])
def test_readdir(driver: Driver, tmp_path: Path, count: int) -> None:
    """All at once, or in pieces."""
    names = {f"ReadDirFile{number}" for number in range(100)}
    for name in names:
        (tmp_path / name).touch()
    driver.attach()
    fid = driver.walk("/")
    driver.call(Tlopen(fid, LFlag.DIRECTORY), Rlopen)
    found: list[str] = []
    offset = replies = 0
    while data := bytes(driver.call(Treaddir(fid, offset, count or driver.largest - 11), Rreaddir).data):
        entries = list(_entries(data))
        found += [name for _, name in entries]
        offset = entries[-1][0]
        replies += 1
    assert count or replies == 1  # all of them fit into one, and QEMU's test asks once
    assert sorted(found) == sorted({".", "..", *names})


def _entries(data: bytes) -> Iterator[tuple[int, str]]:
    at = 0
    while at < len(data):
        offset = int.from_bytes(data[at + 13 : at + 21], "little")
        size = int.from_bytes(data[at + 22 : at + 24], "little")
        yield offset, data[at + 24 : at + 24 + size].decode()
        at += 24 + size
    assert at == len(data)


# --- the local group


def test_create_dir(driver: Driver, tmp_path: Path) -> None:
    driver.attach()
    driver.mkdir("/", "01")
    assert (tmp_path / "01").is_dir()


def test_unlinkat_dir(driver: Driver, tmp_path: Path) -> None:
    driver.attach()
    driver.mkdir("/", "02")
    assert (tmp_path / "02").is_dir()
    driver.unlinkat("/", "02", AT_REMOVEDIR)
    assert not (tmp_path / "02").exists()


def test_create_file(driver: Driver, tmp_path: Path) -> None:
    driver.attach()
    driver.mkdir("/", "03")
    driver.lcreate("03", "1st_file")
    assert (tmp_path / "03/1st_file").is_file()


def test_unlinkat_file(driver: Driver, tmp_path: Path) -> None:
    driver.attach()
    driver.mkdir("/", "04")
    driver.lcreate("04", "doa_file")
    assert (tmp_path / "04/doa_file").is_file()
    driver.unlinkat("04", "doa_file", 0)
    assert not (tmp_path / "04/doa_file").exists()


def test_symlink_file(driver: Driver, tmp_path: Path) -> None:
    _symlink(driver, tmp_path, "05")


def test_unlinkat_symlink(driver: Driver, tmp_path: Path) -> None:
    _symlink(driver, tmp_path, "06")
    driver.unlinkat("06", "symlink_file", 0)
    assert not (tmp_path / "06/symlink_file").is_symlink()
    assert (tmp_path / "06/real_file").is_file()


def _symlink(driver: Driver, directory: Path, name: str) -> None:
    driver.attach()
    driver.mkdir("/", name)
    driver.lcreate(name, "real_file")
    driver.call(Tsymlink(driver.walk(name), b"symlink_file", b"real_file", 0), Rsymlink)
    assert stat.S_ISLNK(os.lstat(directory / name / "symlink_file").st_mode)
    assert stat.S_ISREG(os.stat(directory / name / "symlink_file").st_mode)


def test_hardlink_file(driver: Driver, tmp_path: Path) -> None:
    _hardlink(driver, tmp_path, "07")


def test_unlinkat_hardlink(driver: Driver, tmp_path: Path) -> None:
    _hardlink(driver, tmp_path, "08")
    driver.unlinkat("08", "hardlink_file", 0)
    assert not (tmp_path / "08/hardlink_file").exists()
    assert (tmp_path / "08/real_file").is_file()


def _hardlink(driver: Driver, directory: Path, name: str) -> None:
    driver.attach()
    driver.mkdir("/", name)
    driver.lcreate(name, "real_file")
    driver.call(Tlink(driver.walk(name), driver.walk(f"{name}/real_file"), b"hardlink_file"), Rlink)
    assert (directory / name / "hardlink_file").samefile(directory / name / "real_file")


def test_use_after_unlink(driver: Driver, tmp_path: Path) -> None:
    driver.attach()
    driver.mkdir("/", "09")
    driver.lcreate("09", "doa_file")
    fid = driver.walk("09/doa_file")
    driver.call(Tlopen(fid, LFlag.WRONLY), Rlopen)
    driver.unlinkat("09", "doa_file", 0)
    assert not (tmp_path / "09/doa_file").exists()
    driver.call(Tgetattr(fid, MASK), Rgetattr)
    count = driver.largest // 2
    assert driver.call(Twrite(fid, 0, bytes(count)), Rwrite).count == count
    assert driver.call(Tgetattr(fid, MASK), Rgetattr).size == count
    driver.call(Tsetattr(fid, SETATTR_SIZE, 0, 0, 0, 2001, 0, 0, 0, 0), Rsetattr)
    assert driver.call(Tgetattr(fid, MASK), Rgetattr).size == 2001


# --- the slow ones of the local group; here they take less than a second


def test_deep_absolute_path(driver: Driver) -> None:
    """A path of more than 65536 characters."""
    driver.attach()
    name = b"A" * 255
    fid = driver.walk("/")
    for _ in range(257):
        driver.call(Tmkdir(fid, name, 0o750, 0), Rmkdir)
        below = driver.new_fid()
        driver.call(Twalk(fid, below, [name]), Rwalk)
        fid = below
    driver.call(Tgetattr(fid, MASK), Rgetattr)


VALUE = b"X" * 8192

Opened = Callable[[Limits | None], AbstractContextManager[Driver]]


@pytest.fixture
def open_driver(largest: int) -> Iterator[Opened]:
    """A device on a file system that takes large attributes (ext4 does not)."""
    directory = Path("/dev/shm") / f"ninepfs-{os.getpid()}"
    directory.mkdir()
    try:
        (directory / "WRITE").touch()
        try:
            os.setxattr(directory / "WRITE", "user.test", VALUE)
        except OSError as failure:
            pytest.skip(f"no attributes of {len(VALUE)} bytes on /dev/shm: {failure.strerror}")
        os.removexattr(directory / "WRITE", "user.test")
        yield lambda limits: _driver(directory, largest, limits)
    finally:
        (directory / "WRITE").unlink()
        directory.rmdir()


def _xattrs(driver: Driver, count: int, *, refused: bool) -> None:
    """Announce so many values and fill them in; one more may be refused, and then all fids are clunked."""
    driver.attach()
    fids = []
    half = driver.largest // 2
    for _ in range(count):
        fids.append(driver.walk("WRITE"))
        driver.call(Txattrcreate(fids[-1], b"user.test", len(VALUE), 0), Rxattrcreate)
        for offset in range(0, len(VALUE), half):
            piece = VALUE[offset : offset + half]
            assert driver.call(Twrite(fids[-1], offset, piece), Rwrite).count == len(piece)
    if refused:
        fids.append(driver.walk("WRITE"))
        refusal = driver.call(Txattrcreate(fids[-1], b"user.test_exceed", len(VALUE), 0), Rlerror)
        assert refusal == Rlerror(ENOSPC)
    for fid in fids:
        driver.call(Tclunk(fid), Rclunk)


def test_xattr_limit_default(open_driver: Opened) -> None:
    with open_driver(None) as driver:
        _xattrs(driver, 1024, refused=True)


def test_xattr_limit_custom(open_driver: Opened) -> None:
    with open_driver(Limits(xattr_fids=100)) as driver:
        _xattrs(driver, 100, refused=True)


def test_xattr_limit_unlimited(open_driver: Opened) -> None:
    with open_driver(Limits(xattr_fids=0)) as driver:
        _xattrs(driver, 1124, refused=False)
