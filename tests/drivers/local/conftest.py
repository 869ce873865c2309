"""A directory with some files, served to a client."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from ninepfs.client import Client
from ninepfs.drivers import LocalDriver
from ninepfs.testing import Served, serve_pair


@pytest.fixture
def share(tmp_path: Path) -> Path:
    directory = tmp_path / "share"
    (directory / "a").mkdir(parents=True)
    (directory / "b").mkdir()
    (directory / "a/file").write_text("content")
    return directory


@pytest.fixture
def served(share: Path) -> Iterator[Served]:
    with serve_pair(LocalDriver(share), msize=65536) as served:
        yield served


@pytest.fixture
def client(served: Served) -> Client:
    return served.client


def walk(client: Client, *names: str | bytes) -> int:
    fid = client.new_fid()
    assert len(client.walk(client.root.fid, fid, names).wqids) == len(names)
    return fid


def text(client: Client, fid: int) -> str:
    client.walk(fid, 1)
    try:
        client.lopen(1)
        return bytes(client.read(1).data).decode()
    finally:
        client.clunk(1)


@contextmanager
def refused(*codes: int) -> Iterator[None]:
    with pytest.raises(OSError) as refusal:  # noqa: PT011  # the number is looked at
        yield
    assert refusal.value.errno in codes
