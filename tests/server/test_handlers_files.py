"""Open, create, read, write and fsync."""

from __future__ import annotations

import errno
import os
import random
import socket
import stat
from pathlib import Path
from typing import Any

import pytest

from ninepfs.client import Client
from ninepfs.drivers import LocalDriver
from ninepfs.server import Export, Limits
from ninepfs.testing import FailingDriver, Served, serve_pair
from ninepfs.testing.process import wait_until
from ninepfs.wire import Dialect, pack
from ninepfs.wire.constants import NONUNAME, LFlag
from ninepfs.wire.messages import Rfsync, Rread, Tfsync, Tread

from .conftest import Records, error, fails, opened, walk


@pytest.fixture(autouse=True)
def content(share: Path) -> bytes:
    data = random.Random(9).randbytes(300_000)
    (share / "file").write_bytes(data)
    (share / "directory").mkdir()
    (share / "link").symlink_to("file")
    os.mkfifo(share / "fifo")
    with socket.socket(socket.AF_UNIX) as sock:
        os.chdir(share)
        sock.bind("socket")
    return data


# --- open -------------------------------------------------------------------------------------------------------


def test_open_answers_qid_and_iounit(client: Client, share: Path) -> None:
    fid = walk(client, "file")
    reply = client.lopen(fid)
    assert reply.qid == client.getattr(fid).qid
    assert reply.qid.path == (share / "file").stat().st_ino
    assert reply.iounit == (65536 - 24) // 4096 * 4096


def test_an_open_fid_is_not_opened_again(client: Client) -> None:
    for fid in (opened(client, "file"), opened(client, "directory", flags=0)):
        with fails(errno.EINVAL):
            client.lopen(fid)
        with fails(errno.EINVAL):
            client.lcreate(fid, "new")


@pytest.mark.parametrize(("name", "code"), [("link", errno.ELOOP), ("fifo", errno.ENXIO), ("socket", errno.ENXIO)])
@pytest.mark.parametrize("flags", [LFlag.RDONLY, LFlag.RDWR, LFlag.WRONLY | LFlag.NONBLOCK])
def test_what_is_neither_file_nor_directory_is_not_opened(client: Client, name: str, code: int, flags: int) -> None:
    fid = walk(client, name)
    with fails(code):
        client.lopen(fid, flags)
    client.getattr(fid)


def test_devices_are_not_opened(client: Client, share: Path) -> None:
    if os.geteuid() == 0:
        os.mknod(share / "null", stat.S_IFCHR | 0o666, os.makedev(1, 3))
        with fails(errno.ENXIO):
            client.lopen(walk(client, "null"))


@pytest.mark.parametrize("flags", [LFlag.WRONLY, LFlag.RDWR, LFlag.TRUNC, LFlag.DIRECTORY | LFlag.TRUNC])
def test_a_directory_is_not_opened_for_writing(client: Client, flags: int) -> None:
    with fails(errno.EISDIR):
        client.lopen(walk(client, "directory"), flags)


def test_flags_that_have_no_meaning_on_the_host_are_ignored(client: Client, content: bytes) -> None:
    meaningless = LFlag.CREATE | LFlag.EXCL | LFlag.NOCTTY | LFlag.NONBLOCK | LFlag.FASYNC | LFlag.DIRECT
    more = LFlag.LARGEFILE | LFlag.NOFOLLOW | LFlag.CLOEXEC | 0xFE000000
    fid = opened(client, "file", flags=LFlag.RDWR | meaningless | more)
    assert bytes(client.read(fid, 1, 77).data) == content[1:78]
    client.write(fid, 0, b"x")


def test_trunc_empties_the_file(client: Client, share: Path) -> None:
    opened(client, "file", flags=LFlag.WRONLY | LFlag.TRUNC)
    assert (share / "file").stat().st_size == 0


def test_append_ignores_the_offset(client: Client, share: Path, content: bytes) -> None:
    fid = opened(client, "file", flags=LFlag.WRONLY | LFlag.APPEND)
    client.write(fid, 0, b"end")
    client.write(fid, 5, b"!")
    assert (share / "file").read_bytes() == content + b"end!"


def test_the_directory_flag_is_for_directories(client: Client) -> None:
    opened(client, "directory", flags=LFlag.DIRECTORY)
    with fails(errno.ENOTDIR):
        client.lopen(walk(client, "file"), LFlag.DIRECTORY)


