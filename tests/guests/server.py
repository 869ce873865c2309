"""A 9P server on a directory of the host: inside a test network, or for virtual machines only."""

from __future__ import annotations

import os
import shlex
import shutil
import sys
import tempfile
from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

from .guest import GuestError, Mount
from .network import Network
from .process import OnTheHost, Process, wait_until

# Another server may be tried by putting its command line into this variable.
# Placeholders: {address}, {port}, {share}, {model}, {socket}.
COMMAND_VARIABLE = "NINEPFS_GUEST_SERVER"
OPTIONS_VARIABLE = "NINEPFS_GUEST_OPTIONS"  # mount options that such a server needs
OUR_PROGRAM = Path(sys.executable).parent / "9pfs"
OUR_COMMAND = shlex.join([str(OUR_PROGRAM), "serve", "{share}"]) + (
    " --listen tcp://{address}:{port} --listen vhost-user://{socket}?tag=share --security-model {model}"
)
LISTENING = "0A"  # a state in /proc/net/tcp


def server_command() -> str:
    """The command line of the server under test, with placeholders."""
    return os.environ.get(COMMAND_VARIABLE) or OUR_COMMAND


def is_ours() -> bool:
    """Whether our own server is under test, not another one for comparison."""
    return server_command() == OUR_COMMAND


def as_user(user: int, words: list[str]) -> list[str]:
    """The command line that runs this command as a user without any privilege, and lets it die with us.

    The interpreter may be below a directory that only root may enter, such as root's home. Then this directory is
    covered, in a mount namespace of the command's own, by one that has nothing but the interpreter in it.
    """
    ids = [f"--reuid={user}", f"--regid={user}", "--clear-groups", "--no-new-privs", "--pdeathsig=KILL"]
    command = ["setpriv", *ids, "--", *words]
    project = str(Path(__file__).resolve().parents[2])
    needed = [path for path in sorted({sys.base_prefix, sys.prefix, project}) if _closed_parent(path)]
    if not needed:
        return command
    lines = ["set -e", "umask 022", "mount -t tmpfs none /mnt"]
    for number, path in enumerate(needed):
        lines += [f"mkdir /mnt/{number}", f"mount --bind {shlex.quote(path)} /mnt/{number}"]
    lines += [
        f"mount -t tmpfs -o mode=755 none {shlex.quote(str(parent))}" for parent in {*map(_closed_parent, needed)}
    ]
    for number, path in enumerate(needed):
        lines += [f"mkdir -p {shlex.quote(path)}", f"mount --bind /mnt/{number} {shlex.quote(path)}"]
    return ["unshare", "--mount", "sh", "-c", "\n".join([*lines, 'exec "$@"']), "sh", *command]


def _closed_parent(path: str) -> Path | None:
    """The topmost directory above that others may not enter."""
    return next((parent for parent in reversed(Path(path).parents) if not parent.stat().st_mode & 0o001), None)


class Server(OnTheHost, ABC):
    """A server process; it is ready for guests while the context is entered."""

    def __init__(self, share: Path, *, user: int | None = None) -> None:
        """A server for this directory, as ourselves or as this (numeric) user without any privilege."""
        self.share = share
        self.user = user
        self.directory = Path()
        self.log = Path()

    @abstractmethod
    def _command_line(self) -> list[str]:
        """How to start it."""

    @abstractmethod
    def _listens(self) -> bool:
        """Whether guests can begin."""

    @abstractmethod
    def mount(self, **changes: str | int | tuple[str, ...]) -> Mount:
        """What a guest mounts to reach this server."""

    def virtio_mount(self, tag: str = "share", **changes: str | int | tuple[str, ...]) -> Mount:
        """What a guest with the virtio device of this tag mounts."""
        changes = {"transport": "virtio", "msize": 512000, **changes}
        return Mount(tag, **changes)  # type: ignore[arg-type]

    def __enter__(self) -> Self:
        self.directory = Path(tempfile.mkdtemp(prefix="ninepfs-server-"))
        if self.user is not None:
            os.chown(self.directory, self.user, self.user)
        self.log = self.directory / "log"
        words = self._command_line()
        self._process = Process(words, self.log)
        if not wait_until(lambda: self._listens() or not self.alive, 20) or not self.alive:
            text = self.read_log()
            self.__exit__(None, None, None)
            raise GuestError(f"the server does not listen: {shlex.join(words)}\n{text}")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._process:
            self._process.terminate()
        shutil.rmtree(self.directory, ignore_errors=True)

    @property
    def model(self) -> str:
        """The security model. Without privilege, chown cannot succeed."""
        return "passthrough" if self.user is None and os.geteuid() == 0 else "none"

    def read_log(self) -> str:
        """What the server has printed."""
        return self.log.read_text(errors="backslashreplace")

    def wait(self, timeout: float = 10.0) -> int | None:
        """Wait until the server ends by itself; returns its exit status, or None when it did not."""
        assert self._process
        return self._process.wait(timeout)

    def stop(self, timeout: float = 10.0) -> int | None:
        """Ask the server to end (SIGTERM); returns its exit status, or None when it had to be killed."""
        assert self._process
        return self._process.terminate(timeout)


