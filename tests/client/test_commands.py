"""The commands ls, cat and stat, against real servers."""

from __future__ import annotations

import os
import pty
import re
import socket
import stat
import subprocess
import sys
import threading
from pathlib import Path

import click
import pytest
from click.testing import CliRunner, Result

from ninepfs import Export, LocalDriver, serving
from ninepfs.cli import cat, ls
from ninepfs.cli import stat as stat_command
from ninepfs.cli.remote import printable
from ninepfs.client import Client
from ninepfs.wire import Dialect

from .conftest import Served


def run(command: click.Command, *arguments: str) -> Result:
    return CliRunner().invoke(command, arguments)


def process(command: str, *arguments: str) -> list[str]:
    """The command line of a process of its own that runs the command."""
    return [sys.executable, "-c", "from ninepfs.cli import main; main()", command, *arguments]


# --- ls ---------------------------------------------------------------------------------------------------------------


def test_ls(served: Served) -> None:
    for name in ("b", ".hidden", "a", "é"):
        (served.path / name).touch()
    (served.path / "d").mkdir()
    result = run(ls.command, served.target())
    assert (result.exit_code, result.stdout, result.stderr) == (0, "a\nb\nd\né\n", "")
    assert run(ls.command, "-a", served.target()).stdout == ".hidden\na\nb\nd\né\n"
    assert run(ls.command, served.target("d")).stdout == ""
    assert run(ls.command, served.target("d/../a")).stdout == "a\n"


def test_ls_of_several(served: Served) -> None:
    """Directories have a heading then, files have none."""
    for name in ("one", "two"):
        (served.path / name).mkdir()
        (served.path / name / f"in {name}").touch()
    one, two, file = served.target("one"), served.target("two"), served.target("one/in one")
    result = run(ls.command, file, one, served.target("none"), two)
    assert (result.exit_code, result.stdout) == (1, f"in one\n{one}:\nin one\n{two}:\nin two\n")


def test_ls_long_through_a_link(served: Served) -> None:
    (served.path / "directory").mkdir()
    (served.path / "directory" / "inside").touch()
    (served.path / "link").symlink_to("directory")
    assert " link -> directory\n" in run(ls.command, "-l", served.target("link")).stdout
    assert run(ls.command, "-l", served.target("link/")).stdout.endswith(" inside\n")


def test_ls_long(served: Served) -> None:
    (served.path / "file").write_bytes(b"x" * 1234)
    (served.path / "file").chmod(0o640)
    os.utime(served.path / "file", (0, 1_000_000_000))
    (served.path / "link").symlink_to("else where")
    (served.path / "d").mkdir(mode=0o755)
    result = run(ls.command, "-l", served.target())
    assert (result.exit_code, result.stderr) == (0, "")
    lines = [line.split(maxsplit=5) for line in result.stdout.splitlines()]
    assert [line[0] for line in lines] == ["drwxr-xr-x", "-rw-r-----", "lrwxrwxrwx"]
    assert lines[1][1:5] == ["1", str(os.getuid()), str(os.getgid()), "1234"]
    assert lines[1][5].startswith("2001-09-0")
    assert lines[1][5].endswith(" file")
    assert lines[2][5].endswith(" link -> else where")
    assert len({line.index(" 20") for line in result.stdout.splitlines()}) == 1
    assert run(ls.command, "-l", served.target("file")).stdout.endswith(" file\n")
    assert run(ls.command, "-l", served.target("link")).stdout.endswith(" link -> else where\n")


def test_ls_of_many(served: Served) -> None:
    for number in range(300):
        (served.path / f"{number:03}").touch()
    lines = run(ls.command, "-l", served.target()).stdout.splitlines()
    assert [line[-3:] for line in lines] == [f"{number:03}" for number in range(300)]


def test_names_go_out_as_they_are_unless_to_a_terminal(served: Served) -> None:
    name = b"red \x1b[31m \xff\n"
    Path(os.fsdecode(os.fsencode(served.path) + b"/" + name)).touch()
    command = process("ls", served.target())
    assert subprocess.run(command, stdout=subprocess.PIPE, check=True).stdout == name + b"\n"
    ours, terminal = pty.openpty()
    subprocess.run(command, stdout=terminal, check=True)
    os.close(terminal)
    assert os.read(ours, 1000) == b"red \\x1b[31m \\xff\\x0a\r\n"
    os.close(ours)


