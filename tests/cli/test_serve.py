"""``9pfs serve`` as a process of its own."""

from __future__ import annotations

import fcntl
import os
import re
import signal
import socket
import stat
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest

from ninepfs.client import Client, ServerClosedError
from ninepfs.testing.guest import QemuGuest
from ninepfs.testing.process import wait_until
from ninepfs.wire.constants import LFlag
from ninepfs.wire.messages import Rlopen, Tgetattr, Tlopen

COMMAND = str(Path(sys.executable).parent / "9pfs")
PATIENCE = 20


@pytest.fixture
def share(tmp_path: Path) -> Path:
    directory = tmp_path / "share"
    directory.mkdir()
    (directory / "file").write_text("content")
    return directory


class Serve:
    """A running server."""

    def __init__(self, process: subprocess.Popen[str], lines: list[str]) -> None:
        self.process = process
        self.lines = lines
        """What it said until it served."""

    @property
    def url(self) -> str:
        """Where it listens (first)."""
        return self.lines[0].removeprefix("serving on ")

    def end(self, number: int = signal.SIGTERM) -> str:
        """Let it end by a signal, with exit status 0; returns what it said on standard error."""
        self.process.send_signal(number)
        _, complaints = self.process.communicate(timeout=PATIENCE)
        assert self.process.returncode == 0
        return complaints


@contextmanager
def serve(
    *arguments: str | Path,
    listeners: int = 1,
    exports: int = 1,
    fds: Sequence[int] = (),
    launcher: Sequence[str] = (),
) -> Iterator[Serve]:
    """A server with this command line, from when it serves to the end of the block."""
    command: list[str | Path] = [*launcher, COMMAND, "serve", *arguments]
    process = subprocess.Popen(
        command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, pass_fds=fds
    )
    with process:
        try:
            assert process.stdout
            lines = [process.stdout.readline().rstrip("\n") for _ in range(listeners * (1 + exports))]
            if "" in lines:
                process.kill()
                raise AssertionError(process.communicate()[1])
            yield Serve(process, lines)
        finally:
            process.kill()


def fails(*arguments: str | Path) -> str:
    """The one sentence that a server says which cannot serve."""
    command: list[str | Path] = [COMMAND, "serve", *arguments]
    result = subprocess.run(
        command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=PATIENCE, check=False
    )
    assert result.returncode == 2
    assert result.stdout == ""
    (line,) = result.stderr.splitlines()
    assert re.fullmatch(r"9pfs serve: .*\.", line)
    return line


# --- what it says and does --------------------------------------------------------------------------------------


def test_the_default_is_a_port_of_the_loopback_interface(share: Path) -> None:
    with serve(share, "--listen", "tcp://127.0.0.1:0") as server:
        match = re.fullmatch(r"serving on tcp://127\.0\.0\.1:(\d+)", server.lines[0])
        assert match
        assert server.lines[1] == (
            f"  mount -t 9p -o trans=tcp,port={match[1]},version=9p2000.L,msize=1048576 127.0.0.1 /mnt"
        )
        with Client.connect(server.url) as client:
            assert client.root.read_bytes("file") == b"content"
        assert server.end() == ""


def test_a_unix_socket_appears_and_goes(share: Path, tmp_path: Path) -> None:
    path = tmp_path / "sock et"
    with serve(share, "--listen", f"unix:{path}", "--msize", "64k") as server:
        assert server.lines == [
            f"serving on {server.url}",
            f"  mount -t 9p -o trans=unix,version=9p2000.L,msize=65536 '{path}' /mnt",
        ]
        with Client.connect(server.url) as client:
            assert client.msize == 65536
        assert stat.S_ISSOCK(path.stat().st_mode)
        server.end()
    assert not path.exists()