class NetworkServer(Server):
    """A server that listens on a network's server address, and for virtio devices."""

    def __init__(self, network: Network, share: Path, *, user: int | None = None) -> None:
        super().__init__(share, user=user)
        self.network = network
        self.port = network.free_port()

    @property
    def socket(self) -> Path:
        """Where guests find the virtio device."""
        return self.directory / "virtio"

    def mount(self, **changes: str | int | tuple[str, ...]) -> Mount:
        """What a guest in the network mounts."""
        options: tuple[str, ...] = (f"port={self.port}", f"aname={self.share}")
        options += tuple(filter(None, os.environ.get(OPTIONS_VARIABLE, "").split(",")))
        extra = changes.pop("options", ())
        assert isinstance(extra, tuple)
        return Mount(self.network.server_address, options=options + extra, **changes)  # type: ignore[arg-type]

    def _command_line(self) -> list[str]:
        places = {
            "address": self.network.server_address,
            "port": str(self.port),
            "share": str(self.share),
            "socket": str(self.socket),
            "model": self.model,
        }
        words = [word.format_map(places) for word in shlex.split(server_command())]
        return self.network.command(words if self.user is None else as_user(self.user, words))

    def _listens(self) -> bool:
        """Whether somebody listens on our port in the server's namespace; asking the kernel disturbs nobody."""
        try:
            lines = Path(f"/proc/{self.pid}/net/tcp").read_text().splitlines()[1:]
        except OSError:
            return False
        sockets = [line.split()[1:4] for line in lines]
        return any(local.endswith(f":{self.port:04X}") and state == LISTENING for local, _, state in sockets)


class DeviceServer(Server):
    """Our server, with virtio devices for machines and nothing else."""

    def __init__(
        self, share: Path, *, user: int | None = None, tags: Sequence[str] = ("share",), connects_in: Path | None = None
    ) -> None:
        """A server that has a socket for devices of each of these mount tags; or, with a directory to connect in, one
        that connects to a socket there for each, on which a machine waits for it already."""
        super().__init__(share, user=user)
        self.tags = tuple(tags)
        self._connects_in = connects_in

    def url(self, tag: str = "share") -> str:
        """The address of the devices with this tag."""
        directory, how = (self._connects_in, "&connect") if self._connects_in else (self.directory, "")
        return f"vhost-user://{directory}/{tag}.sock?tag={tag}{how}"

    @property
    def urls(self) -> list[str]:
        """All addresses."""
        return [self.url(tag) for tag in self.tags]

    def mount(self, **changes: str | int | tuple[str, ...]) -> Mount:
        """What a guest with the first device mounts."""
        return self.virtio_mount(self.tags[0], **changes)

    def _command_line(self) -> list[str]:
        words = [str(OUR_PROGRAM), "serve", str(self.share), "--security-model", self.model]
        for url in self.urls:
            words += ["--listen", url]
        return words if self.user is None else as_user(self.user, words)

    def _listens(self) -> bool:
        return self.read_log().count("serving on ") == len(self.tags)
