"""Reading directories."""

from __future__ import annotations

import errno
import os
import socket
import stat
from pathlib import Path
from typing import Any

import pytest

from ninepfs.client import Client
from ninepfs.drivers import LocalDriver
from ninepfs.drivers.local import host
from ninepfs.testing import FailingDriver, serve_pair
from ninepfs.wire import Dirent, unpack_dirents
from ninepfs.wire.constants import DirentType, QidType

from .conftest import error, fails, opened, walk


def listing(client: Client, fid: int, count: int | None = None, offset: int = 0) -> list[Dirent]:
    entries: list[Dirent] = []
    while more := unpack_dirents(client.readdir(fid, offset, count).data):
        entries += more
        offset = more[-1].offset
    return entries


def names(entries: list[Dirent]) -> list[bytes]:
    return sorted(entry.name for entry in entries)


def test_entries_tell_kind_and_qid_as_getattr_does(client: Client, share: Path) -> None:
    (share / "file").touch()
    (share / "directory").mkdir()
    (share / "link").symlink_to("nowhere")
    os.mkfifo(share / "fifo")
    with socket.socket(socket.AF_UNIX) as sock:
        os.chdir(share)
        sock.bind("socket")
    entries = {entry.name: entry for entry in listing(client, opened(client, flags=0))}
    assert sorted(entries) == [b".", b"..", b"directory", b"fifo", b"file", b"link", b"socket"]
    kinds = {"file": DirentType.REG, "directory": DirentType.DIR, "link": DirentType.LNK, "fifo": DirentType.FIFO}
    for name, kind in {**kinds, "socket": DirentType.SOCK}.items():
        entry = entries[name.encode()]
        qid = client.getattr(walk(client, name)).qid
        assert entry.type == kind
        assert (entry.qid.type, entry.qid.path) == (qid.type, qid.path)
    assert entries[b"."].qid.type == QidType.DIR


def test_dot_dot_of_the_root_is_the_root(client: Client, root: int, share: Path) -> None:
    (share / "sub").mkdir()
    entries = {entry.name: entry.qid.path for entry in listing(client, opened(client, flags=0))}
    assert entries[b"."] == entries[b".."] == client.getattr(root).qid.path
    below = {entry.name: entry.qid.path for entry in listing(client, opened(client, "sub", flags=0))}
    assert below[b".."] == client.getattr(root).qid.path


@pytest.mark.parametrize("count", [24 + 255, 300, 1000, 65525, 0xFFFFFFFF])
def test_every_entry_comes_once_whatever_the_count(client: Client, share: Path, count: int) -> None:
    wanted = [f"{number:03}{'x' * (number % 250)}" for number in range(400)]
    for name in wanted:
        (share / name).touch()
    fid = opened(client, flags=0)
    assert names(listing(client, fid, count)) == sorted([b".", b"..", *(name.encode() for name in wanted)])


@pytest.mark.parametrize("length", [1, 4, 5, 8, 13, 20, 100, 255])
@pytest.mark.parametrize("count", [1000, 4085, 30_000])
def test_replies_are_full(client: Client, share: Path, length: int, count: int) -> None:
    """But for what one more entry might take; the host's records of entries are larger, or smaller."""
    wanted = [b"%03d" % number + b"x" * (length - 3) for number in range(900)]
    if length == 1:
        wanted = [b"%c" % letter for letter in range(0x30, 0x7F)]
    for name in wanted:
        (share / os.fsdecode(name)).touch()
    fid = opened(client, flags=0)
    sizes, found, offset = [], [], 0
    while data := bytes(client.readdir(fid, offset, count).data):
        sizes.append(len(data))
        entries = unpack_dirents(data)
        found += entries
        offset = entries[-1].offset
    assert names(found) == sorted([b".", b"..", *wanted])
    assert all(count - 24 - 255 <= size <= count for size in sizes[:-1])


