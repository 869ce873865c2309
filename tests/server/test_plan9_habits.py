"""What clients of 9P2000 and 9P2000.u do that the manual does not foresee, and that must work all the same."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from ninepfs.client import Client
from ninepfs.client.errors import error_of
from ninepfs.drivers import LocalDriver
from ninepfs.testing import Served, serve_pair
from ninepfs.wire import Dialect, Message, pack
from ninepfs.wire.constants import DM, MIN_MSIZE_PLAN9, OpenMode
from ninepfs.wire.messages import Rattach, Rcreate, Rerror, Rversion, Tattach, Tauth, Tcreate, Tversion

from .conftest import Records, fails, walk
from .plan9 import OLD, change, entries, made, opened9


@pytest.fixture(params=OLD)
def served(share: Path, request: pytest.FixtureRequest, no_defects: Records) -> Iterator[Served]:
    """The directory, and clients of each dialect."""
    with serve_pair(LocalDriver(share), msize=65536, dialect=request.param) as served:
        yield served


# --- messages of a few hundred bytes ----------------------------------------------------------------------------


@pytest.mark.parametrize("msize", [MIN_MSIZE_PLAN9, 1000, 2048, 4095])
@pytest.mark.parametrize("dialect", OLD)
def test_a_session_of_small_messages(share: Path, dialect: Dialect, msize: int, no_defects: Records) -> None:
    names = [f"file-{number:03}" for number in range(200)]
    for name in names:
        (share / name).touch()
    data = os.urandom(10_000)
    with serve_pair(LocalDriver(share), msize=msize, dialect=dialect) as served:
        client = served.client
        assert client.msize == msize
        fid = made(client, "data")
        at = 0
        while at < len(data):
            at += client.write(fid, at, data[at : at + msize - 23]).count
        got = b""
        while piece := bytes(client.read(fid, len(got), msize).data):
            assert len(piece) <= msize - 11
            got += piece
        assert got == data == (share / "data").read_bytes()
        change(client, fid, name=b"renamed", mode=0o600, mtime=1_000_000_000)
        assert client.stat(fid).stat.name == b"renamed"
        listed = [entry.name.decode() for entry in entries(client, opened9(client), msize - 11)]
        assert sorted(listed) == sorted([*names, "renamed"])
        assert len(client.walk(client.root.fid, 90, ["."] * 16).wqids) == 16


def test_what_does_not_fit_into_a_small_message_is_an_error_and_no_more(share: Path, no_defects: Records) -> None:
    (share / ("x" * 200)).touch()
    with serve_pair(LocalDriver(share), msize=MIN_MSIZE_PLAN9, dialect=Dialect.BASE) as served:
        client = served.client
        fid = walk(client, "x" * 200)
        with fails(errno.ENAMETOOLONG):
            client.stat(fid)
        with fails(errno.EINVAL):
            entries(client, opened9(client), MIN_MSIZE_PLAN9)
        change(client, fid, name=b"short")
        assert client.stat(fid).stat.name == b"short"


def test_a_target_that_fits_into_no_answer_is_left_out_of_a_listing(share: Path, no_defects: Records) -> None:
    """And the rest of the directory is listed all the same."""
    (share / "file").touch()
    (share / "far").symlink_to("x" * 1000)
    (share / "near").symlink_to("x")
    with serve_pair(LocalDriver(share), msize=1000, dialect=Dialect.U) as served:
        client = served.client
        found = {entry.name: entry.extension for entry in entries(client, opened9(client), 1000)}
        assert found == {b"file": b"HARDLINKCOUNT 1", b"far": b"", b"near": b"x"}
        with fails(errno.ENAMETOOLONG):
            client.stat(walk(client, "far"))


@pytest.mark.parametrize("dialect", OLD)
@pytest.mark.parametrize("asked", [0, 7, MIN_MSIZE_PLAN9 - 1])
def test_what_holds_no_reply_is_no_session(served: Served, dialect: Dialect, asked: int) -> None:
    connection = served.connection()
    connection.negotiated(8192, dialect)
    assert isinstance(connection.wait(connection.send(Tversion(asked, dialect.version))), Rerror)
    answer = connection.wait(connection.send(Tversion(MIN_MSIZE_PLAN9, dialect.version)))
    assert answer == Rversion(MIN_MSIZE_PLAN9, dialect.version)


# --- paths that were split at their slashes ---------------------------------------------------------------------


@pytest.mark.parametrize(
    ("names", "where"),
    [
        ([""], "."),
        (["/"], "."),
        (["", "d", "e"], "d/e"),
        (["/", "d", "e"], "d/e"),
        (["d", "", "e", ""], "d/e"),
        (["", "d", "", "", "f"], "d/f"),
    ],
)
def test_what_is_left_of_a_slash_stays_where_it_is(client: Client, share: Path, names: list[str], where: str) -> None:
    (share / "d/e").mkdir(parents=True)
    (share / "d/f").touch()
    qids = client.walk(client.root.fid, 9, names).wqids
    assert len(qids) == len(names)
    assert qids[-1].path == client.stat(9).stat.qid.path == (share / where).stat().st_ino


def test_behind_a_file_there_is_nothing(client: Client, share: Path) -> None:
    (share / "f").touch()
    assert len(client.walk(client.root.fid, 9, ["f", ""]).wqids) == 1
    with fails(errno.ENOTDIR):
        client.walk(walk(client, "f"), 9, [""])


@pytest.mark.parametrize("name", ["//", "d/", "/d", "./", "/.", "/..", "d/f"])
def test_a_name_with_a_slash_is_no_path(client: Client, share: Path, name: str) -> None:
    (share / "d").mkdir()
    (share / "d/f").touch()
    with fails(errno.ENOENT):
        client.walk(client.root.fid, 9, [name])
    with fails(errno.ENOENT):
        client.walk(client.root.fid, 9, ["", name])


@pytest.mark.parametrize("name", ["", "/"])
def test_in_9p2000_l_no_name_is_no_name(share: Path, name: str, no_defects: Records) -> None:
    with serve_pair(LocalDriver(share)) as served, fails(errno.ENOENT):
        served.client.walk(served.client.root.fid, 9, [name])


# --- what 9P2000.u has added ------------------------------------------------------------------------------------


def test_9p2000_u_without_what_it_has_added_to_requests(share: Path, no_defects: Records) -> None:
    """A user without a number is known by name; what is created without an extension is a file or a directory."""
    with serve_pair(LocalDriver(share), dialect=Dialect.U) as served:
        connection = served.connection()
        connection.negotiated(8192, Dialect.U)
        assert connection.wait(connection.send(Tversion(8192, b"9P2000.u"))) == Rversion(8192, b"9P2000.u")

        def ask(request: Message) -> Message:
            """The request as 9P2000 has it."""
            connection.send_raw(pack(request, 1, Dialect.BASE))
            tag, reply = connection.receive(10)
            assert tag == 1
            return reply

        assert error_of(ask(Tauth(5, b"root", b""))) is not None
        for fid, name, perm in ((1, b"file", 0o644), (2, b"d", DM.DIR | 0o755)):
            assert isinstance(ask(Tattach(fid, uname=b"root")), Rattach)
            assert isinstance(ask(Tcreate(fid, name, perm, OpenMode.READ)), Rcreate)
        assert ((share / "file").is_file(), (share / "d").is_dir()) == (True, True)
        assert isinstance(ask(Tattach(3, uname=b"root")), Rattach)
        assert isinstance(ask(Tcreate(3, b"link", DM.SYMLINK | 0o777, OpenMode.READ)), Rerror)


# --- modes ----------------------------------------------------------------------------------------------------


def test_a_bit_that_only_writing_would_heed_does_not_hinder_reading(client: Client, share: Path) -> None:
    """Bit 7 is OAPPEND in 9P2000.u and nothing in 9P2000; some set it for directories, where DMDIR would be."""
    (share / "d").mkdir()
    (share / "d/f").write_bytes(b"abc")
    assert [entry.name for entry in entries(client, opened9(client, "d", mode=0x80))] == [b"f"]
    assert bytes(client.read(opened9(client, "d", "f", mode=0x80), 0, 10).data) == b"abc"


# --- directories ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("mode", [OpenMode.WRITE, OpenMode.RDWR, OpenMode.WRITE | OpenMode.TRUNC])
def test_a_directory_created_for_writing_is_read(client: Client, share: Path, mode: int) -> None:
    fid = made(client, "d", DM.DIR | 0o755, mode)
    (share / "d" / "inside").touch()
    assert [entry.name for entry in entries(client, fid)] == [b"inside"]
    with fails(errno.EBADF):
        client.write(fid, 0, b"x")
