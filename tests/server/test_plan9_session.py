"""Sessions of 9P2000 and 9P2000.u: versions, users, errors, messages of another dialect."""

from __future__ import annotations

import errno
import locale
import os
import pwd
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from ninepfs.client import Client
from ninepfs.drivers import LocalDriver
from ninepfs.server import Export, Server
from ninepfs.testing import Served, serve_pair
from ninepfs.wire import MESSAGES, Dialect
from ninepfs.wire.constants import DM, OpenMode
from ninepfs.wire.errors import ENAMES, ERRNOS, ename
from ninepfs.wire.messages import Rerror, Rlerror, Rversion, Tauth, Tversion, Twalk

from .conftest import Records, fails, walk
from .plan9 import OLD, change, entries, made, read_at, stat

L, U, BASE = Dialect.L, Dialect.U, Dialect.BASE


@pytest.fixture(params=OLD)
def served(share: Path, request: pytest.FixtureRequest, no_defects: Records) -> Iterator[Served]:
    """The directory, and clients of each dialect."""
    with serve_pair(LocalDriver(share), msize=65536, dialect=request.param) as served:
        yield served


# --- version ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("offered", "asked", "answer"),
    [
        ((L, U, BASE), b"9P2000.L", b"9P2000.L"),
        ((L, U, BASE), b"9P2000.u", b"9P2000.u"),
        ((L, U, BASE), b"9P2000", b"9P2000"),
        ((L, U, BASE), b"9P2000.e", b"9P2000"),
        ((U, BASE), b"9P2000.L", b"9P2000"),
        ((L, BASE), b"9P2000.u", b"9P2000"),
        ((L, U), b"9P2000.u", b"9P2000.u"),
        ((L, U), b"9P2000", b"unknown"),
        ((L,), b"9P2000.u", b"unknown"),
        ((U,), b"9P2000.L", b"unknown"),
        ((BASE,), b"9P2000.L.x.y", b"9P2000"),
    ],
)
def test_the_answer_is_what_was_asked_without_what_is_not_on_offer(
    share: Path, offered: Sequence[Dialect], asked: bytes, answer: bytes
) -> None:
    served = Served(Server(Export(LocalDriver(share)), dialects=offered))
    connection = served.connection()
    assert connection.wait(connection.send(Tversion(8192, asked))) == Rversion(8192, answer)
    served.close_clients()
    assert served.server.stop(10)


def test_a_server_offers_something(share: Path) -> None:
    with pytest.raises(ValueError, match="dialect"):
        Server(Export(LocalDriver(share)), dialects=())


def test_one_connection_may_change_its_dialect(client: Client, share: Path) -> None:
    (share / "f").write_bytes(b"x")
    for dialect in (*OLD, L, *OLD):
        client.version(8192, dialect.version)
        client.attach(1)
        client.walk(1, 2, ["f"])
        if dialect is L:
            assert client.getattr(2).size == 1
        else:
            assert client.stat(2).stat.length == 1


# --- auth and attach --------------------------------------------------------------------------------------------


def test_auth_is_refused_as_plan_9_expects(served: Served, client: Client) -> None:
    connection = client.connection
    reply = connection.wait(connection.send(Tauth(9, b"glenda", b"")))
    number = errno.EOPNOTSUPP if client.dialect is U else 0
    assert reply == Rerror(b"authentication not required", number)


def test_in_9p2000_new_files_belong_to_the_user_of_that_name(share: Path, no_defects: Records) -> None:
    if os.geteuid():
        pytest.skip("only root may give files away")
    user = pwd.getpwall()[3]
    os.chown(share, 0, 4321)
    with serve_pair(LocalDriver(share), dialect=BASE) as served:
        client = served.connect(uname=user.pw_name)
        found = stat(client, made(client, "f"))
        assert found.uid == user.pw_name.encode()
        stat(client, made(client, "d", DM.DIR | 0o755, OpenMode.READ))
        other = served.connect(uname="nobody has this name")
        made(other, "g")
    for name, uid in (("f", user.pw_uid), ("d", user.pw_uid), ("g", 0)):
        host = (share / name).stat()
        assert (host.st_uid, host.st_gid) == (uid, 4321)


def test_in_9p2000_u_new_files_belong_to_the_user_of_that_number(share: Path, no_defects: Records) -> None:
    if os.geteuid():
        pytest.skip("only root may give files away")
    with serve_pair(LocalDriver(share), dialect=U) as served:
        client = served.connect(uname="whoever", n_uname=4711)
        made(client, "f")
        made(client, "l", DM.SYMLINK, OpenMode.READ, "x")
    assert ((share / "f").stat().st_uid, (share / "l").lstat().st_uid) == (4711, 4711)


# --- errors -----------------------------------------------------------------------------------------------------


