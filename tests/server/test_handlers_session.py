"""Version, auth and attach."""

from __future__ import annotations

import errno
import logging
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from ninepfs.client import Client, Connection, ServerClosedError
from ninepfs.drivers import LocalDriver
from ninepfs.server import Export, Limits
from ninepfs.testing import Served, serve_pair
from ninepfs.wire import MESSAGES, Dialect, Message, pack
from ninepfs.wire.constants import MAX_MSIZE, NOFID, NONUNAME, NOTAG, LockType
from ninepfs.wire.messages import (
    Rattach,
    Rerror,
    Rgetattr,
    Rlerror,
    Rversion,
    Tattach,
    Tauth,
    Tclunk,
    Tgetattr,
    Tversion,
)

from .conftest import Records, fails, opened, walk


@pytest.fixture
def connection(served: Served) -> Connection:
    return served.connection()


def call(connection: Connection, message: Message) -> Message:
    return connection.wait(connection.send(message))


# --- what is kept of a client and told of it --------------------------------------------------------------------


def test_names_that_would_be_kept_are_of_a_sensible_length(served: Served, share: Path) -> None:
    """A hundred thousand fids, each with the name of a user, must not take gigabytes."""
    client = served.client
    client.attach(50, uname="u" * 255)
    with fails(errno.ENAMETOOLONG):
        client.attach(51, uname="u" * 256)
    (share / "file").touch()
    fid = opened(client, "file")
    client.lock(fid, LockType.WRLCK, 0, 0, 1, 1, b"c" * 255)
    with fails(errno.ENAMETOOLONG):
        client.lock(fid, LockType.WRLCK, 0, 5, 1, 1, b"c" * 256)
    with fails(errno.ENAMETOOLONG):
        client.getlock(fid, LockType.WRLCK, 5, 1, 1, b"c" * 256)
    walked = walk(client, "file")
    with fails(errno.ERANGE):
        client.xattrcreate(walked, "user." + "x" * 251, 0)


def test_the_log_has_one_line_for_one_thing_whatever_the_name_of_a_user(served: Served, log: Records) -> None:
    served.client.attach(50, uname="root\n9pfs: ERROR: the disk is on fire \x1b[2J\u202e")
    (line,) = [text for text in log.texts(logging.INFO) if "disk is on fire" in text]
    assert line.isascii()
    assert line.isprintable()


def test_the_log_is_not_filled_by_a_client_that_asks_for_what_it_cannot_have(share: Path, log: Records) -> None:
    exports = [Export(LocalDriver(share), "one"), Export(LocalDriver(share), "two")]
    with serve_pair(exports) as served:
        for _ in range(10):
            client = served.client
            with fails(errno.ENOENT):
                client.attach(50, aname="\n" * 60_000)
            assert call(client.connection, Tversion(100, b"9P2000.L")) == Rlerror(errno.EMSGSIZE)
            client.version(65536, "9P2000.L")
    lines = log.texts(logging.WARNING)
    assert len(lines) == 1
    assert len(lines[0]) < 1500


# --- version ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("asked", "answer"), [(4096, 4096), (8192, 8192), (1 << 20, 1 << 20), (0xFFFFFFFF, 1 << 20)])
def test_msize_is_what_was_asked_or_what_the_server_allows(connection: Connection, asked: int, answer: int) -> None:
    assert call(connection, Tversion(asked, b"9P2000.L")) == Rversion(answer, b"9P2000.L")


def test_msize_reaches_eight_mebibytes(share: Path) -> None:
    with serve_pair(LocalDriver(share), Limits(msize=MAX_MSIZE), msize=MAX_MSIZE) as served:
        assert served.client.msize == MAX_MSIZE
        fid = served.client.new_fid()
        served.client.walk(served.client.root.fid, fid)
        served.client.lcreate(fid, "big")
        data = bytes(range(251)) * 33000
        assert served.client.write(fid, 0, data).count == len(data)
        assert bytes(served.client.read(fid, 0, len(data)).data) == data


@pytest.mark.parametrize("asked", [0, 7, 4095])
def test_an_msize_too_small_to_work_with_is_refused(connection: Connection, asked: int) -> None:
    assert call(connection, Tversion(asked, b"9P2000.L")) == Rlerror(errno.EMSGSIZE)
    # There is no session now, and there may be one later.
    connection.negotiated(8192, Dialect.L)
    assert call(connection, Tattach(1)) == Rlerror(errno.EOPNOTSUPP)
    assert call(connection, Tversion(8192, b"9P2000.L")) == Rversion(8192, b"9P2000.L")
    assert isinstance(call(connection, Tattach(1)), Rattach)