def test_an_opened_file_stays_usable_after_chmod_rename_and_unlink(
    client: Client, share: Path, root: int, content: bytes
) -> None:
    fid = opened(client, "file")
    (share / "file").chmod(0)
    client.renameat(root, "file", walk(client, "directory"), "moved")
    client.unlinkat(walk(client, "directory"), "moved")
    assert bytes(client.read(fid, 0, 100).data) == content[:100]
    client.write(fid, 0, b"new")
    assert bytes(client.read(fid, 0, 3).data) == b"new"


@pytest.mark.parametrize("limits", [Limits(open_files=40)])
def test_a_session_gets_at_most_half_of_what_may_be_open(share: Path, limits: Limits) -> None:
    with serve_pair(LocalDriver(share), limits) as served:
        fids = [opened(served.client, "file") for _ in range(20)]
        fid = walk(served.client, "file")
        with fails(errno.EMFILE):
            served.client.lopen(fid)
        other = served.connect()
        for _ in range(10):
            opened(other, "file")
        with fails(errno.EMFILE):
            other.lopen(walk(other, "file"))
        # What the other leaves is half again.
        other.close()
        wait_until(lambda: len(served.server.engine.connections) == 1, "its files are closed")
        served.client.clunk(fids[0])
        served.client.lopen(fid)


# --- create -----------------------------------------------------------------------------------------------------


def test_create_makes_the_fid_the_new_open_file(client: Client, share: Path) -> None:
    fid = walk(client)
    reply = client.lcreate(fid, "new", LFlag.RDWR, 0o640)
    assert reply.qid == client.getattr(fid).qid
    assert reply.qid.path == (share / "new").stat().st_ino
    assert reply.iounit
    client.write(fid, 0, b"content")
    assert (share / "new").read_bytes() == b"content"
    assert stat.S_IMODE((share / "new").stat().st_mode) == 0o640
    with fails(errno.EINVAL):
        client.lcreate(fid, "another")


def test_create_excl_of_what_exists_is_refused_and_leaves_the_fid(client: Client) -> None:
    fid = walk(client)
    for name in ("file", "directory", "link", "fifo"):
        with fails(errno.EEXIST):
            client.lcreate(fid, name, LFlag.RDWR | LFlag.EXCL)
    client.walk(fid, fid, ["directory"])


def test_create_of_what_exists_opens_it(client: Client, share: Path, content: bytes) -> None:
    (share / "file").chmod(0o604)
    fid = walk(client)
    client.lcreate(fid, "file", LFlag.RDWR, 0o777)
    assert bytes(client.read(fid, 5, 6).data) == content[5:11]
    assert stat.S_IMODE((share / "file").stat().st_mode) == 0o604
    fid = walk(client)
    client.lcreate(fid, "file", LFlag.RDWR | LFlag.TRUNC)
    assert client.getattr(fid).size == 0


@pytest.mark.parametrize(("name", "code"), [("link", errno.ELOOP), ("fifo", errno.ENXIO), ("directory", errno.EISDIR)])
def test_create_never_opens_what_is_no_file(client: Client, name: str, code: int) -> None:
    for flags in (LFlag.RDONLY, LFlag.WRONLY, LFlag.RDWR):
        with fails(code):
            client.lcreate(walk(client), name, flags)


def test_create_in_what_is_no_directory_is_refused(client: Client) -> None:
    for name in ("file", "fifo", "link"):
        with fails(errno.ENOTDIR):
            client.lcreate(walk(client, name), "new")


def test_a_file_without_permissions_may_be_created_and_written(client: Client, share: Path) -> None:
    fid = walk(client)
    client.lcreate(fid, "secret", LFlag.RDWR | LFlag.EXCL, 0)
    client.write(fid, 0, b"x")
    assert stat.S_IMODE((share / "secret").stat().st_mode) == 0


@pytest.mark.parametrize("mode", [0o4755, 0o2755, 0o1777, 0o7777, 0o100600])
def test_create_keeps_the_special_permission_bits(client: Client, share: Path, mode: int) -> None:
    client.lcreate(walk(client), "new", LFlag.RDWR, mode, NONUNAME)
    assert stat.S_IMODE((share / "new").stat().st_mode) == mode & 0o7777


# --- read -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("count", [0, 1, 100, 4096, 32767, 32768, 40000, 65512, 65525])
@pytest.mark.parametrize("offset", [0, 1, 4095, 299_990, 299_999, 300_000, 300_001, 1 << 40])
def test_read_gives_what_is_there(client: Client, content: bytes, count: int, offset: int) -> None:
    fid = opened(client, "file", flags=0)
    assert bytes(client.read(fid, offset, count).data) == content[offset : offset + count]


