"""The connection and the session, against a server that misbehaves on purpose."""

from __future__ import annotations

import errno
import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from ninepfs import LocalDriver, serving
from ninepfs.client import Client, Connection, ServerClosedError, connect_socket, read_stream, write_stream
from ninepfs.client.errors import error_of
from ninepfs.wire import Dialect, Dirent, Message, ProtocolError, Qid, pack, pack_dirent
from ninepfs.wire import messages as m
from ninepfs.wire.constants import NOTAG

from .peer import Peer

L = Dialect.L


def connection(peer: Peer, msize: int = 8192) -> Connection:
    return Connection(peer.client_socket, msize=msize, dialect=L)


# --- in order, out of order -------------------------------------------------------------------------------------------


def test_replies_in_any_order_reach_those_who_asked() -> None:
    def script(peer: Peer) -> None:
        requests = [peer.receive() for _ in range(3)]
        for tag, request in reversed(requests):
            peer.send(m.Rreadlink(b"%d" % request[0]), tag)

    with Peer(script) as peer, connection(peer) as link:
        tags = [link.send(m.Treadlink(fid)) for fid in (10, 11, 12)]
        assert [link.wait(tag) for tag in tags] == [m.Rreadlink(b"10"), m.Rreadlink(b"11"), m.Rreadlink(b"12")]


def test_receive_hands_out_replies_as_they_come() -> None:
    def script(peer: Peer) -> None:
        first, second = peer.receive()[0], peer.receive()[0]
        peer.send(m.Rclunk(), second)
        peer.send(m.Rlerror(5), first)
        peer.send(m.Rclunk(), 999)

    with Peer(script) as peer, connection(peer) as link:
        assert [link.send(m.Tclunk(1), tag=7), link.send(m.Tclunk(2), tag=8)] == [7, 8]
        assert [link.receive() for _ in range(3)] == [(8, m.Rclunk()), (7, m.Rlerror(5)), (999, m.Rclunk())]


def test_both_replies_to_a_tag_that_is_used_twice() -> None:
    def script(peer: Peer) -> None:
        for target in (b"a", b"b"):
            peer.answer(m.Rreadlink(target))

    with Peer(script) as peer, connection(peer) as link:
        link.send(m.Treadlink(1), tag=3)
        link.send(m.Treadlink(2), tag=3)
        assert [link.receive(), link.receive()] == [(3, m.Rreadlink(b"a")), (3, m.Rreadlink(b"b"))]


def test_a_message_in_many_pieces() -> None:
    def script(peer: Peer) -> None:
        tag, _ = peer.receive()
        for byte in pack(m.Rread(b"some data"), tag):
            peer.send_raw(bytes([byte]))

    with Peer(script) as peer, connection(peer) as link:
        assert link.call(m.Tread(1, 0, 100), m.Rread).data == b"some data"


def test_large_and_small_messages_together() -> None:
    data = os.urandom(200_000)

    def script(peer: Peer) -> None:
        tags = [peer.receive()[0] for _ in range(3)]
        replies: list[Message] = [m.Rread(data), m.Rclunk(), m.Rread(data[::-1])]
        peer.send_raw(b"".join(pack(reply, tag) for reply, tag in zip(replies, tags, strict=True)))

    with Peer(script) as peer, connection(peer, 1 << 18) as link:
        tags = [link.send(m.Tread(1, 0, 200_000)), link.send(m.Tclunk(2)), link.send(m.Tread(1, 0, 200_000))]
        assert link.result(tags[0], m.Rread).data == data
        assert link.result(tags[1], m.Rclunk) == m.Rclunk()
        assert link.result(tags[2], m.Rread).data == data[::-1]


def test_a_timeout_in_the_middle_of_a_message_loses_nothing() -> None:
    mine, theirs = socket.socketpair()
    with Connection(mine, msize=1 << 18, dialect=L) as link, theirs:
        tag = link.send(m.Tread(1, 0, 100_000))
        whole = pack(m.Rread(b"x" * 100_000), tag)
        for part in (whole[:3], whole[3:50_000]):
            theirs.sendall(part)
            with pytest.raises(TimeoutError):
                link.receive(timeout=0.01)
        theirs.sendall(whole[50_000:])
        assert link.receive(timeout=10) == (tag, m.Rread(b"x" * 100_000))


