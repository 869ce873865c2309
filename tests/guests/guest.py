"""What guests of all kinds have in common: scripts run in them, and directories are mounted.

Both sides have a directory in common, *control*. The host puts scripts there, and the guest's first process
(:file:`init.sh`) runs them one after the other, or at the same time, and leaves their output and status.
"""

from __future__ import annotations

import itertools
import shlex
import shutil
import tempfile
import time
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

from .process import OnTheHost, Process, wait_until

HERE = Path(__file__).resolve().parent
LAST_LINES = 60  # of the console, shown with a failure


class GuestError(AssertionError):
    """The guest died, hangs, or a script in it failed; the message has the output and the end of the console."""


@dataclass(frozen=True)
class Mount:
    """What a guest's mount command is told."""

    source: str  # an address, a socket path or a tag
    transport: str = "tcp"
    version: str = "9p2000.L"
    msize: int = 262144
    cache: str = "none"
    options: tuple[str, ...] = ()

    def command(self, directory: str) -> str:
        """The shell command that mounts it."""
        words = [f"trans={self.transport}", f"version={self.version}", f"msize={self.msize}", f"cache={self.cache}"]
        options = ",".join([*words, *self.options])
        return f"mount -t 9p -o {shlex.quote(options)} {shlex.quote(self.source)} {shlex.quote(directory)}"


@dataclass(frozen=True)
class Result:
    """How a script in a guest ended."""

    status: int
    output: str
    seconds: float


class Command:
    """A script that runs in a guest."""

    def __init__(self, guest: Guest, number: int, script: str) -> None:
        self.script = script
        self._guest = guest
        self._number = number
        self._started = time.monotonic()

    @property
    def running(self) -> bool:
        """Whether it has not ended yet."""
        return not self._file("status").exists()

    def wait(self, timeout: float = 60.0, *, check: bool = True) -> Result:
        """Wait for its end.

        A guest that dies or a script that takes too long is a GuestError; so is, with check, a failure.
        """
        if not self._guest.wait_until(lambda: not self.running, timeout):
            self._guest.show_processes()
            raise self._guest.error(f"the script did not end in {timeout:.0f} s:\n{self.script}\n{self._output()}")
        result = Result(int(self._file("status").read_text()), self._output(), time.monotonic() - self._started)
        if check and result.status:
            raise self._guest.error(
                f"the script ended with status {result.status}:\n{self.script}\n{result.output}", console=False
            )
        return result

    def hear(self, word: str, timeout: float = 30.0) -> str:
        """Wait until the script tells this word; returns the text that came with it."""
        path = self._guest.control / f"guest-{word}"
        if not self._guest.wait_until(lambda: path.exists() or not self.running, timeout):
            self._guest.show_processes()
            raise self._guest.error(f"the script did not tell {word!r} in {timeout:.0f} s:\n{self.script}")
        if not path.exists():
            result = self.wait(check=False)
            raise self._guest.error(
                f"the script ended with status {result.status} and did not tell {word!r}:\n"
                f"{self.script}\n{result.output}",
                console=False,
            )
        text = path.read_text().rstrip("\n")
        path.unlink()
        return text

    def _file(self, kind: str) -> Path:
        return self._guest.control / f"{self._number}.{kind}"

    def _output(self) -> str:
        return self._file("out").read_text(errors="backslashreplace") if self._file("out").exists() else ""


class Guest(OnTheHost, ABC):
    """A guest, from power-on (entering the context) to power-off."""

    _numbers = itertools.count(1)

    def __init__(self, *, environment: dict[str, str] | None = None, waits: bool = True) -> None:
        """The environment is given to every script. Entering the context waits until the guest has started, or leaves
        that to the caller."""
        self.name = f"guest{next(self._numbers)}"
        self.environment = dict(environment or {})
        self.control = Path()
        self._waits = waits
        self._commands = 0
        self._mounts = 0

    # --- power

    @abstractmethod
    def _power_on(self) -> Process:
        """Start it; raises UnavailableError when this machine cannot."""

    def _ring(self) -> None:
        """Let it look for what is new in the control directory, unless it does so often."""
        return

    def __enter__(self) -> Self:
        self.control = Path(tempfile.mkdtemp(prefix="ninepfs-guest-"))
        try:
            self._process = self._power_on()
            if self._waits:
                self.wait_until_ready()
        except BaseException:
            self.kill()
            shutil.rmtree(self.control, ignore_errors=True)
            raise
        return self

    def wait_until_ready(self, timeout: float = 60.0) -> None:
        """Wait until the guest takes scripts."""
        if not self.wait_until((self.control / "ready").exists, timeout):
            raise self.error(f"the guest did not start in {timeout:.0f} s")

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if self.alive:
                (self.control / "off").touch()
                self._ring()
                assert self._process
                if self._process.wait(20) is None and error is None:
                    raise self.error("the guest did not power off in 20 s")
        finally:
            self.kill()
            shutil.rmtree(self.control, ignore_errors=True)

    def kill(self) -> None:
        """Cut the power."""
        if self._process:
            self._process.kill()

    # --- scripts

    def start(self, script: str) -> Command:
        """Start a bash script in the guest and do not wait for it."""
        self._commands += 1
        number = self._commands
        exports = "".join(f"export {key}={shlex.quote(value)}\n" for key, value in self.environment.items())
        new = self.control / f"{number}.new"
        new.write_text(f"cd /\n{exports}{script}\n")
        new.rename(self.control / f"{number}.run")
        self._ring()
        return Command(self, number, script)

    def run(self, script: str, timeout: float = 60.0, *, check: bool = True) -> Result:
        """Run a bash script in the guest; with check, a status other than 0 is a GuestError with the output."""
        return self.start(script).wait(timeout, check=check)

    def mount(self, mount: Mount) -> str:
        """Mount a share; returns the directory, as the guest sees it."""
        self._mounts += 1
        directory = f"/mnt/{self._mounts}"
        self.run(f"mkdir {directory} && {mount.command(directory)}", 30)
        return directory

    # A meeting point of a script and the test: see Command.hear, and tell and hear in exercise/common.py.

    def tell(self, word: str, text: str = "") -> None:
        """Let a script that waits for this word go on."""
        new = self.control / f"host-{word}.new"
        new.write_text(text)
        new.rename(self.control / f"host-{word}")

    # --- trouble

    def wait_until(self, condition: Callable[[], bool], timeout: float) -> bool:
        """Like the function of this name, but a guest that dies meanwhile is a GuestError."""
        done = wait_until(lambda: condition() or not self.alive, timeout)
        if not self.alive and not condition():
            raise self.error("the guest died")
        return done

    @property
    def console(self) -> Path:
        """The file with everything that the guest printed on its console."""
        return self.control / "console.log"

    def show_processes(self) -> None:
        """Let the guest print on the console which processes it has."""
        (self.control / "show").touch()
        self._ring()
        wait_until(lambda: not (self.control / "show").exists(), 5)

    def error(self, message: str, *, console: bool = True) -> GuestError:
        """The exception for a failure in this guest."""
        if console:
            lines = self.console.read_text(errors="backslashreplace").splitlines() if self.console.exists() else []
            message = "\n".join([message, f"--- console of {self.name}:", *lines[-LAST_LINES:]])
        return GuestError(message)
