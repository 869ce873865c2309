"""Real Linux 9P clients: User-mode Linux guests that run on the machine's own files.

A guest boots in about two seconds. Its root directory is the host's ``/``, read-only, so every tool of the machine is
there; ``/tmp``, ``/run`` and ``/mnt`` are its own. Scripts are run in it one after the other, or at the same time::

    with Network() as network, Server(network, share) as server, Guest(network) as guest:
        directory = guest.mount(server.mount(cache="mmap"))
        guest.run(f"cp -a /etc/services {directory}/copy")

The network is a namespace of its own, which nothing leaves. All that is started here is ended by the context managers.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import shlex
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

from . import cache
from .kernel import kernel

HERE = Path(__file__).resolve().parent
SCRIPTS = "/run/guests"  # where a guest finds this directory
CONTROL = "/run/control"  # where a guest finds the directory that it shares with the host
LAST_LINES = 60  # of the console, shown with a failure


class GuestError(AssertionError):
    """The guest died, hangs, or a script in it failed; the message has the output and the end of the console."""


def require() -> None:
    """Raise UnavailableError when this machine cannot run guests at all."""
    if os.geteuid() != 0:
        raise cache.UnavailableError("guests need root (for a network namespace and a tap device)")
    if not os.access("/dev/net/tun", os.R_OK | os.W_OK):
        raise cache.UnavailableError("guests need /dev/net/tun")
    for tool, package in (("ip", "iproute2"), ("stdbuf", "coreutils"), ("setpriv", "util-linux"), ("mount", "mount")):
        if shutil.which(tool) is None:
            raise cache.UnavailableError(f"guests need the command {tool} (Debian package {package})")


def wait_until(condition: Callable[[], bool], timeout: float, interval: float = 0.01) -> bool:
    """Whether the condition became true within the timeout (in seconds)."""
    deadline = time.monotonic() + timeout
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(interval)
    return True


@dataclass(frozen=True)
class Link:
    """One guest's cable: a tap device and the addresses at its two ends."""

    device: str
    host_address: str
    guest_address: str


class Network:
    """A network namespace of the test's own, with a server address and a tap device for each guest."""

    server_address = "10.9.0.1"
    _numbers = itertools.count(1)

    def __init__(self) -> None:
        self.name = f"ninepfs-{os.getpid()}-{next(self._numbers)}"
        self._links = 0
        self._ports = itertools.count(5640)

    def __enter__(self) -> Self:
        require()
        _remove_orphans()
        _ip("netns", "add", self.name)
        try:
            _ip("-n", self.name, "link", "set", "lo", "up")
            _ip("-n", self.name, "address", "add", f"{self.server_address}/32", "dev", "lo")
        except BaseException:
            self.__exit__(None, None, None)
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        _ip("netns", "delete", self.name)

    def add_link(self) -> Link:
        """A new tap device for one guest."""
        self._links += 1
        number = self._links
        link = Link(f"guest{number}", f"10.9.{number}.1", f"10.9.{number}.2")
        _ip("-n", self.name, "tuntap", "add", "dev", link.device, "mode", "tap")
        _ip("-n", self.name, "address", "add", f"{link.host_address}/24", "dev", link.device)
        _ip("-n", self.name, "link", "set", link.device, "up")
        return link

    def free_port(self) -> int:
        """A port of the server address that nobody else uses."""
        return next(self._ports)

    def command(self, arguments: Sequence[str | Path]) -> list[str]:
        """The command line that runs this command inside the namespace."""
        return ["ip", "netns", "exec", self.name, *map(str, arguments)]


def _ip(*arguments: str) -> str:
    done = subprocess.run(["ip", *arguments], capture_output=True, text=True, timeout=30, check=False)
    if done.returncode:
        raise cache.UnavailableError(f"ip {' '.join(arguments)}: {done.stderr.strip()}")
    return done.stdout


def _remove_orphans() -> None:
    """Remove namespaces that a test process left which is no longer there (it was killed)."""
    for line in _ip("netns", "list").splitlines():
        name = line.split()[0]
        parts = name.split("-")
        if len(parts) == 3 and parts[0] == "ninepfs" and parts[1].isdigit() and not Path("/proc", parts[1]).exists():
            with contextlib.suppress(cache.UnavailableError):  # another test run was faster
                _ip("netns", "delete", name)