def test_many_requests_before_any_reply_is_read() -> None:
    """A server that stops reading until its replies are taken does not lock up with the client."""
    count = 20_000

    def script(peer: Peer) -> None:
        for _ in range(count):
            peer.answer(m.Rreadlink(b"x" * 200))

    with Peer(script) as peer, connection(peer) as link:
        tags = [link.send(m.Treadlink(fid)) for fid in range(count)]
        assert all(len(link.result(tag, m.Rreadlink).target) == 200 for tag in tags)


def test_tags_are_not_used_twice_at_a_time() -> None:
    mine, theirs = socket.socketpair()
    with Connection(mine, dialect=L) as link, theirs:
        assert link.send(m.Tclunk(1), tag=1) == 1
        assert [link.send(m.Tclunk(1)) for _ in range(3)] == [0, 2, 3]
        theirs.sendall(pack(m.Rclunk(), 2))
        link.wait(2)
        assert link.send(m.Tclunk(1)) == 4


def test_an_abandoned_reply_is_dropped() -> None:
    def script(peer: Peer) -> None:
        tags = [peer.receive()[0] for _ in range(3)]
        for tag in tags:
            peer.send(m.Rreadlink(b"%d" % tag), tag)

    with Peer(script) as peer, connection(peer) as link:
        tags = [link.send(m.Treadlink(1)) for _ in range(3)]
        link.abandon(tags[1])
        link.abandon(tags[0])
        assert link.wait(tags[2]) == m.Rreadlink(b"2")
        with pytest.raises(ValueError, match="no request"):
            link.wait(tags[0])


def test_raw_bytes() -> None:
    def script(peer: Peer) -> None:
        assert peer.answer(m.Rlerror(errno.EINVAL)) == m.Tclunk(3)

    with Peer(script) as peer, connection(peer) as link:
        link.send_raw(pack(m.Tclunk(3), 77))
        assert link.receive() == (77, m.Rlerror(errno.EINVAL))


# --- flush ------------------------------------------------------------------------------------------------------------


def test_flush_of_a_request_that_is_never_answered() -> None:
    def script(peer: Peer) -> None:
        peer.receive()
        assert peer.answer(m.Rflush()) == m.Tflush(0)
        assert peer.receive() == (0, m.Tclunk(5))
        peer.send(m.Rclunk(), 0)

    with Peer(script) as peer:
        client = Client(connection(peer))
        tag = client.connection.send(m.Tread(1, 0, 10))
        client.flush(tag)
        with pytest.raises(ValueError, match="no request"):
            client.connection.wait(tag)
        assert client.connection.send(m.Tclunk(5), tag) == tag
        assert client.connection.wait(tag) == m.Rclunk()


def test_flush_of_a_request_that_is_answered_before() -> None:
    def script(peer: Peer) -> None:
        read, flush = peer.receive()[0], peer.receive()[0]
        peer.send(m.Rread(b"late"), read)
        peer.send(m.Rflush(), flush)

    with Peer(script) as peer:
        client = Client(connection(peer))
        tag = client.connection.send(m.Tread(1, 0, 10))
        client.flush(tag)
        assert client.connection.wait(tag) == m.Rread(b"late")


# --- servers that misbehave -------------------------------------------------------------------------------------------


def hang_up(peer: Peer) -> None:
    peer.receive()


def hang_up_midway(peer: Peer) -> None:
    tag, _ = peer.receive()
    peer.send_raw(pack(m.Rread(b"x" * 100), tag)[:50])


def hang_up_midway_in_a_large_one(peer: Peer) -> None:
    tag, _ = peer.receive()
    peer.send_raw(pack(m.Rread(b"x" * 60_000), tag)[:50_000])


