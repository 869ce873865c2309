"""Processes that a test starts: they die with it, and are ended by their ids."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from . import cache


def wait_until(condition: Callable[[], bool], timeout: float, interval: float = 0.01) -> bool:
    """Whether the condition became true within the timeout (in seconds)."""
    deadline = time.monotonic() + timeout
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(interval)
    return True


def need_tools(*tools: tuple[str, str]) -> None:
    """Raise UnavailableError when a command of the host is missing; each comes with the Debian package that has it."""
    for tool, package in tools:
        if shutil.which(tool) is None:
            raise cache.UnavailableError(f"guests need the command {tool} (Debian package {package})")


class Process:
    """A process in a session of its own, which dies with us and is ended by its id.

    Args:
        arguments: the command line.
        output: a file, to which its output is appended.
        environment: instead of ours.
        listens: whether its standard input is for :meth:`write`; otherwise it has none.
    """

    def __init__(
        self,
        arguments: Sequence[str],
        output: Path,
        environment: dict[str, str] | None = None,
        *,
        listens: bool = False,
    ) -> None:
        self.arguments = list(arguments)
        with output.open("ab") as stream:
            self._process = subprocess.Popen(
                ["setpriv", "--pdeathsig", "KILL", *self.arguments],
                stdin=subprocess.PIPE if listens else subprocess.DEVNULL,
                stdout=stream,
                stderr=stream,
                start_new_session=True,
                env=environment,
            )

    @property
    def pid(self) -> int:
        """The id of the process."""
        return self._process.pid

    @property
    def status(self) -> int | None:
        """The exit status, or None while it runs."""
        return self._process.poll()

    def write(self, data: bytes) -> None:
        """Send this to its standard input, unless it has ended."""
        assert self._process.stdin
        with contextlib.suppress(BrokenPipeError):
            self._process.stdin.write(data)
            self._process.stdin.flush()

    def wait(self, timeout: float) -> int | None:
        """Wait for the end; None when it did not come in time."""
        try:
            return self._process.wait(timeout)
        except subprocess.TimeoutExpired:
            return None

    def terminate(self, timeout: float = 5.0) -> int | None:
        """Ask it to end (SIGTERM); when it does not in time, kill it and return None."""
        if self._process.poll() is None:
            self._process.send_signal(signal.SIGTERM)
        status = self.wait(timeout)
        if status is None:
            self.kill()
        return status

    def kill(self) -> None:
        """Kill it together with the processes that it started."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait(10)
        if self._process.stdin:
            with contextlib.suppress(BrokenPipeError):
                self._process.stdin.close()


class OnTheHost:
    """Something that is a process of the host while it runs: a guest, or a server."""

    _process: Process | None = None

    @property
    def alive(self) -> bool:
        """Whether it runs."""
        return self._process is not None and self._process.status is None

    @property
    def pid(self) -> int:
        """The id of the process."""
        assert self._process
        return self._process.pid