def test_printable() -> None:
    assert printable("naïve".encode()) == "naïve".encode()
    assert printable(b"a\x9bb\x7f") == b"a\\x9bb\\x7f"
    assert printable("a\u202eb".encode()) == b"a\\xe2\\x80\\xaeb"


# --- cat --------------------------------------------------------------------------------------------------------------


def test_cat(served: Served) -> None:
    data = os.urandom(3_000_000)
    (served.path / "f").write_bytes(data)
    (served.path / "empty").touch()
    (served.path / "link").symlink_to("f")
    result = run(cat.command, served.target("f"), served.target("empty"), served.target("link"))
    assert (result.exit_code, result.stderr) == (0, "")
    assert result.stdout_bytes == data + data


def test_cat_goes_on_after_a_failure(served: Served) -> None:
    (served.path / "f").write_text("text")
    (served.path / "d").mkdir()
    result = run(cat.command, served.target("nope"), served.target("f"), served.target("d"))
    assert (result.exit_code, result.stdout) == (1, "text")
    assert result.stderr == (
        f"9pfs cat: {served.target('nope')}: No such file or directory\n"
        f"9pfs cat: {served.target('d')}: Is a directory\n"
    )


def test_cat_into_a_pipe_that_is_closed(served: Served) -> None:
    (served.path / "f").write_bytes(b"line\n" * 1_000_000)
    with subprocess.Popen(process("cat", served.target("f")), stdout=subprocess.PIPE, stderr=subprocess.PIPE) as cat:
        assert cat.stdout is not None
        assert cat.stderr is not None
        assert cat.stdout.readline() == b"line\n"
        cat.stdout.close()
        assert cat.stderr.read() == b""
        assert cat.wait() == 1


def test_cat_onto_a_full_disk(served: Served) -> None:
    (served.path / "f").write_text("text")
    with Path("/dev/full").open("wb") as full:
        result = subprocess.run(
            process("cat", served.target("f")), stdout=full, stderr=subprocess.PIPE, text=True, check=False
        )
    assert (result.returncode, result.stderr) == (1, "9pfs cat: standard output: No space left on device\n")


# --- stat -------------------------------------------------------------------------------------------------------------


def test_stat(served: Served) -> None:
    (served.path / "f").write_bytes(b"x" * 5000)
    (served.path / "f").chmod(0o604)
    os.utime(served.path / "f", ns=(1, 1_000_000_000_123_456_789))
    host = (served.path / "f").stat()
    result = run(stat_command.command, served.target("f"))
    assert (result.exit_code, result.stderr) == (0, "")
    lines = result.stdout.splitlines()
    assert lines[0] == "  File: f"
    assert re.fullmatch(rf"  Size: 5000 +Blocks: {host.st_blocks} +IO Block: \d+ +regular file", lines[1])
    assert re.fullmatch(r"   Qid: type 0x00, version \d+, path \d+", lines[2])
    assert lines[3] == f"Access: (0604/-rw----r--)  Uid: {host.st_uid}   Gid: {host.st_gid}   Links: 1"
    assert re.fullmatch(r"Modify: 2001-09-0\d \d\d:46:40\.123456789 [+-]\d{4}", lines[5])
    assert [line.split(":")[0] for line in lines[4:]] == ["Access", "Modify", "Change", " Birth"]


def test_stat_of_other_kinds(served: Served) -> None:
    (served.path / "link").symlink_to("f")
    os.mkfifo(served.path / "fifo")
    assert run(stat_command.command, served.target("link")).stdout.startswith("  File: link -> f\n")
    assert "fifo\n" in run(stat_command.command, served.target("fifo")).stdout
    root = run(stat_command.command, served.target()).stdout
    assert root.startswith("  File: /\n")
    assert "directory\n" in root
    if os.geteuid() == 0:
        os.mknod(served.path / "device", stat.S_IFBLK | 0o600, os.makedev(7, 1))
        assert "block device 7:1\n" in run(stat_command.command, served.target("device")).stdout


