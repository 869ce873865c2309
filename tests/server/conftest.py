"""What the tests of the server have in common."""

from __future__ import annotations

import errno
import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from ninepfs.client import Client
from ninepfs.drivers import LocalDriver
from ninepfs.testing import Served, serve_pair, serve_virtio
from ninepfs.wire.constants import LFlag


class Records(logging.Handler):
    """Collects log records."""

    def __init__(self) -> None:
        super().__init__(logging.DEBUG)
        self.records: list[logging.LogRecord] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.records.append(record)

    def texts(self, level: int = logging.DEBUG) -> list[str]:
        """The messages of at least this level."""
        return [record.getMessage() for record in list(self.records) if record.levelno >= level]


@pytest.fixture
def log() -> Iterator[Records]:
    """Everything that the package logs meanwhile."""
    logger = logging.getLogger("ninepfs")
    records = Records()
    level = logger.level
    logger.addHandler(records)
    logger.setLevel(logging.DEBUG)
    yield records
    logger.removeHandler(records)
    logger.setLevel(level)


@pytest.fixture
def no_defects(log: Records) -> Iterator[Records]:
    """The same, and at the end there must be no record of a defect in it."""
    yield log
    defects = [record for record in log.records if record.levelno >= logging.ERROR]
    assert not [logging.Formatter().format(record) for record in defects]


def _kind(param: tuple[str, object]) -> str:
    return param[0] if param[1] is serve_pair else "virtio"


@pytest.fixture
def share(tmp_path: Path) -> Path:
    """A directory to serve."""
    directory = tmp_path / "share"
    directory.mkdir()
    return directory


@pytest.fixture(params=[("passthrough", serve_pair), ("none", serve_pair), ("none", serve_virtio)], ids=_kind)
def served(share: Path, request: pytest.FixtureRequest, no_defects: Records) -> Iterator[Served]:
    """The directory, served in each security model, and once through virtqueues."""
    model, serve = request.param
    with serve(LocalDriver(share, model), msize=65536) as served:
        yield served


@pytest.fixture
def client(served: Served) -> Client:
    """A client that has attached to the directory."""
    return served.client


@pytest.fixture
def root(client: Client) -> int:
    """The fid of the directory."""
    return client.root.fid


@contextmanager
def fails(code: int) -> Iterator[None]:
    """What is inside must be refused with this errno."""
    with pytest.raises(OSError) as refusal:  # noqa: PT011  # the number is looked at
        yield
    assert errno.errorcode.get(refusal.value.errno or 0) == errno.errorcode[code]


def error(action: Callable[..., object], *arguments: object) -> int:
    """The errno that this is refused with; 0 if it is not."""
    try:
        action(*arguments)
    except OSError as failure:
        return failure.errno or -1
    return 0


def walk(client: Client, *names: str | bytes) -> int:
    """A new fid for what is there."""
    fid = client.new_fid()
    assert len(client.walk(client.root.fid, fid, names).wqids) == len(names)
    return fid


def opened(client: Client, *names: str | bytes, flags: int = LFlag.RDWR) -> int:
    """A new open fid."""
    fid = walk(client, *names)
    client.lopen(fid, flags)
    return fid
