"""Directories read as stat records, in 9P2000 and 9P2000.u."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from ninepfs.client import Client
from ninepfs.drivers import LocalDriver
from ninepfs.testing import FailingDriver, Served, serve_pair
from ninepfs.wire import Dialect, pack_stat, unpack_stats
from ninepfs.wire.constants import DM, QidType

from .conftest import Records, fails
from .plan9 import OLD, entries, opened9, read_at, stat


@pytest.fixture(params=OLD)
def served(share: Path, request: pytest.FixtureRequest, no_defects: Records) -> Iterator[Served]:
    """The directory, and clients of each dialect."""
    with serve_pair(LocalDriver(share), msize=65536, dialect=request.param) as served:
        yield served


def fill(share: Path, count: int) -> set[bytes]:
    """Files of different lengths of names."""
    names = {b"%d" % number + b"x" * (number % 40) for number in range(count)}
    for name in names:
        Path(os.fsdecode(os.path.join(os.fsencode(share), name))).touch()
    return names


def test_entries_are_what_stat_says(client: Client, share: Path) -> None:
    (share / "f").write_bytes(b"abc")
    (share / "d").mkdir()
    (share / "l").symlink_to("f")
    found = {entry.name: entry for entry in entries(client, opened9(client))}
    assert set(found) == {b"f", b"d", b"l"}
    for name, entry in found.items():
        fid = client.new_fid()
        client.walk(client.root.fid, fid, [name])
        assert entry == stat(client, fid)
    assert found[b"d"].mode & DM.DIR
    assert found[b"d"].qid.type == QidType.DIR


def test_there_are_no_dots(client: Client, share: Path) -> None:
    assert entries(client, opened9(client)) == []
    assert read_at(client, opened9(client), 0, 8000) == b""


@pytest.mark.parametrize("count", [200, 333, 1000, 60000])
def test_every_entry_comes_once_whatever_the_count(client: Client, share: Path, count: int) -> None:
    names = fill(share, 500)
    found = [entry.name for entry in entries(client, opened9(client), count)]
    assert len(found) == 500
    assert set(found) == names


def test_little_is_kept_between_two_reads(served: Served, share: Path) -> None:
    """A client may have as many directories open as it may files."""
    client = served.client
    names = fill(share, 2000)
    fid = opened9(client)
    found: set[bytes] = set()
    offset = 0
    while True:
        data = read_at(client, fid, offset, 60_000)
        (session,) = [connection.desk.request.session for connection in served.server.engine.connections]
        listing = session.fids[fid].listing
        assert listing is not None
        assert len(listing._entries) <= 64
        if not data:
            break
        offset += len(data)
        found |= {entry.name for entry in unpack_stats(data, client.connection.dialect)}
    assert found == names


def test_only_whole_entries(client: Client, share: Path) -> None:
    fill(share, 50)
    data = read_at(client, opened9(client), 0, 700)
    found = unpack_stats(data, client.dialect)
    assert b"".join(pack_stat(entry, client.dialect) for entry in found) == data
    assert 1 < len(found) < 15


def test_the_offset_is_where_the_last_read_ended_or_nought(client: Client, share: Path) -> None:
    fill(share, 50)
    fid = opened9(client)
    first = read_at(client, fid, 0, 500)
    for offset in (1, len(first) - 1, len(first) + 1, 1 << 40):
        with fails(errno.EINVAL):
            client.read(fid, offset, 500)
    second = read_at(client, fid, len(first), 500)
    assert second
    assert second != first
    with fails(errno.EINVAL):
        client.read(fid, len(first), 500)
    # From the beginning, and on from there.
    assert read_at(client, fid, 0, 500) == first
    assert read_at(client, fid, len(first), 500) == second


def test_rewinding_sees_what_came_since(client: Client, share: Path) -> None:
    fid = opened9(client)
    assert entries(client, fid) == []
    (share / "new").touch()
    assert [entry.name for entry in entries(client, fid)] == [b"new"]


def test_no_room_for_one_entry_is_an_error_not_the_end(client: Client, share: Path) -> None:
    fill(share, 20)
    fid = opened9(client)
    with fails(errno.EINVAL):
        client.read(fid, 0, 40)
    first = read_at(client, fid, 0, 500)
    with fails(errno.EINVAL):
        client.read(fid, len(first), 40)
    assert read_at(client, fid, len(first), 500)


def test_the_rest_of_a_buffer_may_stay_empty(client: Client, share: Path) -> None:
    """Linux fills one buffer with several reads; the last asks for what the answer before left of it."""
    names = fill(share, 100)
    fid = opened9(client)
    found = []
    offset = 0
    while True:
        room = 1000
        while room:
            data = read_at(client, fid, offset, room)
            if not data:
                break
            found += unpack_stats(data, client.dialect)
            offset += len(data)
            room -= len(data)
        if room == 1000:
            break
    assert len(found) == len(names)
    assert {entry.name for entry in found} == names


def test_reading_nothing_changes_nothing(client: Client, share: Path) -> None:
    fill(share, 5)
    fid = opened9(client)
    assert read_at(client, fid, 0, 0) == b""
    first = read_at(client, fid, 0, 200)
    assert read_at(client, fid, len(first), 0) == b""
    assert read_at(client, fid, len(first), 8000)


def test_the_end_can_be_read_again(client: Client, share: Path) -> None:
    fill(share, 3)
    fid = opened9(client)
    data = read_at(client, fid, 0, 8000)
    for _ in range(3):
        assert read_at(client, fid, len(data), 8000) == b""


def test_two_fids_read_apart(client: Client, share: Path) -> None:
    names = fill(share, 30)
    one, two = opened9(client), opened9(client)
    first = read_at(client, one, 0, 500)
    assert {entry.name for entry in entries(client, two, 300)} == names
    rest = read_at(client, one, len(first), 60000)
    assert {entry.name for entry in unpack_stats(first + rest, client.dialect)} == names


def test_what_is_removed_meanwhile_is_left_out(client: Client, share: Path) -> None:
    names = fill(share, 30)
    fid = opened9(client)
    first = read_at(client, fid, 0, 300)
    seen = {entry.name for entry in unpack_stats(first, client.dialect)}
    for name in names - seen:
        (share / os.fsdecode(name)).unlink()
    assert read_at(client, fid, len(first), 8000) == b""


def test_an_entry_that_did_not_fit_is_told_as_it_is_by_then(client: Client, share: Path) -> None:
    for name in ("f", "g"):
        (share / name).touch()
    fid = opened9(client)
    first = read_at(client, fid, 0, 120)
    (told,) = unpack_stats(first, client.dialect)
    (other,) = {b"f", b"g"} - {told.name}
    (share / os.fsdecode(other)).write_bytes(b"content")
    (entry,) = unpack_stats(read_at(client, fid, len(first), 120), client.dialect)
    assert (entry.name, entry.length) == (other, 7)


def test_a_directory_that_is_removed_meanwhile_has_an_end(client: Client, share: Path) -> None:
    (share / "d").mkdir()
    fid = opened9(client, "d")
    (share / "d").rmdir()
    assert read_at(client, fid, 0, 8000) == b""


def test_names_are_bytes(client: Client, share: Path) -> None:
    names = {b"caf\xe9", b"\xff" * 255, b"new\nline"}
    for name in names:
        os.mkdir(os.path.join(os.fsencode(share), name))
    assert {entry.name for entry in entries(client, opened9(client))} == names


@pytest.mark.parametrize("dialect", OLD)
def test_an_entry_that_cannot_be_looked_at_is_told_all_the_same(
    share: Path, dialect: Dialect, no_defects: Records
) -> None:
    (share / "d").mkdir()
    (share / "f").touch()
    driver = FailingDriver(LocalDriver(share))
    with serve_pair(driver, dialect=dialect) as served:
        fid = opened9(served.client)
        driver.effects["lookup"] = OSError(errno.EIO, "broken")
        found = {entry.name: entry for entry in entries(served.client, fid)}
    assert found[b"d"].mode == DM.DIR
    assert found[b"f"].mode == 0
    assert found[b"f"].qid.path == (share / "f").stat().st_ino


def test_a_target_too_long_for_the_msize_does_not_stop_the_listing(share: Path, no_defects: Records) -> None:
    (share / "l").symlink_to("t" * 4090)
    (share / "f").touch()
    with serve_pair(LocalDriver(share), msize=4096, dialect=Dialect.U) as served:
        found = {entry.name: entry for entry in entries(served.client, opened9(served.client), 4000)}
        assert set(found) == {b"l", b"f"}
        fid = served.client.new_fid()
        served.client.walk(served.client.root.fid, fid, ["l"])
        with fails(errno.ENAMETOOLONG):
            served.client.stat(fid)


def test_in_9p2000_l_directories_are_not_read_so(share: Path, no_defects: Records) -> None:
    with serve_pair(LocalDriver(share)) as served:
        fid = served.client.new_fid()
        served.client.walk(served.client.root.fid, fid)
        served.client.lopen(fid)
        with pytest.raises(OSError, match=r"directory|not supported"):
            served.client.read(fid, 0, 1000)
