"""What the tests of the engine have in common."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from ninepfs.drivers import LocalDriver
from ninepfs.server import Limits, crew, engine
from ninepfs.testing import BlockingDriver, WatchedDriver, serve_pair

from ..conftest import Records
from .setting import Setting


@pytest.fixture
def limits() -> Limits:
    return Limits()


@pytest.fixture
def setting(share: Path, limits: Limits, no_defects: Records) -> Iterator[Setting]:
    (share / "file").write_bytes(bytes(range(256)))
    watched: WatchedDriver[Any, Any] = WatchedDriver(LocalDriver(share))
    driver = BlockingDriver(watched)
    with serve_pair(driver, limits, msize=65536) as served:
        try:
            yield Setting(served, driver, watched)
        finally:
            driver.release()
    assert not watched.violations
    assert not watched.open_handles


@pytest.fixture
def restored(monkeypatch: pytest.MonkeyPatch) -> None:
    """Idle threads of the server end soon."""
    monkeypatch.setattr(crew, "KEEP", 0.1)


@pytest.fixture
def restless(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A watchdog that finds everything slow, and threads that are interrupted everywhere."""
    monkeypatch.setattr(engine, "TICK", 0.00005)
    before = sys.getswitchinterval()
    sys.setswitchinterval(0.00001)
    yield
    sys.setswitchinterval(before)
