"""Getattr, setattr and statfs."""

from __future__ import annotations

import errno
import os
import stat
import time
from pathlib import Path

import pytest

from ninepfs.client import Client
from ninepfs.wire.constants import NONUNAME, GetattrMask, LFlag, SetattrMask

from .conftest import fails, opened, walk

ROOT = pytest.mark.skipif(os.geteuid() != 0, reason="only root may give files away")

KINDS = ("file", "directory", "link", "fifo")


@pytest.fixture(autouse=True)
def tree(share: Path) -> Path:
    (share / "file").write_bytes(b"content" * 1000)
    (share / "directory").mkdir()
    (share / "link").symlink_to("file")
    os.mkfifo(share / "fifo")
    return share


def reached(client: Client, way: str, root: int) -> int:
    """The file, reached in one of the ways that a client has."""
    if way == "walked":
        return walk(client, "file")
    if way == "open":
        return opened(client, "file")
    if way == "open for reading":
        return opened(client, "file", flags=0)
    if way == "walked, then removed":
        fid = walk(client, "file")
        client.unlinkat(root, "file")
        return fid
    if way == "open, then removed":
        fid = opened(client, "file")
        client.unlinkat(root, "file")
        return fid
    if way == "walked, removed, open elsewhere":
        fid = walk(client, "file")
        opened(client, "file", flags=0)
        client.unlinkat(root, "file")
        return fid
    assert way == "walked, then replaced"
    fid = walk(client, "file")
    client.mknod(root, "new", stat.S_IFREG | 0o644)
    client.renameat(root, "new", root, "file")
    return fid


WAYS = (
    "walked",
    "open",
    "open for reading",
    "walked, then removed",
    "open, then removed",
    "walked, removed, open elsewhere",
    "walked, then replaced",
)


# --- getattr ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", KINDS)
def test_getattr_tells_what_lstat_tells(client: Client, tree: Path, name: str) -> None:
    told = client.getattr(walk(client, name))
    info = (tree / name).lstat()
    assert told.valid & GetattrMask.BASIC == GetattrMask.BASIC
    assert (told.mode, told.uid, told.gid, told.nlink) == (info.st_mode, info.st_uid, info.st_gid, info.st_nlink)
    assert (told.size, told.blocks, told.rdev) == (info.st_size, info.st_blocks, info.st_rdev)
    assert told.qid.path == info.st_ino
    for stamp in ("atime", "mtime", "ctime"):
        seconds, nanoseconds = getattr(told, f"{stamp}_sec"), getattr(told, f"{stamp}_nsec")
        assert seconds * 10**9 + nanoseconds == getattr(info, f"st_{stamp}_ns")


def test_the_block_size_fits_a_message(client: Client) -> None:
    assert 0 < client.getattr(walk(client, "file")).blksize <= client.msize - 24


def test_birth_time_is_told_where_the_host_knows_it(client: Client) -> None:
    told = client.getattr(walk(client, "file"))
    if told.valid & GetattrMask.BTIME:
        assert abs(told.btime_sec - time.time()) < 3600


def test_the_generation_is_only_claimed_when_it_is_known(client: Client) -> None:
    fid = walk(client, "file")
    told = client.getattr(fid, GetattrMask.BASIC | GetattrMask.GEN)
    assert bool(told.gen) <= bool(told.valid & GetattrMask.GEN)
    assert not client.getattr(fid, GetattrMask.BASIC).valid & GetattrMask.GEN
    assert client.getattr(opened(client, "file")).gen == told.gen
    assert client.getattr(opened(client, "directory", flags=0), GetattrMask.ALL)


@pytest.mark.parametrize("mask", [0, 1, 0x7FF, 0x17FF, 0x3FFF, (1 << 64) - 1])
def test_every_mask_is_answered_in_full(client: Client, mask: int) -> None:
    told = client.getattr(walk(client, "file"), mask)
    assert told.size == 7000
    assert told.valid & GetattrMask.BASIC == GetattrMask.BASIC
    assert not told.valid & ~GetattrMask.ALL