def test_several_exports_on_several_addresses_are_chosen_by_aname(share: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.mkdir()
    arguments = [f"one={share}", f"two={other}", "-l", f"unix:{tmp_path}/a", "-l", f"unix:{tmp_path}/b"]
    with serve(*arguments, listeners=2, exports=2) as server:
        assert [line for line in server.lines if "aname=one" in line] == [server.lines[1], server.lines[4]]
        assert [line for line in server.lines if "aname=two" in line] == [server.lines[2], server.lines[5]]
        for sock in ("a", "b"):
            with Client.connect(f"unix:{tmp_path}/{sock}", aname="one") as client:
                assert list(client.root.listdir()) == ["file"]
            with Client.connect(f"unix:{tmp_path}/{sock}", aname="two") as client:
                assert list(client.root.listdir()) == []
            with pytest.raises(FileNotFoundError):
                Client.connect(f"unix:{tmp_path}/{sock}", aname="three")
        assert "three" in server.end()  # the log says what was asked for


def test_a_path_may_contain_an_equals_sign(tmp_path: Path) -> None:
    directory = tmp_path / "a=b"
    directory.mkdir()
    (directory / "inside").touch()
    with serve(directory, "-l", f"unix:{tmp_path}/s") as server, Client.connect(server.url) as client:
        assert list(client.root.listdir()) == ["inside"]


def test_paths_that_are_no_text_are_told_as_they_are(tmp_path: Path) -> None:
    """Whatever the encoding: a shell takes them back."""
    share, sock = os.fsencode(tmp_path) + b"/share\xff", os.fsencode(tmp_path) + b"/sock\xff"
    os.mkdir(share)
    command: list[str | bytes] = [COMMAND, "serve", share, "-l", b"unix:" + sock]
    environment = {**os.environ, "PYTHONIOENCODING": "utf-8:strict"}
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE) as server:
        try:
            assert server.stdout
            assert server.stdout.readline() == b"serving on unix://" + sock.replace(b"\xff", b"%FF") + b"\n"
            assert sock in server.stdout.readline()
        finally:
            server.terminate()


def test_readonly_refuses_every_change(share: Path, tmp_path: Path) -> None:
    with serve(share, "--readonly", "-l", f"unix:{tmp_path}/s") as server, Client.connect(server.url) as client:
        assert client.root.read_bytes("file") == b"content"
        with pytest.raises(OSError, match="Read-only"):
            client.root.write_bytes("new", b"x")
        with pytest.raises(OSError, match="Read-only"):
            client.root.remove("file")


def test_the_log_tells_as_much_as_is_wanted(share: Path, tmp_path: Path) -> None:
    told = {}
    for level in ("warning", "info", "debug"):
        with serve(share, "--log-level", level, "-l", f"unix:{tmp_path}/s") as server:
            with Client.connect(server.url) as client:
                client.root.read_bytes("file")
            told[level] = server.end()
    assert told["warning"] == ""
    assert ": connected\n" in told["info"]
    assert "9P2000.L, msize 1048576" in told["info"]
    assert "Tread" not in told["info"]
    assert "Twalk fid=1024 newfid=1025 wnames=[b'file']\n" in told["debug"]


@pytest.mark.parametrize("model", ["passthrough", "none"])
def test_the_security_model_can_be_chosen(share: Path, tmp_path: Path, model: str) -> None:
    with serve(share, "-s", model, "-l", f"unix:{tmp_path}/s") as server, Client.connect(server.url) as client:
        client.root.write_bytes("new", b"x")
    assert (share / "new").read_bytes() == b"x"


def test_modes_of_new_files_are_those_of_the_client_whatever_the_umask(share: Path, tmp_path: Path) -> None:
    with serve(share, "-l", f"unix:{tmp_path}/s", launcher=["sh", "-c", 'umask 077; exec "$@"', "sh"]) as server:
        with Client.connect(server.url) as client:
            client.mkdir(client.root.fid, "new", 0o757)
        server.end()
    assert stat.S_IMODE((share / "new").stat().st_mode) == 0o757


