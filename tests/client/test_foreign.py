"""Clients that others wrote, against our server."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from ninepfs import LocalDriver, serving
from ninepfs.address import TcpAddress, parse_address

PATH = os.environ.get("PATH", "") + ":/usr/sbin:/sbin"


@pytest.fixture
def share(tmp_path: Path) -> Path:
    (tmp_path / "directory").mkdir()
    (tmp_path / "file").write_text("content\n")
    return tmp_path


@pytest.fixture
def server(share: Path) -> Iterator[str]:
    """HOST:PORT of a server."""
    with serving(LocalDriver(share), "tcp://127.0.0.1:0") as [url]:
        address = parse_address(url)
        assert isinstance(address, TcpAddress)
        yield f"{address.host}:{address.port}"


def run(name: str, *arguments: str) -> str:
    """What one of diod's tools says. It asks for authentication first, and attaches without if there is none."""
    tool = shutil.which(name, path=PATH)
    if tool is None:
        pytest.skip("diod is not installed")
    result = subprocess.run([tool, *arguments], capture_output=True, text=True, timeout=30, check=False)
    assert (result.returncode, result.stderr) == (0, "")
    return result.stdout


def test_diodls(server: str) -> None:
    assert sorted(run("diodls", "-s", server, "-a", "/").split()) == ["directory", "file"]
    assert " 8 " in run("diodls", "-l", "-s", server, "-a", "/")


def test_diodcat(server: str) -> None:
    assert run("diodcat", "-s", server, "-a", "/", "file") == "content\n"


def test_mount_diod(server: str, share: Path) -> None:
    """The mount helper connects, asks for authentication and attaches before it calls mount(2), which it leaves out."""
    host, port = server.split(":")
    run("mount.diod", "-f", "-n", f"{host}:/", str(share / "directory"), "-o", f"port={port}")
