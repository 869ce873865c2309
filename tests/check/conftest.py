"""A server of ours to try, in this process."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from ninepfs.check import Setting
from ninepfs.drivers import LocalDriver
from ninepfs.testing import Served, serve_pair


@pytest.fixture
def share(tmp_path: Path) -> Path:
    """The shared directory."""
    path = tmp_path / "share"
    path.mkdir()
    return path


@pytest.fixture
def served(share: Path) -> Iterator[Served]:
    before = os.umask(0)
    try:
        with serve_pair(LocalDriver(share)) as served:
            yield served
    finally:
        os.umask(before)


@pytest.fixture
def setting(served: Served) -> Setting:
    return Setting(served.socket, n_uname=os.geteuid())