@pytest.mark.parametrize(
    ("asked", "answer"),
    [
        (b"9P2000.L.Google.7", b"9P2000.L"),
        (b"9P2000.L.x", b"9P2000.L"),
        (b"9P2000.u.x", b"9P2000.u"),
        (b"9P2000.LX", b"9P2000"),
        (b"9P2000.W", b"9P2000"),
        (b"9P2000.", b"9P2000"),
        (b"9P2000.u", b"9P2000.u"),
        (b"9P2000", b"9P2000"),
    ],
)
def test_an_extension_falls_back_to_what_it_extends(connection: Connection, asked: bytes, answer: bytes) -> None:
    assert call(connection, Tversion(8192, asked)) == Rversion(8192, answer)


@pytest.mark.parametrize("version", [b"", b"unknown", b"9P1999", b"9P2000L", b"8P2000.L", b"9p2000.l"])
def test_an_unknown_version_begins_no_session(connection: Connection, version: bytes) -> None:
    assert call(connection, Tversion(8192, version)) == Rversion(8192, b"unknown")
    assert isinstance(call(connection, Tattach(1)), Rerror)
    assert call(connection, Tversion(8192, b"9P2000.L")) == Rversion(8192, b"9P2000.L")


def test_messages_that_are_too_small_to_be_fast_are_warned_of_once(share: Path, log: Records) -> None:
    with serve_pair(LocalDriver(share)) as served:
        assert log.texts(logging.WARNING) == []
        for _ in range(2):
            served.connect(msize=8192)
            (warning,) = log.texts(logging.WARNING)
        assert "messages of 8192 bytes are slow" in warning
        assert "msize=1048576" in warning


def test_what_clients_call_things_makes_no_lines_of_its_own_in_the_log(share: Path, log: Records) -> None:
    name = b"name\n9pfs: WARNING: forged \x1b[31m\xff\xe2\x80\xae" + b"x" * 200
    exports = [Export(LocalDriver(share), "one"), Export(LocalDriver(share), "two")]
    with serve_pair(exports, msize=1 << 20) as served:
        client = served.connect(attach=False, msize=1 << 20)
        client.attach(1, uname=name, aname="one")
        with fails(errno.ENOENT):
            client.attach(2, uname=name, aname=name + b"x" * 60_000)
    lines = [text for text in log.texts() if "forged" in text]
    assert len(lines) == 2
    for line in lines:
        assert line.isprintable()
        assert len(line) < 300


def test_before_the_version_nothing_is_understood(connection: Connection) -> None:
    for message in (Tattach(1), Tauth(1, b"", b""), Tclunk(1)):
        reply = call(connection, message)
        assert reply == Rerror(b"Operation not supported")


def test_a_new_version_ends_the_session_before(client: Client, root: int, share: Path) -> None:
    (share / "file").write_text("x")
    fid = opened(client, "file")
    assert client.version(4096, "9P2000.L").msize == 4096
    for old in (root, fid):
        with fails(errno.ENOENT):
            client.getattr(old)
    client.attach(root)
    client.getattr(root)


def test_an_unknown_version_ends_the_session_too(connection: Connection) -> None:
    call(connection, Tversion(8192, b"9P2000.L"))
    connection.negotiated(8192, Dialect.L)
    call(connection, Tattach(1))
    assert call(connection, Tversion(8192, b"9P3000")) == Rversion(8192, b"unknown")
    connection.negotiated(8192, Dialect.BASE)
    assert isinstance(call(connection, Tclunk(1)), Rerror)


def test_after_tversion_larger_messages_end_the_session(share: Path) -> None:
    with serve_pair(LocalDriver(share), msize=8192) as served:
        served.client.connection.send_raw(b"\x01\x20\0\0d\0\0")
        with pytest.raises(ServerClosedError):
            served.client.connection.receive(5)


# --- auth and attach --------------------------------------------------------------------------------------------


def test_auth_is_refused(client: Client) -> None:
    with fails(errno.ENOENT):
        client.auth(9, "root", "")
    with fails(errno.ENOENT):
        client.clunk(9)


def test_attach_with_an_afid_is_refused(client: Client) -> None:
    for afid in (0, 5, client.root.fid):
        with fails(errno.EINVAL):
            client.attach(9, afid)


def test_attach_to_a_fid_in_use_is_refused_and_changes_nothing(client: Client, share: Path) -> None:
    (share / "file").touch()
    fid = walk(client, "file")
    before = client.getattr(fid)
    with fails(errno.EINVAL):
        client.attach(fid)
    assert client.getattr(fid) == before


def test_nofid_is_never_a_fid(client: Client, root: int) -> None:
    with fails(errno.EINVAL):
        client.attach(NOFID)
    with fails(errno.EINVAL):
        client.walk(root, NOFID)
    with fails(errno.ENOENT):
        client.getattr(NOFID)


def test_many_attaches_have_the_same_root(client: Client, root: int) -> None:
    qids = {client.attach(fid, n_uname=user).qid for fid, user in ((1, 0), (2, 1000), (3, NONUNAME))}
    assert qids == {client.getattr(root).qid}
    client.clunk(2)
    client.getattr(1)