def wrong_tag(peer: Peer) -> None:
    tag, _ = peer.receive()
    peer.send(m.Rread(b"x"), tag + 1)


def wrong_reply(peer: Peer) -> None:
    peer.answer(m.Rclunk())


def a_request(peer: Peer) -> None:
    peer.answer(m.Tclunk(1))


def larger_than_msize(peer: Peer) -> None:
    tag, _ = peer.receive()
    peer.send_raw(pack(m.Rread(b"x" * (1 << 16)), tag))


def smaller_than_a_header(peer: Peer) -> None:
    peer.receive()
    peer.send_raw(peer.header(6, 117, 0))


def unknown_number(peer: Peer) -> None:
    tag, _ = peer.receive()
    peer.send_raw(peer.header(7, 201, tag))


def of_another_dialect(peer: Peer) -> None:
    tag, _ = peer.receive()
    peer.send_raw(pack(m.Ropen(Qid(0, 0, 0), 0), tag, Dialect.BASE))


def cut_short(peer: Peer) -> None:
    tag, _ = peer.receive()
    peer.send_raw(peer.header(11, 117, tag) + (100).to_bytes(4, "little"))


def more_than_asked_for(peer: Peer) -> None:
    peer.answer(m.Rread(b"x" * 20))


@pytest.mark.parametrize(
    ("script", "error", "text"),
    [
        (hang_up, ServerClosedError, "the server closed the connection"),
        (hang_up_midway, ServerClosedError, "in the middle of a message"),
        (hang_up_midway_in_a_large_one, ServerClosedError, "in the middle of a message"),
        (wrong_tag, ProtocolError, "a request that was not sent: tag 1"),
        (wrong_reply, ProtocolError, "answered Tread with Rclunk"),
        (a_request, ProtocolError, "sent a request: Tclunk"),
        (larger_than_msize, ProtocolError, "65547 bytes, but msize is 65536"),
        (smaller_than_a_header, ProtocolError, "6 bytes"),
        (unknown_number, ProtocolError, "201"),
        (of_another_dialect, ProtocolError, "no message 113 in 9P2000.L"),
        (cut_short, ProtocolError, "too short"),
        (more_than_asked_for, ProtocolError, "sent 20 bytes, but only 10"),
    ],
)
def test_misbehaving_servers(script: Callable[[Peer], None], error: type[Exception], text: str) -> None:
    with Peer(script) as peer:
        client = Client(connection(peer, 1 << 16))
        with pytest.raises(error, match=text):
            client.read(1, 0, 10)
        if script is not more_than_asked_for:
            assert client.connection.closed
            with pytest.raises(ServerClosedError):
                client.clunk(1)
            with pytest.raises(ServerClosedError):
                client.connection.send_raw(b"x")


def test_a_server_that_is_gone_when_sending() -> None:
    mine, theirs = socket.socketpair()
    theirs.close()
    with Connection(mine, dialect=L) as link, pytest.raises(ServerClosedError, match="the server closed"):
        link.send(m.Tclunk(1))


def test_a_message_larger_than_msize_is_not_sent() -> None:
    mine, theirs = socket.socketpair()
    with theirs, Connection(mine, msize=4096, dialect=L) as link:
        with pytest.raises(ProtocolError, match="msize is 4096"):
            link.send(m.Twrite(1, 0, bytes(4096)))
        assert not link.closed


# --- errors -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("reply", "number", "kind"),
    [
        (m.Rlerror(errno.ENOENT), errno.ENOENT, FileNotFoundError),
        (m.Rlerror(errno.EACCES), errno.EACCES, PermissionError),
        (m.Rlerror(errno.ENODATA), errno.ENODATA, OSError),
        (m.Rlerror(0), errno.EIO, OSError),
        (m.Rlerror(0xFFFFFFFF), errno.EIO, OSError),
        (m.Rerror(b"whatever", errno.EEXIST), errno.EEXIST, FileExistsError),
        (m.Rerror(b"No such file or directory"), errno.ENOENT, FileNotFoundError),
        (m.Rerror(b"the moon is full"), errno.EIO, OSError),
        (m.Rerror(b"\xff", 0xFFFFFFFF), errno.EIO, OSError),
        (m.Rerror(b""), errno.EIO, OSError),
    ],
)
def test_error_replies(reply: Message, number: int, kind: type[OSError]) -> None:
    error = error_of(reply)
    assert type(error) is kind
    assert error.errno == number
    assert error.strerror