class Process:
    """A process in a session of its own, which dies with us and is ended by its id."""

    def __init__(self, arguments: Sequence[str], output: Path, environment: dict[str, str] | None = None) -> None:
        self.arguments = list(arguments)
        with output.open("ab") as stream:
            self._process = subprocess.Popen(
                ["setpriv", "--pdeathsig", "KILL", *self.arguments],
                stdin=subprocess.DEVNULL,
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


class Guest:
    """One User-mode Linux, from power-on (entering the context) to power-off."""

    _numbers = itertools.count(1)

    def __init__(
        self,
        network: Network | None = None,
        *,
        virtio_sockets: Sequence[Path] = (),
        memory: str = "384M",
        kernel_words: Sequence[str] = (),
        environment: dict[str, str] | None = None,
    ) -> None:
        """A guest on this network, with a virtio 9P device for each of the vhost-user sockets.

        The environment is given to every script.
        """
        self.name = f"guest{next(self._numbers)}"
        self.network = network
        self.virtio_sockets = list(virtio_sockets)
        self.memory = memory
        self.kernel_words = list(kernel_words)
        self.environment = dict(environment or {})
        self.control = Path()
        self._process: Process | None = None
        self._commands = 0
        self._mounts = 0

    # --- power

    def __enter__(self) -> Self:
        require()
        program = kernel()
        self.control = Path(tempfile.mkdtemp(prefix="ninepfs-guest-"))
        try:
            arguments = self._command_line(program)
            environment = {"PATH": os.environ.get("PATH", os.defpath), "HOME": str(self.control)}
            self._process = Process(arguments, self.console, environment)
            if not self.wait_until((self.control / "ready").exists, 60):
                raise self.error("the guest did not start in 60 s")
        except BaseException:
            self.kill()
            shutil.rmtree(self.control, ignore_errors=True)
            raise
        return self

    def _command_line(self, program: Path) -> list[str]:
        words = [
            f"mem={self.memory}",
            "root=/dev/root",
            "rootfstype=hostfs",
            "rootflags=/",
            "ro",
            "quiet",
            "panic=-1",
            "con=null",
            "con0=null,fd:1",
            f"uml_dir={self.control}/",
            f"umid={self.name}",
            f"init={HERE / 'init.sh'}",
            f"ninepfs.name={self.name}",
            f"ninepfs.control={self.control}",
            f"ninepfs.scripts={HERE}",
            *(f"virtio_uml.device={socket}:9" for socket in self.virtio_sockets),
            *self.kernel_words,
        ]
        if self.network:
            link = self.network.add_link()
            # Without gro=1 large segments from the host are lost.
            words.append(f"vec0:transport=tap,ifname={link.device},depth=64,gro=1")
            words.append(f"ninepfs.address={link.guest_address}/24")
            words.append(f"ninepfs.gateway={link.host_address}")
        # Lines must leave at once: what is in a buffer is printed again by every process that the kernel forks.
        arguments: list[str] = ["stdbuf", "-oL", str(program), *words]
        return self.network.command(arguments) if self.network else arguments

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if self.alive:
                (self.control / "off").touch()
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

    @property
    def alive(self) -> bool:
        """Whether the guest runs."""
        return self._process is not None and self._process.status is None

    # --- scripts

    def start(self, script: str) -> Command:
        """Start a bash script in the guest and do not wait for it."""
        self._commands += 1
        number = self._commands
        exports = "".join(f"export {key}={shlex.quote(value)}\n" for key, value in self.environment.items())
        new = self.control / f"{number}.new"
        new.write_text(f"cd /\n{exports}{script}\n")
        new.rename(self.control / f"{number}.run")
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
        wait_until(lambda: not (self.control / "show").exists(), 5)

    def error(self, message: str, *, console: bool = True) -> GuestError:
        """The exception for a failure in this guest."""
        if console:
            lines = self.console.read_text(errors="backslashreplace").splitlines() if self.console.exists() else []
            message = "\n".join([message, f"--- console of {self.name}:", *lines[-LAST_LINES:]])
        return GuestError(message)
