"""Stat and wstat in 9P2000 and 9P2000.u."""

from __future__ import annotations

import errno
import grp
import os
import pwd
import stat as unix
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from ninepfs.client import Client
from ninepfs.drivers import LocalDriver
from ninepfs.server import Export
from ninepfs.testing import BlockingDriver, FailingDriver, Served, serve_pair
from ninepfs.wire import Dialect, Qid, Stat
from ninepfs.wire.constants import DM, NONUNAME, OpenMode, QidType

from .conftest import Records, fails, walk
from .plan9 import OLD, change, made, opened9, read_at, stat

ROOT = os.geteuid() == 0
needs_root = pytest.mark.skipif(not ROOT, reason="only root may give files away")


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


@pytest.fixture
def file(share: Path) -> Path:
    """A file to change."""
    path = share / "f"
    path.write_bytes(b"0123456789")
    path.chmod(0o640)
    os.utime(path, (1_000_000_000, 1_100_000_000))
    return path


def state(path: Path) -> tuple[Any, ...]:
    """All that a wstat could change."""
    found = path.lstat()
    return (
        found.st_mode, found.st_uid, found.st_gid, found.st_size, found.st_atime_ns, found.st_mtime_ns,
        sorted(entry.name for entry in path.parent.iterdir()),
    )  # fmt: skip


# --- stat -------------------------------------------------------------------------------------------------------


def test_stat_of_a_file(client: Client, file: Path) -> None:
    host = file.stat()
    found = stat(client, walk(client, "f"))
    assert (found.type, found.dev) == (0, 0)
    assert (found.qid.type, found.qid.path) == (QidType.FILE, host.st_ino)
    assert (found.mode, found.length, found.name) == (0o640, 10, b"f")
    assert (found.atime, found.mtime) == (1_000_000_000, 1_100_000_000)
    assert found.uid == pwd.getpwuid(host.st_uid).pw_name.encode()
    assert found.gid == grp.getgrgid(host.st_gid).gr_name.encode()
    assert found.muid == found.uid
    if client.dialect is Dialect.U:
        assert (found.n_uid, found.n_gid, found.n_muid) == (host.st_uid, host.st_gid, NONUNAME)
        assert found.extension == b"HARDLINKCOUNT 1"


def test_stat_of_the_root(client: Client) -> None:
    found = stat(client, client.root.fid)
    assert (found.name, found.length, found.qid.type) == (b"/", 0, QidType.DIR)
    assert found.mode & DM.DIR


def test_stat_through_an_open_fid_of_a_removed_file(client: Client, file: Path) -> None:
    fid = opened9(client, "f")
    file.unlink()
    found = stat(client, fid)
    assert (found.name, found.length) == (b"f", 10)
    assert read_at(client, fid, 0, 3) == b"012"


def test_the_name_is_the_present_one(client: Client, share: Path) -> None:
    (share / "d" / "e").mkdir(parents=True)
    fid = walk(client, "d", "e")
    change(client, walk(client, "d", "e"), name=b"E")
    change(client, walk(client, "d"), name=b"D")
    assert stat(client, fid).name == b"E"
    up = client.new_fid()
    client.walk(fid, up, [".."])
    assert stat(client, up).name == b"D"


def test_a_directory_that_the_host_renamed_is_found_or_gone(client: Client, share: Path) -> None:
    (share / "d").mkdir()
    (share / "d" / "f").touch()
    fid = walk(client, "d")
    walk(client, "d", "f")
    (share / "d").rename(share / "moved")
    (share / "d").mkdir()
    assert stat(client, fid).name == b"moved"
    (share / "moved" / "f").unlink()
    client.remove(fid)
    assert [path.name for path in share.iterdir()] == ["d"]


def test_the_new_bearer_of_a_name_is_not_removed(client: Client, share: Path) -> None:
    (share / "d").mkdir()
    (share / "d" / "f").touch()
    fid = walk(client, "d")
    walk(client, "d", "f")
    (share / "d").rename(share.parent / "elsewhere")
    (share / "d").mkdir()
    with fails(errno.ESTALE if client.dialect is Dialect.U else errno.ENOENT):
        client.remove(fid)
    assert (share / "d").is_dir()


def test_an_owner_without_a_name_is_a_number(client: Client, file: Path) -> None:
    if not ROOT:
        pytest.skip("only root may give files away")
    os.chown(file, 54321, 65432)
    found = stat(client, walk(client, "f"))
    assert (found.uid, found.gid) == (b"54321", b"65432")