def test_errors_have_the_texts_that_linux_knows(served: Served, client: Client) -> None:
    connection = client.connection
    reply = connection.wait(connection.send(Twalk(client.root.fid, 99, [b"nope"])))
    assert reply == Rerror(b"No such file or directory", errno.ENOENT if client.dialect is U else 0)
    with pytest.raises(FileNotFoundError):
        walk(client, "nope")


def test_texts_do_not_depend_on_the_locale(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "strerror", lambda code: "völlig unbekannt")
    with pytest.raises(FileNotFoundError):
        walk(client, "nope")


@pytest.mark.skipif(locale.getlocale()[0] not in (None, "C", "en_US"), reason="the host speaks another language")
def test_texts_are_those_of_the_host_in_english() -> None:
    assert {number: text.decode() for number, text in ENAMES.items()} == {
        number: os.strerror(number) for number in ENAMES
    }


def test_every_errno_has_a_text_and_every_text_its_errno() -> None:
    for number in errno.errorcode:
        assert 0 < len(ename(number)) <= 100
        assert ename(number) in ERRNOS
    for number, text in ENAMES.items():
        assert ERRNOS[text] == number


def test_an_errno_without_a_text_is_told_by_number_in_9p2000_u(served: Served, client: Client, share: Path) -> None:
    (share / "f").touch()
    fid = walk(client, "f")
    (share / "f").unlink()
    (share / "f").touch()
    with pytest.raises(OSError, match=r".") as refusal:
        client.open(fid)
    assert refusal.value.errno == (errno.ESTALE if client.dialect is U else errno.ENOENT)


# --- messages of another dialect --------------------------------------------------------------------------------


def test_messages_of_9p2000_l_are_refused_in_the_dialects_own_shape(client: Client, share: Path) -> None:
    others = [
        number for number, (_, dialects) in MESSAGES.items() if client.dialect not in dialects and number % 2 == 0
    ]
    assert len(others) > 15
    for number in others:
        body = b"\0" * 60
        client.connection.send_raw((7 + len(body)).to_bytes(4, "little") + bytes([number, 1, 0]) + body)
        _, reply = client.connection.receive()
        assert reply == Rerror(b"Operation not supported", errno.EOPNOTSUPP if client.dialect is U else 0)
    client.walk(client.root.fid, client.new_fid())


def test_messages_of_9p2000_are_refused_in_9p2000_l(share: Path, no_defects: Records) -> None:
    with serve_pair(LocalDriver(share)) as served:
        connection = served.client.connection
        for number in (112, 114, 124, 126):
            connection.send_raw(b"\x0b\0\0\0" + bytes([number, 1, 0]) + b"\0\0\0\0")
            assert connection.receive()[1] == Rlerror(errno.EOPNOTSUPP)


# --- a client of Plan 9 -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("dialect", OLD)
def test_what_a_plan_9_client_does(share: Path, dialect: Dialect, no_defects: Records) -> None:
    """Version, attach without an afid, then a day's work."""
    with serve_pair(LocalDriver(share), dialect=dialect) as served:
        client = served.connect(attach=False)
        assert client.version(8192 + 24, dialect.version).msize == 8192 + 24
        with pytest.raises(OSError, match=r"authentication not required|not supported"):
            client.auth(0, "glenda", "")
        assert client.attach(0, uname="glenda").qid.type == 0x80
        client.walk(0, 1)
        client.create(1, "lib", DM.DIR | 0o775, OpenMode.READ)
        client.clunk(1)
        client.walk(0, 1, ["lib"])
        client.create(1, "profile", 0o664, OpenMode.RDWR)
        text = b"bind -a $home/bin /bin\n" * 1000
        at = 0
        while at < len(text):
            at += client.write(1, at, text[at : at + 8192]).count
        assert client.stat(1).stat.length == len(text)
        client.clunk(1)
        client.walk(0, 2, ["lib", "profile"])
        client.open(2, OpenMode.READ)
        got = b""
        while data := bytes(client.read(2, len(got), 8192).data):
            got += data
        assert got == text
        client.clunk(2)
        client.walk(0, 3, ["lib", "profile"])
        change(client, 3, name=b"profile.old", mtime=1_000_000_000)
        assert (client.stat(3).stat.name, client.stat(3).stat.mtime) == (b"profile.old", 1_000_000_000)
        client.wstat(3)
        client.walk(0, 4, ["lib"])
        client.open(4)
        assert [entry.name for entry in entries(client, 4)] == [b"profile.old"]
        client.clunk(4)
        with fails(errno.ENOTEMPTY):
            client.walk(0, 4, ["lib"])
            client.remove(4)
        client.remove(3)
        client.walk(0, 4, ["lib"])
        client.remove(4)
        with fails(errno.ENOENT):
            client.stat(4)
        client.walk(0, 5)
        client.open(5)
        assert read_at(client, 5, 0, 8192) == b""
        client.clunk(0)
        assert not list(share.iterdir())