def test_the_version_changes_with_the_content_and_is_never_zero(client: Client) -> None:
    fid = opened(client, "file")
    versions = [client.getattr(fid).qid.version]
    for number in range(20):
        before = client.getattr(fid)
        while (client.getattr(fid).mtime_sec, client.getattr(fid).mtime_nsec) == (before.mtime_sec, before.mtime_nsec):
            client.write(fid, number, b"x")  # until the file system's clock has moved on
        versions.append(client.getattr(fid).qid.version)
    assert len(set(versions)) == len(versions)
    assert 0 not in versions


@pytest.mark.parametrize("way", WAYS)
def test_getattr_reaches_the_file_however_the_fid_came_to_it(client: Client, root: int, tree: Path, way: str) -> None:
    ino = (tree / "file").stat().st_ino
    fid = reached(client, way, root)
    told = client.getattr(fid)
    assert (told.qid.path, told.size) == (ino, 7000)
    assert told.nlink == (0 if "removed" in way or "replaced" in way else 1)


# --- setattr ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("way", WAYS)
def test_setattr_of_every_kind_reaches_the_file_however_the_fid_came_to_it(
    client: Client, root: int, tree: Path, way: str
) -> None:
    fid = reached(client, way, root)
    bystander = (tree / "file").stat() if "replaced" in way else None
    mask = SetattrMask
    client.setattr(fid, mask.MODE, 0o604)
    assert client.getattr(fid).mode == stat.S_IFREG | 0o604
    client.setattr(fid, mask.SIZE, size=123)
    assert client.getattr(fid).size == 123
    client.setattr(fid, mask.SIZE, size=5 << 30)
    assert client.getattr(fid).size == 5 << 30
    times = mask.ATIME | mask.ATIME_SET | mask.MTIME | mask.MTIME_SET
    client.setattr(fid, times, atime_sec=5, atime_nsec=6, mtime_sec=1 << 33, mtime_nsec=999_999_999)
    told = client.getattr(fid)
    assert (told.atime_sec, told.atime_nsec, told.mtime_sec, told.mtime_nsec) == (5, 6, 1 << 33, 999_999_999)
    before = client.getattr(fid)
    time.sleep(0.02)
    client.setattr(fid, mask.CTIME)
    told = client.getattr(fid)
    assert (told.ctime_sec, told.ctime_nsec) > (before.ctime_sec, before.ctime_nsec)
    assert (told.uid, told.gid, told.mtime_sec) == (before.uid, before.gid, before.mtime_sec)
    if os.geteuid() == 0:
        client.setattr(fid, mask.UID | mask.GID, uid=1234, gid=5678)
        assert client.getattr(fid)[3:5] == (1234, 5678)
        client.setattr(fid, mask.UID, uid=4, gid=9)
        client.setattr(fid, mask.GID, uid=9, gid=NONUNAME)
        assert client.getattr(fid)[3:5] == (4, 5678)
    if bystander:
        assert (tree / "file").stat() == bystander


def test_times_without_a_value_are_the_present(client: Client) -> None:
    fid = walk(client, "file")
    mask = SetattrMask
    client.setattr(fid, mask.ATIME | mask.ATIME_SET | mask.MTIME | mask.MTIME_SET, atime_sec=1, mtime_sec=2)
    client.setattr(fid, mask.ATIME, atime_sec=77)
    told = client.getattr(fid)
    assert abs(told.atime_sec - time.time()) < 60
    assert told.mtime_sec == 2
    client.setattr(fid, mask.MTIME | mask.ATIME | mask.ATIME_SET, atime_sec=3)
    told = client.getattr(fid)
    assert abs(told.mtime_sec - time.time()) < 60
    assert told.atime_sec == 3


def test_times_before_1970_keep_their_value(client: Client, tree: Path) -> None:
    fid = walk(client, "file")
    long_ago = (1 << 64) - 86400
    client.setattr(fid, SetattrMask.MTIME | SetattrMask.MTIME_SET, mtime_sec=long_ago, mtime_nsec=5)
    assert (tree / "file").stat().st_mtime_ns == -86400 * 10**9 + 5
    assert client.getattr(fid).mtime_sec == long_ago