def test_virtual_machines_find_devices_by_their_tags(share: Path, tmp_path: Path) -> None:
    """Two devices of one server, of which the one listens and the other connects; each says what QEMU is to be told."""
    waiting = socket.socket(socket.AF_UNIX)
    waiting.bind(str(tmp_path / "y,z"))
    waiting.listen()
    urls = [f"vhost-user://{tmp_path}/x?tag=share", f"vhost-user://{tmp_path}/y,z?tag=the%20other&connect"]
    listen = [word for url in urls for word in ("--listen", url)]
    with serve(share, *listen, listeners=2, exports=3) as running:
        assert running.lines[0] == f"serving on {urls[0]}"
        assert running.lines[1].startswith("  QEMU: -object memory-backend-memfd,")
        assert f"path={tmp_path}/x " in running.lines[1]
        assert running.lines[1].endswith("virtio-id=9,num_vqs=1,vq_size=128,config_size=7")
        assert running.lines[3] == "  mount -t 9p -o trans=virtio,version=9p2000.L,msize=512000 share /mnt"
        assert f"path={tmp_path}/y,,z,server=on,wait=on " in running.lines[5]
        assert running.lines[5].endswith("config_size=11")
        assert running.lines[7].endswith(" 'the other' /mnt")
        first = socket.socket(socket.AF_UNIX)
        first.connect(str(tmp_path / "x"))
        second, _ = waiting.accept()
        for sock, tag in ((first, "share"), (second, "the other")):
            with QemuGuest(sock) as guest:
                guest.boot()
                assert guest.mount_tag() == tag
        assert running.end() == ""
    assert not (tmp_path / "x").exists()
    waiting.close()


def test_it_ends_with_the_only_virtual_machine_there_can_be(share: Path, tmp_path: Path) -> None:
    waiting = socket.socket(socket.AF_UNIX)
    waiting.bind(str(tmp_path / "x"))
    waiting.listen()
    with serve(share, "--listen", f"vhost-user://{tmp_path}/x?tag=share&connect", exports=3) as running:
        sock, _ = waiting.accept()
        with QemuGuest(sock) as guest:
            guest.boot()
            assert running.process.poll() is None
        assert running.process.wait(PATIENCE) == 0
    waiting.close()


def test_nobody_is_there_to_connect_to(share: Path, tmp_path: Path) -> None:
    url = f"vhost-user://{tmp_path}/x?tag=share&connect"
    assert fails(share, "--listen", url).endswith(f"cannot connect to {url}: no such file or directory.")
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(tmp_path / "x"))
        assert fails(share, "--listen", url).endswith("nobody listens there; start the virtual machine first.")


def test_clients_wait_while_there_are_no_descriptors_and_that_is_said_once(share: Path, tmp_path: Path) -> None:
    path = str(tmp_path / "s")
    with serve(share, "-l", f"unix:{path}", launcher=["sh", "-c", 'ulimit -n 40; exec "$@"', "sh"]) as server:
        waiting = []
        for _ in range(60):
            sock = socket.socket(socket.AF_UNIX)
            sock.connect(path)
            waiting.append(sock)
        descriptors = Path(f"/proc/{server.process.pid}/fd")
        wait_until(lambda: len(list(descriptors.iterdir())) == 40, "no descriptors are left")
        time.sleep(0.5)  # it tries several times
        for sock in waiting:
            sock.close()
        with Client.connect(server.url) as client:
            assert client.root.read_bytes("file") == b"content"
        lines = [line for line in server.end().splitlines() if "cannot accept" in line]
    assert len(lines) == 1
    assert lines[0].endswith("cannot accept a client: Too many open files; trying again")


def test_the_mount_command_names_an_address_that_linux_takes(share: Path) -> None:
    """It looks up no names, and another machine can do nothing with the address that stands for all."""
    with serve(share, "-l", "tcp://localhost:0") as server:
        assert re.fullmatch(r"serving on tcp://(127\.0\.0\.1|\[::1\]):\d+", server.lines[0])
        assert server.lines[1].split()[-2] in ("127.0.0.1", "::1")
        with Client.connect(server.url) as client:
            assert client.root.read_bytes("file") == b"content"
    with serve(share, "-l", "tcp://0.0.0.0:0") as server:
        assert server.lines[0].startswith("serving on tcp://0.0.0.0:")
        with Client.connect(server.url.replace("0.0.0.0", server.lines[1].split()[-2])) as client:
            assert client.root.read_bytes("file") == b"content"


def test_ipv6_is_an_address_like_others(share: Path) -> None:
    try:
        socket.create_server(("::1", 0), family=socket.AF_INET6).close()
    except OSError:
        pytest.skip("no IPv6 here")
    with serve(share, "-l", "tcp://[::1]:0") as server, Client.connect(server.url) as client:
        assert client.root.read_bytes("file") == b"content"