def test_other_replies_are_no_errors() -> None:
    assert error_of(m.Rclunk()) is None


# --- version and attach -----------------------------------------------------------------------------------------------


def test_version_and_attach() -> None:
    def script(peer: Peer) -> None:
        tag, version = peer.receive()
        assert (tag, version) == (NOTAG, m.Tversion(1 << 20, b"9P2000.L"))
        peer.send(m.Rversion(8192, b"9P2000.L"), tag)
        attach = peer.answer(m.Rattach(Qid(0x80, 0, 1)))
        assert isinstance(attach, m.Tattach)
        assert (attach.uname, attach.aname, attach.n_uname) == (b"glenda", b"\xff", 7)

    with Peer(script) as peer:
        client = Client.over(peer.client_socket, uname="glenda", aname="\udcff", n_uname=7)
        assert (client.msize, client.dialect) == (8192, L)


def test_a_server_that_speaks_a_lesser_dialect() -> None:
    def script(peer: Peer) -> None:
        peer.answer(m.Rversion(8192, b"9P2000.u"))
        peer.dialect = Dialect.U
        assert peer.answer(m.Ropen(Qid(0, 0, 0), 0)) == m.Topen(1, 0)
        assert peer.answer(m.Rerror(b"?", errno.EPERM)) == m.Tstat(1)

    with Peer(script) as peer:
        client = Client.over(peer.client_socket, attach=False)
        assert client.dialect is Dialect.U
        assert client.open(1) == m.Ropen(Qid(0, 0, 0), 0)
        with pytest.raises(PermissionError):
            client.stat(1)
        with pytest.raises(ProtocolError, match=r"no Tlopen in 9P2000\.u"):
            client.lopen(1)


@pytest.mark.parametrize(
    ("reply", "error", "text"),
    [
        (m.Rversion(8192, b"unknown"), OSError, "does not speak 9P2000.L, it answers 'unknown'"),
        (m.Rversion(2048, b"9P2000.L"), ProtocolError, "2048 bytes is too small, 4096 are needed"),
        (m.Rversion(100, b"9P2000"), ProtocolError, "100 bytes is too small, 256 are needed"),
        (m.Rlerror(errno.EIO), OSError, "Input/output error"),
        (m.Rclunk(), ProtocolError, "answered Tversion with Rclunk"),
    ],
)
def test_versions_that_do_not_fit(reply: Message, error: type[Exception], text: str) -> None:
    with Peer(lambda peer: peer.answer(reply)) as peer, pytest.raises(error, match=text):
        Client.over(peer.client_socket)


def test_a_small_msize_does_in_9p2000() -> None:
    with Peer(lambda peer: peer.answer(m.Rversion(512, b"9P2000"))) as peer:
        assert Client.over(peer.client_socket, attach=False).msize == 512


def test_a_refused_version_in_the_old_error_format() -> None:
    def script(peer: Peer) -> None:
        tag, _ = peer.receive()
        peer.send_raw(pack(m.Rerror(b"Permission denied"), tag, Dialect.BASE))

    with Peer(script) as peer, pytest.raises(PermissionError):
        Client.over(peer.client_socket)


def test_a_larger_msize_than_offered_is_not_taken() -> None:
    with Peer(lambda peer: peer.answer(m.Rversion(1 << 30, b"9P2000.L"))) as peer:
        client = Client.over(peer.client_socket, msize=8192, attach=False)
        assert client.msize == 8192