def test_what_was_read_before_an_error_is_told_first(
    client: Client, share: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    wanted = [b"%05d" % number for number in range(200)]
    for name in wanted:
        (share / os.fsdecode(name)).touch()
    fid = opened(client, flags=0)
    getdents, calls = host.getdents, 0

    def failing(fd: int, buffer: Any, room: int) -> int:
        nonlocal calls
        calls += 1
        if calls in (2, 3):
            raise OSError(errno.EIO, "a sector is gone")
        return getdents(fd, buffer, room)

    monkeypatch.setattr(host, "getdents", failing)
    first = unpack_dirents(client.readdir(fid, 0, 4000).data)
    assert first
    assert calls == 2
    with fails(errno.EIO):
        client.readdir(fid, first[-1].offset, 4000)
    rest = listing(client, fid, 4000, first[-1].offset)
    assert names(first + rest) == sorted([b".", b"..", *wanted])


def test_a_count_too_small_for_an_entry_is_an_error_not_the_end(client: Client, share: Path) -> None:
    name = "x" * 200
    (share / name).touch()
    fid = opened(client, flags=0)
    for count in (0, 1, 23, 24):
        with fails(errno.EINVAL):
            client.readdir(fid, 0, count)
    offset = 0
    seen = []
    while True:
        code = error(client.readdir, fid, offset, 24 + 2)
        assert code in (0, errno.EINVAL)
        entries = unpack_dirents(client.readdir(fid, offset, 24 + (200 if code else 2)).data)
        if not entries:
            break
        seen += [entry.name for entry in entries]
        offset = entries[-1].offset
    assert sorted(seen) == [b".", b"..", name.encode()]


def test_an_empty_directory_has_two_entries(client: Client) -> None:
    assert names(listing(client, opened(client, flags=0))) == [b".", b".."]


def test_reading_may_begin_again_and_at_every_cookie(client: Client, share: Path) -> None:
    for number in range(50):
        (share / f"{number}").touch()
    fid = opened(client, flags=0)
    entries = listing(client, fid)
    for position in (0, 51, 20, 49, 3):
        rest = listing(client, fid, offset=entries[position].offset)
        assert [entry.name for entry in rest] == [entry.name for entry in entries[position + 1 :]]
    assert listing(client, fid) == entries
    assert listing(client, opened(client, flags=0), offset=entries[10].offset) == entries[11:]


def test_cookies_stay_valid_while_entries_come_and_go(client: Client, share: Path) -> None:
    stay = {f"stay{number}".encode() for number in range(500)}
    for name in stay:
        (share / os.fsdecode(name)).touch()
    for number in range(500):
        (share / f"go{number}").touch()
    fid = opened(client, flags=0)
    seen: list[bytes] = []
    offset = turn = 0
    while entries := unpack_dirents(client.readdir(fid, offset, 1000).data):
        seen += [entry.name for entry in entries]
        offset = entries[-1].offset
        for number in range(turn * 10, turn * 10 + 10):
            (share / f"go{number}").unlink(missing_ok=True)
            (share / f"come{number}").touch()
        turn += 1
    assert turn > 10
    kept = [name for name in seen if name.startswith(b"stay")]
    assert sorted(kept) == sorted(stay)


def test_a_removed_directory_is_empty(client: Client, share: Path, root: int) -> None:
    (share / "d").mkdir()
    fid = opened(client, "d", flags=0)
    client.unlinkat(root, "d", 0x200)
    assert listing(client, fid) == []


def test_a_directory_of_20000_entries_is_read_whole(share: Path) -> None:
    wanted = {b"%d-%s" % (number, b"n" * (number % 40)) for number in range(20_000)}
    os.chdir(share)
    (share / "first").touch()
    for name in wanted:
        os.link("first", name)
    (share / "first").unlink()
    with serve_pair(LocalDriver(share)) as served:
        entries = listing(served.client, opened(served.client, flags=0))
    assert len(entries) == 20_002
    assert {entry.name for entry in entries} == wanted | {b".", b".."}
    cookies = [entry.offset for entry in entries]
    assert 0 not in cookies
    assert len(set(cookies)) == len(cookies)


def test_readdir_needs_an_open_directory(client: Client, share: Path) -> None:
    (share / "file").touch()
    with fails(errno.EINVAL):
        client.readdir(walk(client))
    with fails(errno.ENOTDIR):
        client.readdir(opened(client, "file"))


def test_a_file_is_no_directory_at_any_cookie(client: Client, share: Path) -> None:
    (share / "file").touch()
    fid = opened(client, "file")
    for offset in (0, 1, (1 << 63) - 1, 1 << 63):
        assert error(client.readdir, fid, offset) in (errno.ENOTDIR, errno.EINVAL)


@pytest.mark.parametrize("offset", [1 << 63, (1 << 64) - 1])
def test_cookies_that_were_never_given_are_harmless(client: Client, share: Path, offset: int) -> None:
    fid = opened(client, flags=0)
    with fails(errno.EINVAL):
        client.readdir(fid, offset)
    for invented in (1, 12345, (1 << 63) - 1):
        assert error(client.readdir, fid, invented) in (0, errno.EINVAL, errno.ENOENT)
    assert names(listing(client, fid)) == [b".", b".."]


def test_names_of_any_bytes_are_listed(client: Client, share: Path) -> None:
    wanted = [b"\xff\xfe", b"\x01", b"new\nline", "naïve".encode("latin-1"), b" ", b"...", b"x" * 255]
    for name in wanted:
        os.mknod(os.fsencode(share) + b"/" + name, stat.S_IFREG | 0o644)
    assert names(listing(client, opened(client, flags=0))) == sorted([b".", b"..", *wanted])


def test_a_driver_may_list_lazily_and_more_than_was_asked(share: Path) -> None:
    driver: FailingDriver[Any, Any] = FailingDriver(LocalDriver(share))
    with serve_pair(driver) as served:
        fid = opened(served.client, flags=0)
        given = 0

        def endless(handle: object, cookie: int, room: int) -> Any:
            nonlocal given
            while cookie < 1000:
                cookie += 1
                given += 1
                yield b"%d" % cookie, DirentType.REG, cookie, cookie

        driver.effects["readdir"] = endless
        entries = listing(served.client, fid, 500)
        assert [entry.name for entry in entries] == [b"%d" % number for number in range(1, 1001)]
        assert given < 1200