@pytest.mark.parametrize("count", [65526, 1 << 20, 0xFFFFFFFF])
def test_a_read_of_more_than_a_message_holds_is_clamped(client: Client, content: bytes, count: int) -> None:
    fid = opened(client, "file", flags=0)
    assert bytes(client.read(fid, 7, count).data) == content[7 : 7 + 65525]


@pytest.mark.parametrize("offset", [1 << 63, (1 << 64) - 1])
def test_an_offset_that_no_file_has_is_refused(client: Client, offset: int) -> None:
    fid = opened(client, "file")
    with fails(errno.EINVAL):
        client.read(fid, offset, 1)
    with fails(errno.EFBIG):
        client.write(fid, offset, b"x")


def test_the_largest_offsets_are_the_end_of_the_file(client: Client) -> None:
    fid = opened(client, "file")
    for count in (1, 40000):
        for offset in ((1 << 63) - 1, (1 << 63) - 40000):
            assert error(client.read, fid, offset, count) in (0, errno.EINVAL, errno.EOVERFLOW)


def test_pipelined_reads_of_every_kind_stay_in_order(client: Client, content: bytes) -> None:
    fid = opened(client, "file", flags=0)
    rng = random.Random(4)
    asked = {tag: (rng.randrange(300_000), rng.choice([1, 500, 32768, 60000])) for tag in range(200)}
    client.connection.send_raw(
        b"".join(pack(Tread(fid, offset, count), tag, Dialect.L) for tag, (offset, count) in asked.items())
    )
    for _ in range(200):
        tag, reply = client.connection.receive(5)
        offset, count = asked.pop(tag)
        assert isinstance(reply, Rread)
        assert bytes(reply.data) == content[offset : offset + count]


def test_reading_needs_a_fid_that_is_open_for_reading(client: Client, root: int) -> None:
    with fails(errno.EINVAL):
        client.read(walk(client, "file"), 0, 1)
    fid = opened(client, "file", flags=LFlag.WRONLY)
    for count in (1, 40000):
        with fails(errno.EBADF):
            client.read(fid, 0, count)
    directory = opened(client, "directory", flags=0)
    for count in (1, 40000):
        with fails(errno.EISDIR):
            client.read(directory, 0, count)


def test_a_file_that_shrinks_between_reads_ends_where_it_ends(client: Client, share: Path, content: bytes) -> None:
    fid = opened(client, "file", flags=0)
    os.truncate(share / "file", 50_000)
    assert bytes(client.read(fid, 0, 65525).data) == content[:50_000]
    os.truncate(share / "file", 0)
    assert client.read(fid, 0, 65525).data == b""


def test_a_driver_that_reads_more_than_asked_cannot_break_the_framing(share: Path, log: Records) -> None:
    driver: FailingDriver[Any, Any] = FailingDriver(LocalDriver(share))
    with serve_pair(driver) as served:
        fid = opened(served.client, "file", flags=0)
        for wrong in (11, 100_000, -1, None):
            driver.effects["read"] = lambda *_, wrong=wrong: wrong
            with fails(errno.EIO):
                served.client.read(fid, 0, 10)
        del driver.effects["read"]
        assert len(served.client.read(fid, 0, 10).data) == 10


# --- write ------------------------------------------------------------------------------------------------------


def test_write_puts_data_where_it_belongs(client: Client, share: Path, content: bytes) -> None:
    fid = opened(client, "file", flags=LFlag.WRONLY)
    model = bytearray(content)
    rng = random.Random(8)
    for size in (0, 1, 2, 4096, 60000, 65513):
        offset, data = rng.randrange(200_000), rng.randbytes(size)
        assert client.write(fid, offset, data).count == size
        model[offset : offset + size] = data
    assert (share / "file").read_bytes() == model


def test_a_write_behind_the_end_leaves_a_hole(client: Client, share: Path) -> None:
    fid = walk(client)
    client.lcreate(fid, "sparse")
    client.write(fid, 3 << 30, b"end")
    client.write(fid, 5, b"begin")
    info = (share / "sparse").stat()
    assert info.st_size == (3 << 30) + 3
    assert info.st_blocks < 100
    assert bytes(client.read(fid, 0, 12).data) == b"\0\0\0\0\0begin\0\0"


def test_writing_needs_a_fid_that_is_open_for_writing(client: Client) -> None:
    with fails(errno.EINVAL):
        client.write(walk(client, "file"), 0, b"x")
    with fails(errno.EBADF):
        client.write(opened(client, "file", flags=0), 0, b"x")
    with fails(errno.EBADF):
        client.write(opened(client, "directory", flags=0), 0, b"x")


