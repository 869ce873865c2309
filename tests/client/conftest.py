"""Servers for the client to talk to: ours and, where it is installed, diod, each sharing a directory of its own."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from ninepfs.client import Client, Tree
from ninepfs.wire import Dialect

DIOD = shutil.which("diod", path=os.environ.get("PATH", "") + ":/usr/sbin:/sbin")


LACKS = {
    Dialect.L: set[str](),
    Dialect.U: {"xattrs", "locks", "statfs", "nanoseconds", "moves"},
    Dialect.BASE: {"xattrs", "locks", "statfs", "nanoseconds", "moves", "symlinks", "links", "special files"},
}
"""What paths cannot do in which dialect."""


@dataclass
class Served:
    """A directory, and the server that shares it."""

    kind: str
    path: Path
    url: str
    aname: str

    def target(self, path: str = "") -> str:
        """What client commands take."""
        return f"{self.url}/{path}?aname={self.aname}"


@pytest.fixture(scope="session", params=["ninepfs", "diod"])
def server(request: pytest.FixtureRequest) -> Iterator[Served]:
    with tempfile.TemporaryDirectory(prefix="ninepfs-") as name:
        socket, share = Path(name, "x.sock"), Path(name, "share")
        share.mkdir()
        if request.param == "diod":
            if DIOD is None:
                pytest.skip("diod is not installed")
            command = [DIOD, "-f", "-n", "-N", "-l", str(socket), "-e", str(share), "-L", "stderr"]
            aname = str(share)
        else:
            main = "from ninepfs.cli import main; main()"
            command = [sys.executable, "-c", main, "serve", str(share), "--listen", f"unix://{socket}"]
            aname = ""
        with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True) as process:
            try:
                _wait_for(socket, process)
                yield Served(request.param, share, f"unix://{socket}", aname)
            finally:
                process.terminate()


def _wait_for(socket: Path, process: subprocess.Popen[str]) -> None:
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        try:
            Client.connect(f"unix://{socket}", aname="").close()
        except (FileNotFoundError, ConnectionRefusedError):
            pass
        except OSError:
            return  # it answers, if only to refuse
        else:
            return
        if process.poll() is not None:
            assert process.stderr is not None
            pytest.fail(f"the server did not start: {process.stderr.read()}")
        time.sleep(0.01)
    pytest.fail("the server does not listen")


@pytest.fixture
def served(server: Served) -> Iterator[Served]:
    """The server, and its directory, empty."""
    yield server
    for entry in os.scandir(os.fsencode(server.path)):
        if entry.is_dir(follow_symlinks=False):
            shutil.rmtree(entry.path)
        else:
            os.unlink(entry.path)


@pytest.fixture(params=list(Dialect), ids=lambda dialect: dialect.version.decode())
def client(served: Served, request: pytest.FixtureRequest) -> Iterator[Client]:
    """A client of the server in each dialect. At the end of the test no fid but the root's may be in use.

    What a dialect lacks is left out by the tests that are marked ``needs``.
    """
    dialect: Dialect = request.param
    if served.kind == "diod" and dialect is not Dialect.L:
        pytest.skip("diod speaks 9P2000.L only")
    lacks = LACKS[dialect] & {need for mark in request.node.iter_markers("needs") for need in mark.args}
    if lacks:
        pytest.skip(f"{dialect.version.decode()} has no {', '.join(sorted(lacks))}")
    with Client.connect(served.url, aname=served.aname, dialect=dialect) as client:
        yield client
        if not client.connection.closed:
            assert client.fids == {client.root.fid}


@pytest.fixture
def tree(client: Client) -> Tree:
    return client.root


@pytest.fixture
def share(served: Served) -> Path:
    """The shared directory on the host."""
    return served.path
