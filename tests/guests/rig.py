"""A server, a guest that is booted again when it died or hangs, and its mounts: what most tests here need."""

from __future__ import annotations

import contextlib
import os
import shlex
import shutil
import sys
import tempfile
from abc import ABC, abstractmethod
from pathlib import Path
from typing import Generic, TypeVar

import pytest

from .guest import Guest, GuestError, Mount, Result
from .network import Network
from .qemu import QemuGuest
from .server import DeviceServer, NetworkServer, Server, is_ours
from .uml import UmlGuest

EXERCISES = Path(__file__).with_name("exercise")

ServerT = TypeVar("ServerT", bound=Server)


class Rig(ABC, Generic[ServerT]):
    """A server, a guest that is booted again when it died or hangs, and its mounts."""

    def __init__(self, user: int | None) -> None:
        self.user = user
        # Not below a directory that only root may enter, since the server may be somebody else.
        self.share = Path(tempfile.mkdtemp(prefix="ninepfs-share-", dir="/var/tmp"))
        self.share.chmod(0o755)
        if user is not None:
            os.chown(self.share, user, user)
        self._stack = contextlib.ExitStack()
        self._server: ServerT | None = None
        self._guest: Guest | None = None
        self._mounts: dict[Mount, str] = {}

    def close(self) -> None:
        """End all and remove the share."""
        self._stack.close()
        shutil.rmtree(os.fsencode(self.share))

    @abstractmethod
    def _new_server(self) -> ServerT:
        """A server for the share."""

    @abstractmethod
    def _new_guest(self) -> Guest:
        """A guest that finds the server."""

    @property
    def server(self) -> ServerT:
        """The server, started when needed."""
        if self._server is None or not self._server.alive:
            if self._guest is not None:
                self._guest.kill()  # it cannot find another server by its virtio device
            self._server = self._new_server()
            self._stack.enter_context(self._server)
            self._mounts = {}
        return self._server

    @property
    def guest(self) -> Guest:
        """The guest, booted when needed."""
        if self._guest is None or not self._guest.alive:
            self._guest = self._stack.enter_context(self._new_guest())
            self._mounts = {}
        return self._guest

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
            "SERVER_ROOT": "yes" if self.server.model == "passthrough" else "no",
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


class UmlRig(Rig[NetworkServer]):
    """With User-mode Linux, over TCP and virtio."""

    def __init__(self, network: Network, user: int | None) -> None:
        self.network = network
        self._fscache: Guest | None = None
        super().__init__(user)

    def _new_server(self) -> NetworkServer:
        return NetworkServer(self.network, self.share, user=self.user)

    def _new_guest(self) -> UmlGuest:
        return UmlGuest(self.network, virtio_sockets=self.virtio_sockets)

    @property
    def virtio_sockets(self) -> list[Path]:
        """For the virtio devices of guests; none if the server under test is not ours."""
        return [self.server.socket] if is_ours() else []

    def provide_fscache(self) -> None:
        """Give the guest a disk for cache=fscache; it is a file in the guest's memory."""
        if self._fscache is not self.guest:
            self.guest.run("bash /run/guests/fscache.sh", 30)
            self._fscache = self.guest


class QemuRig(Rig[DeviceServer]):
    """With an emulated PC."""

    def __init__(self, kernel: str) -> None:
        self.kernel = kernel
        super().__init__(None)

    def _new_server(self) -> DeviceServer:
        return DeviceServer(self.share)

    def _new_guest(self) -> QemuGuest:
        return QemuGuest(self.server.urls, kernel=self.kernel)


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
