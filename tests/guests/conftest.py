"""Fixtures for the tests with real kernels; without what a guest needs, the tests are skipped with the reason."""

from __future__ import annotations

import contextlib
import os
import shlex
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from . import cache
from .kernel import kernel
from .server import Server, as_user, is_ours, server_command
from .uml import Guest, GuestError, Mount, Network, Result, require

ORDINARY_USER = 54321
EXERCISES = Path(__file__).with_name("exercise")


def pytest_configure(config: pytest.Config) -> None:
    """Our markers, for runs that start in this directory."""
    config.addinivalue_line("markers", "guests: boots a real kernel")
    config.addinivalue_line("markers", "slow: takes more than ten seconds")


@pytest.fixture(scope="session")
def guest_machine() -> None:
    """Skip unless this machine can run guests; builds the kernel when there is none yet."""
    try:
        require()
        kernel()
    except cache.UnavailableError as reason:
        pytest.skip(str(reason))


@pytest.fixture(scope="session")
def network(guest_machine: None) -> Iterator[Network]:
    """One network for all tests of the run."""
    try:
        entered = Network().__enter__()
    except cache.UnavailableError as reason:
        pytest.skip(str(reason))
    with contextlib.closing(_Closer(entered)):
        yield entered


class _Closer:
    def __init__(self, network: Network) -> None:
        self.close = lambda: network.__exit__(None, None, None)


class Rig:
    """A server, a guest that is booted again when it died or hangs, and its mounts."""

    def __init__(self, network: Network, user: int | None) -> None:
        self.network = network
        self.user = user
        # Not below a directory that only root may enter, since the server may be somebody else.
        self.share = Path(tempfile.mkdtemp(prefix="ninepfs-share-", dir="/var/tmp"))
        self.share.chmod(0o755)
        if user is not None:
            os.chown(self.share, user, user)
        self._stack = contextlib.ExitStack()
        self._server: Server | None = None
        self._guest: Guest | None = None
        self._mounts: dict[Mount, str] = {}
        self._has_fscache = False

    def close(self) -> None:
        """End all and remove the share."""
        self._stack.close()
        shutil.rmtree(os.fsencode(self.share))

    @property
    def server(self) -> Server:
        """The server, started when needed."""
        if self._server is None or not self._server.alive:
            if self._guest is not None:
                self._guest.kill()  # it cannot find another server by its virtio device
            self._server = self._stack.enter_context(Server(self.network, self.share, user=self.user))
            self._mounts = {}
        return self._server

    @property
    def guest(self) -> Guest:
        """The guest, booted when needed."""
        if self._guest is None or not self._guest.alive:
            self._guest = self._stack.enter_context(Guest(self.network, virtio_sockets=self.virtio_sockets))
            self._mounts = {}
            self._has_fscache = False
        return self._guest

    @property
    def virtio_sockets(self) -> list[Path]:
        """For the virtio devices of guests; none if the server under test is not ours."""
        return [self.server.socket] if is_ours() else []

    def directory(self, mount: Mount | None = None) -> str:
        """Where the guest has this mount; mounted at the first use."""
        mount = mount or self.server.mount()
        guest = self.guest
        if mount not in self._mounts:
            self._free_device(mount)
            try:
                self._mounts[mount] = guest.mount(mount)
            except GuestError as error:
                error.add_note(self._server_log())
                raise
        return self._mounts[mount]

    def _free_device(self, mount: Mount) -> None:
        """The guest has one virtio device, which can be mounted once at a time."""
        for other in [other for other in self._mounts if other.transport == mount.transport == "virtio"]:
            self.guest.run(f"umount {self._mounts.pop(other)}", 30)

    def provide_fscache(self) -> None:
        """Give the guest a disk for cache=fscache; it is a file in the guest's memory."""
        if self._guest is None or not self._guest.alive or not self._has_fscache:
            self.guest.run("bash /run/guests/fscache.sh", 30)
            self._has_fscache = True

    def run(self, script: str, timeout: float = 60.0, *, check: bool = True) -> Result:
        """Run a script in the guest. If it does not come back, the guest is not used again."""
        guest = self.guest
        try:
            result = guest.run(script, timeout, check=check)
        except GuestError as error:
            error.add_note(self._server_log())
            if f"did not end in {timeout:.0f} s" in str(error):
                guest.kill()
            raise
        if not self.server.alive:
            raise GuestError(f"the server died:\n{self._server_log()}")
        return result

    def exercise(self, name: str, mount: Mount | None = None, timeout: float = 120.0, **variables: str) -> Result:
        """Run one exercise on this mount; skips the test when the exercise says that something is missing."""
        mount = mount or self.server.mount()
        directory = self.directory(mount)
        variables = {
            "DIR": directory,
            "CACHE": mount.cache,
            "SERVER_ROOT": "yes" if self.user is None else "no",
            "XATTRS": "yes" if has_xattrs(self.share) else "no",
            **variables,
        }
        result = self.run(exercise_command(name, "/run/guests", variables), timeout, check=False)
        if result.status == 77:
            pytest.skip(f"{name}: {result.output.splitlines()[-1]}")
        if result.status:
            raise GuestError(
                f"{name} with {mount} ended with status {result.status}:\n{result.output}\n{self._server_log()}"
            )
        print(f"{name}: {result.seconds:.1f} s\n{result.output}")
        return result

    def _server_log(self) -> str:
        return f"--- server:\n{self._server.read_log()[-5000:]}" if self._server else "--- no server"


def exercise_command(name: str, scripts: str, variables: dict[str, str]) -> str:
    """The shell command for an exercise; ``scripts`` is the directory that holds the exercises' package."""
    python = Path(os.path.realpath(sys.executable))
    words = ["env", f"PYTHON={python}", "PYTHONDONTWRITEBYTECODE=1"]
    words += [f"{key}={value}" for key, value in variables.items()]
    if (EXERCISES / f"{name}.py").exists():
        words += [str(python), "-m", f"exercise.{name}"]
    else:
        words += ["bash", f"exercise/{name}.sh"]
    return f"cd {shlex.quote(scripts)} && {shlex.join(words)}"


def has_xattrs(directory: Path) -> bool:
    """Whether the file system has attributes in the user namespace."""
    try:
        os.setxattr(directory, "user.ninepfs-try", b"")
        os.removexattr(directory, "user.ninepfs-try")
    except OSError:
        return False
    return True


def _rig(network: Network, user: int | None) -> Iterator[Rig]:
    program = Path(shlex.split(server_command())[0])
    if program.is_absolute():
        if not program.exists():
            pytest.skip(f"the server {program} is not installed")
        if user is not None and subprocess.run(as_user(user, [str(program), "--help"]), capture_output=True).returncode:
            pytest.skip(f"an ordinary user cannot run {program} (or the Python below it)")
    rig = Rig(network, user)
    try:
        yield rig
    finally:
        rig.close()


@pytest.fixture(scope="session")
def root_rig(network: Network) -> Iterator[Rig]:
    """The server runs as root."""
    yield from _rig(network, None)


@pytest.fixture(scope="session")
def user_rig(network: Network) -> Iterator[Rig]:
    """The server runs as an ordinary user, who owns the share."""
    yield from _rig(network, ORDINARY_USER)