def test_a_driver_that_writes_a_little_at_a_time_is_asked_again(share: Path) -> None:
    driver: FailingDriver[Any, Any] = FailingDriver(LocalDriver(share))
    inner = driver.inner
    with serve_pair(driver) as served:
        fid = opened(served.client, "file")
        driver.effects["write"] = lambda handle, buffers, offset: inner.write(handle, [buffers[0][:7]], offset)
        assert served.client.write(fid, 3, bytes(range(100))).count == 100
        assert bytes(served.client.read(fid, 3, 100).data) == bytes(range(100))


def test_what_was_written_before_an_error_is_told(share: Path) -> None:
    driver: FailingDriver[Any, Any] = FailingDriver(LocalDriver(share))
    inner = driver.inner

    def full_disk(handle: Any, buffers: Any, offset: int) -> int:
        if offset >= 20:
            raise OSError(errno.ENOSPC, "full")
        return inner.write(handle, [buffers[0][:10]], offset)

    with serve_pair(driver) as served:
        fid = opened(served.client, "file")
        driver.effects["write"] = full_disk
        assert served.client.write(fid, 0, bytes(100)).count == 20
        with fails(errno.ENOSPC):
            served.client.write(fid, 20, bytes(80))


# --- fsync ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("datasync", [0, 1, 0xFFFFFFFF])
def test_fsync_works_on_files_and_directories(client: Client, datasync: int) -> None:
    client.fsync(opened(client, "file"), datasync)
    client.fsync(opened(client, "file", flags=0), datasync)
    client.fsync(opened(client, "directory", flags=0), datasync)


def test_fsync_may_come_without_its_second_field(client: Client) -> None:
    fid = opened(client, "file")
    data = bytearray(pack(Tfsync(fid, 0), 3, Dialect.L)[:-4])
    data[0] = len(data)
    client.connection.send_raw(data)
    assert client.connection.receive(5) == (3, Rfsync())


def test_fsync_needs_an_open_fid(client: Client) -> None:
    with fails(errno.EBADF):
        client.fsync(walk(client, "file"))


# --- readonly ---------------------------------------------------------------------------------------------------


def test_a_readonly_export_refuses_every_change(share: Path, content: bytes) -> None:
    def state() -> list[tuple[str, os.stat_result]]:
        return [(name, os.lstat(share / name)) for name in sorted(os.listdir(share)) if name != "file"]

    (share / "file").chmod(0o666)
    before = state()
    with serve_pair(Export(LocalDriver(share), readonly=True)) as served:
        client, root = served.client, served.client.root.fid
        file, directory = walk(client, "file"), walk(client, "directory")
        attempts: list[tuple[Any, ...]] = [
            (client.lopen, file, LFlag.WRONLY),
            (client.lopen, file, LFlag.RDWR),
            (client.lopen, file, LFlag.TRUNC),
            (client.lopen, file, LFlag.APPEND),
            (client.lopen, file, LFlag.ACCMODE),
            (client.lcreate, walk(client), "new"),
            (client.lcreate, walk(client), "file", LFlag.RDONLY),
            (client.mkdir, root, "new"),
            (client.symlink, root, "new", "x"),
            (client.mknod, root, "new", 0o100644),
            (client.link, root, file, "new"),
            (client.rename, file, root, "new"),
            (client.renameat, root, "file", root, "new"),
            (client.unlinkat, root, "file"),
            (client.unlinkat, root, "directory", 0x200),
            (client.setattr, file, 1, 0o600),
            (client.setattr, file, 8),
            (client.setattr, file, 0x30),
            (client.setattr, file, 0x40),
            (client.xattrcreate, walk(client, "file"), "user.x", 1),
            (client.remove, walk(client, "file")),
            (client.remove, walk(client, "directory")),
        ]
        for action, *arguments in attempts:
            with fails(errno.EROFS):
                action(*arguments)
        client.lopen(file)
        client.lopen(directory)
        with fails(errno.EROFS):
            client.write(file, 0, b"x")
        assert bytes(client.read(file, 0, 10).data) == content[:10]
        assert client.read(file, 0, 60000).data == content[:60000]
        client.readdir(directory)
        client.statfs(file)
        client.fsync(file)
        client.getattr(file)
        client.xattrwalk(file, 99)
    assert state() == before
    assert (share / "file").read_bytes() == content


def test_clients_see_each_others_changes_at_once(served: Served) -> None:
    other = served.connect()
    fid = walk(served.client)
    served.client.lcreate(fid, "shared")
    served.client.write(fid, 0, b"hello")
    theirs = opened(other, "shared")
    assert bytes(other.read(theirs, 0, 10).data) == b"hello"
    other.write(theirs, 0, b"HE")
    assert bytes(served.client.read(fid, 0, 10).data) == b"HEllo"
