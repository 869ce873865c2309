"""What the Python exercises share: where to work, how to complain, how to meet the test on the host."""

from __future__ import annotations

import errno
import os
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NoReturn

DIRECTORY = Path(os.environ["DIR"])
CONTROL = Path(os.environ.get("CONTROL", "/run/control"))
CACHE = os.environ.get("CACHE", "local")
SERVER_ROOT = os.environ.get("SERVER_ROOT", "yes") == "yes"
MOVES = os.environ.get("MOVES", "yes") == "yes"
STARTED = time.monotonic()
WRITABLE_MMAP = CACHE != "none"


def step(text: str) -> None:
    """Say what comes now."""
    print(f"- {(time.monotonic() - STARTED) * 1000:5.0f} ms: {text}", flush=True)


def skip(reason: str) -> NoReturn:
    """End: something that this exercise needs is missing."""
    print(reason)
    sys.exit(77)


def equal(what: str, expected: object, got: object) -> None:
    """Complain unless both are the same."""
    if expected != got:
        raise AssertionError(f"{what}: expected {expected!r}, got {got!r}")


@contextmanager
def refused(*numbers: int) -> Iterator[None]:
    """The body must raise an OSError with one of these error numbers."""
    names = " or ".join(errno.errorcode[number] for number in numbers)
    try:
        yield
    except OSError as error:
        if error.errno not in numbers:
            raise AssertionError(f"expected {names}, got {error}") from error
    else:
        raise AssertionError(f"expected {names}, but it succeeded")


@contextmanager
def workplace(limit: int = 120) -> Iterator[Path]:
    """A fresh directory, current while it is used and removed after success; the whole may take ``limit`` seconds."""
    signal.alarm(limit)
    path = Path(tempfile.mkdtemp(prefix=Path(sys.argv[0]).stem + ".", dir=DIRECTORY))
    os.chdir(path)
    yield path
    os.chdir("/")
    shutil.rmtree(os.fsencode(path))
    if path.exists():
        raise AssertionError(f"{path} is still there")
    print("ok")


def child(action: Callable[[], None]) -> int:
    """Run this in a process of its own; returns its id."""
    pid = os.fork()
    if pid:
        return pid
    try:
        signal.alarm(60)
        action()
    except BaseException as error:  # the parent must not go on twice
        print(f"in a child: {type(error).__name__}: {error}", file=sys.stderr, flush=True)
        os._exit(1)
    os._exit(0)


def reap(*pids: int) -> None:
    """Wait for these children; complain about those that failed."""
    for pid in pids:
        _, status = os.waitpid(pid, 0)
        equal("a child's status", 0, os.waitstatus_to_exitcode(status))


def tell(word: str, text: str = "") -> None:
    """Let the test on the host go on that waits for this word."""
    new = CONTROL / f"guest-{word}.new"
    new.write_text(text)
    new.rename(CONTROL / f"guest-{word}")


def hear(word: str, timeout: float = 60.0) -> str:
    """Wait until the test on the host tells this word."""
    path = CONTROL / f"host-{word}"
    deadline = time.monotonic() + timeout
    while not path.exists():
        if time.monotonic() > deadline:
            raise AssertionError(f"the host did not tell {word!r}")
        time.sleep(0.02)
    text = path.read_text()
    path.unlink()
    return text