@pytest.mark.parametrize("nanoseconds", [10**9, 0x3FFFFFFF, 0x3FFFFFFE, 1 << 63, (1 << 64) - 1])
def test_nanoseconds_that_are_none_are_refused(client: Client, nanoseconds: int) -> None:
    fid = walk(client, "file")
    before = client.getattr(fid)
    with fails(errno.EINVAL):
        client.setattr(fid, SetattrMask.MTIME | SetattrMask.MTIME_SET, mtime_sec=1, mtime_nsec=nanoseconds)
    assert client.getattr(fid) == before


def test_setattr_works_on_directories_symlinks_and_fifos_themselves(client: Client, tree: Path) -> None:
    target = (tree / "file").stat()
    mask = SetattrMask
    for name in ("directory", "link", "fifo"):
        fid = walk(client, name)
        if name != "link":
            client.setattr(fid, mask.MODE, 0o711)
            assert stat.S_IMODE((tree / name).lstat().st_mode) == 0o711
        client.setattr(fid, mask.MTIME | mask.MTIME_SET, mtime_sec=99)
        assert (tree / name).lstat().st_mtime == 99
        if os.geteuid() == 0:
            client.setattr(fid, mask.UID | mask.GID, uid=12, gid=34)
            assert ((tree / name).lstat().st_uid, (tree / name).lstat().st_gid) == (12, 34)
    assert (tree / "file").stat() == target
    with fails(errno.EOPNOTSUPP):
        client.setattr(walk(client, "link"), mask.MODE, 0o777)


def test_only_files_have_a_size_to_set(client: Client) -> None:
    for name, code in (("directory", errno.EISDIR), ("link", errno.EINVAL), ("fifo", errno.EINVAL)):
        with fails(code):
            client.setattr(walk(client, name), SetattrMask.SIZE, size=0)
    for size in (1 << 63, (1 << 64) - 1):
        with fails(errno.EFBIG):
            client.setattr(walk(client, "file"), SetattrMask.SIZE, size=size)


@pytest.mark.parametrize("mode", [0o100644, 0o644, 0o7777, 0o040755])
def test_the_kind_of_a_file_is_not_changed_by_its_mode(client: Client, tree: Path, mode: int) -> None:
    client.setattr(walk(client, "file"), SetattrMask.MODE, mode)
    assert (tree / "file").stat().st_mode == stat.S_IFREG | mode & 0o7777


def test_the_first_error_ends_a_setattr(client: Client, tree: Path) -> None:
    fid = walk(client, "directory")
    with fails(errno.EISDIR):
        client.setattr(fid, SetattrMask.MODE | SetattrMask.SIZE, 0o700, size=5)
    assert stat.S_IMODE((tree / "directory").stat().st_mode) == 0o700


def test_nothing_and_unknown_bits_are_nothing_to_do(client: Client) -> None:
    fid = walk(client, "file")
    before = client.getattr(fid)
    client.setattr(fid, 0, 0o777, 1, 1, 1)
    client.setattr(fid, 0xFFFFFE00, 0o777, 1, 1, 1)
    assert client.getattr(fid) == before


def test_an_open_file_may_be_truncated_though_its_mode_forbids_it(client: Client, tree: Path) -> None:
    fid = opened(client, "file", flags=LFlag.WRONLY)
    (tree / "file").chmod(0)
    client.setattr(fid, SetattrMask.SIZE, size=3)
    assert (tree / "file").stat().st_size == 3


# --- statfs -----------------------------------------------------------------------------------------------------


def test_statfs_tells_what_the_host_tells_in_larger_blocks(client: Client, tree: Path) -> None:
    told, info = client.statfs(walk(client, "file")), os.statvfs(tree)
    assert told.bsize <= client.msize - 24
    assert told.bsize % info.f_bsize == 0
    total = info.f_blocks * info.f_frsize
    assert total - told.bsize < told.blocks * told.bsize <= total
    assert told.files == info.f_files
    assert told.namelen == info.f_namemax
    assert told.bavail <= told.bfree <= told.blocks


@pytest.mark.parametrize("name", KINDS)
def test_statfs_works_on_everything(client: Client, name: str, root: int) -> None:
    assert client.statfs(walk(client, name)).type == client.statfs(root).type


def test_statfs_works_on_open_and_removed_files(client: Client, root: int) -> None:
    walked, file = walk(client, "file"), opened(client, "file")
    client.unlinkat(root, "file")
    for fid in (walked, file):
        assert client.statfs(fid).type == client.statfs(root).type
