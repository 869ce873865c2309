"""What commands do when their output leads to nowhere, and how they say that their command line is wrong."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from ninepfs import Client, LocalDriver, serving
from ninepfs.testing.process import wait_until

COMMAND = str(Path(sys.executable).parent / "9pfs")
PATIENCE = 20


def run(*arguments: str, **options: object) -> subprocess.CompletedProcess[str]:
    """The finished command."""
    return subprocess.run(  # type: ignore[call-overload,no-any-return]
        [COMMAND, *arguments], **{"capture_output": True, "text": True, "timeout": PATIENCE, "check": False, **options}
    )


@pytest.fixture
def url(tmp_path: Path) -> Iterator[str]:
    """A server with one file."""
    (tmp_path / "file").write_text("content")
    with serving(LocalDriver(tmp_path), f"unix:{tmp_path}/x.sock") as [url]:
        yield url


# --- mistakes ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["nonsense"], "9pfs: No such command 'nonsense'."),
        (["--nonsense"], "9pfs: No such option '--nonsense'."),
        (["serve", "--nonsense"], "9pfs serve: No such option '--nonsense'."),
        (["serve", "x", "--readonly=yes"], "9pfs serve: Option '--readonly' does not take a value."),
        (["ls", "unix:x", "--dialect"], "9pfs ls: Option '--dialect' requires an argument."),
        (["cat"], "9pfs cat: Missing argument 'URL/PATH...'."),
        (
            ["serve", "x", "--msize", "much"],
            "9pfs serve: Invalid value for '--msize': 'much' is not a number of bytes; write for example 65536 or 1M.",
        ),
    ],
)
def test_a_mistake_gets_one_sentence_and_the_name_of_the_command(arguments: list[str], sentence: str) -> None:
    result = run(*arguments)
    assert (result.returncode, result.stdout, result.stderr) == (2, "", sentence + "\n")


def test_no_command_at_all_is_helped() -> None:
    result = run()
    assert result.returncode == 2
    assert "Commands:" in result.stdout + result.stderr


# --- output that leads to nowhere -------------------------------------------------------------------------------------


@pytest.mark.parametrize("arguments", [["check", "--list"], ["qemu-args", "vhost-user:///x?tag=y"]])
def test_a_full_disk_is_told(arguments: list[str]) -> None:
    with open("/dev/full", "w") as full:
        result = run(*arguments, stdout=full, stderr=subprocess.PIPE, capture_output=False)
    assert result.returncode == 1
    assert result.stderr == f"9pfs {arguments[0]}: standard output: No space left on device\n"


def test_a_reader_who_has_seen_enough_hears_nothing() -> None:
    with subprocess.Popen([COMMAND, "check", "--list"], stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout
        assert process.stderr
        assert process.stdout.readline()
        process.stdout.close()
        assert process.stderr.read() == b""
        assert process.wait(PATIENCE) == 1


@contextmanager
def served(share: Path, url: str, redirection: str = "") -> Iterator[subprocess.Popen[str]]:
    """A server started by a shell, with what the shell puts in the place of its files."""
    share.mkdir(exist_ok=True)
    line = f'exec "$0" serve "$1" -l "$2" {redirection}'
    with subprocess.Popen(
        ["sh", "-c", line, COMMAND, str(share), url], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as server:
        try:
            yield server
        finally:
            server.kill()


def connect(url: str) -> Client:
    """A client, as soon as there is a server."""
    found: list[Client] = []

    def reached() -> bool:
        try:
            found.append(Client.connect(url))
        except (FileNotFoundError, ConnectionRefusedError):
            return False
        return True

    wait_until(reached, "the server is there")
    return found[0]


@pytest.mark.parametrize(
    ("redirection", "complaint"),
    [
        ("", ""),
        (">/dev/full", "9pfs: WARNING: cannot say where it serves: No space left on device\n"),
        (">&-", ""),
    ],
)
def test_a_server_whose_output_nobody_reads_serves(tmp_path: Path, redirection: str, complaint: str) -> None:
    url = f"unix:{tmp_path}/x.sock"
    with served(tmp_path / "share", url, redirection) as server:
        assert server.stdout
        server.stdout.close()
        with connect(url) as client:
            assert client.root.listdir() == []
        server.terminate()
        assert server.wait(PATIENCE) == 0
        assert server.stderr
        assert server.stderr.read() == complaint
    assert not (tmp_path / "x.sock").exists()


def test_a_server_without_standard_files_lets_nothing_else_have_their_numbers(tmp_path: Path) -> None:
    """What is meant for people would else go to a client, or into a file."""
    url = f"unix:{tmp_path}/x.sock"
    with served(tmp_path / "share", url, "<&- >&- 2>&-") as server, connect(url):
        assert [os.readlink(f"/proc/{server.pid}/fd/{number}") for number in range(3)] == ["/dev/null"] * 3
        server.terminate()
        assert server.wait(PATIENCE) == 0


def test_a_client_command_without_output_says_nothing(url: str) -> None:
    line = 'exec "$0" cat "$1/file" >&-'
    done = subprocess.run(["sh", "-c", line, COMMAND, url], capture_output=True, timeout=PATIENCE, check=False)
    assert (done.returncode, done.stderr) == (0, b"")
