"""What the tests of the server have in common."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from pathlib import Path

import pytest


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


@pytest.fixture
def share(tmp_path: Path) -> Path:
    """A directory to serve."""
    directory = tmp_path / "share"
    directory.mkdir()
    return directory