@pytest.mark.parametrize("aname", ["", "/", "anything", "/a/b"])
def test_a_single_export_answers_to_any_aname(served: Served, aname: str) -> None:
    served.connect(aname=aname)


@pytest.fixture
def several(tmp_path: Path) -> Iterator[Served]:
    exports = []
    for name in ("one", "two", ""):
        path = tmp_path / f"export {name}"
        path.mkdir()
        (path / f"file {name}").touch()
        exports.append(Export(LocalDriver(path), name))
    with serve_pair(exports) as served:
        yield served


@pytest.mark.parametrize(("aname", "name"), [("one", "one"), ("/two", "two"), ("two/", "two"), ("", ""), ("/", "")])
def test_several_exports_are_told_apart_by_aname(several: Served, aname: str, name: str) -> None:
    client = several.connect(aname=aname)
    assert [entry.name for entry in client.root.scandir()] == [f"file {name}"]


def test_an_unknown_aname_is_refused(several: Served) -> None:
    with fails(errno.ENOENT):
        several.client.attach(9, aname="three")
    with fails(errno.ENOENT):
        several.client.clunk(9)


def test_nothing_is_linked_or_moved_between_exports(several: Served) -> None:
    client = several.client
    client.attach(1, aname="one")
    client.attach(2, aname="two")
    client.walk(1, 3, ["file one"])
    with fails(errno.EXDEV):
        client.link(2, 3, "new")
    with fails(errno.EXDEV):
        client.renameat(1, "file one", 2, "new")
    with fails(errno.EXDEV):
        client.rename(3, 2, "new")
    client.getattr(3)


# --- messages in general ----------------------------------------------------------------------------------------


def test_unknown_messages_are_refused_and_the_session_goes_on(client: Client, root: int) -> None:
    known = {number for number, (_, dialects) in MESSAGES.items() if Dialect.L in dialects and number % 2 == 0}
    unknown = [number for number in range(256) if number not in known]
    for number in unknown:
        client.connection.send_raw(bytes([7, 0, 0, 0, number, 5, 0]))
        assert client.connection.receive(5) == (5, Rlerror(errno.EOPNOTSUPP))
    client.getattr(root)


def test_messages_that_are_too_short_are_refused_and_the_session_goes_on(client: Client, root: int) -> None:
    full = pack(Tgetattr(root, 0), 5, Dialect.L)
    for size in range(7, len(full)):
        client.connection.send_raw(bytes([size, 0, 0, 0]) + full[4:size])
        assert client.connection.receive(5) == (5, Rlerror(errno.EINVAL))
    client.getattr(root)


def test_bytes_after_the_last_field_are_ignored(client: Client, root: int) -> None:
    full = pack(Tgetattr(root, 0), 5, Dialect.L)
    client.connection.send_raw(bytes([len(full) + 2, 0, 0, 0]) + full[4:] + b"xx")
    tag, reply = client.connection.receive(5)
    assert (tag, type(reply)) == (5, Rgetattr)


def test_a_name_with_a_nul_is_refused(client: Client, root: int) -> None:
    with fails(errno.EINVAL):
        client.mkdir(root, b"a\0b")
    with fails(errno.EINVAL):
        client.walk(root, 9, [b"\0"])


def test_notag_is_a_tag_like_others(client: Client, root: int) -> None:
    reply = client.connection.call(Tgetattr(root, 0), Rgetattr, NOTAG)
    assert reply.qid == client.getattr(root).qid


def test_unknown_fids_are_refused(client: Client, root: int) -> None:
    none = 4711
    attempts: list[Callable[[], object]] = [
        lambda: client.walk(none, 9),
        lambda: client.getattr(none),
        lambda: client.setattr(none, 0),
        lambda: client.lopen(none),
        lambda: client.lcreate(none, "x"),
        lambda: client.read(none),
        lambda: client.write(none, 0, b""),
        lambda: client.readdir(none),
        lambda: client.readlink(none),
        lambda: client.statfs(none),
        lambda: client.fsync(none),
        lambda: client.lock(none),
        lambda: client.getlock(none),
        lambda: client.mkdir(none, "x"),
        lambda: client.symlink(none, "x", "y"),
        lambda: client.mknod(none, "x", 0o100644),
        lambda: client.link(none, root, "x"),
        lambda: client.link(root, none, "x"),
        lambda: client.rename(none, root, "x"),
        lambda: client.renameat(none, "x", root, "y"),
        lambda: client.renameat(root, "x", none, "y"),
        lambda: client.unlinkat(none, "x"),
        lambda: client.remove(none),
        lambda: client.clunk(none),
        lambda: client.xattrwalk(none, 9),
        lambda: client.xattrcreate(none, "user.x", 1),
    ]
    for attempt in attempts:
        with fails(errno.ENOENT):
            attempt()