@pytest.mark.parametrize(("limit", "most"), [("1", 1), ("0", 1025)])
def test_attributes_in_progress_are_limited_as_one_likes(share: Path, limit: str, most: int) -> None:
    with serve(share, "-l", "tcp://127.0.0.1:0", "--max-xattr", limit) as server, Client.connect(server.url) as client:
        for _ in range(most):
            client.xattrcreate(client.walk_path("file"), "user.x", 1)
        if limit != "0":
            with pytest.raises(OSError, match="No space left"):
                client.xattrcreate(client.walk_path("file"), "user.x", 1)


# --- mistakes ---------------------------------------------------------------------------------------------------


def test_mistakes_get_one_plain_sentence(share: Path, tmp_path: Path) -> None:
    assert "there is no directory" in fails(tmp_path / "none")
    assert "is not a directory" in fails(share / "file")
    assert "not a directory" in fails(share / "file" / "below")
    assert "not in the range" in fails(share, "--msize", "4095")
    assert "not in the range" in fails(share, "--msize", str((8 << 20) + 1))
    assert "not in the range" in fails(share, "--msize", "9M")
    assert "not a number of bytes" in fails(share, "--msize", "-1")
    assert "not in the range" in fails(share, "--max-xattr", "-1")
    assert "'mapped'" in fails(share, "--security-model", "mapped")
    assert "'loud'" in fails(share, "--log-level", "loud")
    assert "--nonsense" in fails(share, "--nonsense")
    assert "Missing argument" in fails()
    assert "same name" in fails(share, tmp_path)
    assert "same name" in fails(f"a={share}", f"a={tmp_path}")
    assert "comma" in fails(f"a,b={share}")


@pytest.mark.parametrize(
    "url", ["tcp://", "tcp://127.0.0.1:99999", "http://x", "unix:", "127.0.0.1:5640", "fd://x", "tcp://[::1", ""]
)
def test_a_url_that_is_none_is_a_mistake(share: Path, url: str) -> None:
    fails(share, "--listen", url)