def test_9p2000_shows_special_files_as_files(base: Client, share: Path) -> None:
    (share / "l").symlink_to("target")
    os.mkfifo(share / "p", 0o600)
    link, pipe = stat(base, walk(base, "l")), stat(base, walk(base, "p"))
    assert (link.mode & ~0o777, link.qid.type, pipe.mode, pipe.qid.type) == (0, 0, 0o600, 0)
    assert base.walk(base.root.fid, base.new_fid(), ["l"]).wqids[0].type == 0


def test_9p2000_has_no_setuid(base: Client, file: Path) -> None:
    file.chmod(0o6750)
    assert stat(base, walk(base, "f")).mode == 0o750
    change(base, walk(base, "f"), mode=0o711)
    assert unix.S_IMODE(file.stat().st_mode) == 0o6711


def test_times_before_1970_and_after_2106_are_clipped(client: Client, file: Path) -> None:
    os.utime(file, (-5, 5_000_000_000))
    found = stat(client, walk(client, "f"))
    assert (found.atime, found.mtime) in [(0, 0xFFFFFFFE), (0, file.stat().st_mtime)]


# --- wstat ------------------------------------------------------------------------------------------------------


def test_a_stat_that_changes_nothing_syncs(share: Path, file: Path, no_defects: Records) -> None:
    driver = BlockingDriver(LocalDriver(share))
    before = state(file)
    with serve_pair(driver, dialect=Dialect.U) as served:
        client = served.client
        for number, fid in enumerate((opened9(client, "f"), walk(client, "f"), client.root.fid), start=1):
            client.wstat(fid)
            assert driver.calls["fsync"] == number
        os.mkfifo(share / "p")
        client.wstat(walk(client, "p"))
        assert driver.calls["fsync"] == 3
    (share / "p").unlink()
    assert state(file) == before


def test_permissions(client: Client, file: Path, share: Path) -> None:
    for fid in (walk(client, "f"), opened9(client, "f")):
        change(client, fid, mode=0o755)
        assert unix.S_IMODE(file.stat().st_mode) == 0o755
        change(client, fid, mode=0o600)
        assert unix.S_IMODE(file.stat().st_mode) == 0o600
    (share / "d").mkdir()
    change(client, walk(client, "d"), mode=DM.DIR | 0o711)
    assert unix.S_IMODE((share / "d").stat().st_mode) == 0o711


def test_special_permissions_in_9p2000_u(dotu: Client, file: Path) -> None:
    fid = walk(dotu, "f")
    change(dotu, fid, mode=DM.SETUID | DM.SETGID | DM.SETVTX | 0o755)
    assert unix.S_IMODE(file.stat().st_mode) == 0o7755
    assert stat(dotu, fid).mode == DM.SETUID | DM.SETGID | DM.SETVTX | 0o755
    change(dotu, fid, mode=0o755)
    assert unix.S_IMODE(file.stat().st_mode) == 0o755


def test_the_kind_of_a_file_does_not_change(client: Client, file: Path, share: Path) -> None:
    (share / "d").mkdir()
    before = state(file)
    for name, mode in (("f", DM.DIR | 0o644), ("d", 0o755), ("f", DM.SYMLINK | 0o644)):
        with fails(errno.EPERM):
            change(client, walk(client, name), mode=mode)
    assert state(file) == before


def test_times(client: Client, file: Path) -> None:
    fid = walk(client, "f")
    change(client, fid, mtime=1_200_000_000)
    assert (file.stat().st_atime, file.stat().st_mtime) == (1_000_000_000, 1_200_000_000)
    change(client, fid, atime=1_300_000_000)
    assert (file.stat().st_atime, file.stat().st_mtime) == (1_300_000_000, 1_200_000_000)
    change(client, fid, atime=1, mtime=0)
    assert (file.stat().st_atime, file.stat().st_mtime) == (1, 0)


def test_length(client: Client, file: Path) -> None:
    for fid in (walk(client, "f"), opened9(client, "f"), opened9(client, "f", mode=OpenMode.WRITE)):
        change(client, fid, length=4)
        assert file.read_bytes() == b"0123"
        change(client, fid, length=0)
        assert file.read_bytes() == b""
        file.write_bytes(b"0123456789")
    change(client, walk(client, "f"), length=1 << 20)
    assert file.stat().st_size == 1 << 20
    with fails(errno.EFBIG):
        change(client, walk(client, "f"), length=1 << 63)


def test_a_length_with_a_time_keeps_the_time(client: Client, file: Path) -> None:
    change(client, walk(client, "f"), length=3, mtime=1_234_567_890)
    assert (file.stat().st_size, file.stat().st_mtime) == (3, 1_234_567_890)


