"""A 9P server inside a test network, on a directory of the host."""

from __future__ import annotations

import os
import shlex
import shutil
import sys
import tempfile
from pathlib import Path
from types import TracebackType
from typing import Self

from .uml import GuestError, Mount, Network, Process, wait_until

# Another server may be tried by putting its command line into this variable.
# Placeholders: {address}, {port}, {share}, {model}, {socket}.
COMMAND_VARIABLE = "NINEPFS_GUEST_SERVER"
OPTIONS_VARIABLE = "NINEPFS_GUEST_OPTIONS"  # mount options that such a server needs
OUR_COMMAND = shlex.join([str(Path(sys.executable).parent / "9pfs"), "serve", "{share}"]) + (
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


class Server:
    """A server process; it listens on the network's server address while the context is entered."""

    def __init__(self, network: Network, share: Path, *, user: int | None = None) -> None:
        """A server for this directory, as root or as this (numeric) user without any privilege."""
        self.network = network
        self.share = share
        self.user = user
        self.port = network.free_port()
        self.directory = Path()
        self.log = Path()
        self._process: Process | None = None

    def __enter__(self) -> Self:
        self.directory = Path(tempfile.mkdtemp(prefix="ninepfs-server-"))
        if self.user is not None:
            os.chown(self.directory, self.user, self.user)
        self.log = self.directory / "log"
        self._process = Process(self.network.command(self._command_line()), self.log)
        if not wait_until(lambda: self._listens() or not self.alive, 20) or not self.alive:
            text = self.read_log()
            self.__exit__(None, None, None)
            raise GuestError(f"the server does not listen: {shlex.join(self._command_line())}\n{text}")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._process:
            self._process.terminate()
        shutil.rmtree(self.directory, ignore_errors=True)

    @property
    def socket(self) -> Path:
        """Where guests find the virtio device."""
        return self.directory / "virtio"

    @property
    def alive(self) -> bool:
        """Whether the process runs."""
        return self._process is not None and self._process.status is None

    @property
    def pid(self) -> int:
        """The id of the server process."""
        assert self._process
        return self._process.pid

    def read_log(self) -> str:
        """What the server has printed."""
        return self.log.read_text(errors="backslashreplace")

    def stop(self, timeout: float = 10.0) -> int | None:
        """Ask the server to end (SIGTERM); returns its exit status, or None when it had to be killed."""
        assert self._process
        return self._process.terminate(timeout)

    def mount(self, **changes: str | int | tuple[str, ...]) -> Mount:
        """What a guest mounts to reach this server."""
        options: tuple[str, ...] = (f"port={self.port}", f"aname={self.share}")
        options += tuple(filter(None, os.environ.get(OPTIONS_VARIABLE, "").split(",")))
        extra = changes.pop("options", ())
        assert isinstance(extra, tuple)
        return Mount(self.network.server_address, options=options + extra, **changes)  # type: ignore[arg-type]

    def virtio_mount(self, **changes: str | int | tuple[str, ...]) -> Mount:
        """What a guest with the virtio device mounts."""
        changes = {"transport": "virtio", "msize": 512000, **changes}
        return Mount("share", **changes)  # type: ignore[arg-type]

    def _command_line(self) -> list[str]:
        places = {
            "address": self.network.server_address,
            "port": str(self.port),
            "share": str(self.share),
            "socket": str(self.socket),
            "model": "passthrough" if self.user is None else "none",  # without privilege, chown cannot succeed
        }
        words = [word.format_map(places) for word in shlex.split(server_command())]
        return words if self.user is None else as_user(self.user, words)

    def _listens(self) -> bool:
        """Whether somebody listens on our port in the server's namespace; asking the kernel disturbs nobody."""
        try:
            lines = Path(f"/proc/{self.pid}/net/tcp").read_text().splitlines()[1:]
        except OSError:
            return False
        sockets = [line.split()[1:4] for line in lines]
        return any(local.endswith(f":{self.port:04X}") and state == LISTENING for local, _, state in sockets)