def test_addresses_that_cannot_be_listened_on_are_mistakes(share: Path, tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        assert "in use" in fails(share, "-l", f"tcp://127.0.0.1:{port}")
    assert "no such address" in fails(share, "-l", "tcp://192.0.2.1:5640")
    assert "cannot listen" in fails(share, "-l", f"unix:{tmp_path}/none/sock")
    assert "not open" in fails(share, "-l", "fd://99")
    assert "not a socket" in fails(share, "-l", "fd://0")
    (tmp_path / "plain").write_text("keep me")
    assert "a file that is no socket" in fails(share, "-l", f"unix:{tmp_path}/plain")
    assert (tmp_path / "plain").read_text() == "keep me"
    assert "a file that is no socket" in fails(share, "-l", f"unix:{tmp_path}")


@pytest.mark.parametrize("kind", [socket.SOCK_STREAM, socket.SOCK_DGRAM])
def test_a_descriptor_that_nobody_can_be_connected_to_is_a_mistake(share: Path, kind: int) -> None:
    with socket.socket(socket.AF_INET, kind) as sock:
        command = [COMMAND, "serve", str(share), "-l", f"fd://{sock.fileno()}"]
        result = subprocess.run(
            command, pass_fds=[sock.fileno()], capture_output=True, text=True, timeout=PATIENCE, check=False
        )
    assert (result.returncode, result.stdout) == (2, "")
    assert re.fullmatch(r"9pfs serve: descriptor \d+ is (not a stream socket|a socket that .*)\.\n", result.stderr)


def test_the_socket_of_a_living_server_is_in_use_and_left_alone(share: Path, tmp_path: Path) -> None:
    with serve(share, "-l", f"unix:{tmp_path}/s") as server:
        assert "in use" in fails(share, "-l", f"unix:{tmp_path}/new", "-l", f"unix:{tmp_path}/s")
        assert not (tmp_path / "new").exists()
        with Client.connect(server.url) as client:
            client.getattr(client.root.fid)


def test_the_socket_of_a_dead_server_is_replaced(share: Path, tmp_path: Path) -> None:
    with serve(share, "-l", f"unix:{tmp_path}/s") as server:
        server.process.kill()
        server.process.wait(PATIENCE)
    assert (tmp_path / "s").exists()
    with serve(share, "-l", f"unix:{tmp_path}/s") as server:
        with Client.connect(server.url) as client:
            client.getattr(client.root.fid)
        server.end()
    assert not (tmp_path / "s").exists()


def test_a_server_does_not_remove_the_socket_of_its_successor(share: Path, tmp_path: Path) -> None:
    with serve(share, "-l", f"unix:{tmp_path}/s") as first:
        (tmp_path / "s").unlink()
        with serve(share, "-l", f"unix:{tmp_path}/s") as second:
            first.end()
            with Client.connect(second.url) as client:
                client.getattr(client.root.fid)


# --- inherited sockets ------------------------------------------------------------------------------------------


def test_an_inherited_connection_is_a_client(share: Path) -> None:
    ours, theirs = socket.socketpair()
    with theirs, serve(share, "-l", f"fd://{theirs.fileno()}", fds=[theirs.fileno()]) as server:
        theirs.close()
        with Client.over(ours) as client:
            assert client.root.read_bytes("file") == b"content"
            server.process.send_signal(signal.SIGTERM)
            with pytest.raises(ServerClosedError):
                client.connection.receive(PATIENCE)
        assert server.process.wait(PATIENCE) == 0


def test_as_inetd_starts_it_nothing_but_9p_goes_to_the_client(share: Path) -> None:
    """Its standard input and its standard output are the connection."""
    ours, theirs = socket.socketpair()
    command = [COMMAND, "serve", str(share), "-l", "fd://0"]
    with (
        theirs,
        subprocess.Popen(command, stdin=theirs.fileno(), stdout=theirs.fileno(), stderr=subprocess.PIPE) as server,
    ):
        theirs.close()
        with Client.over(ours) as client:
            assert client.root.read_bytes("file") == b"content"
        assert server.wait(PATIENCE) == 0
        assert server.stderr
        assert server.stderr.read() == b""


def test_it_ends_with_the_only_client_there_can_be(share: Path) -> None:
    ours, theirs = socket.socketpair()
    with theirs, serve(share, "-l", f"fd://{theirs.fileno()}", fds=[theirs.fileno()]) as server:
        theirs.close()
        with Client.over(ours) as client:
            assert client.root.read_bytes("file") == b"content"
        assert server.process.wait(PATIENCE) == 0


def test_the_socket_of_a_server_is_for_its_user_alone(share: Path, tmp_path: Path) -> None:
    """What the umask says holds for the socket; it is only the clients' files that it does not count for."""
    with serve(share, "-l", f"unix:{tmp_path}/s") as server:
        assert not (tmp_path / "s").stat().st_mode & 0o022
        server.end()


def test_an_inherited_listening_socket_is_listened_on(share: Path, tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(tmp_path / "s"))
        listening.listen()
        with serve(share, "-l", f"fd://{listening.fileno()}", fds=[listening.fileno()]) as server:
            for _ in range(3):
                with Client.connect(f"unix:{tmp_path}/s") as client:
                    client.getattr(client.root.fid)
            server.end()
    assert (tmp_path / "s").exists()  # it is not ours to remove


@pytest.mark.parametrize("count", [1, 2])
def test_systemd_passes_sockets(share: Path, tmp_path: Path, count: int) -> None:
    listening = []
    for number in range(count):
        sock = socket.socket(socket.AF_UNIX)
        sock.bind(str(tmp_path / f"s{number}"))
        sock.listen()
        listening.append(sock)
    # They are 3, 4 and so on in the new process, as with systemd; numbers far from there on the way.
    spares = [fcntl.fcntl(sock.fileno(), fcntl.F_DUPFD, 50) for sock in listening]
    code = (
        "import os, sys\n"
        "for number, spare in enumerate(map(int, sys.argv[1].split(',')), start=3): os.dup2(spare, number)\n"
        f"os.environ.update(LISTEN_PID=str(os.getpid()), LISTEN_FDS='{count}')\n"
        "os.execv(sys.argv[2], sys.argv[2:])"
    )
    before = [sys.executable, "-c", code, ",".join(map(str, spares))]
    try:
        with serve(share, listeners=count, launcher=before, fds=spares) as server:
            for number in range(count):
                with Client.connect(f"unix:{tmp_path}/s{number}") as client:
                    client.getattr(client.root.fid)
            server.end()
    finally:
        for spare in spares:
            os.close(spare)
        for sock in listening:
            sock.close()


def test_sockets_that_systemd_passes_to_somebody_else_are_not_ours(share: Path) -> None:
    # Then the default applies; whether its port is free does not matter here.
    command = [COMMAND, "serve", str(share)]
    environment = {**os.environ, "LISTEN_PID": "1", "LISTEN_FDS": "1"}
    with subprocess.Popen(
        command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout
        assert process.stderr
        line = process.stdout.readline() or process.stderr.readline()
        process.kill()
    assert "tcp://127.0.0.1:5640" in line


# --- the end ----------------------------------------------------------------------------------------------------

_LEASE = """
import fcntl, os, signal, sys
asked = []
signal.signal(signal.SIGIO, lambda *_: (print("asked", flush=True), asked.append(1)))
fd = os.open(sys.argv[1], os.O_RDWR)
fcntl.fcntl(fd, fcntl.F_SETLEASE, fcntl.F_WRLCK)
print("leased", flush=True)
sys.stdin.readline()
fcntl.fcntl(fd, fcntl.F_SETLEASE, fcntl.F_UNLCK)
"""


@contextmanager
def blocked_file(path: Path) -> Iterator[subprocess.Popen[str]]:
    """Whoever opens the file hangs in the kernel until a line is written to this process (a lease; fcntl(2))."""
    with subprocess.Popen(
        [sys.executable, "-c", _LEASE, str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as holder:
        assert holder.stdout
        if holder.stdout.readline() != "leased\n":
            pytest.skip("this file system has no leases")
        yield holder
        holder.kill()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_lets_it_finish_what_is_in_flight(share: Path, tmp_path: Path, number: int) -> None:
    with (
        serve(share, "-l", f"unix:{tmp_path}/s") as server,
        Client.connect(server.url) as client,
        blocked_file(share / "file") as holder,
    ):
        assert holder.stdin
        assert holder.stdout
        fid = client.walk_path("file")
        opening = client.connection.send(Tlopen(fid, LFlag.RDONLY))
        assert holder.stdout.readline() == "asked\n"  # the server is inside open(2) now
        behind = client.connection.send(Tgetattr(client.root.fid, 0))
        assert client.connection.receive(PATIENCE)[0] == behind
        server.process.send_signal(number)
        # It has closed the door, and waits.
        wait_until(lambda: not (tmp_path / "s").exists(), "the socket is removed")
        with pytest.raises(subprocess.TimeoutExpired):
            server.process.wait(0.3)
        holder.stdin.write("\n")
        holder.stdin.flush()
        tag, reply = client.connection.receive(PATIENCE)
        assert (tag, type(reply)) == (opening, Rlopen)
        assert server.process.wait(PATIENCE) == 0
        assert server.process.stderr
        assert server.process.stderr.read() == ""


def test_a_second_signal_ends_it_at_once(share: Path, tmp_path: Path) -> None:
    with (
        serve(share, "-l", f"unix:{tmp_path}/s") as server,
        Client.connect(server.url) as client,
        blocked_file(share / "file") as holder,
    ):
        assert holder.stdout
        client.connection.send(Tlopen(client.walk_path("file"), LFlag.RDONLY))
        assert holder.stdout.readline() == "asked\n"
        server.process.terminate()
        wait_until(lambda: not (tmp_path / "s").exists(), "the socket is removed")
        server.process.terminate()
        holder.kill()  # a process that hangs in open(2) cannot die before that
        assert server.process.wait(PATIENCE) in (-signal.SIGTERM, 0)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_idle_clients_do_not_keep_it_from_ending(share: Path, number: int) -> None:
    with serve(share, "-l", "tcp://127.0.0.1:0") as server:
        clients = [Client.connect(server.url) for _ in range(5)]
        assert server.end(number) == ""
        for client in clients:
            with pytest.raises(ServerClosedError):
                client.connection.receive(PATIENCE)