def test_a_new_version_forgets_what_was_in_flight() -> None:
    def script(peer: Peer) -> None:
        peer.greet()
        late, _ = peer.receive()
        tag, _ = peer.receive()
        peer.send(m.Rclunk(), late)
        peer.send(m.Rversion(4096, b"9P2000.L"), tag)

    with Peer(script) as peer:
        client = Client.over(peer.client_socket)
        fid = client.root.fid
        client.connection.send(m.Tclunk(1))
        client.version(4096, "9P2000.L")
        assert client.msize == 4096
        assert client.new_fid() == fid
        with pytest.raises(ValueError, match="not attached"):
            _ = client.root
        with pytest.raises(ServerClosedError):  # what was answered late is not there any more
            client.connection.receive()


def test_the_root_needs_an_attach() -> None:
    with Peer(lambda peer: peer.answer(m.Rversion(8192, b"9P2000.L"))) as peer:
        client = Client.over(peer.client_socket, attach=False)
        with pytest.raises(ValueError, match="not attached"):
            _ = client.root


def test_connecting_to_nothing() -> None:
    with pytest.raises(FileNotFoundError):
        connect_socket("unix:///nowhere/x.sock")
    with socket.create_server(("127.0.0.1", 0)) as sock:
        port = sock.getsockname()[1]
    with pytest.raises(ConnectionRefusedError):
        connect_socket(f"tcp://127.0.0.1:{port}")


def test_an_inherited_descriptor_stays_open() -> None:
    mine, theirs = socket.socketpair()
    with mine, theirs:
        with Connection(connect_socket(f"fd://{mine.fileno()}"), dialect=L) as link:
            link.send(m.Tclunk(1))
        assert theirs.recv(100) == pack(m.Tclunk(1), 0)
        mine.sendall(b"x")


# --- bulk transfers ---------------------------------------------------------------------------------------------------


def read_server(content: bytes, most: int) -> Callable[[Peer], None]:
    """Answers Treads with at most so many bytes each."""

    def script(peer: Peer) -> None:
        while True:
            try:
                tag, request = peer.receive()
            except EOFError:
                return
            assert isinstance(request, m.Tread)
            peer.send(m.Rread(content[request.offset : request.offset + min(request.count, most)]), tag)

    return script


@pytest.mark.parametrize("most", [1 << 20, 4096, 1000])
@pytest.mark.parametrize("size", [0, 1, 8168, 8169, 100_000])
@pytest.mark.parametrize("known", [0, 1, 2])
def test_reading_ahead(size: int, most: int, known: int) -> None:
    """Whether the size is known, unknown, or wrong, and however short the answers are."""
    content = os.urandom(size)
    with Peer(read_server(content, most)) as peer:
        client = Client(connection(peer))
        assert b"".join(read_stream(client, 1, size=size * known)) == content
        assert b"".join(read_stream(client, 1, 100, size=size * known)) == content[100:]


def test_reading_ahead_keeps_several_requests_in_flight() -> None:
    def script(peer: Peer) -> None:
        tags = [peer.receive()[0] for _ in range(4)]
        for tag in tags:
            peer.send(m.Rread(b"x" * 1000), tag)
        peer.answer(m.Rread(b""))

    with Peer(script) as peer:
        client = Client(connection(peer))
        assert b"".join(read_stream(client, 1, size=4000, iounit=1000)) == b"x" * 4000


def test_a_reader_that_stops_early() -> None:
    with Peer(read_server(bytes(100_000), 1 << 20)) as peer:
        client = Client(connection(peer))
        stream = read_stream(client, 1, size=100_000)
        next(stream)
        stream.close()  # type: ignore[attr-defined]
        assert client.read(1, 99_999, 10).data == b"\0"


def test_an_error_while_reading_ahead() -> None:
    def script(peer: Peer) -> None:
        tags = [peer.receive()[0] for _ in range(3)]
        peer.send(m.Rread(b"x" * 1000), tags[0])
        peer.send(m.Rlerror(errno.EIO), tags[1])
        peer.send(m.Rread(b"x" * 1000), tags[2])
        peer.answer(m.Rclunk())

    with Peer(script) as peer:
        client = Client(connection(peer))
        with pytest.raises(OSError, match="Input/output"):
            list(read_stream(client, 1, size=3000, iounit=1000))
        client.clunk(1)