def test_the_length_of_a_directory_is_nought(client: Client, share: Path) -> None:
    (share / "d").mkdir()
    change(client, walk(client, "d"), length=0)
    with fails(errno.EISDIR):
        change(client, walk(client, "d"), length=1)


def test_rename(client: Client, file: Path, share: Path) -> None:
    fid, other = walk(client, "f"), opened9(client, "f")
    change(client, fid, name=b"g")
    assert [path.name for path in share.iterdir()] == ["g"]
    assert stat(client, fid).name == b"g"
    assert stat(client, other).name == b"g"
    assert read_at(client, other, 0, 2) == b"01"
    change(client, fid, name=b"g")


def test_renaming_a_directory_takes_fids_below_along(client: Client, share: Path) -> None:
    (share / "d").mkdir()
    (share / "d" / "f").write_bytes(b"x")
    inside = walk(client, "d", "f")
    change(client, walk(client, "d"), name=b"e")
    client.open(inside)
    assert read_at(client, inside, 0, 5) == b"x"


@pytest.mark.parametrize(
    ("name", "code"),
    [
        (b"a/b", errno.ENOENT),
        (b"/", errno.ENOENT),
        (b".", errno.EINVAL),
        (b"..", errno.EINVAL),
        (b"x" * 256, errno.ENAMETOOLONG),
    ],
)
def test_bad_names(client: Client, file: Path, name: bytes, code: int) -> None:
    before = state(file)
    with fails(code):
        change(client, walk(client, "f"), name=name, mode=0o777)
    assert state(file) == before


def test_the_root_is_not_renamed(client: Client) -> None:
    with fails(errno.EBUSY):
        change(client, client.root.fid, name=b"x")
    change(client, client.root.fid, name=b"/")


def test_in_9p2000_a_rename_replaces_nothing(base: Client, file: Path, share: Path) -> None:
    (share / "g").write_bytes(b"precious")
    with fails(errno.EEXIST):
        change(base, walk(base, "f"), name=b"g")
    assert (share / "g").read_bytes() == b"precious"


def test_in_9p2000_u_a_rename_replaces(dotu: Client, file: Path, share: Path) -> None:
    (share / "g").write_bytes(b"old")
    change(dotu, walk(dotu, "f"), name=b"g")
    assert {path.name: path.read_bytes() for path in share.iterdir()} == {"g": b"0123456789"}


@needs_root
def test_owner_by_number_in_9p2000_u(dotu: Client, file: Path) -> None:
    fid = walk(dotu, "f")
    change(dotu, fid, n_uid=1234)
    assert (file.stat().st_uid, file.stat().st_gid) == (1234, 0)
    change(dotu, fid, n_gid=4321)
    assert (file.stat().st_uid, file.stat().st_gid) == (1234, 4321)
    change(dotu, fid, n_uid=5, uid=b"nobody")  # the number counts
    assert file.stat().st_uid == 5


@needs_root
def test_owner_by_name(client: Client, file: Path) -> None:
    user, group = pwd.getpwall()[3], grp.getgrall()[3]
    fid = walk(client, "f")
    change(client, fid, uid=user.pw_name.encode(), gid=group.gr_name.encode())
    assert (file.stat().st_uid, file.stat().st_gid) == (user.pw_uid, group.gr_gid)
    change(client, fid, gid=b"4242")
    assert file.stat().st_gid == 4242


@pytest.mark.parametrize("field", ["uid", "gid"])
def test_an_unknown_owner(client: Client, file: Path, field: str) -> None:
    before = state(file)
    with pytest.raises(OSError, match=r"unknown|Invalid") as refusal:
        change(client, walk(client, "f"), mode=0o777, **{field: b"nobody has this name"})
    assert refusal.value.errno == errno.EINVAL
    assert state(file) == before


@pytest.mark.parametrize(
    "fields",
    [
        {"type": 1},
        {"dev": 1},
        {"muid": b"somebody else"},
        {"qid": Qid(QidType.DIR, 0xFFFFFFFF, 0xFFFFFFFFFFFFFFFF)},
        {"qid": Qid(0xFF, 12345, 0xFFFFFFFFFFFFFFFF)},
        {"qid": Qid(0xFF, 0xFFFFFFFF, 1)},
    ],
)
def test_what_no_wstat_changes(client: Client, file: Path, fields: dict[str, Any]) -> None:
    before = state(file)
    with fails(errno.EPERM):
        change(client, walk(client, "f"), mode=0o777, **fields)
    assert state(file) == before