# --- mistakes ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("command", [ls.command, cat.command, stat_command.command])
def test_a_url_that_is_none(command: click.Command) -> None:
    result = run(command, "example.org/etc")
    assert (result.exit_code, result.stdout) == (2, "")
    assert re.fullmatch(r"9pfs \w+: 'example\.org/etc' is not the address of a 9P server; .*\.\n", result.stderr)


@pytest.mark.parametrize("command", [ls.command, cat.command, stat_command.command])
def test_a_server_that_is_not_there(command: click.Command) -> None:
    result = run(command, "unix:///nowhere/x.sock//etc")
    assert (result.exit_code, result.stdout) == (1, "")
    assert result.stderr.endswith("cannot connect to unix:///nowhere/x.sock: No such file or directory\n")


def test_an_export_that_there_is_not(tmp_path: Path) -> None:
    """The server is there: what is wrong is the name."""
    exports = [Export(LocalDriver(tmp_path), "one"), Export(LocalDriver(tmp_path), "two")]
    with serving(exports, f"unix:{tmp_path}/x.sock") as [url]:
        assert run(ls.command, f"{url}?aname=one").exit_code == 0
        for target, name in ((url, ""), (f"{url}/file?aname=three", "three")):
            result = run(ls.command, target)
            assert (result.exit_code, result.stdout) == (1, "")
            sentence = f"9pfs ls: {url} exports nothing by the name {name!r}; choose by ?aname=NAME behind the path\n"
            assert result.stderr == sentence


def test_a_server_of_something_else(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def greet() -> None:
            client, _ = listening.accept()
            with client:
                client.sendall(b"SSH-2.0-OpenSSH_9.2\r\n")
                client.recv(100)

        thread = threading.Thread(target=greet)
        thread.start()
        url = f"tcp://127.0.0.1:{listening.getsockname()[1]}"
        result = run(ls.command, url)
        thread.join()
    assert (result.exit_code, result.stdout) == (1, "")
    assert result.stderr.startswith(f"9pfs ls: {url} does not answer like a 9P server: ")


def test_a_file_that_is_not_there(served: Served) -> None:
    for command in (ls.command, stat_command.command):
        result = run(command, served.target("nope"))
        assert (result.exit_code, result.stdout) == (1, "")
        assert result.stderr.endswith(f"{served.target('nope')}: No such file or directory\n")


# --- dialects ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dialect", ["9P2000.L", "9P2000.u", "9p2000", "9p2000.l"])
def test_commands_speak_every_dialect(served: Served, dialect: str) -> None:
    if served.kind == "diod":
        pytest.skip("diod speaks 9P2000.L only")
    (served.path / "f").write_bytes(b"hello\n")
    assert run(ls.command, "--dialect", dialect, served.target()).stdout == "f\n"
    assert " 6 " in run(ls.command, "--dialect", dialect, "-l", served.target()).stdout
    assert run(cat.command, "--dialect", dialect, served.target("f")).stdout == "hello\n"
    assert "Size: 6 " in run(stat_command.command, "--dialect", dialect, served.target("f")).stdout


def test_a_dialect_that_there_is_not(served: Served) -> None:
    result = run(ls.command, "--dialect", "9P2001", served.target())
    assert result.exit_code == 2
    assert "there are 9P2000.L,9P2000.u,9P2000" in result.stderr


def test_serve_offers_the_dialects_that_it_is_told(tmp_path: Path) -> None:
    share = tmp_path / "share"
    share.mkdir()
    url = f"unix://{tmp_path}/socket"
    command = process("serve", str(share), "--listen", url, "--dialects", "9p2000.u,9P2000")
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
        try:
            assert server.stdout is not None
            assert server.stdout.readline() == f"serving on {url}\n"
            assert "version=9p2000.u," in server.stdout.readline()
            for offered, agreed in ((Dialect.L, Dialect.BASE), (Dialect.U, Dialect.U), (Dialect.BASE, Dialect.BASE)):
                with Client.connect(url, dialect=offered) as client:
                    assert client.dialect is agreed
                    assert client.root.listdir() == []
        finally:
            server.terminate()