@pytest.mark.parametrize("most", [1 << 20, 1000])
def test_writing_ahead(most: int) -> None:
    content = bytearray(50_000)

    def script(peer: Peer) -> None:
        while True:
            try:
                tag, request = peer.receive()
            except EOFError:
                return
            assert isinstance(request, m.Twrite)
            data = request.data[:most]
            content[request.offset : request.offset + len(data)] = data
            peer.send(m.Rwrite(len(data)), tag)

    data = os.urandom(50_000)
    with Peer(script) as peer:
        client = Client(connection(peer))
        assert write_stream(client, 1, [data[:10], data[10:30_000], b"", data[30_000:]]) == 50_000
    assert content == data


@pytest.mark.parametrize(("count", "error"), [(0, OSError), (11, ProtocolError)])
def test_a_server_that_counts_wrongly(count: int, error: type[Exception]) -> None:
    with Peer(lambda peer: peer.answer(m.Rwrite(count))) as peer, pytest.raises(error):
        write_stream(Client(connection(peer)), 1, [b"0123456789"])


# --- paths ------------------------------------------------------------------------------------------------------------


def test_a_directory_whose_cookies_do_not_move() -> None:
    def script(peer: Peer) -> None:
        peer.greet()
        peer.answer(m.Rwalk([]))
        peer.answer(m.Rlopen(Qid(0x80, 0, 1), 0))
        for _ in range(2):
            peer.answer(m.Rreaddir(pack_dirent(Dirent(Qid(0, 0, 2), 5, 8, b"x"))))
        assert isinstance(peer.answer(m.Rclunk()), m.Tclunk)

    with (
        Peer(script) as peer,
        Client.over(peer.client_socket) as client,
        pytest.raises(ProtocolError, match="again and again"),
    ):
        client.root.listdir()


def test_a_finalizer_in_the_middle_of_a_request_clunks_later() -> None:
    def script(peer: Peer) -> None:
        peer.greet()
        assert peer.answer(m.Rclunk()) == m.Tclunk(2000)

    with Peer(script) as peer, Client.over(peer.client_socket) as client:
        client.connection.busy = True
        client.release(2000)
        client.connection.busy = False
        client.new_fid()


def test_waiting_does_not_spin() -> None:
    def script(peer: Peer) -> None:
        tag, _ = peer.receive()
        time.sleep(0.3)
        peer.send(m.Rclunk(), tag)

    with Peer(script) as peer, connection(peer) as link:
        before = time.thread_time()
        link.call(m.Tclunk(1), m.Rclunk)
        assert time.thread_time() - before < 0.1


def test_a_program_that_serves_itself_and_closes_nothing_comes_to_its_end(tmp_path: Path) -> None:
    # At its end the server's threads do not run any more, so that a finalizer would wait for a reply for ever.
    (tmp_path / "file").touch()
    program = """
import socket, sys
from ninepfs import Client, Export, LocalDriver, Server
from ninepfs.transports.stream import StreamChannel
ours, theirs = socket.socketpair()
server = Server(Export(LocalDriver(sys.argv[1])))
server.connect(StreamChannel(theirs, "itself"))
client = Client.over(ours)
file = client.root.open("file")
"""
    subprocess.run([sys.executable, "-c", program, str(tmp_path)], timeout=20, check=True)


def test_the_time_for_connecting_is_that_for_attaching_too(tmp_path: Path) -> None:
    """A server that hangs still takes connections: its kernel does."""
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(tmp_path / "hangs"))
        listening.listen()
        with pytest.raises(TimeoutError):
            Client.connect(f"unix:{tmp_path}/hangs", timeout=0.1)
    with serving(LocalDriver(tmp_path), f"unix:{tmp_path}/answers") as [url], Client.connect(url, timeout=20) as client:
        assert client.connection.timeout is None