def test_a_rename_may_name_a_modifier(client: Client, file: Path) -> None:
    """Linux names its user as muid with every rename. It changes nothing."""
    fid = walk(client, "f")
    change(client, fid, name=b"g", muid=b"somebody else")
    found = stat(client, fid)
    assert found.name == b"g"
    assert found.muid == found.uid


def test_a_whole_stat_sent_back_changes_what_differs(client: Client, file: Path) -> None:
    fid = walk(client, "f")
    client.wstat(fid, stat(client, fid))
    client.wstat(fid, stat(client, fid)._replace(mode=0o600))
    assert unix.S_IMODE(file.stat().st_mode) == 0o600


def test_marks_are_taken_away_but_not_set(client: Client, share: Path) -> None:
    fid = made(client, "f", DM.EXCL | 0o644)
    change(client, fid, mode=0o600)
    assert stat(client, fid).mode == 0o600
    opened9(client, "f")
    for mark in (DM.EXCL, DM.APPEND, DM.TMP):
        with fails(errno.EOPNOTSUPP):
            change(client, fid, mode=mark | 0o644)


def test_a_readonly_export_is_not_changed(share: Path, file: Path, no_defects: Records) -> None:
    before = state(file)
    with serve_pair(Export(LocalDriver(share), readonly=True), dialect=Dialect.U) as served:
        for fields in ({"mode": 0o777}, {"length": 0}, {"name": b"g"}, {"mtime": 5}, {"n_uid": 5}):
            with fails(errno.EROFS):
                change(served.client, walk(served.client, "f"), **fields)
        served.client.wstat(walk(served.client, "f"))
    assert state(file) == before


# --- all or nothing ---------------------------------------------------------------------------------------------

EVERYTHING: dict[str, Any] = {"name": b"g", "mode": DM.SETUID | 0o711, "mtime": 5, "atime": 6, "length": 3}


@pytest.mark.parametrize("fails_at", ["chown", "chmod", "utimens", "rename", "truncate"])
def test_a_step_that_fails_undoes_those_before(share: Path, file: Path, fails_at: str, no_defects: Records) -> None:
    file.chmod(0o4640)
    before = state(file)
    driver = FailingDriver(LocalDriver(share))
    inner = driver.inner
    bits = {"chown": 0x2, "chmod": 0x1, "utimens": 0x10, "truncate": 0x8}
    failed: list[bool] = []

    def setattr_(node: Any, handle: Any, changes: Any) -> None:
        if changes.valid & bits.get(fails_at, 0) and not failed:
            failed.append(True)
            raise OSError(errno.ENOSPC, "full")
        inner.setattr(node, handle, changes)

    driver.effects["setattr"] = setattr_
    if fails_at == "rename":
        driver.effects["rename"] = OSError(errno.ENOSPC, "full")
    everything = dict(EVERYTHING, n_uid=1234 if ROOT else os.geteuid() + 0, n_gid=77 if ROOT else os.getegid())
    if fails_at == "chown" and not ROOT:
        pytest.skip("only root may give files away")
    with serve_pair(driver, dialect=Dialect.U) as served:
        fid = walk(served.client, "f")
        with fails(errno.ENOSPC):
            change(served.client, fid, **everything)
        assert state(file) == before
        driver.effects.clear()
        change(served.client, fid, **everything)
    found = (share / "g").stat()
    assert (found.st_size, found.st_mtime, found.st_atime) == (3, 5, 6)
    assert unix.S_IMODE(found.st_mode) & 0o777 == 0o711


def test_a_rename_onto_a_directory_undoes_the_rest(dotu: Client, file: Path, share: Path) -> None:
    (share / "d").mkdir()
    before = state(file)
    with fails(errno.EISDIR):
        change(dotu, walk(dotu, "f"), name=b"d", mode=0o777, mtime=5)
    assert state(file) == before


def test_a_rename_that_would_replace_does_not_go_with_a_length(dotu: Client, file: Path, share: Path) -> None:
    (share / "g").write_bytes(b"old")
    before = state(file)
    with fails(errno.EEXIST):
        change(dotu, walk(dotu, "f"), name=b"g", length=0)
    assert state(file) == before


def test_wstat_needs_no_right_count(client: Client, file: Path) -> None:
    """The count before a stat repeats what the stat says; some clients send nought."""
    from ninepfs.wire import pack
    from ninepfs.wire.messages import Twstat

    fid = walk(client, "f")
    data = bytearray(pack(Twstat(fid, Stat(mode=0o600)), 5, client.dialect))
    data[11:13] = b"\0\0"
    client.connection.send_raw(data)
    assert client.connection.socket.recv(100)[4] == 127
    assert unix.S_IMODE(file.stat().st_mode) == 0o600
